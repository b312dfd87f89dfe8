"""Batches from packed features: bucketed by length, warped (warp.py) anew each time they are drawn."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from ossicle.models.data.warp import Warper
from ossicle.runtime.frontend import FrontendParameters
from torch import Tensor

FRAMES_A_STEP = 6  # 10 ms frames in one 60 ms encoder frame
MARGIN = (8, 20)  # frames of silence that are left before and after speech
TAIL = 20  # frames of the frontend's digital silence at the end


@dataclass(frozen=True)
class Pack:
    """Packed clips: `path` without suffix, `repeats` an epoch; a repeat of 0.5 takes a random half.

    index: in place of the pack's own, with other texts; they count as not annotated.
    context: its clips begin with a segment that the text leaves out (a wake word).
    """

    path: Path
    repeats: float = 1.0
    index: Path | None = None
    context: bool = False


@dataclass(frozen=True)
class Clip:
    """A run of frames in a pack, and its labels."""

    pack: int
    offset: int
    frames: int
    labels: list[int]
    annotated: bool = True
    context: int = 0
    """Frames of it, of `frames`."""


@dataclass
class Batch:
    """Features [B, T, 120] in [-1, 1), labels [B, U] padded with 0; lengths in encoder frames and labels.

    frames: without the `starts` frames of context before them.
    """

    features: Tensor
    labels: Tensor
    frames: Tensor
    counts: Tensor
    annotated: Tensor
    """[B] bool: whether the text is a person's, or a teacher's."""
    starts: Tensor
    """[B]: encoder frames of context, which carry the encoder's state into the rest, and no loss."""

    @property
    def padded(self) -> bool:
        """Whether lengths lie on a GPU too, and clips have no context: batches of resident.py."""
        return self.frames.is_cuda

    def to(self, device: torch.device) -> Batch:
        """With features and labels on a device; lengths stay on the CPU."""
        return replace(self, features=self.features.to(device), labels=self.labels.to(device))


def trim(frames: NDArray[np.int8], rng: np.random.Generator) -> NDArray[np.int8]:
    """Without most of the silence around the speech, which costs time and teaches little; the end is kept."""
    level = frames.mean(axis=1)
    floor, peak = np.percentile(level, (10, 95))
    loud = np.flatnonzero(level > floor + 0.25 * (peak - floor))
    first = max(0, loud[0] - int(rng.integers(*MARGIN))) if len(loud) else 0
    last = loud[-1] + int(rng.integers(*MARGIN)) if len(loud) else len(frames)
    return np.concatenate([frames[first:last], frames[max(last, len(frames) - TAIL) :]])


@dataclass(frozen=True)
class SpecAugment:
    """Masks of frequency and time on normalised features (Park et al. 2019, arXiv:1904.08779).

    f ~ U[0, band_width], f0 ~ U[0, bands - f): bands f0 .. f0 + f - 1 become 0, their mean; likewise spans of
    time, which are no longer than `span_part` of the clip. `share`: of the clips that are masked.
    """

    share: float = 0.0
    bands: int = 2
    band_width: int = 8
    spans: int = 2
    span_width: int = 25
    span_part: float = 0.2

    def __call__(self, frames: NDArray, rng: np.random.Generator) -> NDArray:
        """A masked copy of frames [F, 40]; the same frames if it is not their turn."""
        if not self.share or rng.random() >= self.share:
            return frames
        frames = frames.copy()
        for _ in range(self.bands):
            frames[:, _span(frames.shape[1], self.band_width, rng)] = 0
        longest = min(self.span_width, int(self.span_part * len(frames)))
        for _ in range(self.spans):
            frames[_span(len(frames), longest, rng)] = 0
        return frames


def _span(size: int, longest: int, rng: np.random.Generator) -> slice:
    width = int(rng.integers(0, min(longest, size) + 1))
    first = int(rng.integers(0, size - width + 1))
    return slice(first, first + width)


def after_whole_steps(frames: NDArray, context: int) -> tuple[NDArray, int]:
    """Frames [F, 40] after silence that makes their context whole encoder frames; how many those are.

    The first frame of the text is then the first of an encoder frame.
    """
    silence = -context % FRAMES_A_STEP
    padded = np.pad(frames, ((silence, 0), (0, 0)), constant_values=-128) if silence else frames
    return padded, (silence + context) // FRAMES_A_STEP


def read_clips(number: int, pack: Pack, encode) -> list[Clip]:
    """Clips of a pack that can be trained on. Raises ValueError on one of context that has none."""
    clips, index = [], pack.index or pack.path.with_suffix(".jsonl")
    for row in map(json.loads, index.read_text().splitlines()):
        labels, context = encode(row["text"]), 0
        if pack.context:
            if "wake_frames" not in row:
                raise ValueError(f"{index}: a clip without `wake_frames`; its manifest has no `wake_seconds`")
            context = row["wake_frames"]
        steps = (row["frames"] - context) // FRAMES_A_STEP
        if labels and steps * 0.84 > len(labels) and row["frames"] < 3000:
            clips.append(Clip(number, row["offset"], row["frames"], labels, pack.index is None, context))
    return clips


