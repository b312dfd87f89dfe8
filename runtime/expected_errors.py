"""How many words of a sentence are likely to be wrong, given what else may have been said.

    E[errors(w)] = sum over sentences v of P(v) d(w, v),    P(v) = exp(score(v)) / sum of exp(score)

d is the distance in words put in, left out or replaced. The sentence with the fewest is not always the
likeliest: Stolcke, König & Weintraub 1997, "Explicit word error minimization in N-best list rescoring",
Eurospeech.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def expected_errors(sentences: Sequence[Sequence[str]], scores: Sequence[float]) -> NDArray[np.float64]:
    """Expected word errors [N] of sentences, each of whose scores [N] is a log-probability but for a term
    that all have."""
    likely = np.exp(np.asarray(scores) - np.max(scores))
    return distances(sentences) @ (likely / likely.sum())


def distances(sentences: Sequence[Sequence[str]]) -> NDArray[np.int16]:
    """Words put in, left out or replaced [N, N] from each sentence to each other: Levenshtein's distance."""
    lengths = np.array([len(words) for words in sentences])
    longest, many = int(lengths.max(initial=0)), np.arange(len(sentences))
    numbers: dict[str, int] = {}
    words = np.full((len(sentences), longest), -1)
    for row, sentence in zip(words, sentences, strict=True):
        row[: len(sentence)] = [numbers.setdefault(word, len(numbers)) for word in sentence]
    # above[:, :, j]: from the first words of one sentence, as many as passed, to the first j of the other.
    above = np.broadcast_to(np.arange(longest + 1, dtype=np.int16), (*many.shape, *many.shape, longest + 1))
    found = above[many[:, None], many, lengths].copy()
    for passed in range(1, longest + 1):
        row = np.empty_like(above)
        row[:, :, 0] = passed
        differ = words[:, None, passed - 1, None] != words[None]
        kept = np.minimum(above[:, :, :-1] + differ, above[:, :, 1:] + 1)
        for j in range(longest):
            np.minimum(kept[:, :, j], row[:, :, j] + 1, out=row[:, :, j + 1], casting="same_kind")
        ends = lengths == passed
        found[ends] = row[many[ends, None], many, lengths]
        above = row
    return found
