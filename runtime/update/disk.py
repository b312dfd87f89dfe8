"""The few things that an installation does to a disk; each is whole or not done when the power fails.

A file's bytes are on the disk after its own fsync, its name after that of its folder.
"""

from __future__ import annotations

import os
from pathlib import Path

CHUNK = 1 << 16


def write(path: Path, content: bytes) -> None:
    """Write a file and its bytes to the disk. Not at once: a kill leaves a part, which readers must know."""
    with path.open("wb") as file:
        for at in range(0, len(content), CHUNK):
            file.write(content[at : at + CHUNK])
        file.flush()
        os.fsync(file.fileno())


def rename(source: Path, target: Path) -> None:
    """Give a file another name, in place of what had it: at once."""
    source.replace(target)
    sync(target.parent)
    if source.parent != target.parent:
        sync(source.parent)


def link(source: Path, target: Path) -> None:
    """A second name of the same bytes."""
    target.hardlink_to(source)
    sync(target.parent)


def remove(path: Path) -> None:
    """Remove a file, if there is one."""
    path.unlink(missing_ok=True)
    sync(path.parent)


def sync(folder: Path) -> None:
    """The names of a folder, to the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