class Batches:
    """Endless batches over packs, each pack repeated so many times an epoch.

    Args:
        packs: see `Pack`.
        encode: text -> labels.
        size: clips of a batch, fewer where they are long.
        part: (k, n): of batches n times as large, every n-th clip from the k-th on, so that n processes
            share them, each with clips of like length.
    """

    def __init__(
        self, packs: Sequence[Pack], encode, size: int,
        parameters: FrontendParameters, seed: int, part: tuple[int, int] = (0, 1),
    ):  # fmt: skip
        self.rng = np.random.default_rng(seed)
        self.seed, self.part = seed, part
        self.size, self.epoch = size * part[1], 0
        self.active = [True] * len(packs)  # which packs are drawn from; may be set at any time
        self.warped = 1.0  # share of clips that are warped
        self.masks = SpecAugment()
        self.cold = 0.5  # share of clips with context that go without it
        self.longest = 3000  # frames; may be set at any time: batches with a longer clip are left out
        self.memory = [np.load(pack.path.with_suffix(".npy"), mmap_mode="r") for pack in packs]
        self.repeats = [pack.repeats for pack in packs]
        self.clips = [read_clips(i, pack, encode) for i, pack in enumerate(packs)]
        self.warp = Warper(parameters)
        self._resumed: dict | None = None
        self._epoch_active, self._position, self._begin = list(self.active), 0, self._generator()

    def epoch_batches(self) -> list[list[Clip]]:
        """One epoch's clips in batches of like length; short ones first in the first epoch."""
        chosen: list[Clip] = []
        for clips, repeats, active in zip(self.clips, self.repeats, self.active, strict=True):
            if not active:
                continue
            chosen += clips * int(repeats)
            part = int((repeats % 1) * len(clips))
            chosen += [clips[i] for i in self.rng.permutation(len(clips))[:part]]
        noisy = np.array([clip.frames for clip in chosen]) * self.rng.uniform(0.9, 1.1, len(chosen))
        order = np.argsort(noisy)
        batches, start = [], 0
        while start < len(order):
            least = 4 * self.part[1]
            size = max(least, min(self.size, int(self.size * 500 / noisy[order[start]])))  # long clips, fewer
            batches.append([chosen[i] for i in order[start : start + size]])
            start += size
        if self.epoch > 0:
            self.rng.shuffle(batches)
        else:
            batches = self._short_first(batches)
        self.epoch += 1
        return batches

    def _short_first(self, batches: list[list[Clip]]) -> list[list[Clip]]:
        rank = np.arange(len(batches)) + self.rng.uniform(0, 0.4 * len(batches), len(batches))
        return [batches[i] for i in np.argsort(rank)]

    def __iter__(self) -> Iterator[Batch]:
        resumed, self._resumed = self._resumed, None
        while True:
            self._epoch_active, self._position = list(self.active), 0
            self._begin = self._generator()
            if resumed:
                batches, resumed = self._rewound(resumed), None
            else:
                batches = self.epoch_batches()
            given = self._position > 0
            for clips in batches[self._position :]:
                if self.active != self._epoch_active:
                    given = True
                    break
                self._position += 1
                first, every = self.part
                if max(clip.frames for clip in clips) <= self.longest and len(clips) >= every:
                    given = True
                    rng = np.random.default_rng([self.seed, self.epoch, self._position, first])
                    yield self.collate(clips[first::every], rng)
            if not given:
                raise ValueError(f"no source that has begun has clips of at most {self.longest} frames")

    def state(self) -> str:
        """Where the iteration stands, for `resume`."""
        return json.dumps(
            {
                "epoch": self.epoch, "active": self._epoch_active, "position": self._position,
                "begin": self._begin,
            }
        )  # fmt: skip

    def resume(self, state: str) -> None:
        """The next iteration goes on from a `state` of batches over the same packs."""
        self._resumed = json.loads(state)

    def _generator(self) -> dict:
        return dict(self.rng.bit_generator.state)

    def _rewound(self, state: dict) -> list[list[Clip]]:
        """The batches of the epoch in which a state was taken."""
        active, self.active = self.active, state["active"]
        self.epoch, self._begin, self._epoch_active = state["epoch"] - 1, state["begin"], state["active"]
        self.rng.bit_generator.state = state["begin"]
        batches = self.epoch_batches()
        self.active, self._position = active, state["position"]
        return batches

    def collate(self, clips: list[Clip], rng: np.random.Generator) -> Batch:
        """Warp and pad; a share of `cold` of clips with context goes without, so that a cold start works."""
        starts = [0 if c.context and rng.random() < self.cold else c.context for c in clips]
        frames = [
            self.memory[c.pack][c.offset + c.context - start : c.offset + c.frames]
            for c, start in zip(clips, starts, strict=True)
        ]
        frames = [
            f if start else trim(f, rng) if rng.random() < 0.8 else f
            for f, start in zip(frames, starts, strict=True)
        ]
        warped = [self.warp(f, rng) if rng.random() < self.warped else f for f in frames]
        starts = [round(start * len(w) / len(f)) for start, w, f in zip(starts, warped, frames, strict=True)]
        frames = [self.masks(f, rng) for f in warped]
        whole = [after_whole_steps(f, start) for f, start in zip(frames, starts, strict=True)]
        frames, before = [f for f, _ in whole], torch.tensor([steps for _, steps in whole])
        lengths = [-(-len(f) // FRAMES_A_STEP) for f in frames]
        features = np.full((len(clips), max(lengths) * FRAMES_A_STEP, frames[0].shape[1]), -128, np.float32)
        for row, f in zip(features, frames, strict=True):
            row[: len(f)] = f
        labels = torch.zeros(len(clips), max(len(c.labels) for c in clips), dtype=torch.long)
        for row, clip in zip(labels, clips, strict=True):
            row[: len(clip.labels)] = torch.tensor(clip.labels)
        counts = torch.tensor([len(c.labels) for c in clips])
        stacked = features.reshape(len(clips), max(lengths) * 2, -1) / 128
        annotated = torch.tensor([c.annotated for c in clips])
        frames_left = torch.tensor(lengths) - before
        return Batch(torch.from_numpy(stacked), labels, frames_left, counts, annotated, before)
