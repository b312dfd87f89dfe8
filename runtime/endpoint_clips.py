"""Recordings whose end of speech is known, and the quiet room around them that a manifest's clips lack.

    end of speech = past the last 10 ms whose level is within BELOW_PEAK_DB of the clip's 98th percentile

or `speech_end`, in seconds, where a row of the manifest says it. Noise with the spectrum of rooms, SNR_DB
below the speech, lies under the clip and TAIL_S after it, so that pauses and ends sound alike: the digital
silence of synthesized clips would give them away.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

import numpy as np
from numpy.typing import NDArray
from ossicle.runtime.audio import SAMPLE_RATE, read_audio
from ossicle.runtime.console import Failure

HOP = SAMPLE_RATE // 100
BELOW_PEAK_DB = 30.0
SNR_DB = 30.0
TAIL_S = 2.0
CORNER_HZ = 100.0  # the noise's power falls with the frequency above it


@dataclass(frozen=True)
class Clip:
    """A recording: `samples` with its room, `end_s` of its speech; `paused`: whether its speaker pauses."""

    name: str
    samples: NDArray[np.int16]
    end_s: float
    paused: bool


def read_rows(manifest: Path, limit: int | None) -> list[dict]:
    """The first rows of a manifest, JSON lines, their paths made absolute.

    Raises:
        Failure: no such file, no rows, or lines that are no rows.
    """
    try:
        rows = [json.loads(line) for line in manifest.read_text().splitlines() if line.strip()][:limit]
        rows = [{**row, "path": str(manifest.parent / row["path"])} for row in rows]
    except OSError as error:
        raise Failure(f"{manifest}: {error.strerror}") from None
    except (ValueError, TypeError, KeyError) as error:
        raise Failure(f"{manifest}: not a manifest of JSON lines with a path ({error})") from None
    if not rows:
        raise Failure(f"{manifest}: holds no recordings")
    return rows


def read_clip(row: dict) -> Clip:
    """A row's recording in its room.

    Raises:
        AudioError: no audio there.
        Failure: nobody speaks in it.
    """
    samples = read_audio(row["path"]).samples
    loud = loud_frames(samples)
    if not loud.any():
        raise Failure(f"{row['path']}: no speech in it whose end could be found")
    end_s = row.get("speech_end", (int(np.flatnonzero(loud)[-1]) + 1) * HOP / SAMPLE_RATE)
    return Clip(row["path"], in_room(samples, loud, row["path"]), float(end_s), bool(row.get("pauses")))


def loud_frames(samples: NDArray[np.int16]) -> NDArray[np.bool_]:
    """Of each 10 ms, whether it is near the loudest."""
    power = np.square(_frames(samples)).mean(axis=1)
    if not power.any():
        return np.zeros(len(power), bool)
    return power > np.percentile(power, 98) * 10 ** (-BELOW_PEAK_DB / 10)


def in_room(samples: NDArray[np.int16], loud: NDArray[np.bool_], name: str) -> NDArray[np.int16]:
    """The clip and a tail, with noise below the level of its loud frames; a name has its own noise."""
    speech = np.square(_frames(samples)[loud]).mean()
    length = len(samples) + int(TAIL_S * SAMPLE_RATE)
    white = np.random.default_rng(crc32(Path(name).name.encode())).normal(size=length)
    shape = 1 / np.sqrt(1 + np.fft.rfftfreq(length, 1 / SAMPLE_RATE) / CORNER_HZ)
    noise = np.fft.irfft(np.fft.rfft(white) * shape, length)
    noise *= np.sqrt(speech * 10 ** (-SNR_DB / 10)) / noise.std()
    noise[: len(samples)] += samples
    return np.clip(np.rint(noise), -32768, 32767).astype(np.int16)


def _frames(samples: NDArray[np.int16]) -> NDArray[np.float64]:
    count = len(samples) // HOP
    return samples[: count * HOP].reshape(count, HOP).astype(np.float64)
