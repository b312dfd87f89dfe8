"""A MAC instruction: its values, and the cycles that each lane takes."""

from __future__ import annotations

import numpy as np
from numba import njit
from ossicle.sim.cycle import state as S
from ossicle.sim.cycle.jit import uncounted

WORD = 16
RING_MASK = 15
"""A window holds 16 words at most."""


@uncounted
def tag_words(words: np.ndarray, tags: np.ndarray) -> None:
    """tags[n] bit i: byte i of word n is not zero. words int8[n, 16], tags uint16[n]."""
    for n in range(len(words)):
        bits = 0
        for i in range(WORD):
            bits |= (words[n, i] != 0) << i
        tags[n] = bits


@njit(cache=True, inline="always")
def population(bits: int) -> int:
    """Bits set among 16."""
    bits = bits - ((bits >> 1) & 0x5555)
    bits = (bits & 0x3333) + ((bits >> 2) & 0x3333)
    bits = (bits + (bits >> 4)) & 0x0F0F
    return (bits + (bits >> 8)) & 0x1F


@uncounted
def lane_cycles(weight_tags, x_tags, rows, words, lookahead, pops, until):
    """Cycles from `begin` to `finished` of one lane, and its products up to cycle `until` from `begin`.

    Fetch, window and multiplier form a queue: each word's times follow from those before it (hw/lane.py).

    Args:
        weight_tags: uint16, words of the lane's tile, row after row.
        x_tags: uint16[words] of the input.
        pops: int64[16] scratch: cycle in which each of the last pushed words left.
    Returns:
        of a lane that has products left after `until`, any cycle after that.
    """
    fetched, before = 0, -1
    popped_last, pushed, pushed_before, products = 0, 0, 0, 0
    word = 0
    for _ in range(rows):
        for w in range(words):
            # A fetch straight after another sees that one's word on its way, not yet in the window.
            cycle = fetched + 1
            if before == fetched:
                gate = pushed_before + 1 - lookahead
                if gate >= 0 and pops[gate & RING_MASK] >= cycle:
                    cycle += 1
                    gate = pushed - lookahead
                    if gate >= 0 and pops[gate & RING_MASK] >= cycle:
                        cycle = pops[gate & RING_MASK] + 1
            else:
                gate = pushed - lookahead
                if gate >= 0 and pops[gate & RING_MASK] >= cycle:
                    cycle = pops[gate & RING_MASK] + 1
            before = fetched = cycle
            useful = population(int(weight_tags[word] & x_tags[w]))
            word += 1
            pushed_before = pushed
            if useful or w == words - 1:
                start = max(cycle + 2, popped_last + 1)
                popped_last = start + max(useful, 1) - 1
                pops[pushed & RING_MASK] = popped_last
                pushed += 1
                products += useful
                if popped_last > until:
                    return popped_last + 2, products - min(useful, popped_last - until)
    return popped_last + 2, products


@njit(cache=True)
def cut_short(tags, x_tags, rows, words, lookahead, first, until):
    """What a MAC instruction has done in cycle `until` from `begin`: its products, its lanes' idle cycles.

    Args:
        tags, x_tags, first: as of `matrix_vector`.
    """
    pops = np.zeros(RING_MASK + 1, np.int64)
    products = idle = 0
    for lane in range(len(tags)):
        own = tags[lane, first : first + rows * words]
        cycles, useful = lane_cycles(own, x_tags, rows, words, lookahead, pops, until)
        products += useful
        idle += max(0, until - cycles + 1)
    return products, idle


@uncounted
def dot(weights, x):
    """Sum of products of two int8 vectors as int32. Plain indices from 0: LLVM makes vector instructions
    of it."""
    total = np.int32(0)
    for i in range(len(weights)):
        total = np.int32(total + np.int32(weights[i]) * np.int32(x[i]))
    return total


@njit(cache=True)
def matrix_vector(weights, tags, x, x_tags, accumulators, rows, words, lookahead, first, base, accumulate):
    """Run a MAC instruction on every lane.

    Args:
        weights: int8[lanes, bank words, 16], tags: uint16[lanes, bank words].
        x: int8[words, 16]; x_tags: uint16[words].
        accumulators: int32[lanes, accumulators], changed in place.
        first, base: first bank word and accumulator.
    Returns:
        (cycles from `begin` to the last lane's `finished`, products, sum over lanes of the cycles each was
        finished while the engine ran).
    """
    pops, inputs = np.zeros(RING_MASK + 1, np.int64), x.reshape(-1)
    banks = weights.reshape(weights.shape[0], -1)
    return _every_lane(
        banks, tags, inputs, x_tags, accumulators, rows, words, lookahead, first, base, accumulate, pops
    )


@uncounted
def _every_lane(
    banks, tags, inputs, x_tags, accumulators, rows, words, lookahead, first, base, accumulate, pops
):
    lanes, longest, total_cycles, products = len(banks), 0, 0, 0
    for lane in range(lanes):
        cycles, useful = lane_cycles(
            tags[lane, first : first + rows * words], x_tags, rows, words, lookahead, pops, S.NEVER
        )
        longest = max(longest, cycles)
        total_cycles += cycles
        products += useful
        bank = banks[lane]
        for row in range(rows):
            start = (first + row * words) * WORD
            total = dot(bank[start : start + words * WORD], inputs)
            if accumulate:
                total += accumulators[lane, base + row]
            accumulators[lane, base + row] = total
    return longest, products, lanes * (longest + 1) - total_cycles
