"""Names by sound: what a recognizer makes of a name that it never heard, told from what it makes of others.

    odds(name, heard) = log P(name, heard) - log P(name) P(heard),  summed over the best alignment in chunks
                        of up to two letters: "ph" heard as "f" speaks for the two being the same

A table of such odds is learned from a recognizer's mishearings of other names (models/aliases.py; Ristad &
Yianilos 1998, IEEE PAMI 20:5, "Learning string-edit distance"), and lies beside its checkpoint. It also has
the words that the recognizer was trained on, and how much likelier each is than its letters by chance: what
is heard as "oslo" may well be Oslo. And it says beside which words names stand: after "call". What each of
these counts may be there too, "weights"; see alias_weights.py.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from functools import cached_property
from math import log
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from ossicle.runtime.alias_weights import Weights

SUFFIX = ".aliases.json"
LETTERS = "abcdefghijklmnopqrstuvwxyz"  # spaces and apostrophes are not heard
CHUNKS = ((1, 0), (1, 1), (1, 2), (2, 1), (2, 2))  # letters of a name, letters heard; (0, 1) apart
MOST_LETTERS, MOST_CANDIDATES = 32, 64
NEVER = -1e4
BEGIN, END = "<s>", "</s>"
MORE_DOUBT, LIST, SHORTEST_LIST = 2.0, 100, 50
"""What a name must bring besides, for each factor of e that its list is longer than one of 100: among many
one is soon found that is nearly as close. Chosen on other names, docs/decisions/0016."""


class SoundTable:
    """Odds of chunks of letters, words that were trained on, and what each counts (`weights`).

    Raises:
        ValueError: unreadable, or not such a table.
    """

    def __init__(self, path: Path) -> None:
        try:
            table = json.loads(path.read_text())
            odds = [(str(x), str(y), float(value)) for x, y, value in table["odds"]]
            self.words, self.before, self.after = (
                {str(word): float(value) for word, value in table[part].items()}
                for part in ("words", "before", "after")
            )
            self.weights = Weights.read(table["weights"]) if "weights" in table else Weights()
        except (OSError, KeyError, TypeError, ValueError, AttributeError) as error:
            raise ValueError(f"{path}: not a table of what names are heard as ({error})") from None
        size = len(LETTERS) + 2
        self.odds = np.full((size * size, size * size), NEVER, np.float32)
        """By the codes of two chunks: a letter's is 1 or more, of no letter 0, of two their own."""
        for x, y, value in odds:
            self.odds[_chunk(x), _chunk(y)] = value

    def place(self, before: str, after: str) -> float:
        """How much likelier a name is between two words than anywhere, natural log."""
        return self.before.get(before, 0.0) + self.after.get(after, 0.0)

    def usual(self, words: Iterable[str]) -> float:
        """How much likelier some words are than their letters by chance, natural log."""
        return sum(self.words.get(word, 0.0) for word in words)


def table_path(checkpoint: Path) -> Path:
    """Where the table of a checkpoint is, if it has one."""
    return checkpoint.with_name(checkpoint.stem + SUFFIX)


def beside(checkpoint: Path) -> SoundTable | None:
    """The table that lies beside a checkpoint, if one does. Raises ValueError on one that can't be read."""
    path = table_path(checkpoint)
    return SoundTable(path) if path.is_file() else None


