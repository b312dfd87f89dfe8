"""The test set of commands after a wake word, in rooms and noise, and what else may come before a command.

    NNNN.flac          the wake word by the voice of the command, and the command; `wake_seconds` of context
    NNNN-other.flac    in place of that context, a row's `wake_other`: another speaker's wake word, as loud
    NNNN-noise.flac    `wake_noise`: nobody

All three are of one length, in one room, in one noise, and the command is the same samples: what differs is
who spoke before it (the ablation of Schwarz et al. 2021, arXiv:2011.10538).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray
from ossicle.models.data.rooms import room_response
from ossicle.models.data.split import Row, wake_seconds
from ossicle.models.data.worsen import KINDS, RATE, SNR_DB, Noises, Numbered, generator, level_of, read_float
from scipy.signal import fftconvolve

Audio = NDArray[np.float32]


def in_rooms(out: Path, rows: Numbered, others: list[Row], babblers: list[str], seed: int) -> list[Row]:
    """OUT/test-wake/NNNN.flac of clips in rooms and noise that no training clip has, and other contexts.

    Args:
        others: rows, one of whose wake words is said by another speaker in NNNN-other.flac.
    """
    noises, made = Noises(out, babblers), []
    for number, row in rows:
        rng = generator(seed, 9, number)
        begin = round(wake_seconds(row) * RATE)
        room = room_response(rng)
        own = reverberant(read_float(out / row["path"]), room)
        theirs = [other for other in others if person(other) != person(row)]
        other = another_context(out, theirs[rng.integers(len(theirs))], own[:begin], room)
        kind, snr = KINDS[number % len(KINDS)], round(float(rng.uniform(*SNR_DB)), 2)
        noise = noises(kind, len(own), rng)
        noise = noise * level_of(own, noise, snr)
        audio = {"": own + noise, "-other": other + noise[:begin], "-noise": noise[:begin]}
        gain = min(1.0, 0.99 / max(float(np.abs(part).max()) for part in audio.values()))
        paths = {name: f"test-wake/{number:04d}{name}.flac" for name in audio}
        for name, part in audio.items():
            soundfile.write(out / paths[name], part * np.float32(gain), RATE, subtype="PCM_16")
        said = {
            "path": paths[""], "wake_other": paths["-other"], "wake_noise": paths["-noise"],
            "noise": kind, "snr_db": snr, "gain": round(gain, 6), "clean": row["path"],
        }  # fmt: skip
        made.append({**row, **said})
    return made


def person(row: Row) -> str:
    """Engine and voice; of espeak-ng the variant, which an accent does not change."""
    return row["speaker"].rpartition("+")[2]


def reverberant(speech: Audio, room: Audio) -> Audio:
    """As heard in a room whose response begins with its direct path, no longer than it was."""
    return np.asarray(fftconvolve(speech, room)[: len(speech)], np.float32)


def another_context(out: Path, row: Row, own: Audio, room: Audio) -> Audio:
    """The end of another row's context, as long and as loud as this one's and in its room."""
    spoken = read_float(out / row["path"])[: round(wake_seconds(row) * RATE)][-len(own) :]
    heard = reverberant(np.pad(spoken, (len(own) - len(spoken), 0)), room)
    return heard * np.float32(np.sqrt(np.mean(own**2) / (np.mean(heard**2) + 1e-12)))
