"""Verilator's own runtime, compiled once for all simulators of a kind: most of a small one's build.

Objects of `verilated*.cpp` depend on the versions of the tools and on flags, not on the design. They are put
into a build's folder before its make, which finds them newer than their sources.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

OBJECTS = "verilated*.o"


@contextmanager
def shared_runtime(objects: Path, kept: Path) -> Iterator[None]:
    """Around the make of a model.

    Args:
        objects: its folder.
        kept: where objects of its kind are kept, between builds; made by the first one that succeeds.
    """
    for file in kept.glob(OBJECTS):
        shutil.copyfile(file, objects / file.name)
    yield
    if kept.is_dir():
        return
    made = Path(tempfile.mkdtemp(prefix="keeping-", dir=kept.parent))
    for file in objects.glob(OBJECTS):
        shutil.copyfile(file, made / file.name)
    try:
        made.rename(kept)
    except OSError:  # another build was first
        shutil.rmtree(made)
