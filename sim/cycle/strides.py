"""How far a decoder gets that takes a beat in each cycle: of each stream, found once.

Such a decoder's path follows from the stream's content alone. Its lag, the steps that it has the bits for and
has not made, goes in a cycle from d to max(d - 1, 0) + n, where n more steps have their bits with the beat
that is taken. So d becomes max(d + a, b) over any number of cycles, and the window has room for each beat
if d <= c at their start. a, b and c of two spans in a row follow from those of each.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from ossicle.sim.cycle.jit import inlined, uncounted

LEVELS = 5
"""Spans of 1, 4, 16, 64 and 256 beats."""
GAIN, LEAST, MOST = range(3)
LEVEL = 3
COLUMNS = 1 << (LEVEL * LEVELS).bit_length()
"""Columns of a stream's table, int16[beats, COLUMNS], for a decoder that has taken as many beats: a, b and c
of each level. Rows are short: they are looked up here and there, and come from afar."""
NEVER = -1
WIDEST = (1 << 15) - 1


@njit(cache=True)
def strides_of(steps, beats, bus, window):
    """A stream's table.

    Args:
        steps: int32, bits of each step. beats: of the stream. bus, window: bits.
    """
    table = np.full((beats, COLUMNS), NEVER, np.int16)
    gain, least, most = np.zeros(beats, np.int32), np.zeros(beats, np.int32), np.zeros(beats, np.int32)
    ends = np.cumsum(steps)
    ready = made = 0
    for beat in range(beats + 1):
        before = ready
        while ready < len(ends) and ends[ready] <= bus * beat:
            ready += 1
        if beat:
            gain[beat - 1], least[beat - 1] = ready - before - 1, ready - before
        if beat == beats:
            break
        while made < len(ends) and (ends[made - 1] if made else 0) < bus * (beat + 1) - window:
            made += 1
        most[beat] = ready - made
    for level in range(LEVELS):
        span = 1 << 2 * level
        if span > beats:
            break
        if level:
            double(gain, least, most, span // 4)
            double(gain, least, most, span // 2)
        for beat in range(beats):
            if max(gain[beat], least[beat]) <= WIDEST:
                row = table[beat, LEVEL * level :]
                row[GAIN], row[LEAST], row[MOST] = gain[beat], least[beat], min(most[beat], WIDEST)
    return table


@uncounted
def double(gain, least, most, span):
    """From each beat's a, b and c of `span` cycles those of twice as many."""
    for beat in range(len(gain)):
        then = beat + span
        if then + span > len(gain) or least[beat] > most[then]:
            most[beat] = NEVER
            continue
        most[beat] = min(most[beat], most[then] - gain[beat])
        least[beat] = max(least[beat] + gain[then], least[then])
        gain[beat] += gain[then]


@inlined
def in_hand(steps, fill):
    """How many of the next steps a window has the bits for."""
    count = 0
    while count < len(steps) and steps[count] <= fill:
        fill -= steps[count]
        count += 1
    return count


@inlined
def stride(table, lag, beats, least):
    """Take a beat a cycle while the window has room for each, `beats` at most, in spans of `least` or more.

    Args:
        table: from the row of the next beat on. lag: steps that the window has the bits for.
    Returns:
        (beats taken, steps made).
    """
    ready, taken = lag, 0
    for level in range(LEVELS - 1, -1, -1):
        span = 1 << 2 * level
        if span < least:
            break
        place = LEVEL * level
        while beats - taken >= span and lag <= table[taken, place + MOST]:
            gain = np.int64(table[taken, place + GAIN])
            ready += gain + span
            lag = max(lag + gain, np.int64(table[taken, place + LEAST]))
            taken += span
            if beats == taken:
                break
    return taken, ready - lag
