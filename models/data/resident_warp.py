"""What warp.py and batches.py do to a clip, done to a whole batch at once where the batch lies: on a GPU.

The same draws from the same ranges, in tensors; the numbers drawn differ, being another generator's.
"""

from __future__ import annotations

import numpy as np
import torch
from ossicle.models.data import warp
from ossicle.models.data.batches import FRAMES_A_STEP, MARGIN, TAIL, SpecAugment
from ossicle.runtime.frontend import FrontendParameters
from torch import Tensor

SILENCE = -128
TRIMMED = 0.8  # share of clips whose silence is cut short


class BatchWarper:
    """Random voices, tempos, equalization and gain for features on a device. generator: of its numbers."""

    def __init__(self, parameters: FrontendParameters, generator: torch.Generator) -> None:
        self.generator, self.device = generator, generator.device
        warper = warp.Warper(parameters)
        unit, mean = warper.unit, warper.mean
        matrices = np.concatenate([np.eye(len(mean))[None], warper.voices])  # the first changes nothing
        self.matrices = self._tensor(unit[:, None] * matrices / unit)
        self.offsets = self._tensor((mean @ matrices - mean) / unit)
        self.decibel = self._tensor(warp.DECIBEL / unit)
        self.knots = self._tensor(_between(len(mean), np.linspace(0, len(mean) - 1, 5)))

    def _tensor(self, values: np.ndarray) -> Tensor:
        return torch.from_numpy(np.asarray(values, np.float32)).to(self.device)

    def uniform(self, low: float, high: float, *size: int) -> Tensor:
        """Random numbers of a range."""
        drawn = torch.rand(size, device=self.device, generator=self.generator)
        return low + (high - low) * drawn

    def whole(self, low: float | Tensor, high: Tensor | float, *size: int) -> Tensor:
        """Random whole numbers, low to below high."""
        drawn = torch.rand(size, device=self.device, generator=self.generator)
        return (low + (high - low) * drawn).floor().long()

    def margins(self, begins: Tensor, ends: Tensor, lengths: Tensor, most: int) -> tuple[Tensor, ...]:
        """What is left of each clip, [B]: its first frame, how many from there on, how many at its end.

        Args:
            begins, ends: the first and the last loud frame; see `batches.trim`.
            most: frames that a clip may have uncut.
        """
        size = len(begins)
        cut = (self.uniform(0, 1, size) < TRIMMED) | (lengths > most)
        first = (begins - self.whole(*MARGIN, size)).clamp_min(0)
        last = torch.minimum(ends + self.whole(*MARGIN, size), lengths)
        tail = torch.minimum(lengths - last, torch.full_like(lengths, TAIL))
        return cut * first, torch.where(cut, last - first, lengths), cut * tail

    def tempo(self, frames: Tensor, most: int, warped: Tensor) -> tuple[Tensor, Tensor]:
        """Which frame to take at each of the new clips', [B, most], and their lengths; see `warp.tempo`.

        frames: [B], of the old; most: of the new, which is never longer; warped [B]: the others stay.
        """
        size, longest = len(frames), int(most * warp.SPEEDS[1]) + 2 * MARGIN[1]
        speed = torch.maximum(self.uniform(*warp.SPEEDS, size), frames / most)
        speed = torch.where(warped, speed, (frames / most).clamp_min(1.0))
        beats = self.uniform(-warp.TEMPO, warp.TEMPO, size, longest // warp.BEAT + 2).exp()
        beats = torch.where(warped[:, None], beats, 1.0)
        t = torch.arange(longest, device=self.device)
        low, part = t // warp.BEAT, (t % warp.BEAT) / warp.BEAT
        pace = beats[:, low] * (1 - part) + beats[:, low + 1] * part
        pace = torch.where(t < frames[:, None], pace, 0.0)
        mean = pace.sum(1, keepdim=True) / frames[:, None]
        reached = (pace / mean).cumsum(1) / speed[:, None]
        phase = torch.where(warped, self.uniform(0, 1, size), 0.5)
        taken = torch.searchsorted(reached, torch.arange(most, device=self.device) + phase[:, None])
        return torch.minimum(taken, frames[:, None] - 1), (frames / speed).floor().long().clamp(1, most)

    def spectra(self, frames: Tensor, warped: Tensor) -> Tensor:
        """Frames [B, F, bands] of other voices and microphones, whole numbers in -128..127."""
        size = len(frames)
        moved = torch.where(
            warped & (self.uniform(0, 1, size) < warp.SMEARED), self.uniform(*warp.MOVEMENT, size), 0.0
        )
        around = (frames[:, :-2] + frames[:, 1:-1] + frames[:, 2:]) / 3
        frames = frames.clone()
        frames[:, 1:-1] += moved[:, None, None] * (frames[:, 1:-1] - around)
        voice = torch.where(warped, self.whole(1, float(len(self.matrices)), size), 0)
        slope = torch.linspace(-1, 1, 5, device=self.device)
        knots = self.uniform(-2.5, 2.5, size, 5) + self.uniform(-5, 5, size, 1) * slope
        knots = (knots + self.uniform(-6, 6, size, 1)) * warped[:, None]
        offset = self.offsets[voice] + (knots @ self.knots) * self.decibel
        shaped = torch.baddbmm(offset[:, None], frames, self.matrices[voice])
        return shaped.round_().clamp_(-128, 127)

    def masked(self, frames: Tensor, lengths: Tensor, masks: SpecAugment) -> Tensor:
        """Frames [B, F, bands] with bands and spans of some clips set to 0; see `SpecAugment`."""
        size, steps, bands = frames.shape
        turn = self.uniform(0, 1, size) < masks.share
        longest = (lengths * masks.span_part).floor().clamp_max(masks.span_width)
        gone = self._spans(masks.bands, masks.band_width, torch.full_like(lengths, bands), bands)[:, None, :]
        gone = gone | self._spans(masks.spans, longest, lengths, steps)[:, :, None]
        return frames.masked_fill(gone & turn[:, None, None], 0.0)

    def _spans(self, count: int, longest: Tensor | float, within: Tensor, size: int) -> Tensor:
        """Whether each of `size` places is in one of `count` random spans, [B, size]."""
        places, inside = torch.arange(size, device=self.device), torch.zeros(
            len(within), size, dtype=torch.bool, device=self.device
        )  # fmt: skip
        for _ in range(count):
            width = self.whole(0, longest + 1, len(within))
            first = self.whole(0, (within - width + 1).float(), len(within))
            inside |= (places >= first[:, None]) & (places < (first + width)[:, None])
        return inside


def _between(count: int, knots: np.ndarray) -> np.ndarray:
    """Matrix [knots, count] that interpolates values at knots linearly."""
    return np.stack([np.interp(np.arange(count), knots, row) for row in np.eye(len(knots))])


def loud_parts(frames: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """The first and the last frame of each clip that is not silence, [B]; see `batches.trim`.

    frames: [B, F, bands]; lengths: [B].
    """
    steps = torch.arange(frames.shape[1], device=frames.device)
    inside = steps < lengths[:, None]
    level = frames.float().mean(2)
    ordered = torch.where(inside, level, torch.inf).sort(1).values
    low, high = (_quantile(ordered, lengths, part) for part in (0.10, 0.95))
    loud = inside & (level > (low + 0.25 * (high - low))[:, None])
    first = loud.int().argmax(1)
    last = frames.shape[1] - 1 - loud.flip(1).int().argmax(1)
    any_loud = loud.any(1)
    return torch.where(any_loud, first, 0), torch.where(any_loud, last, lengths)


def _quantile(ordered: Tensor, lengths: Tensor, part: float) -> Tensor:
    place = part * (lengths - 1)
    low = place.floor().long()
    high = torch.minimum(low + 1, lengths - 1)
    a, b = (ordered.gather(1, index[:, None]).squeeze(1) for index in (low, high))
    return a + (b - a) * (place - low)


def steps_of(lengths: Tensor) -> Tensor:
    """Encoder frames of clips of so many 10 ms frames."""
    return -(-lengths // FRAMES_A_STEP)
