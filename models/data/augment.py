"""Random rooms, equalization, noise and levels: what makes synthesized speech useful on people.

Synthetic spectra are tilted by up to 18 dB against people's, and a handful of synthetic speakers must stand
for everyone; so every clip gets another room, microphone, noise and level.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

RATE = 16000
Audio = NDArray[np.float32]


@dataclass
class Augmenter:
    """Turns int16 clips into other int16 clips. `shift`: largest relative change of speed.

    placement: of the last clip, the sample that its first became, and its length by what it was.
    """

    noises: list[Audio] = field(default_factory=list)
    rooms: list[Audio] = field(default_factory=list)
    babble: list[Audio] = field(default_factory=list)
    shift: float = 0.0
    placement: tuple[int, float] = field(default=(0, 1.0), init=False)

    @classmethod
    def from_folders(
        cls, noise: Path | None, rir: Path | None, babble: list[Path], shift: float
    ) -> Augmenter:
        """Read every FLAC of the folders; a few clips of training speech make the babble."""
        folders = [sorted(folder.glob("*.flac")) if folder else [] for folder in (noise, rir)]
        noises, rooms, voices = (
            [np.asarray(soundfile.read(path)[0], np.float32) for path in paths]
            for paths in (*folders, babble)
        )
        return cls(noises, rooms, voices, shift)

    def __call__(self, samples: NDArray[np.int16], rng: np.random.Generator) -> NDArray[np.int16]:
        """Another version of a clip, with silence (or noise) of up to 0.35 s before and after."""
        speech = samples.astype(np.float32) / 32768
        if self.shift and rng.random() < 0.6:
            factor = rng.uniform(1 - self.shift, 1 + self.shift)
            speech = soxr.resample(speech, RATE * factor, RATE, quality="LQ")
        lead, tail = (rng.uniform(0, 0.35, 2) * RATE).astype(int)
        self.placement = (int(lead), len(speech) / max(1, len(samples)))
        speech = np.concatenate([np.zeros(lead, np.float32), speech, np.zeros(tail, np.float32)])
        speech = self._filter(speech.astype(np.float32), rng)
        level = 10 ** (rng.uniform(-40, -14) / 20)
        speech *= level / (np.sqrt(np.mean(speech * speech)) + 1e-6)
        mixed = speech + self._noise(len(speech), level, rng)
        peak = np.abs(mixed).max()
        if peak > 1 and rng.random() < 0.8:  # clipped recordings exist, but are few
            mixed /= peak
        return np.clip(np.rint(mixed * 32767), -32768, 32767).astype(np.int16)

    def _filter(self, speech: Audio, rng: np.random.Generator) -> Audio:
        length = 1 << int(np.ceil(np.log2(len(speech) + 8000)))
        spectrum = np.fft.rfft(speech, length) * _equalizer(length // 2 + 1, rng)
        if rng.random() < 0.35:
            real = self.rooms and rng.random() < 0.2
            room = self.rooms[rng.integers(len(self.rooms))] if real else _room(rng)
            spectrum = spectrum * np.fft.rfft(room[:8000], length)
        return np.fft.irfft(spectrum, length)[: len(speech)].astype(np.float32)

    def _noise(self, length: int, level: float, rng: np.random.Generator) -> Audio | float:
        kind = rng.random()
        if kind < 0.1:
            return 0.0
        recorded = self.noises if kind < 0.4 else self.babble if kind < 0.6 else []
        if recorded:
            count = 1 if kind < 0.4 else int(rng.integers(2, 6))
            noise = sum(_excerpt(recorded[rng.integers(len(recorded))], length, rng) for _ in range(count))
        else:
            noise = _coloured(length, rng)
        snr = rng.uniform(5, 35) if rng.random() < 0.75 else rng.uniform(35, 60)
        gain = level * 10 ** (-snr / 20) / (np.sqrt(np.mean(noise * noise)) + 1e-6)
        return np.asarray(noise * gain, np.float32)


def _equalizer(bins: int, rng: np.random.Generator) -> Audio:
    """A smooth random response: tilt of +-12 dB, bumps of +-4 dB, and now and then a narrow band."""
    hertz = np.linspace(0, RATE / 2, bins)
    position = np.log2(np.maximum(hertz, 60) / 60) / np.log2(RATE / 120)
    knots = rng.uniform(-4, 4, 6) + rng.uniform(-12, 12) * np.linspace(-1, 1, 6)
    decibels = np.interp(position, np.linspace(0, 1, 6), knots)
    if rng.random() < 0.15:
        edge = rng.uniform(3300, 4500)
        decibels = decibels - np.clip((hertz - edge) / 400, 0, 1) * rng.uniform(30, 70)
    if rng.random() < 0.15:
        decibels = decibels - np.clip(1 - hertz / rng.uniform(150, 400), 0, 1) * 30
    return (10 ** (decibels / 20)).astype(np.float32)


def _room(rng: np.random.Generator) -> Audio:
    """A direct path, some early echoes and a noise tail that decays by 60 dB in 0.1 to 0.6 s."""
    reverberation = rng.uniform(0.1, 0.6)
    t = np.arange(int(min(reverberation, 0.5) * RATE)) / RATE
    response = rng.standard_normal(len(t)).astype(np.float32) * 10 ** (-3 * t / reverberation)
    response *= 10 ** (-rng.uniform(-2, 15) / 20) / np.sqrt(np.sum(response**2))
    response[: int(rng.uniform(0.001, 0.01) * RATE)] = 0
    response[0] = 1
    return response.astype(np.float32)


def _excerpt(audio: Audio, length: int, rng: np.random.Generator) -> Audio:
    start = rng.integers(len(audio))
    return np.resize(np.roll(audio, -start)[: max(length, 1)], length)


def _coloured(length: int, rng: np.random.Generator) -> Audio:
    """Noise with a power density of 1 / f**a, a from 0 (white) to 2 (brown)."""
    size = 1 << max(16, length - 1).bit_length()
    bins = size // 2 + 1
    shape = np.maximum(np.arange(bins), size * 50 / RATE) ** (-rng.uniform(0, 2) / 2)
    phases = rng.standard_normal(bins) + 1j * rng.standard_normal(bins)
    return np.fft.irfft(shape * phases, size)[:length].astype(np.float32)
