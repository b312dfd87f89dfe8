"""Features of clips in one memory-mapped file, and random channels drawn anew each time a clip is used.

PACK.npy: int8 [frames of 10 ms, 40]; PACK.jsonl: a line a clip, with offset, frames, and what its net wants.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from ossicle.models.data.pack import MELS
from ossicle.models.data.split import Row
from ossicle.models.data.warp import Warper
from ossicle.runtime.frontend import FrontendParameters, features
from threadpoolctl import threadpool_limits
from torch import Tensor

Clip = tuple[NDArray[np.int16], Row]
QUIET = -128


class Pack:
    """Clips by number: `rows[i]` and `frames(i)`, int8 [frames, 40]."""

    def __init__(self, path: Path) -> None:
        self.memory = np.load(path.with_suffix(".npy"), mmap_mode="r")
        self.rows = [json.loads(line) for line in path.with_suffix(".jsonl").read_text().splitlines()]

    def __len__(self) -> int:
        return len(self.rows)

    def frames(self, index: int) -> NDArray[np.int8]:
        row = self.rows[index]
        return self.memory[row["offset"] : row["offset"] + row["frames"]]


def make_pack(path: Path, clips: Callable[[], Iterable[Clip]], frontend: FrontendParameters) -> Pack:
    """The pack at a path; made, whole or not at all, where there is none."""
    if not path.with_suffix(".jsonl").exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        parts, index, offset = [], [], 0
        with threadpool_limits(1):  # the frontend's products are too small for a BLAS's threads
            for audio, row in clips():
                made = features(audio, frontend).reshape(-1, MELS)
                parts.append(made)
                index.append({**row, "offset": offset, "frames": len(made)})
                offset += len(made)
                if len(index) % 100 == 0:
                    print(f"\r{path.name}: {len(index)} clips", end="", file=sys.stderr, flush=True)
        np.save(path.with_suffix(".npy"), np.concatenate(parts))
        path.with_suffix(".jsonl").write_text("".join(json.dumps(line) + "\n" for line in index))
        print(f"\r{path.name}: {len(index)} clips, {offset / 360000:.2f} h", file=sys.stderr, flush=True)
    return Pack(path)


class Shaper:
    """Random equalization, gain and, where asked for, vocal tract length on frames [F, 40]; time as it is.

    `tilt`: decibels that either end of the spectrum may go up or down; bumps are half of it.
    """

    def __init__(self, frontend: FrontendParameters, tilt: float = 5.0) -> None:
        self.tilt = tilt
        self._warper = Warper(frontend)
        self.warps = len(self._warper.warps)

    def __call__(
        self, frames: NDArray[np.int8], rng: np.random.Generator, warp: int | None = None
    ) -> NDArray[np.float32]:
        """Whole numbers in -128..127. `warp`: index below `warps`; the middle one changes little."""
        own = self._warper
        matrix = np.eye(frames.shape[1]) if warp is None else own.warps[warp]
        slope = rng.uniform(-self.tilt, self.tilt) * np.linspace(-1, 1, 5)
        knots = rng.uniform(-0.5, 0.5, 5) * self.tilt + slope + rng.uniform(-6, 6)
        return own.shaped(frames, matrix, knots)


def collate(clips: list[NDArray], stack: int = 3) -> tuple[Tensor, Tensor]:
    """Frames [F, 40] of each clip -> features [B, T, stack * 40], whole numbers, padded; lengths [B] in T."""
    lengths = [len(clip) // stack for clip in clips]
    made = np.full((len(clips), max(lengths) * stack, clips[0].shape[1]), QUIET, np.float32)
    for row, clip, length in zip(made, clips, lengths, strict=True):
        row[: length * stack] = clip[: length * stack]
    return torch.from_numpy(made.reshape(len(clips), max(lengths), -1)), torch.tensor(lengths)


def crop(frames: NDArray, length: int, rng: np.random.Generator, stack: int = 3) -> NDArray:
    """`length` frames from a random place, or all of a shorter clip; begins with a whole feature vector."""
    if len(frames) <= length:
        return frames
    start = int(rng.integers((len(frames) - length) // stack + 1)) * stack
    return frames[start : start + length]
