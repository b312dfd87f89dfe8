"""How many words of a sentence are likely to be wrong, given what else may have been said.

    E[errors(w)] = sum over sentences v of P(v) d(w, v),    P(v) = exp(score(v)) / sum of exp(score)

d is the distance in words put in, left out or replaced. The sentence with the fewest is not always the
likeliest: Stolcke, König & Weintraub 1997, "Explicit word error minimization in N-best list rescoring",
Eurospeech.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numba import njit
from numpy.typing import NDArray


def expected_errors(sentences: Sequence[Sequence[str]], scores: Sequence[float]) -> NDArray[np.float64]:
    """Expected word errors [N] of sentences, each of whose scores [N] is a log-probability but for a term
    that all have."""
    likely = np.exp(np.asarray(scores) - np.max(scores))
    return distances(sentences) @ (likely / likely.sum())


def distances(sentences: Sequence[Sequence[str]]) -> NDArray[np.int32]:
    """Words put in, left out or replaced [N, N] from each sentence to each other: Levenshtein's distance."""
    lengths = np.array([len(words) for words in sentences])
    numbers: dict[str, int] = {}
    words = np.full((len(sentences), int(lengths.max(initial=0))), -1)
    for row, sentence in zip(words, sentences, strict=True):
        row[: len(sentence)] = [numbers.setdefault(word, len(numbers)) for word in sentence]
    return _distances(words, lengths)


@njit(cache=True)
def _distances(words, lengths):
    """words: numbers of words [N, longest]; lengths: how many each sentence has."""
    found = np.zeros((len(words), len(words)), np.int32)
    above = np.empty(words.shape[1] + 1, np.int32)
    for i in range(len(words)):
        for j in range(i):
            found[i, j] = found[j, i] = _distance(words[i, : lengths[i]], words[j, : lengths[j]], above)
    return found


@njit(cache=True)
def _distance(one, other, above):
    """From one sentence to another. What they begin and end with alike, most of it among the best of a
    lattice, is no part of the distance. above: room for a row of the table."""
    first, end, other_end = 0, len(one), len(other)
    while first < min(end, other_end) and one[first] == other[first]:
        first += 1
    while first < min(end, other_end) and one[end - 1] == other[other_end - 1]:
        end, other_end = end - 1, other_end - 1
    width = other_end - first
    for j in range(width + 1):
        above[j] = j
    for i in range(first, end):
        diagonal, above[0] = above[0], i - first + 1
        for j in range(width):
            replaced = diagonal + (one[i] != other[first + j])
            diagonal = above[j + 1]
            above[j + 1] = min(replaced, diagonal + 1, above[j] + 1)
    return above[width]
