"""Sentences drawn from a trigram model of CMU Sphinx: everyday English to train a language model on.

    python -m ossicle.models.data.sphinx_lm MODEL.lm.bin OUT.jsonl [--sentences 300000] [--longest 16]
                                                         [--seed 1]

writes a manifest, a line a sentence: {"path": MODEL, "text": …}. No one has said or written them. A model
comes with pocketsphinx (its wheel has pocketsphinx/model/en-us/en-us.lm.bin, 72,547 words; BSD licence).

The file is a trie of n-grams by their last word: a unigram, the bigrams that it ends, the trigrams that
these end, in packed bits; values are logarithms to the base 1.0001, of bigrams and trigrams in tables of
65,536. What follows a history that was seen is drawn from that; with the probability that this leaves, from
what follows a shorter one (Katz 1987, "Estimation of probabilities from sparse data", IEEE Trans. ASSP 35).
"""

from __future__ import annotations

import argparse
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from ossicle.models.data.split import write_manifest

MAGIC = b"Trie Language Model"
BINS, PADDING = 1 << 16, 8
BASE = 1.0001
BEGIN, END = "<s>", "</s>"
UNIGRAM = np.dtype([("score", "<f4"), ("backoff", "<f4"), ("next", "<u4")])
SPELLED = re.compile(r"[a-z]+(?:'[a-z]+)*'?")
DRAWS = 1000  # in search of a word that a longer history has not; then any


@dataclass(frozen=True)
class Followers:
    """What follows histories: `words`, sorted by the number of the history before each, `keys`; `total`, the
    sum of all probabilities up to each, with a zero before."""

    keys: NDArray[np.int64]
    words: NDArray[np.int64]
    total: NDArray[np.float64]

    @classmethod
    def of(cls, keys: NDArray, words: NDArray, scores: NDArray) -> Followers:
        order = np.lexsort((words, keys))
        total = np.concatenate([[0.0], np.cumsum(BASE ** scores[order].astype(np.float64))])
        return cls(keys[order], words[order], total)

    def draw(self, key: int, at: float) -> tuple[int | None, NDArray[np.int64]]:
        """The word at `at` of the history's probability, or None beyond what it has; and all its words."""
        first, last = np.searchsorted(self.keys, [key, key + 1])
        found = self.words[first:last]
        place = int(np.searchsorted(self.total, self.total[first] + at, side="right")) - 1
        return (int(self.words[place]) if place < last else None), found


