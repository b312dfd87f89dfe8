"""Wake words before commands, which a text leaves out: what is said, and where the command begins.

    wake word | pause | command        one voice; `wake_seconds` of a row end LEAD_S before the command
    wake_other, wake_noise             of the noisy test set: what else may come before the same command

The encoder's state goes on from that context into the command (Schwarz et al. 2021, arXiv:2011.10538). What
differs between the three contexts of a test clip is who spoke in it: another speaker's is as loud, and all
are of one length, in one room, in one noise.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray
from ossicle.models.data.grammar import Grammar
from ossicle.models.data.rooms import room_response
from ossicle.models.data.split import Row
from ossicle.models.data.worsen import KINDS, SNR_DB, Noises, Numbered, generator, level_of, read_float
from scipy.signal import fftconvolve

RATE = 16000
PAUSE_S = (0.2, 0.8)  # between wake word and command
LEAD_S = 0.15  # of that pause, which belongs to the command: less than the shortest
GRID = 16  # samples: a command begins at a whole millisecond, which a row's seconds say exactly
Audio = NDArray[np.float32]


@dataclass(frozen=True)
class Wake:
    """What is said, and the seconds of silence after it."""

    spoken: str
    pause: float


def draw_wake(grammar: Grammar, rng: random.Random) -> Wake:
    """A wake word of the grammar's."""
    return Wake(grammar.call(rng), round(rng.uniform(*PAUSE_S), 2))


def command_begin(pause_end_s: float) -> float:
    """The seconds of context of a clip whose pause after the wake word ends there."""
    return (round((pause_end_s - LEAD_S) * RATE) // GRID * GRID) / RATE


def wake_seconds(row: Row) -> float:
    """Seconds at the begin of a row's clip that its text leaves out.

    Raises:
        ValueError: it has none, or what is no number of seconds.
    """
    seconds = row.get("wake_seconds")
    if seconds is None:
        raise ValueError(f"{row.get('path')}: its row has no `wake_seconds`, those before the text")
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not seconds > 0:
        raise ValueError(
            f"{row.get('path')}: `wake_seconds` is to be a number above 0, the seconds before the text, "
            f"not {seconds!r}"
        )
    return seconds


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
