"""Clips made harder to test with: in noise of a known level, or whispered. A row keeps its clean clip's path.

SNR = 10 log10(mean(speech^2) / mean(noise^2)) over the clip, its pauses included.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray
from ossicle.models.data.augment import babble, coloured, excerpt
from ossicle.models.data.split import Row
from ossicle.models.data.whisper import WINDOW, whisper

RATE = 16000
SNR_DB = (5.0, 20.0)
KINDS = ("babble", "noise", "music")
Numbered = list[tuple[int, Row]]
Audio = NDArray[np.float32]


def noisy(out: Path, rows: Numbered, babblers: list[str], seed: int) -> list[Row]:
    """OUT/test-noisy/NNNN.flac of clips in babble, noise and music by turns.

    Row NNNN has `noise`, `snr_db` and `gain`: what the speech was multiplied by so that nothing clips.
    """
    noises, made = Noises(out, babblers), []
    for number, row in rows:
        rng = generator(seed, 7, number)
        speech = read_float(out / row["path"])
        kind, snr = KINDS[number % len(KINDS)], round(float(rng.uniform(*SNR_DB)), 2)
        mixed, gain = mix(speech, noises(kind, len(speech), rng), snr)
        said = {"noise": kind, "snr_db": snr, "gain": round(gain, 6)}
        made.append(_write(out, f"test-noisy/{number:04d}.flac", mixed, row, said))
    return made


def mix(speech: Audio, noise: Audio, snr_db: float) -> tuple[Audio, float]:
    """Speech and noise at an SNR, and the gain of both, 1 unless they would clip."""
    mixed = speech + noise * level_of(speech, noise, snr_db)
    gain = min(1.0, 0.99 / float(np.abs(mixed).max()))
    return mixed * np.float32(gain), gain


def level_of(speech: Audio, noise: Audio, snr_db: float) -> np.floating:
    """What noise is to be multiplied by for an SNR."""
    return np.sqrt(np.mean(speech**2) / (np.mean(noise**2) + 1e-12)) * 10 ** (-snr_db / 20)


def whispered(out: Path, rows: Numbered, seed: int) -> list[Row]:
    """OUT/test-whispered/NNNN.flac of clips, whispered."""
    made = []
    for number, row in rows:
        speech = np.asarray(soundfile.read(out / row["path"], dtype="int16")[0], np.int16)
        audio = whisper(np.pad(speech, (0, max(0, WINDOW - len(speech)))), generator(seed, 8, number))
        made.append(_write(out, f"test-whispered/{number:04d}.flac", audio, row, {"whisper": True}))
    return made


def generator(*numbers: int) -> np.random.Generator:
    """What is drawn for one clip of one set."""
    return np.random.default_rng(numbers)


class Noises:
    """Noise of each of KINDS that no training clip has: the corpus's test beds, and some voices to babble."""

    def __init__(self, out: Path, babblers: list[str]) -> None:
        self._recorded = {
            "babble": [read_float(out / path) for path in babblers],
            "noise": [read_float(path) for path in sorted((out / "beds/test/noise").glob("*.flac"))],
            "music": [read_float(path) for path in sorted((out / "beds/test/music").glob("*.flac"))],
        }

    def __call__(self, kind: str, length: int, rng: np.random.Generator) -> Audio:
        """So many samples, of any level."""
        recorded = self._recorded[kind]
        if kind == "babble":
            return babble(recorded, length, rng)
        if kind == "noise" and not (recorded and rng.random() < 0.5):
            return coloured(length, rng)
        return excerpt(recorded[rng.integers(len(recorded))], length, rng)


def read_float(path: Path) -> Audio:
    """The samples of a file, in [-1, 1)."""
    return np.asarray(soundfile.read(path, dtype="float32")[0], np.float32)


def _write(out: Path, path: str, audio: NDArray, row: Row, said: Row) -> Row:
    soundfile.write(out / path, audio, RATE, subtype="PCM_16")
    return {**row, **said, "path": path, "clean": row["path"]}
