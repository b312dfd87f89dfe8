"""Catalogues to train with: phrases that the clips of a batch hold, among others that none of them does.

A phrase of a clip is the value of a slot (a name, a device) or a random run of its words (Pundak et al. 2018,
arXiv:1808.02480), so that there is no end of them; its other values are phrases too. Some are split into
other pieces than the tokenizer's, as BPE-dropout does (Provilkov et al. 2020, arXiv:1910.13267), in the
clip's labels too: the adapter is to spell what a phrase says, not to know names. Distractors are phrases of
other texts, and words put together from halves of two words. Some clips' phrases are left out, so that
attending to none is learned.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from ossicle.models.data.split import Row
from ossicle.runtime.phrases import Labels
from sentencepiece import SentencePieceProcessor

OFFSET = 1  # label = piece + 1
SHORTEST_WORD = 4  # letters of a word that may be a phrase of its own
WORD_BEGIN = "▁"


@dataclass(frozen=True)
class ContextOptions:
    """What a recipe may set, all of it shares but the counts.

    Raises:
        ValueError: a value out of range.
    """

    slots: tuple[str, ...] = ()  # whose values are phrases
    distractors: int = 100  # at most, in a batch; at least a tenth of it
    absent: float = 0.3  # clips whose phrase is not in the catalogue
    words: float = 0.4  # clips with a run of words as phrase, where they hold a slot's value too
    split: float = 0.3  # phrases that are split into other pieces
    split_piece: float = 0.3  # pieces of those that are
    spliced: float = 0.3  # distractors made of two words

    def __post_init__(self) -> None:
        for name in ("absent", "words", "split", "split_piece", "spliced"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} = {getattr(self, name)} is no share; use 0 to 1")
        if self.distractors < 1:
            raise ValueError(f"distractors = {self.distractors} is not possible; use 1 or more")


@dataclass(frozen=True)
class Drawn:
    """Labels of the clips of a batch, and the catalogue for all of them, in random order."""

    labels: list[Labels]
    phrases: list[Labels]


class Contexts:
    """Draws catalogues for batches of clips.

    Args:
        rows: `text` and `slots` of the training set: what phrases are made of.
        tokenizer: of the recognizer.
    Raises:
        ValueError: no row has a value of the slots.
    """

    def __init__(self, rows: Iterable[Row], tokenizer: bytes, options: ContextOptions) -> None:
        self.options, self._processor = options, SentencePieceProcessor(model_proto=tokenizer)
        pieces = range(self._processor.get_piece_size())
        self._pieces = {self._processor.id_to_piece(i): i + OFFSET for i in pieces}
        self._texts = {label: piece for piece, label in self._pieces.items()}
        self._known: dict[str, Labels] = {}
        rows = list(rows)
        self._values = sorted(
            {v for row in rows for slot, v in (row.get("slots") or {}).items() if slot in options.slots}
        )
        if not self._values:
            raise ValueError(f"no training row has a value of the slots {', '.join(options.slots)}")
        self._spans = {tuple(value.split()) for value in self._values}
        self._longest = max(map(len, self._spans))
        counts = Counter(word for row in rows for word in row["text"].split())
        self._words = sorted(word for word in counts if len(word) >= SHORTEST_WORD)
        rarity = np.array([counts[word] for word in self._words]) ** -0.5
        self._rarity = np.cumsum(rarity / rarity.sum())

    def draw(self, clips: Sequence[Labels], rng: np.random.Generator) -> Drawn:
        """The catalogue of a batch, and the clips' labels, some of them split anew."""
        labels, phrases = [], []
        for clip in clips:
            words = self.text(clip).split()
            span = self.span(words, rng)
            if span is None:
                labels.append(tuple(clip))
                continue
            first, past = span
            spelled = [self.spell(word) for word in words]
            if rng.random() < self.options.split:
                spelled[first:past] = [self.split(word, rng) for word in spelled[first:past]]
            if rng.random() >= self.options.absent:
                phrases += [sum(spelled[a:b], ()) for a, b in [span, *self._apart(words, span)]]
            labels.append(sum(spelled, ()))
        most = self.options.distractors
        phrases += [self.distractor(rng) for _ in range(rng.integers(most // 10, most + 1))]
        phrases = list(dict.fromkeys(phrases))
        return Drawn(labels, [phrases[i] for i in rng.permutation(len(phrases))])

    def text(self, labels: Sequence[int]) -> str:
        """Text of labels."""
        return "".join(self._texts[label] for label in labels).replace(WORD_BEGIN, " ").strip()

    def spell(self, text: str) -> Labels:
        """Labels of words, as the tokenizer has it."""
        if text not in self._known:
            self._known[text] = tuple(piece + OFFSET for piece in self._processor.encode(text))
        return self._known[text]

    def named(self, text: str) -> list[str]:
        """Values of slots in a text, the longest first, none within another."""
        words = text.split()
        return [" ".join(words[first:past]) for first, past in self._apart(words, (0, 0))]

    def _apart(self, words: list[str], span: tuple[int, int]) -> list[tuple[int, int]]:
        """Values of slots beside a span, the longest first, none within another."""
        taken, found = set(range(*span)), []
        for first, past in sorted(self._named(words), key=lambda own: own[0] - own[1]):
            if not taken & set(range(first, past)):
                taken |= set(range(first, past))
                found.append((first, past))
        return found

    def span(self, words: list[str], rng: np.random.Generator) -> tuple[int, int] | None:
        """(first, past) of a phrase in a clip's words: a slot's value or a run; None if there is none."""
        named = self._named(words)
        if named and rng.random() >= self.options.words:
            return named[rng.integers(len(named))]
        starts = [i for i, word in enumerate(words) if len(word) >= SHORTEST_WORD]
        if not starts:
            return None
        first = starts[rng.integers(len(starts))]
        return first, min(len(words), first + 1 + int(rng.random() < 0.3))

    def split(self, labels: Labels, rng: np.random.Generator) -> Labels:
        """Some pieces of a word cut in two, each half a piece too."""
        made: list[int] = []
        for label in labels:
            text = self._texts[label]
            cuts = [i for i in range(1, len(text)) if text[:i] in self._pieces and text[i:] in self._pieces]
            if cuts and rng.random() < self.options.split_piece:
                cut = cuts[rng.integers(len(cuts))]
                made += [self._pieces[text[:cut]], self._pieces[text[cut:]]]
            else:
                made.append(label)
        return tuple(made)

    def distractor(self, rng: np.random.Generator) -> Labels:
        """A phrase of some other text, or one that there is not."""
        kind = rng.random()
        if kind < self.options.spliced:
            return self.spell(self._spliced(rng))
        if kind < 0.5 + 0.5 * self.options.spliced:
            return self.spell(self._values[rng.integers(len(self._values))])
        return self.spell(self._word(rng))

    def _named(self, words: list[str]) -> list[tuple[int, int]]:
        return [
            (first, past)
            for first in range(len(words))
            for past in range(first + 1, min(len(words), first + self._longest) + 1)
            if tuple(words[first:past]) in self._spans
        ]

    def _word(self, rng: np.random.Generator) -> str:
        """Rare ones more often than they occur."""
        return self._words[min(int(np.searchsorted(self._rarity, rng.random())), len(self._words) - 1)]

    def _spliced(self, rng: np.random.Generator) -> str:
        first, second = self._word(rng), self._word(rng)
        return first[: max(2, len(first) // 2)] + second[len(second) // 2 :]


def catalogue_for(
    names: Sequence[str], others: Sequence[str], size: int, rng: np.random.Generator
) -> list[str]:
    """So many phrases in random order: names and, of the rest, some of the others, each once."""
    pool = [other for other in dict.fromkeys(others) if other not in names]
    chosen: NDArray = rng.permutation(len(pool))[: max(0, size - len(names))]
    made = [*names, *(pool[i] for i in chosen)]
    return [made[i] for i in rng.permutation(len(made))]
