"""Bytes that the whole model takes, and that others need for the same pair of files.

zstd and bsdiff are given the checkpoints as they stand; zstd's match finder looks over the whole old file.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

from ossicle.compiler.api import compile_checkpoint
from ossicle.hw.config import NpuConfig
from ossicle.runtime.update import delta

LEVEL = "-19"
WINDOW = "--long=27"
"""2**27 bytes, more than both files."""


def whole_sizes(new: Path, config: NpuConfig) -> dict[str, int]:
    """Bytes of the new model alone: its file, its program's image, the update code, zstd's (if installed).

    Raises:
        CheckpointError, CompileError: a model that is not to be compiled.
    """
    content = new.read_bytes()
    sizes = {
        "file": len(content),
        "image": len(compile_checkpoint(new, config).image),
        "update code": sum(map(len, delta.make(b"", content).values())),
    }
    packed = zstd(content)
    return sizes | ({"zstd": packed} if packed is not None else {})


def peer_sizes(old: bytes, new: bytes) -> dict[str, int]:
    """Bytes from one file to the other of each tool that is installed."""
    sizes = {"zstd --patch-from": zstd(new, old), "bsdiff": bsdiff(old, new)}
    return {name: size for name, size in sizes.items() if size is not None}


def zstd(content: bytes, old: bytes | None = None) -> int | None:
    """Bytes of zstd at level 19, given the old content; by the program, or the package zstandard."""
    if shutil.which("zstd"):
        return _zstd_program(content, old)
    try:
        import zstandard
    except ImportError:
        return None
    options = zstandard.ZstdCompressionParameters.from_level(19, window_log=27, enable_ldm=True)
    kind = zstandard.DICT_TYPE_RAWCONTENT
    given = zstandard.ZstdCompressionDict(old, dict_type=kind) if old is not None else None
    return len(zstandard.ZstdCompressor(compression_params=options, dict_data=given).compress(content))


def _zstd_program(content: bytes, old: bytes | None) -> int:
    with tempfile.TemporaryDirectory() as folder:
        given, before = Path(folder) / "new", Path(folder) / "old"
        given.write_bytes(content)
        command = ["zstd", LEVEL, WINDOW, "-q", "-c"]
        if old is not None:
            before.write_bytes(old)
            command.append(f"--patch-from={before}")
        return len(subprocess.run([*command, str(given)], capture_output=True, check=True).stdout)


def bsdiff(old: bytes, new: bytes) -> int | None:
    """Bytes of a BSDIFF4 patch (Percival 2003), by the package bsdiff4."""
    try:
        import bsdiff4
    except ImportError:
        return None
    return len(bsdiff4.diff(old, new))
