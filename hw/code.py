"""What the RTL and the codec both know of the weight code (`ossicle.compiler.codec`). No Amaranth here."""

from __future__ import annotations

SYMBOLS = 256
TABLE_GRANULES = 32
"""Longest table image. Any frequencies fit: a change of frequency costs least where all are alike."""
HEADER_BITS = 4
PREFIX_BITS = 13
"""Longest prefix of a number in a table image, its 1 included."""

MASK_ORDER = tuple(sorted(range(SYMBOLS), key=lambda mask: (mask.bit_count(), mask)))
"""Mask symbols by the weights that they hold, so that those about as frequent are neighbours."""
VALUE_ORDER = tuple(((n + 1) % SYMBOLS >> 1 ^ -((n + 1) & 1)) % SYMBOLS for n in range(SYMBOLS))
"""Value symbols by magnitude: -1, 1, -2, 2, ... -128, and 0, which no value is."""


def spread_step(table_log: int) -> int:
    """Distance between states handed out one after another."""
    return (5 << table_log >> 3) + 3