class Trigrams:
    """A model, read. Raises ValueError, one line, on a file that is none."""

    def __init__(self, path: Path) -> None:
        try:
            data = path.read_bytes()
        except OSError as error:
            raise ValueError(f"{path}: {error.strerror}") from error
        try:
            self._read(data)
        except (ValueError, IndexError, UnicodeDecodeError) as error:
            raise ValueError(f"{path}: not a whole trigram model of CMU Sphinx ({error})") from None

    def _read(self, data: bytes) -> None:
        if not data.startswith(MAGIC) or data[len(MAGIC)] != 3:
            raise ValueError(f"it does not begin with {MAGIC.decode()!r} and the order 3")
        reader = _Reader(data, len(MAGIC) + 1)
        counts = [int(count) for count in reader.array("<u4", 3)]
        reader.array("<u4", 1)  # how values are coded: in tables always
        of_two, _, of_three = (reader.array("<f4", BINS) for _ in range(3))
        unigrams = reader.array(UNIGRAM, counts[0] + 1)
        word, code = counts[0].bit_length(), 16
        twos = reader.packed(counts[1] + 1, [word, code, code, counts[2].bit_length()])
        threes = reader.packed(counts[2] + 1, [word, code])
        reader.array("<u4", 1)
        self.words = [part.decode() for part in data[reader.place :].split(b"\0")[: counts[0]]]
        if len(self.words) != counts[0]:
            raise ValueError("words are missing")
        self.begin, self.end = self.words.index(BEGIN), self.words.index(END)
        self._index(unigrams, twos, threes, of_two, of_three)

    def _index(self, unigrams: NDArray, twos: list, threes: list, of_two: NDArray, of_three: NDArray) -> None:
        """By history, what the file has by last word."""
        many = self._many = len(self.words)
        last = np.repeat(np.arange(many), np.diff(unigrams["next"].astype(np.int64)))
        before, _, score, ends = (field[: len(last) + 1] for field in twos)
        ended = np.repeat(np.arange(len(last)), np.diff(ends))
        first, score_three = (field[: len(ended)] for field in threes)
        self._one = Followers.of(np.zeros(many, np.int64), np.arange(many), unigrams["score"][:-1])
        self._two = Followers.of(before[:-1], last, of_two[score[:-1]])
        self._three = Followers.of(first * many + before[ended], last[ended], of_three[score_three])

    def sentences(self, count: int, longest: int, seed: int) -> Iterator[str]:
        """So many sentences of at most `longest` words."""
        draw = random.Random(seed)
        while count:
            if words := self.sentence(draw, longest):
                count -= 1
                yield " ".join(words)

    def sentence(self, draw: random.Random, longest: int) -> list[str] | None:
        """Words of a sentence; None of one that is longer, or has words that are no letters."""
        history, words = (-1, self.begin), []
        while True:
            word = self._word(history, draw)
            if word == self.end:
                return words or None
            if len(words) == longest or not SPELLED.fullmatch(self.words[word]):
                return None
            words.append(self.words[word])
            history = (history[1], word)

    def _word(self, history: tuple[int, int], draw: random.Random) -> int:
        """From the trigrams of a history; with the probability that they leave, from its last word's bigrams,
        or of all words, of those that the longer history has not."""
        first, second = history
        found, had = self._three.draw(first * self._many + second, draw.random())
        for _ in range(DRAWS):
            if found is not None:
                return found
            word, other = self._two.draw(second, draw.random())
            while word is None:
                word, _ = self._one.draw(0, draw.random() * self._one.total[-1])
                word = None if _has(other, word) or word == self.begin else word
            found = None if _has(had, word) else word
        return word


def _has(words: NDArray[np.int64], word: int | None) -> bool:
    place = int(np.searchsorted(words, word))
    return place < len(words) and words[place] == word


class _Reader:
    """Takes one array after another."""

    def __init__(self, data: bytes, place: int) -> None:
        self.data, self.place = data, place

    def array(self, kind: str | np.dtype, count: int) -> NDArray:
        made = np.frombuffer(self.data, kind, count, self.place)
        self.place += made.nbytes
        return made

    def packed(self, count: int, widths: list[int]) -> list[NDArray[np.int64]]:
        """Fields of so many bits each, the lowest bit first, no bit between them."""
        size = (count * sum(widths) + 7) // 8
        bits = np.unpackbits(self.array("u1", size), bitorder="little")[: count * sum(widths)]
        rows, made, first = bits.reshape(count, -1), [], 0
        for width in widths:
            value = np.zeros(count, np.int64)
            for bit in range(width):
                value |= rows[:, first + bit].astype(np.int64) << bit
            made.append(value)
            first += width
        self.place += PADDING
        return made


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--sentences", type=int, default=300000)
    parser.add_argument("--longest", type=int, default=16, help="words; longer sentences are not taken")
    parser.add_argument("--seed", type=int, default=1)
    a = parser.parse_args()
    if min(a.sentences, a.longest) < 1:
        parser.error("--sentences and --longest must be 1 or more")
    try:
        model = Trigrams(a.model)
    except ValueError as error:
        parser.error(str(error))
    rows = [
        {"path": a.model.name, "text": text} for text in model.sentences(a.sentences, a.longest, a.seed)
    ]
    write_manifest(a.out, rows)
    print(f"{a.out}: {len(rows)} sentences")


if __name__ == "__main__":
    main()
