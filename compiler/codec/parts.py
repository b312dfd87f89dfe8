"""Masks in parts: which symbols have a state, where not all that occur are worth one.

Each symbol that occurs takes a state of 2^table_log, whatever its share. Of sparse weights most masks are
rare, and their states are a tenth of all. A mask that has none is coded in parts, two weights each with more
to follow, then what is left; two weights that have no symbol of their own are followed by none.

Places are taken in blocks, and those two have a symbol that lie in one of them: of any n + 1 weights two lie
in one of n blocks (Turan's graphs have the fewest such pairs).
"""

from __future__ import annotations

from functools import lru_cache
from itertools import combinations

import numpy as np
from ossicle.compiler.codec import kernels
from ossicle.hw.code import NARROW, SYMBOLS, Kind


def _kept(kind: Kind, whole: int, blocks: int) -> np.ndarray:
    """bool[256]: masks of up to `whole` weights; masks of which no two lie in one block; two weights of one
    block, with more to follow.
    """
    places, made = range(8 if kind in NARROW else 16), np.zeros(SYMBOLS, bool)
    block_of = np.repeat(range(blocks), list(map(len, np.array_split(places, blocks))))
    for count in range(blocks + 1):
        for some in combinations(places, count):
            apart, mask = len(set(block_of[list(some)])) == count, sum(1 << i for i in some)
            if count <= whole or apart:
                made[kernels.part_symbol(mask, int(kind), False)] = True
            if count == 2 and not apart:
                made[kernels.part_symbol(mask, int(kind), True)] = True
    return made


TRIED = {Kind.WORDS: ((2, 2), (1, 2)), Kind.SPARSE: ((1, 2), (1, 3), (3, 3), (1, 4), (4, 4), (5, 5))}
"""By kind, the sets worth a try, as `_kept` takes them."""


@lru_cache
def plans(kind: Kind) -> tuple[np.ndarray, ...]:
    """Of each set worth a try what `kernels.plan_parts` makes of it; of other kinds that of all symbols."""
    sets = [_kept(kind, *each) for each in TRIED.get(kind, ())] or [np.ones(SYMBOLS, bool)]
    return tuple(kernels.plan_parts(int(kind), kept) for kept in sets)


def coded(masks: np.ndarray, kind: Kind, plan: np.ndarray) -> np.ndarray:
    """Histogram, int64[256], of the symbols that code masks with this one, int64[256], of WORDS int64[65536].
    """
    if kind in (Kind.GROUPS, Kind.QUADS):
        return masks
    return kernels.count_parts(masks, int(kind), plan)
