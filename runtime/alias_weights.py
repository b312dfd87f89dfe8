"""What speaks for a name in place of some words heard, and how much each counts: learned, not chosen by hand.

    gain = odds * odds(name, heard) - usual * usual(heard) + place * place(words before and after)
           + word * words heard - familiar * usual(name) - known, if the name is of words trained on
           - doubt
           + said * log P(name | audio) - heard * log P(heard | audio) - silent * log P(name | no audio)
           - piece * (pieces of the name - pieces of what was heard)

The first lines are of letters and words (aliases.py), the last two of what the transducer says when asked
again (alias_evidence.py). A recognizer's own weights lie in its table of mishearings, learned by
models/name_weights.py; those here are of the first recognizer that had such a table. docs/decisions/0016.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import NamedTuple


class Letters(NamedTuple):
    """What letters and words say. `words`: how many were heard; `familiar`: how usual the name is, 0 where it
    was not trained on."""

    odds: float
    usual: float
    place: float
    words: int
    familiar: float


class Audio(NamedTuple):
    """What the transducer says: log-probabilities; `pieces`: how many more the name has than what was
    heard."""

    said: float
    heard: float
    silent: float
    pieces: int


@dataclass(frozen=True, kw_only=True)
class Weights:
    """How much each counts, all as written above; natural log."""

    odds: float = 0.4
    usual: float = 0.47
    place: float = 1.1
    word: float = 3.4
    familiar: float = 0.21
    known: float = 1.4
    doubt: float = 14.6
    said: float = 0.42
    heard: float = 0.3
    silent: float = 0.31
    piece: float = 0.23

    @classmethod
    def read(cls, table: Mapping[str, float]) -> Weights:
        """Those of a table. Raises ValueError on one that is missing, not known or no finite number."""
        names = [field.name for field in fields(cls)]
        if not isinstance(table, Mapping) or sorted(table) != sorted(names):
            raise ValueError(f"its weights are to be {', '.join(names)}")
        try:
            values = {name: float(table[name]) for name in names}
        except TypeError:
            raise ValueError("its weights are to be numbers, doubt, odds and all others") from None
        if odd := [name for name, value in values.items() if not math.isfinite(value)]:
            raise ValueError(f"its weight {odd[0]!r} is {values[odd[0]]}, no finite number")
        return cls(**values)

    def of_letters(self, one: Letters) -> float:
        """What letters and words say, and the doubt."""
        known = self.familiar * one.familiar + (self.known if one.familiar else 0.0)
        heard = (
            self.odds * one.odds - self.usual * one.usual + self.place * one.place + self.word * one.words
        )
        return heard - known - self.doubt

    def of_audio(self, one: Audio) -> float:
        """What the transducer says."""
        audio = self.said * one.said - self.heard * one.heard
        return audio - self.silent * one.silent - self.piece * one.pieces
