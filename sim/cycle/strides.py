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

LEVELS = 6
"""Spans of 1, 4, 16, 64, 256 and 1,024 beats."""
READY, GAIN, LEAST, MOST = 0, 1, 1 + LEVELS, 1 + 2 * LEVELS
COLUMNS = 1 + 3 * LEVELS
"""Columns of a stream's table, int32[beats, COLUMNS], for a decoder that has taken as many beats: the steps
that it has the bits for; a, b and c of each level."""
NEVER = -1


@njit(cache=True)
def strides_of(steps, beats, bus, window):
    """A stream's table.

    Args:
        steps: int32, bits of each step. beats: of the stream. bus, window: bits.
    """
    table = np.full((beats, COLUMNS), NEVER, np.int32)
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
        table[beat, READY], most[beat] = ready, ready - made
    for level in range(LEVELS):
        span = 1 << 2 * level
        if span > beats:
            break
        if level:
            double(gain, least, most, span // 4)
            double(gain, least, most, span // 2)
        table[:, GAIN + level], table[:, LEAST + level], table[:, MOST + level] = gain, least, most
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
def stride(table, step, beats, least):
    """Take a beat a cycle while the window has room for each, `beats` at most, in spans of `least` or more.

    Args:
        table: from the row of the next beat on. step: made so far.
    Returns:
        (beats taken, steps made so far).
    """
    ready, taken = np.int64(table[0, READY]), 0
    lag = ready - step
    for level in range(LEVELS - 1, -1, -1):
        span = 1 << 2 * level
        if span < least:
            break
        while beats - taken >= span and lag <= table[taken, MOST + level]:
            ready += table[taken, GAIN + level] + span
            lag = max(lag + table[taken, GAIN + level], np.int64(table[taken, LEAST + level]))
            taken += span
            if beats == taken:
                break
    return taken, ready - lag
