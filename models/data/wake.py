"""Wake words before commands, which a text leaves out: what is said, and where the command begins.

    wake word | pause | command        one voice; `wake_seconds` of a row end LEAD_S before the command

The encoder's state goes on from that context into the command (Schwarz et al. 2021, arXiv:2011.10538).
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from ossicle.models.data.grammar import Grammar

RATE = 16000
PAUSE_S = (0.2, 0.8)  # between wake word and command
LEAD_S = 0.15  # of that pause, which belongs to the command: less than the shortest
GRID = 16  # samples: a command begins at a whole millisecond, which a row's seconds say exactly


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
