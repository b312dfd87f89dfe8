"""What the RTL and the codec both know of the weight code (`ossicle.compiler.codec`). No Amaranth here."""

from __future__ import annotations

from enum import IntEnum


class Kind(IntEnum):
    """What the symbols of a table set's first table are."""

    GROUPS = 0
    """Zero masks of 8 weights."""
    WORDS = 1
    """Parts of zero masks of 16 weights, two weights at most: for few weights that are not zero."""
    QUADS = 2
    """4 weights of 2 bits, themselves: there are no values."""
    SPARSE = 3
    """Zero masks of 8 weights, in parts where one of six weights stands for the two others: for few weights
    that are not zero, where words of them would take more bits."""


NARROW = (Kind.GROUPS, Kind.SPARSE)
"""Kinds of masks of 8; the others code a word of 16 weights at a time."""
SYMBOLS = 256
TABLE_GRANULES = 32
"""Longest table image. Any frequencies fit: a change of frequency costs least where all are alike."""
HEADER_BITS = 4
"""Of a table image: its kind."""
PREFIX_BITS = 13
"""Longest prefix of a number in a table image, its 1 included."""

MASK_ORDER = tuple(sorted(range(SYMBOLS), key=lambda mask: (mask.bit_count(), mask)))
"""Mask symbols by the weights that they hold, so that those about as frequent are neighbours."""
VALUE_ORDER = tuple(((n + 1) % SYMBOLS >> 1 ^ -((n + 1) & 1)) % SYMBOLS for n in range(SYMBOLS))
"""Value symbols by magnitude: -1, 1, -2, 2, ... -128, and 0, of a weight that only its mask has."""

WORD_ZERO = 0xF0
"""The part of a word's mask that has no weight; every other has nibbles i, j: i = j weight i alone, i < j
both and no more, i > j both and more to follow."""
MOST_PARTS = 8
"""Most parts of a mask: the eighth is the last, whatever it says."""
SPLIT_ONES = 6
"""Weights of a SPARSE mask that stands for the two others, with more to follow."""
WORD_QUADS = 4


def _part_rank(symbol: int) -> tuple[int, int]:
    """Zero, one weight, two and no more, two and more to follow."""
    first, second = symbol >> 4, symbol & 15
    if symbol == WORD_ZERO:
        return 0, symbol
    return (1 if first == second else 2 if first < second else 3), symbol


PART_ORDER = tuple(sorted(range(SYMBOLS), key=_part_rank))
"""Parts of the masks of words by the weights that they hold."""
QUAD_ORDER = tuple(
    sum((n >> 4 + i & 1) << 2 * i | (n >> i & 1) << 2 * i + 1 for i in range(4)) for n in range(SYMBOLS)
)
"""Quads by which of their weights are odd, then by which are below zero: those of -1 and 1 alone are
neighbours, and the processor makes it of the place without a gate."""
FIRST_ORDER = {
    Kind.GROUPS: MASK_ORDER,
    Kind.WORDS: PART_ORDER,
    Kind.QUADS: QUAD_ORDER,
    Kind.SPARSE: MASK_ORDER,
}
"""Symbols of a set's first table."""


def spread_step(table_log: int) -> int:
    """Distance between states handed out one after another."""
    return (5 << table_log >> 3) + 3
