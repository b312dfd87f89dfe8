"""Audio files to what the frontend takes: one channel, 16 kHz, int16. Changes on the way are noted."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

SAMPLE_RATE = 16000
LOWEST_RATE = 4000
UNKNOWN_LENGTH = (0, 0xFFFFFFFF)  # what writers put there who could not know the length
FULL_SCALE = 1 << 15


class AudioError(ValueError):
    """A file that cannot be recognized; the message is one line that names it and what is wrong."""


@dataclass(frozen=True)
class Audio:
    """`samples` int16 at 16 kHz; `notes` says, in words, what was done to the file to get there."""

    samples: NDArray[np.int16]
    notes: tuple[str, ...] = ()

    @property
    def seconds(self) -> float:
        return len(self.samples) / SAMPLE_RATE


def read_audio(path: str | Path) -> Audio:
    """Read WAV, FLAC or whatever else libsndfile knows; mix down and resample where needed.

    A 16 kHz mono 16-bit file comes through bit by bit.

    Raises:
        AudioError: missing, empty, truncated, no audio at all, or with samples that are no numbers.
    """
    path = Path(path)
    _check_file(path)
    try:
        with soundfile.SoundFile(path) as file:
            rate, expected = file.samplerate, file.frames
            samples = np.asarray(file.read(dtype="float64", always_2d=True), np.float64)
    except (soundfile.LibsndfileError, RuntimeError, OSError, MemoryError) as error:
        raise AudioError(f"{path}: not an audio file that can be read ({_reason(error)})") from None
    if len(samples) < expected:
        raise AudioError(f"{path}: truncated: {len(samples)} of the {expected} samples its header promises")
    if len(samples) == 0:
        raise AudioError(f"{path}: holds no samples")
    return _converted(path, samples, rate)


def _converted(path: Path, samples: NDArray[np.float64], rate: int) -> Audio:
    if rate < LOWEST_RATE:
        raise AudioError(f"{path}: {rate} samples a second; speech needs {LOWEST_RATE} at least")
    if not np.isfinite(samples).all():
        raise AudioError(f"{path}: holds samples that are not finite numbers (NaN or infinity)")
    notes, channels = [], samples.shape[1]
    mono = samples[:, 0] if channels == 1 else samples.mean(axis=1)
    if channels > 1:
        notes.append(f"{channels} channels mixed down to one")
    if rate != SAMPLE_RATE:
        mono = soxr.resample(mono, rate, SAMPLE_RATE)
        notes.append(f"resampled from {rate} Hz to {SAMPLE_RATE} Hz")
    scaled = np.rint(mono * FULL_SCALE)
    clipped = int(np.count_nonzero((scaled < -FULL_SCALE) | (scaled > FULL_SCALE)))
    if clipped:
        notes.append(f"{clipped} samples beyond full scale clipped")
    if len(scaled) == 0:
        raise AudioError(f"{path}: shorter than one sample at {SAMPLE_RATE} Hz")
    return Audio(np.clip(scaled, -FULL_SCALE, FULL_SCALE - 1).astype(np.int16), tuple(notes))


def _check_file(path: Path) -> None:
    if path.is_dir():
        raise AudioError(f"{path}: a folder, not an audio file")
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(12)
            if size and head[:4] == b"RIFF" and head[8:] == b"WAVE":
                _check_wave(path, file, size)
    except FileNotFoundError:
        raise AudioError(f"{path}: no such file") from None
    except OSError as error:
        raise AudioError(f"{path}: cannot be read ({error.strerror})") from None
    if size == 0:
        raise AudioError(f"{path}: an empty file")


def _check_wave(path: Path, file, size: int) -> None:
    """libsndfile reads a short data chunk without a word: walk the chunks and compare."""
    position = 12
    while position + 8 <= size:
        file.seek(position)
        name, length = struct.unpack("<4sI", file.read(8))
        here = size - position - 8
        if name == b"data":
            if length not in UNKNOWN_LENGTH and length > here:
                raise AudioError(f"{path}: truncated: {here} of the {length} bytes its header promises")
            return
        position += 8 + length + length % 2
    raise AudioError(f"{path}: truncated: a WAV header without its sound")


def _reason(error: BaseException) -> str:
    text = str(getattr(error, "error_string", "") or error) or type(error).__name__
    return " ".join(text.split()).rstrip(".")
