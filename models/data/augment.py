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
ROOMS = 0.35  # share of clips
NOISES = {"none": 0.1, "recorded": 0.3, "music": 0.42, "babble": 0.6}  # shares, added up; the rest: coloured
COLOURS = (-1.0, 2.0)  # blue, white (0), pink (1), brown
SPEAKERS = (2, 6)  # of babble


@dataclass
class Augmenter:
    """Turns int16 clips into other int16 clips. `shift`: largest relative change of speed.

    rooms: responses, which begin with their direct path.
    placement: of the last clip, the sample that its first became, and its length by what it was.
    """

    noises: list[Audio] = field(default_factory=list)
    rooms: list[Audio] = field(default_factory=list)
    babble: list[Audio] = field(default_factory=list)
    shift: float = 0.0
    music: list[Audio] = field(default_factory=list)
    placement: tuple[int, float] = field(default=(0, 1.0), init=False)

    @classmethod
    def from_folders(
        cls, noise: Path | None, rir: Path | None, babble: list[Path], shift: float
    ) -> Augmenter:
        """Read every FLAC of the folders, music from noise/music; some training clips make the babble.

        The corpus tool (make.py) writes such folders: beds/noise and beds/rooms.
        """
        folders = [sorted(folder.glob("*.flac")) if folder else [] for folder in (noise, rir, _music(noise))]
        noises, rooms, music, voices = (
            [np.asarray(soundfile.read(path)[0], np.float32) for path in paths]
            for paths in (*folders, babble)
        )
        return cls(noises, rooms, voices, shift, music)

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
        if self.rooms and rng.random() < ROOMS:
            room = self.rooms[rng.integers(len(self.rooms))]
            spectrum = spectrum * np.fft.rfft(room[:8000], length)
        return np.fft.irfft(spectrum, length)[: len(speech)].astype(np.float32)

    def _noise(self, length: int, level: float, rng: np.random.Generator) -> Audio | float:
        kind = rng.random()
        if kind < NOISES["none"]:
            return 0.0
        if kind < NOISES["recorded"] and self.noises:
            noise = excerpt(self.noises[rng.integers(len(self.noises))], length, rng)
        elif NOISES["recorded"] <= kind < NOISES["music"] and self.music:
            noise = excerpt(self.music[rng.integers(len(self.music))], length, rng)
        elif NOISES["music"] <= kind < NOISES["babble"] and self.babble:
            noise = babble(self.babble, length, rng)
        else:
            noise = coloured(length, rng)
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


def _music(noise: Path | None) -> Path | None:
    return noise / "music" if noise else None


def excerpt(audio: Audio, length: int, rng: np.random.Generator) -> Audio:
    """`length` samples from a random place of a recording, which goes round."""
    start = rng.integers(len(audio))
    return np.resize(np.roll(audio, -start)[: max(length, 1)], length)


def babble(voices: list[Audio], length: int, rng: np.random.Generator) -> Audio:
    """Some people at a time, each as loud as another."""
    made = np.zeros(length, np.float32)
    for _ in range(int(rng.integers(*SPEAKERS))):
        voice = excerpt(voices[rng.integers(len(voices))], length, rng)
        made += voice / (np.sqrt(np.mean(voice * voice)) + 1e-6)
    return made


def coloured(length: int, rng: np.random.Generator) -> Audio:
    """Noise of RMS 1 with a power density of 1 / f**a, a random of COLOURS."""
    size = 1 << max(16, length - 1).bit_length()
    bins = size // 2 + 1
    shape = np.maximum(np.arange(bins), size * 50 / RATE) ** (-rng.uniform(*COLOURS) / 2)
    phases = rng.standard_normal(bins) + 1j * rng.standard_normal(bins)
    noise = np.fft.irfft(shape * phases, size)[:length]
    return (noise / np.sqrt(np.mean(noise**2))).astype(np.float32)
