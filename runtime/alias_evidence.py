"""What the transducer itself says of a name in place of what it heard: the audio's word, beside the letters'.

    said = log P(name | audio)    heard = log P(heard | audio)    silent = log P(name | no audio)

P(. | audio) sums the alignments in the frames of what was heard and a few more, after the labels before it.
A name never heard has next to none of it, since the network never gave such labels one after another; how it
would give them with no audio at all, the encoder's output being 0, is taken out (Variani et al. 2020,
arXiv:2003.07705; Meng et al. 2021, arXiv:2011.01991). What is left tells names apart that the letters heard
do not. Each piece more is a blank less, so that pieces are counted. What each counts: alias_weights.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf

import numpy as np
from numpy.typing import NDArray
from ossicle.runtime.alias_weights import Audio
from ossicle.runtime.transducer import BLANK, Context, add_logs

MARGIN = 2
"""Frames before and after what was heard."""
LogProbs = Sequence[NDArray[np.float64]]
Question = tuple[int | None, Context]
"""A frame, None for no audio, and the labels before."""
Ask = Callable[[list[Question]], LogProbs]
"""Log-probabilities [V] of each."""
Spell = Callable[[str], tuple[int, ...] | None]


class Evidence:
    """One utterance, as the transducer heard it.

    Args:
        frames: of its encoder.
        context: labels that the prediction network looks at.
        spell: labels of a text; None where there are none.
    """

    def __init__(self, frames: int, context: int, ask: Ask, spell: Spell) -> None:
        self._frames, self._context, self._ask, self._spell = frames, context, ask, spell
        self._known: dict[Question, NDArray[np.float64]] = {}

    def of(
        self, name: str, heard: Sequence[str], before: Sequence[str], start: int, end: int
    ) -> Audio | None:
        """Of a name and some words heard in the frames from `start` to `end`; None if it has no spelling.

        Args:
            before: the words before them.
        """
        said, other = self._spell(name), self._spell(" ".join(heard))
        if said is None or other is None:
            return None
        after = (BLANK,) * self._context + (self._spell(" ".join(before[-self._context :])) or ())
        first, last = max(0, start - MARGIN), min(self._frames, end + MARGIN)
        frames, after = range(first, last), after[-self._context :]
        ways = _contexts(after, said)
        audio = self._aligned(ways, said, frames), self._aligned(_contexts(after, other), other, frames)
        return Audio(*audio, self._silent(ways, said), len(said) - len(other))

    def _aligned(self, contexts: list[Context], labels: tuple[int, ...], frames: range) -> float:
        """Log-probability of labels in some frames, the sum over their alignments."""
        reached = [0.0] + [-inf] * len(labels)
        for probs in self._log_probs(frames, contexts):
            for i, label in enumerate(labels):
                reached[i + 1] = add_logs(reached[i + 1], reached[i] + float(probs[i][label]))
            reached = [value + float(row[BLANK]) for value, row in zip(reached, probs, strict=True)]
        return reached[-1]

    def _silent(self, contexts: list[Context], labels: tuple[int, ...]) -> float:
        """Log-probability of labels without audio, blanks left out."""
        (probs,) = self._log_probs([None], contexts[:-1])
        return sum(
            float(row[label]) - float(np.logaddexp.reduce(np.delete(row, BLANK)))
            for row, label in zip(probs, labels, strict=True)
        )

    def _log_probs(self, frames: Sequence[int | None], contexts: list[Context]) -> list[LogProbs]:
        """Of each frame after each context; what is not known yet is asked all at once."""
        rows = [[(frame, context) for context in contexts] for frame in frames]
        new = [one for one in dict.fromkeys(one for row in rows for one in row) if one not in self._known]
        if new:
            self._known.update(zip(new, self._ask(new), strict=True))
        return [[self._known[one] for one in row] for row in rows]


def _contexts(before: Context, labels: tuple[int, ...]) -> list[Context]:
    """The labels before each label, and those before the end."""
    whole, width = (*before, *labels), len(before)
    return [whole[i : i + width] for i in range(len(labels) + 1)]
