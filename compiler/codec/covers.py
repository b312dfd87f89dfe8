"""Rare masks coded as frequent ones that hold them, with zeros among the values.

Each mask of 8 weights that occurs takes a state of 2^table_log, whatever its share. Of independent sparse
weights most masks are rare, and their states are a tenth of all. A mask that has none is coded as the
smallest of those that have one and hold its weights; those that it has not are then values of 0. The
decoder knows nothing of it.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np
from ossicle.hw.code import MASK_ORDER, SYMBOLS

ALL = SYMBOLS - 1


def _bits(*places: int) -> int:
    return sum(1 << place for place in places)


FOURS = [_bits(*four) for four in combinations(range(8), 4) if not np.bitwise_xor.reduce(four)]
"""The Steiner system S(3, 4, 8), the planes of 2 x 2 x 2 points: any three weights lie in one of the 14."""
SIXES = [ALL - _bits(*pair) for part in ((0, 1, 2), (3, 4, 5), (6, 7)) for pair in combinations(part, 2)]
"""Any four weights lie in one of the 7: of any four places, two are in one of three parts (Turan)."""


def _up_to(count: int, others: list[int]) -> np.ndarray:
    kept = np.zeros(SYMBOLS, bool)
    kept[[mask for mask in range(SYMBOLS) if mask.bit_count() <= count] + others] = True
    return kept


COVERS = (
    _up_to(4, [*SIXES, ALL]),
    _up_to(3, [*SIXES, ALL]),
    _up_to(2, [*FOURS, *SIXES, ALL]),
    _up_to(1, [*FOURS, *SIXES, ALL]),
)
"""Sets of masks, bool[256], that are worth a try in place of all that occur."""


def covers(kept: np.ndarray) -> np.ndarray:
    """Of each mask the smallest kept one that holds it, uint8[256]; itself if there is none."""
    found, left = np.arange(SYMBOLS, dtype=np.uint8), np.ones(SYMBOLS, bool)
    masks = np.arange(SYMBOLS)
    for mask in MASK_ORDER:
        if kept[mask]:
            held = left & (masks & ~mask == 0)
            found[held], left[held] = mask, False
    return found


def covered(counts: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Histograms of the symbols, int64[2, 256], where only the kept masks are used."""
    by = covers(kept)
    made = np.stack([np.bincount(by, counts[0], SYMBOLS).astype(np.int64), counts[1]])
    ones = np.bitwise_count(np.arange(SYMBOLS, dtype=np.uint8)).astype(np.int64)
    made[1, 0] += made[0] @ ones - counts[0] @ ones
    return made
