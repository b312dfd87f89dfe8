"""Another speaker, microphone and tempo, made of features each time a clip is drawn, at next to no cost.

Half a dozen synthetic people must stand for everyone. What sets a synthesizer apart beside its formants is
how sharp they are, how fast they move and how long each sound lasts, so these are drawn too.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from ossicle.runtime.frontend import FrontendParameters

DECIBEL = 1024 / (10 * np.log10(2))  # log2 of energy in Q.10, per decibel
WARPS = np.linspace(0.87, 1.16, 30)  # factors of all frequencies
VOICES = 240
LENGTH, BEND = 0.15, 0.08  # natural log of a voice's frequencies: of all, of its highest against its lowest
SHARPNESS = (-0.7, 0.6)  # of its formants; -1: smeared over the next bands
SMEARED = 0.5  # share of clips whose movements are ...
MOVEMENT = (-1.0, 0.7)  # ... slower (below 0) or faster
SPEEDS = (0.88, 1.15)
TEMPO, BEAT = 0.3, 12  # natural log of the speed within a clip, and frames of 10 ms from one to another


def _mel(hertz: float | NDArray) -> NDArray:
    return 2595 * np.log10(1 + np.asarray(hertz) / 700)


class Bands:
    """The mel bands of a frontend, as a scale to move along."""

    def __init__(self, parameters: FrontendParameters) -> None:
        edges = np.linspace(_mel(parameters.low_hz), _mel(parameters.high_hz), parameters.mels + 2)
        self.first, self.width, self.count = edges[1], edges[1] - edges[0], parameters.mels
        self.hertz = 700 * (10 ** (edges[1:-1] / 2595) - 1)

    def warp(self, factors: float | NDArray) -> NDArray[np.float32]:
        """Matrix [bands, bands] that resamples a spectrum (on the left) at frequencies times `factors`."""
        position = np.clip((_mel(self.hertz * factors) - self.first) / self.width, 0, self.count - 1)
        low = np.minimum(position.astype(int), self.count - 2)
        matrix, bands = np.zeros((self.count, self.count), np.float32), np.arange(self.count)
        matrix[low, bands] = 1 - (position - low)
        matrix[low + 1, bands] += position - low
        return matrix

    def contrast(self, amount: float) -> NDArray[np.float32]:
        """Matrix [bands, bands] that adds `amount` of what a band has beyond its neighbours."""
        padded = np.pad(np.eye(self.count), ((0, 0), (2, 2)), mode="edge")
        smooth = sum(w * padded[:, i : i + self.count] for i, w in enumerate((1, 2, 3, 2, 1))) / 9
        return (np.eye(self.count) + amount * (np.eye(self.count) - smooth)).astype(np.float32)

    def voice(self, rng: np.random.Generator) -> NDArray[np.float32]:
        """Matrix [bands, bands] of a random voice: a vocal tract whose formants don't all move alike."""
        slope = np.linspace(-0.5, 0.5, self.count)
        factors = np.exp(rng.uniform(-LENGTH, LENGTH) + rng.uniform(-BEND, BEND) * slope)
        return self.warp(factors) @ self.contrast(rng.uniform(*SHARPNESS))


class Warper:
    """Random voice, tempo, equalization and gain on frames [F, 40] of int8 features."""

    def __init__(self, parameters: FrontendParameters) -> None:
        bands = Bands(parameters)
        self.unit = 2.0 ** np.array(parameters.shift) / np.array(parameters.multiplier)  # log2 Q.10 per step
        self.mean = np.array(parameters.mean, np.float64)
        self.warps = np.stack([bands.warp(factor) for factor in WARPS])
        drawn = np.random.default_rng(0)
        self.voices = np.stack([bands.voice(drawn) for _ in range(VOICES)])

    def __call__(self, frames: NDArray[np.int8], rng: np.random.Generator) -> NDArray[np.float32]:
        """Frames of another length, still whole numbers in -128..127."""
        x = frames[tempo(len(frames), rng)].astype(np.float32)
        if rng.random() < SMEARED:
            x = moved(x, rng.uniform(*MOVEMENT))
        knots = rng.uniform(-2.5, 2.5, 5) + rng.uniform(-5, 5) * np.linspace(-1, 1, 5) + rng.uniform(-6, 6)
        voice = self.voices[rng.integers(len(self.voices))]
        return self.shaped(x, voice, knots)

    def shaped(
        self, frames: NDArray, matrix: NDArray, knots: NDArray[np.float64]
    ) -> NDArray[np.float32]:  # fmt: skip
        """Spectra times a matrix [bands, bands], plus decibels at equal distances along the bands."""
        bands = len(self.mean)
        equalizer = np.interp(np.arange(bands), np.linspace(0, bands - 1, len(knots)), knots) * DECIBEL
        scaled = (self.unit[:, None] * matrix / self.unit).astype(np.float32)
        offset = ((self.mean @ matrix - self.mean + equalizer) / self.unit).astype(np.float32)
        return np.clip(np.rint(frames.astype(np.float32) @ scaled + offset), -128, 127)


def tempo(frames: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Which frame to take at each of a new clip's: another speed, which rises and falls within the clip."""
    speed = rng.uniform(*SPEEDS)
    beats = np.exp(rng.uniform(-TEMPO, TEMPO, frames // BEAT + 2))
    pace = np.interp(np.arange(frames), np.arange(len(beats)) * BEAT, beats)
    reached = np.cumsum(pace / pace.mean()) / speed  # of the new clip, after each frame of the old
    taken = np.searchsorted(reached, np.arange(int(frames / speed)) + rng.uniform(0, 1))
    return np.minimum(taken, frames - 1)


def moved(frames: NDArray[np.float32], amount: float) -> NDArray[np.float32]:
    """Each frame with `amount` of what it has beyond those around it."""
    around = frames.copy()
    around[1:-1] = (frames[:-2] + frames[1:-1] + frames[2:]) / 3
    return frames + np.float32(amount) * (frames - around)