class Aliases:
    """Names to be found by what is heard; made ready when first asked.

    Args:
        names: as texts are written, see `phrases.normalized`.
    """

    def __init__(self, names: Iterable[str], table: SoundTable) -> None:
        self.names, self.table = list(names), table
        self.doubt = MORE_DOUBT * log(max(SHORTEST_LIST, len(self.names)) / LIST)
        """What the length of the list adds to the doubt in each name."""

    def __len__(self) -> int:
        return len(self.names)

    def near(self, heard: Sequence[str]) -> list[list[tuple[str, float]]]:
        """Of each text heard the names that it may be, and their odds (above 0)."""
        which, pairs = [], []
        spoken, lengths = _coded(heard)
        for i, names in enumerate(self._likely(spoken, lengths)):
            which += [i] * len(names)
            pairs += names
        if not pairs:
            return [[] for _ in heard]
        codes, sizes = self._codes
        odds = _aligned(self.table.odds, codes[pairs], sizes[pairs], spoken[which], lengths[which])
        found: list[list[tuple[str, float]]] = [[] for _ in heard]
        for i, name, value in zip(which, pairs, odds.tolist(), strict=True):
            if value > 0:
                found[i].append((self.names[name], value))
        return found

    def _likely(self, spoken: NDArray[np.int16], lengths: NDArray[np.int64]) -> list[list[int]]:
        """Numbers of the names to be compared with each text: those that share the most letters with it."""
        sizes = self._codes[1]
        found = []
        for bag, length in zip(_bags(spoken), lengths, strict=True):
            fits = (2 * sizes >= length) & (sizes <= 2 * length)
            chosen = np.flatnonzero(fits)
            if len(chosen) > MOST_CANDIDATES:
                shared = self._bags[chosen] @ bag / (sizes[chosen] + length)
                chosen = np.sort(chosen[np.argsort(-shared, kind="stable")[:MOST_CANDIDATES]])
            found.append(chosen.tolist())
        return found

    @cached_property
    def _codes(self) -> tuple[NDArray[np.int16], NDArray[np.int64]]:
        return _coded(self.names)

    @cached_property
    def _bags(self) -> NDArray[np.float32]:
        return _bags(self._codes[0])


def _chunk(letters: str) -> int:
    code = 0
    for letter in letters:
        code = code * (len(LETTERS) + 2) + _code(letter)
    return code


def _code(letter: str) -> int:
    return LETTERS.find(letter) + 1 or len(LETTERS) + 1


def _coded(texts: Sequence[str]) -> tuple[NDArray[np.int16], NDArray[np.int64]]:
    """(codes of the letters of texts [n, 1 + MOST_LETTERS], 0 before and after them; lengths)."""
    lines = [text.replace(" ", "").replace("'", "")[:MOST_LETTERS] for text in texts]
    padded = "".join(line.ljust(MOST_LETTERS) for line in lines)
    table = np.full(256, len(LETTERS) + 1, np.int16)
    table[ord(" ")] = 0
    table[[ord(letter) for letter in LETTERS]] = np.arange(1, len(LETTERS) + 1)
    codes = np.zeros((len(lines), MOST_LETTERS + 1), np.int16)
    letters = np.frombuffer(padded.encode("latin-1", "replace"), np.uint8)
    codes[:, 1:] = table[letters].reshape(-1, MOST_LETTERS)
    return codes, np.array([len(line) for line in lines], np.int64)


def _bags(codes: NDArray[np.int16]) -> NDArray[np.float32]:
    """Of each text which letters it has, and which it has twice, [n, 2 * letters]."""
    size = len(LETTERS) + 2
    rows = np.arange(len(codes))[:, None] * size
    counts = np.bincount((codes + rows).ravel(), minlength=len(codes) * size).reshape(-1, size)[:, 1:]
    return np.concatenate([counts >= 1, counts >= 2], axis=1).astype(np.float32)


def _aligned(
    odds: NDArray[np.float32], names: NDArray[np.int16], sizes: NDArray[np.int64],
    heard: NDArray[np.int16], lengths: NDArray[np.int64],
) -> NDArray[np.float32]:  # fmt: skip
    """Odds of the best alignment of each name with what was heard, [pairs]."""
    width, wide = int(lengths.max()) + 1, len(LETTERS) + 2
    rows = np.arange(len(names))
    last = heard[:, :width].astype(np.int64)
    ones = [np.zeros_like(last), last, np.zeros_like(last)]
    ones[2][:, 2:] = last[:, 1:-1] * wide + last[:, 2:]
    added = np.cumsum(np.where(last > 0, odds[0, last], 0.0), axis=1, dtype=np.float32)
    best = np.full(len(names), NEVER, np.float32)
    before: list[NDArray[np.float32]] = []
    for i in range(int(sizes.max()) + 1):
        row = np.full((len(names), width), NEVER, np.float32)
        if i == 0:
            row[:, 0] = 0.0
        for a, b in CHUNKS:
            if a > i:
                continue
            code = names[:, i].astype(np.int64)
            if a == 2:
                code += names[:, i - 1].astype(np.int64) * wide
            come = before[i - a][:, : width - b] + odds[code[:, None], ones[b][:, b:]]
            np.maximum(row[:, b:], come, out=row[:, b:])
        row = np.maximum.accumulate(row - added, axis=1) + added
        before.append(row)
        ends = sizes == i
        best[ends] = row[rows[ends], lengths[ends]]
    return best
