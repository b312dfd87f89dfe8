"""A MAC instruction: its values, and the cycles that each lane takes."""

from __future__ import annotations

import numpy as np
from numba import njit
from ossicle.hw.config import ALLOWED
from ossicle.sim.cycle.jit import WORD, dot, population, uncounted

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


@njit(cache=True)
def cut_short(tags, first, lanes, x_tags, rows, words, lookahead, until):
    """What a MAC instruction has done in cycle `until` from `begin`: its products, its lanes' idle cycles.

    Args:
        tags, first, x_tags: as of `matrix_vector`.
    """
    pops = np.zeros(RING_MASK + 1, np.int64)
    products = idle = 0
    for lane in range(lanes):
        own = tags[first + lane : first + rows * words * lanes : lanes].copy()
        cycles, useful = lane_cycles(own, x_tags, rows, words, lookahead, pops, until)
        products += useful
        idle += max(0, until - cycles + 1)
    return products, idle


MOST_LANES = max(ALLOWED["lanes"])
LEAD, SPAN, GATE, OLDEST, ENDED, PRODUCTS, RECENT, OLDER, EARLIEST = range(0, 9 * MOST_LANES, MOST_LANES)
LANE_STATE = 9 * MOST_LANES
"""Parts of the lanes' state, int32, a lane's place in each. A lane's words leave the window one by one.
ENDED: the cycle in which the last one did; LEAD: that, less the cycle of the last fetch; SPAN: that, less the
cycle in which the word did that was pushed `lookahead` - 1 before it; GATE: the same for the place that the
next fetch looks at first; PRODUCTS: so far.

RECENT, OLDER, EARLIEST: the cycles between the last departures, six numbers of 5 bits each, the latest first;
OLDEST: the last that SPAN covers, where it isn't in RECENT. A difference of 31 or more is kept as 31. It
comes from a lane that had run dry, so that LEAD is 1 + the word's own products, 17 at most: LEAD can't reach
over such a difference, whatever comes after, and no fetch waits for what lies before it. The state starts
with such differences."""
IN_RECENT = 6


@uncounted
def start_lanes(s, lanes, lookahead):
    """The lanes' state at `begin`."""
    for lane in range(lanes):
        s[LEAD + lane] = s[ENDED + lane] = s[PRODUCTS + lane] = s[OLDEST + lane] = 0
        s[SPAN + lane] = s[GATE + lane] = 31 * (lookahead - 1)
        s[RECENT + lane] = s[OLDER + lane] = s[EARLIEST + lane] = -1


@uncounted
def pass_word(s, tags, x_tag, last, shift, mask):
    """One more word of every lane: `lane_cycles`'s recursion, in differences, without branches.

    Each operation is cast to 32 bits, for LLVM to make vector instructions of 32-bit elements.

    Args:
        tags: uint16[lanes], of this word of each lane. x_tag: of its inputs, int32.
        last: whether it ends the row, int32.
        shift, mask: where RECENT has the oldest difference of SPAN, or a mask of 0: OLDEST has it.
    """
    zero, one, two = np.int32(0), np.int32(1), np.int32(2)
    for lane in range(len(tags)):
        useful = population(np.int32(np.int32(tags[lane]) & x_tag))
        pushed = np.int32(useful | last) != zero
        lead, span, recent = s[LEAD + lane], s[SPAN + lane], s[RECENT + lane]
        oldest = np.int32(np.int32(np.int32(recent >> shift) & mask) + s[OLDEST + lane])
        # The fetch comes one cycle after the last one, or two if the gate was shut, or when a place is free.
        lead = min(np.int32(span - one), np.int32(lead - (two if lead > s[GATE + lane] else one)))
        # The lane goes on at once, or, when it had run dry, two cycles after the fetch.
        after = np.int32(max(np.int32(one - lead), zero) + max(useful, one))
        kept = min(after, np.int32(31))
        after = after if pushed else zero
        longer = np.int32(np.int32(span + kept) - oldest)
        s[LEAD + lane] = lead + after
        s[ENDED + lane] += after
        s[GATE + lane] = longer if pushed else np.int32(span - oldest)
        s[SPAN + lane] = longer if pushed else span
        s[RECENT + lane] = np.int32(np.int32(recent << np.int32(5)) | kept) if pushed else recent
        s[PRODUCTS + lane] += useful


