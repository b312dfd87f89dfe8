"""Shallow fusion: phrases that may be said earn a boost while they are heard, and keep it if heard whole.

    score(labels)  = log P_transducer + boost * credit(labels)
    credit(labels) = letters of the words that lie in a phrase, each word once

A phrase is a run of whole words. While the words at the end may still become one, their letters are credited
at once, so that the search does not drop what it will want, and taken back when they cannot any more
(look-ahead: Gourav et al. 2021, arXiv:2102.07739; failure links: Aho & Corasick 1975).

The trie is of word pieces, in every spelling: a sorted list of phrases, in which what a prefix leads to is an
interval. Its nodes, their failure links and gains are made when a search first comes to them. Credit counts
letters, not pieces: a sentence has the same in every spelling.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from ossicle.runtime.lattice import WORD_BEGIN
from ossicle.runtime.phrases import normalized_all
from ossicle.runtime.transducer import BLANK

BOOST = 0.5
"""Natural log, for each letter; docs/decisions/0016-shallow-fusion.md says how it was chosen."""
MOST_BOOST = 20.0
MOST_NODES = 4096
"""What is remembered of the trie, about 2 KB a node; more, and it is forgotten."""
Word = tuple[str, bool]
State = tuple[Word, ...]
"""The words at the end that may still become a phrase, and of each whether it lies in a whole one already.

The last is begun, not ended; no words: in a word that no phrase goes on with.
"""


class Boosts:
    """Phrases, ready to be boosted in a search.

    Args:
        phrases: in any order, upper or lower case.
        pieces: text of each label, blank's included.
        boost: for each letter, natural log.
    Raises:
        ValueError: a boost out of range.
    """

    start: State = (("", False),)

    def __init__(self, phrases: Iterable[str], pieces: Sequence[str], boost: float = BOOST) -> None:
        check_boost(boost)
        self.boost = boost
        self._pieces = ["", *(piece.replace(WORD_BEGIN, " ") for piece in pieces[BLANK + 1 :])]
        made = normalized_all(phrases)
        self.letters = letters_of(self._pieces)
        self.left_out = _not_of(self.letters, made)
        """Phrases with letters that no piece has."""
        made.difference_update(self.left_out)
        self._whole = made
        self._sorted = sorted(self._whole)
        self._begins = np.array([piece.startswith(" ") for piece in self._pieces])
        self._steps: dict[tuple[State, int], tuple[State, int]] = {}
        self._gains: dict[State, NDArray[np.float64]] = {}
        self._alone: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self._sorted)

    @property
    def phrases(self) -> list[str]:
        """Those that are boosted, as texts are written, sorted."""
        return self._sorted

    def complaint(self) -> str:
        """A sentence about the first phrase that is left out, and the letters that are its fault."""
        phrase = self.left_out[0]
        odd = "".join(dict.fromkeys(letter for letter in phrase if letter not in self.letters))
        return f"the model has no letters {odd!r}: spell {phrase!r} as it is said, or boost it not"

    def step(self, state: State, label: int) -> tuple[State, int]:
        """(state after a label, credit that it brings: below 0 where more is taken back than given)."""
        key = (state, label)
        if key not in self._steps:
            self._steps[key] = self._read(state, self._pieces[label])
        return self._steps[key]

    def finish(self, state: State) -> int:
        """Credit at the end of the sentence: what is taken back, or 0."""
        return _kept(self._ended(state)) - _letters(state)

    def gains(self, state: State) -> NDArray[np.float64]:
        """What each label adds to the score [V]: boost times its credit. Not to be written to."""
        if state not in self._gains:
            if len(self._gains) == MOST_NODES:
                self._gains.clear()
                self._steps.clear()
            self._gains[state] = np.multiply(self.boost, self._credits(state), dtype=np.float64)
        return self._gains[state]

    def _read(self, state: State, piece: str) -> tuple[State, int]:
        words = state
        for count, letters in enumerate(piece.split(" ")):
            if count and (not words or words[-1][0]):
                words = (*self._ended(words), ("", False))
            if letters and words:
                words = (*words[:-1], (words[-1][0] + letters, False))
        failed = next((n for n in range(len(words)) if self._leads_on(words[n:])), len(words))
        after = words[failed:]
        return after, _letters(after) + _kept(words[:failed]) - _letters(state)

    def _ended(self, words: State) -> State:
        """The same once the last word has ended: those of the longest phrase that ends there are kept."""
        for first in range(len(words)):
            if _text(words[first:]) in self._whole:
                return (*words[:first], *((word, True) for word, _ in words[first:]))
        return words

    def _leads_on(self, words: State) -> bool:
        text = _text(words)
        at = bisect_left(self._sorted, text)
        return at < len(self._sorted) and self._sorted[at].startswith(text)

    def _credits(self, state: State) -> NDArray[np.int64]:
        """Credit of each label [V]: of most at once, by `step` of those that a phrase may go on with."""
        if self._alone is None:
            begins = np.flatnonzero(self._begins)
            self._alone = np.zeros(len(self._pieces), np.int64)
            self._alone[begins] = [self.step(self.start, int(label))[1] for label in begins]
        broken, ended = _kept(state) - _letters(state), self.finish(state)
        credit = np.where(self._begins, ended + self._alone, broken)
        for label in self._going_on(state):
            credit[label] = self.step(state, label)[1]
        credit[BLANK] = 0
        return credit

    def _going_on(self, state: State) -> list[int]:
        """Labels whose first letter follows in some phrase, or that a word which has no letter yet takes."""
        letters = {letter for n in range(len(state)) for letter in self._next_letters(_text(state[n:]))}
        empty = state[-1:] == self.start
        return [
            label
            for label, piece in enumerate(self._pieces)
            if piece[:1] in letters or (empty and self._begins[label])
        ]

    def _next_letters(self, text: str) -> Iterator[str]:
        """Letters that follow a text in the phrases that begin with it."""
        at, count = bisect_left(self._sorted, text), len(self._sorted)
        while at < count and self._sorted[at].startswith(text):
            letter = self._sorted[at][len(text) : len(text) + 1]
            yield letter
            at = bisect_left(self._sorted, text + chr(ord(letter) + 1), at) if letter else at + 1


def check_boost(boost: float) -> None:
    """Raises ValueError on a boost out of range."""
    if not 0 <= boost <= MOST_BOOST:
        raise ValueError(f"a boost of {boost:g} a letter is not possible; use 0 to {MOST_BOOST:g}")


def letters_of(pieces: Sequence[str]) -> frozenset[str]:
    """Letters that pieces are made of, and the space; control pieces (<unk>) have none."""
    return frozenset("".join(piece for piece in pieces if not piece.startswith("<"))).union(" ")


def _not_of(letters: frozenset[str], phrases: set[str]) -> list[str]:
    """Phrases with other letters, sorted."""
    if not "".join(phrases).translate(dict.fromkeys(map(ord, letters))):
        return []
    return sorted(phrase for phrase in phrases if not letters.issuperset(phrase))


def _text(words: State) -> str:
    return " ".join([word for word, _ in words])


def _letters(words: State) -> int:
    return sum([len(word) for word, _ in words])


def _kept(words: State) -> int:
    """Letters of the words that lie in a whole phrase."""
    return sum([len(word) for word, kept in words if kept])
