"""A lattice pruned until its message is no longer than a budget: what a slow or dear network is given.

Edges go by their posterior, the least likely first (forward-backward pruning: `lattice_prune`).
"""

from __future__ import annotations

from bisect import bisect_left

from ossicle.runtime.lattice import Lattice
from ossicle.runtime.lattice_prune import prune
from ossicle.runtime.lattice_wire import encode

SAMPLE_BYTES = 2
PERCENT = 1.0
"""Of the bytes of its audio as 16-bit samples, that a message is to have at most."""


def budget(samples: int, percent: float = PERCENT) -> int:
    """Bytes of a message that are `percent` of so many samples of 16 bits.

    Raises:
        ValueError: a percentage that is not above 0, to 100.
    """
    if not 0 < percent <= 100:
        raise ValueError(f"{percent:g} % of the audio's bytes is not possible; use more than 0, to 100")
    return int(SAMPLE_BYTES * samples * percent / 100)


def within(lattice: Lattice, most: int) -> Lattice:
    """The lattice, pruned as little as makes its message `most` bytes or less.

    The best sentence always stays: it alone may be longer than that.
    """
    if len(encode(lattice)) <= most:
        return lattice
    steps = sorted(set(lattice.posteriors().values()))
    at = bisect_left(steps, True, key=lambda least: len(encode(prune(lattice, min(least, 1.0)))) <= most)
    return prune(lattice, min(steps[at], 1.0) if at < len(steps) else 1.0)
