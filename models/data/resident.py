"""Batches whose packs lie in a GPU's memory, made there: a CPU can't warp clips as fast as one reads them.

Clips are sorted into buckets by length. A batch has the shape of its bucket, whatever clips it holds, as
CUDA graphs ask for (graphed.py): features [B, T, 120] and labels [B, U], B x T about the same in all.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from ossicle.models.data.batches import FRAMES_A_STEP, Batch, Clip, Pack, SpecAugment, read_clips
from ossicle.models.data.resident_warp import SILENCE, BatchWarper, loud_parts, steps_of
from ossicle.runtime.frontend import FrontendParameters
from torch import Tensor

STEPS = (16, 24, 32, 40, 48, 56, 64, 80, 104, 144, 200, 288)
"""Encoder frames of a bucket's batches."""
USUAL_STEPS = 50  # of a clip: batches have `size` clips up to here, fewer beyond
LABELS = (0.45, 6)  # a bucket's labels: so many a step, and so many more; clips with more are left out
AT_ONCE = 2048  # clips whose silence is looked for together
ROOM = 40  # frames that a trimmed clip keeps of silence, about


class ResidentBatches:
    """Endless batches over packs, on a device; `add` takes more clips at any time.

    Args:
        packs: see `Pack`; without context.
        encode: text -> labels.
        size: clips of a batch, fewer where they are long.
    """

    def __init__(
        self, packs: Sequence[Pack], encode, size: int, parameters: FrontendParameters, seed: int,
        device: torch.device,
    ):  # fmt: skip
        self.encode, self.size, self.device, self.seed = encode, size, device, seed
        self.warped, self.masks, self.longest = 1.0, SpecAugment(), 3000  # as in Batches
        self.active = [True] * len(packs)
        self.generator = torch.Generator(device).manual_seed(seed)
        self.rng = np.random.default_rng(seed)
        self.warper = BatchWarper(parameters, self.generator)
        self.epoch, self.grown = 0, False
        self._frames: list[Tensor] = []
        self._size = 0
        self._table = np.zeros((0, 5), np.int64)  # offset, frames, first and last loud frame, bucket
        self._labels: list[list[int]] = []
        self._repeats, self._pack = np.zeros(0), np.zeros(0, np.int64)
        self._whole: Tensor | None = None
        for number, pack in enumerate(packs):
            memory = np.load(pack.path.with_suffix(".npy"), mmap_mode="r")
            clips = read_clips(number, pack, encode)
            if any(clip.context for clip in clips):
                raise ValueError(f"{pack.path}: clips with context are for a CPU's batches")
            self._add(memory, clips, pack.repeats)

    def add(
        self, frames: NDArray[np.int8], lengths: Sequence[int], texts: Sequence[str], pack: int = 0
    ) -> None:
        """More clips of a pack, once an epoch from the next on: features [sum of lengths, 40], texts."""
        starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
        rows = zip(starts.tolist(), lengths, map(self.encode, texts), strict=True)
        self._add(frames, [Clip(pack, start, int(size), labels) for start, size, labels in rows], 1.0)
        self.grown = True

    def _add(self, memory: NDArray[np.int8], clips: list[Clip], repeats: float) -> None:
        if not clips:
            return
        frames = torch.from_numpy(np.array(memory)).to(self.device)
        place = np.array([[clip.offset, clip.frames] for clip in clips])
        found = []
        for i in range(0, len(place), AT_ONCE):
            offset, length = torch.from_numpy(place[i : i + AT_ONCE]).to(self.device).unbind(1)
            index = torch.arange(int(length.max()), device=self.device).clamp_max((length - 1)[:, None])
            loud = loud_parts(frames[offset[:, None] + index], length)
            found.append(torch.stack(loud, 1).cpu().numpy())
        loud = np.concatenate(found)
        needed = np.minimum(place[:, 1], loud[:, 1] - loud[:, 0] + ROOM)
        steps = -(-needed // FRAMES_A_STEP)
        bucket = np.searchsorted(STEPS, steps)
        counts = np.array([len(clip.labels) for clip in clips])
        width = np.array([*(labels_of(s) for s in STEPS), 0])
        bucket[counts > width[bucket]] = len(STEPS)  # no bucket's
        table = np.column_stack([place, loud, bucket])
        table[:, 0] += self._size
        self._frames.append(frames)
        self._size += len(frames)
        self._whole = None
        self._table = np.concatenate([self._table, table])
        self._labels += [clip.labels for clip in clips]
        self._repeats = np.concatenate([self._repeats, np.full(len(clips), repeats)])
        self._pack = np.concatenate([self._pack, [clip.pack for clip in clips]])

    @property
    def clips(self) -> int:
        """How many there are."""
        return len(self._table)

    def batch_size(self, steps: int) -> int:
        """Clips of a batch of so many encoder frames."""
        size = max(1, self.size * min(USUAL_STEPS, steps) // steps)
        return size // 8 * 8 or size

    def epoch_batches(self) -> list[tuple[int, NDArray[np.int64]]]:
        """Bucket and clips of each batch of an epoch, shuffled. Clips that fill no batch wait for another."""
        active = np.array(self.active)[self._pack]
        part = self._repeats % 1 > self.rng.random(self.clips)
        times = np.where(active, self._repeats.astype(int) + part, 0)
        batches = []
        for bucket, steps in enumerate(STEPS):
            if steps * FRAMES_A_STEP > self.longest + FRAMES_A_STEP:
                continue
            own = np.flatnonzero(self._table[:, 4] == bucket)
            own = self.rng.permutation(np.repeat(own, times[own]))
            size = self.batch_size(steps)
            if 0 < len(own) < size:
                own = np.resize(own, size) if len(own) * 2 >= size else own[:0]
            batches += [(bucket, own[i : i + size]) for i in range(0, len(own) - size + 1, size)]
        self.rng.shuffle(batches)
        self.epoch += 1
        return batches

    def __iter__(self) -> Iterator[Batch]:
        while True:
            self.grown, drawn = False, (list(self.active), self.longest)
            batches = self.epoch_batches()
            if not batches:
                raise ValueError(
                    f"the sources that have begun fill no batch of clips of at most {self.longest} frames"
                )
            for bucket, clips in batches:
                yield self.collate(STEPS[bucket], clips)
                if self.grown or (self.active, self.longest) != drawn:
                    break

    def collate(self, steps: int, clips: NDArray[np.int64]) -> Batch:
        """Warped, masked and padded to the shape of the bucket."""
        if self._whole is None:
            self._whole = torch.cat(self._frames)
            self._frames = [self._whole]
        table = torch.from_numpy(self._table[clips]).to(self.device)
        offset, length, begin, end, _ = table.unbind(1)
        most = steps * FRAMES_A_STEP
        first, body, tail = self.warper.margins(begin, end, length, most)
        warped = self.warper.uniform(0, 1, len(clips)) < self.warped
        taken, made = self.warper.tempo(body + tail, most, warped)
        of_tail = taken >= body[:, None]
        taken = taken + torch.where(of_tail, (length - tail - body)[:, None], first[:, None])
        frames = self._whole[offset[:, None] + taken].float()
        frames = self.warper.spectra(frames, warped)
        frames = self.warper.masked(frames, made, self.masks)
        past = torch.arange(frames.shape[1], device=self.device) >= made[:, None]
        frames.masked_fill_(past[:, :, None], SILENCE)
        features = frames.view(len(clips), steps * 2, -1) / 128
        labels = [self._labels[i] for i in clips]
        counts = np.array([len(row) for row in labels])
        padded = np.zeros((len(clips), labels_of(steps)), np.int64)
        padded[np.arange(padded.shape[1]) < counts[:, None]] = np.concatenate(labels)
        on = torch.from_numpy(np.column_stack([padded, counts])).to(self.device)
        frames_of = steps_of(made)
        return Batch(
            features, on[:, :-1].contiguous(), frames_of, on[:, -1].contiguous(),
            torch.ones_like(frames_of, dtype=torch.bool), torch.zeros_like(frames_of),
        )  # fmt: skip

    def state(self) -> str:
        """For `resume`: a run that goes on draws other batches than one that was not stopped."""
        return json.dumps({"epoch": self.epoch})

    def resume(self, state: str) -> None:
        """Go on after the epoch of a `state`."""
        self.epoch = json.loads(state)["epoch"]
        self.generator.manual_seed(self.seed + self.epoch)
        self.rng = np.random.default_rng([self.seed, self.epoch])


def labels_of(steps: int) -> int:
    """Most labels of a clip in a bucket."""
    return int(LABELS[0] * steps) + LABELS[1]
