"""How functions of the fast model are compiled."""

from __future__ import annotations

from numba import njit

uncounted = njit(cache=True, _nrt=False)
"""For functions that make no arrays: without numba's reference counts, two atomic operations for each array
that is passed or sliced, which were most of the model's time."""
