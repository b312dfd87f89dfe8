"""What is laid under and around speech, made once a corpus: rooms, music, recorded noise.

    OUT/beds/rooms/*.flac          responses: simulated, and those of --rir
    OUT/beds/noise/*.flac          the first four fifths of each recording of --noise
    OUT/beds/noise/music/*.flac    music to train on
    OUT/beds/test/{noise,music}    the last fifths, and other music, for the noisy test set

The first three are what `Augmenter.from_folders` reads. A file that is there is not made again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray
from ossicle.models.data.music import music
from ossicle.models.data.rooms import room_response

RATE = 16000
PIECES = {"noise/music": 16, "test/music": 6}
SECONDS = 20.0
TRAINING_PART = 0.8
HEADROOM = 0.9
Audio = NDArray[np.float32]


@dataclass(frozen=True)
class Bed:
    """A file, and how its samples are made."""

    path: Path
    make: Callable[[], Audio]

    def write(self) -> None:
        """Whole or not at all; nothing to do where it is there."""
        if self.path.exists():
            return
        audio = self.make()
        audio = audio * (HEADROOM / max(HEADROOM, float(np.abs(audio).max())))
        part = self.path.with_suffix(".part")
        soundfile.write(part, audio, RATE, subtype="PCM_16", format="FLAC")
        part.replace(self.path)


def beds(folder: Path, seed: int, rooms: int, noise: Path | None, rir: Path | None) -> list[Bed]:
    """All files of a corpus. Raises ValueError on a folder without recordings."""
    made = [Bed(folder / f"rooms/{i:03d}.flac", partial(_room, seed, i)) for i in range(rooms)]
    for kind, count in PIECES.items():
        made += [Bed(folder / kind / f"{i:02d}.flac", partial(_music, seed, kind, i)) for i in range(count)]
    for i, path in enumerate(recordings(rir)):
        made.append(Bed(folder / f"rooms/recorded-{i:03d}.flac", partial(_part, path, 0.0, 1.0)))
    for i, path in enumerate(recordings(noise)):
        made.append(Bed(folder / f"noise/recorded-{i:03d}.flac", partial(_part, path, 0.0, TRAINING_PART)))
        made.append(Bed(folder / f"test/noise/{i:03d}.flac", partial(_part, path, TRAINING_PART, 1.0)))
    return made


def recordings(folder: Path | None) -> list[Path]:
    """FLAC and WAV files of a folder, in order."""
    if folder is None:
        return []
    found = sorted(path for path in folder.rglob("*") if path.suffix in (".flac", ".wav"))
    if not found:
        raise ValueError(f"{folder}: no recordings (.flac or .wav) there")
    return found


def _room(seed: int, number: int) -> Audio:
    return room_response(np.random.default_rng([seed, 0, number]))


def _music(seed: int, kind: str, number: int) -> Audio:
    return music(SECONDS, np.random.default_rng([seed, 1 + list(PIECES).index(kind), number]))


def _part(path: Path, begin: float, end: float) -> Audio:
    audio, rate = soundfile.read(path, dtype="float32", always_2d=True)
    part = audio[int(begin * len(audio)) : int(end * len(audio)), 0]
    return np.asarray(soxr.resample(part, rate, RATE) if rate != RATE else part, np.float32)
