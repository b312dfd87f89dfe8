"""The weight memory: for each of its words, the decoded word that it holds.

STREAM alone writes this memory. What it writes was decoded beforehand and lies in the pool, so no weights are
moved: a word is the place of its value in the pool.
"""

from __future__ import annotations

from ossicle.sim.cycle.jit import uncounted
from ossicle.sim.cycle.lanes import WORD

BANK, OFFSET, WORDS = range(3)
"""Columns of `homes`, int64[weight_words, 3]: in the pool, the first word of the stream that wrote a word;
the word's number in each lane's part of it; words of each lane's part, 0 before anything was written."""


@uncounted
def hold(homes, first, bank, words):
    """A stream's words become the memory's from word `first` on."""
    for n in range(words):
        homes[first + n, BANK], homes[first + n, OFFSET], homes[first + n, WORDS] = bank, n, words


@uncounted
def in_a_row(homes, first, count):
    """Whether words of the memory follow one another in one stream."""
    bank, offset = homes[first, BANK], homes[first, OFFSET]
    for n in range(count):
        if homes[first + n, BANK] != bank or homes[first + n, OFFSET] != offset + n:
            return False
    return homes[first, WORDS] > 0


@uncounted
def collected(homes, first, count, banks, tags, into, bits):
    """Words of several streams, or of none (zeros), as one stream would hold them.

    Args:
        banks, tags: the pool's.
        into: int8[lanes * weight_words, 16] to put them into.
        bits: uint16[lanes * weight_words + SIDE], for their tags.
    """
    lanes = len(into) // len(homes)
    for n in range(count):
        bank, offset, length = homes[first + n]
        for lane in range(lanes):
            for i in range(WORD):
                into[lane * count + n, i] = banks[bank + lane * length + offset, i] if length else 0
            bits[n * lanes + lane] = tags[bank + offset * lanes + lane] if length else 0
