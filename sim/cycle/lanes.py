"""A MAC instruction: its values, and the cycles that each lane takes."""

from __future__ import annotations

import numpy as np
from ossicle.hw.config import ALLOWED
from ossicle.sim.cycle.jit import DOTS, WORD, dots, population, tag, uncounted
from ossicle.sim.cycle.queues import SIDE, queue

WINDOW = 16
"""Words that a window holds at most."""
RING_MASK = WINDOW - 1


@uncounted
def tag_words(words: np.ndarray, tags: np.ndarray) -> None:
    """tags[n] bit i: byte i of word n is not zero. words int8[n, 16], tags uint16[n]."""
    for n in range(len(words)):
        tags[n] = tag(words, n * WORD)


@uncounted
def lane_cycles(weight_tags, x_tags, rows, words, lookahead, pops, until):
    """Cycles from `begin` to `finished` of one lane, and its products up to cycle `until` from `begin`.

    Fetch, window and multiplier form a queue: each word's times follow from those before it (hw/lane.py).

    Args:
        weight_tags: uint16, words of the lane's tile, row after row.
        x_tags: uint16[words] of the input.
        pops: int64[WINDOW] scratch: cycle in which each of the last pushed words left.
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
            useful = np.int64(population(np.int32(weight_tags[word] & x_tags[w])))
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


@uncounted
def cut_short(tags, first, lanes, x_tags, rows, words, lookahead, until, pops):
    """What a MAC instruction has done in cycle `until` from `begin`: its products, its lanes' idle cycles.

    Args:
        tags, first, x_tags: as of `engine_cycles`. pops: as of `lane_cycles`.
    """
    products = idle = 0
    for lane in range(lanes):
        own = tags[first + lane : first + rows * words * lanes : lanes]
        cycles, useful = lane_cycles(own, x_tags, rows, words, lookahead, pops, until)
        products += useful
        idle += max(0, until - cycles + 1)
    return products, idle


MOST_LANES = max(ALLOWED["lanes"])
ENDED, PRODUCTS = 0, MOST_LANES
LANE_STATE = 2 * MOST_LANES
"""Parts of what `run_lanes` finds out, int32, a lane's place in each: the cycle in which its last word left
the window, and its products."""


@uncounted
def run_lanes(s, tags, first, lanes, x_tags, rows, words, lookahead):
    """Every lane from `begin` to the end of its last row, side by side.

    Args:
        s: int32[LANE_STATE] scratch; ENDED and PRODUCTS are the result.
        tags, first, x_tags: as of `engine_cycles`.
    """
    s[:] = 0
    for lane in range(0, lanes, SIDE):
        ended, products = s[ENDED + lane :], s[PRODUCTS + lane :]
        queue(ended, products, tags, first + lane, lanes, x_tags, rows, words, lookahead)


@uncounted
def multiply(weights, first, stride, x, accumulators, rows, base, accumulate):
    """The values of a MAC instruction.

    Args:
        weights: int8, flat; lane n's tile begins at byte first + n * stride.
        x: int8 or int16[words * 16].
        accumulators: int32[accumulators, lanes], changed in place from row `base` on; accumulate: added to.
    """
    length = len(x)
    for lane in range(0, accumulators.shape[1], DOTS):
        for row in range(rows):
            place = first + lane * stride + row * length
            totals = dots(weights, place, stride, x, length // WORD)
            for n in range(DOTS):
                total = totals[n]
                if accumulate:
                    total += accumulators[base + row, lane + n]
                accumulators[base + row, lane + n] = total


@uncounted
def engine_cycles(s, tags, at, lanes, x_tags, rows, lookahead):
    """How long a MAC instruction takes.

    Args:
        s: int32[LANE_STATE] scratch.
        tags: uint16; lane n's tag of the tile's word w is at `at` + w * lanes + n; SIDE more are there.
        x_tags: uint16[words].
    Returns:
        (cycles from `begin` to the last lane's `finished`, products, sum over lanes of the cycles each was
        finished while the engine ran).
    """
    run_lanes(s, tags, at, lanes, x_tags, rows, len(x_tags), lookahead)
    longest = total = products = 0
    for lane in range(lanes):
        cycles = np.int64(s[ENDED + lane]) + 2
        longest = max(longest, cycles)
        total += cycles
        products += s[PRODUCTS + lane]
    return longest, products, lanes * (longest + 1) - total
