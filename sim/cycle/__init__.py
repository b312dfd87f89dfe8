"""The cycle model: the processor as numba kernels, equal to the RTL cycle for cycle.

Numba keeps compiled kernels by the file they are in, but these take constants from each other and from hw/:
the cache is therefore named by the text of all of them, lest a kernel outlive a constant that it was compiled
with.
"""

from __future__ import annotations

import hashlib
import os
from importlib import import_module
from pathlib import Path

import numba
from ossicle.hw import config, isa, numerics, registers, timing

KERNELS = (
    "lanes", "packed", "weights", "values", "memory", "strides", "transfer", "decode", "compute",
    "standing", "paths", "loop",
)  # fmt: skip


def _cache_folder() -> Path:
    contracts = (config, isa, numerics, registers, timing)
    sources = [Path(module.__file__) for module in contracts if module.__file__]
    sources += sorted(Path(__file__).parent.glob("*.py"))
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:16]
    base = Path(os.environ.get("OSSICLE_CACHE") or Path.home() / ".cache" / "ossicle")
    return base / f"kernels-{digest}"


def _import_kernels() -> None:
    before = numba.config.CACHE_DIR  # type: ignore[attr-defined]
    numba.config.CACHE_DIR = str(_cache_folder())  # type: ignore[attr-defined]
    try:
        for name in KERNELS:
            import_module(f"{__name__}.{name}")
    finally:
        numba.config.CACHE_DIR = before  # type: ignore[attr-defined]


_import_kernels()