@uncounted
def age(s, tags, x_tag, last, lookahead):
    """Before `pass_word`, where SPAN covers more differences than RECENT holds: find OLDEST, and let the
    others grow older if the word is pushed."""
    place, zero, five, top = lookahead - 2, np.int32(0), np.int32(5), np.int32(25)
    shift, low = np.int32(5 * (place % IN_RECENT)), np.int32(31)
    part = OLDER if place < 2 * IN_RECENT else EARLIEST
    for lane in range(len(tags)):
        s[OLDEST + lane] = np.int32(np.int32(s[part + lane] >> shift) & low)
    for lane in range(len(tags)):
        pushed = np.int32(np.int32(np.int32(tags[lane]) & x_tag) | last) != zero
        recent, older, earliest = s[RECENT + lane], s[OLDER + lane], s[EARLIEST + lane]
        moved = np.int32(np.int32(earliest << five) | np.int32(np.int32(older >> top) & low))
        s[EARLIEST + lane] = moved if pushed else earliest
        moved = np.int32(np.int32(older << five) | np.int32(np.int32(recent >> top) & low))
        s[OLDER + lane] = moved if pushed else older


@uncounted
def run_lanes(s, tags, first, lanes, x_tags, rows, words, lookahead):
    """Every lane from `begin` to the end of its last row, side by side.

    Args:
        s: int32[LANE_STATE] scratch; ENDED and PRODUCTS are the result.
        tags, first, x_tags: as of `matrix_vector`.
    """
    start_lanes(s, lanes, lookahead)
    deep = lookahead - 1 > IN_RECENT
    shift, mask = np.int32(0 if deep else 5 * (lookahead - 2)), np.int32(0 if deep else 31)
    for row in range(rows):
        for w in range(words):
            here = first + (row * words + w) * lanes
            own, x_tag, last = tags[here : here + lanes], np.int32(x_tags[w]), np.int32(w == words - 1)
            if deep:
                age(s, own, x_tag, last, lookahead)
            pass_word(s, own, x_tag, last, shift, mask)


@uncounted
def multiply(weights, first, stride, x, accumulators, rows, base, accumulate):
    """The values of `matrix_vector`. weights: int8, flat; first, stride: bytes."""
    length = len(x)
    for lane in range(len(accumulators)):
        for row in range(rows):
            total = dot(weights, first + lane * stride + row * length, x, length // WORD)
            if accumulate:
                total += accumulators[lane, base + row]
            accumulators[lane, base + row] = total


@uncounted
def matrix_vector(s, weights, first, stride, tags, tag, x, x_tags, accumulators, rows, lookahead, base, more):
    """Run a MAC instruction on every lane.

    Args:
        s: int32[LANE_STATE] scratch.
        weights: int8, flat; lane n's tile begins at byte first + n * stride.
        tags: uint16; lane n's tag of the tile's word w is at tag + w * lanes + n.
        x: int8 or int16[words * 16]; x_tags: uint16[words].
        accumulators: int32[lanes, accumulators], changed in place from column `base` on; more: added to.
    Returns:
        (cycles from `begin` to the last lane's `finished`, products, sum over lanes of the cycles each was
        finished while the engine ran).
    """
    lanes, words = len(accumulators), len(x_tags)
    multiply(weights, first, stride, x, accumulators, rows, base, more)
    run_lanes(s, tags, tag, lanes, x_tags, rows, words, lookahead)
    longest = total = products = 0
    for lane in range(lanes):
        cycles = np.int64(s[ENDED + lane]) + 2
        longest = max(longest, cycles)
        total += cycles
        products += s[PRODUCTS + lane]
    return longest, products, lanes * (longest + 1) - total
