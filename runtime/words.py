"""Text to the labels that a net of words takes: the same in training and on a device.

    words   = runs of letters, digits and apostrophes, lower case; an 's at the end is a word of its own
    label   = CRC-32 of a feature's UTF-8 text modulo the rows of the table
    step    = labels of a word, its first three letters, its last three, and the two words after it

(Hashed features: Weinberger et al. 2009, arXiv:0902.2206; for a small NLU: Strimel et al. 2018,
arXiv:1807.07520.)
A text is read twice, so that at the second reading the net has seen what follows a word.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

LABELS, READINGS = 5, 2
AFFIX = 3
END = "<end>"
_WORD = re.compile(r"'s\b|[^\W_]+(?:'(?!s\b)[^\W_]+)*")


@dataclass(frozen=True)
class Word:
    """A word, lower case, and the characters of the text that it is: text[begin:end]."""

    text: str
    begin: int
    end: int


def split_words(text: str) -> list[Word]:
    """The words of a text; punctuation is none."""
    straight = text.replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
    return [Word(found[0].lower(), found.start(), found.end()) for found in _WORD.finditer(straight)]


def labels_of(words: Sequence[str], buckets: int) -> NDArray[np.int64]:
    """Words -> labels [READINGS * words, LABELS] below `buckets`, a row a step."""
    ahead = [*words, END, END]
    once = [
        [_bucket(feature, buckets) for feature in (*_shapes(word), *ahead[i + 1 : i + 3])]
        for i, word in enumerate(words)
    ]
    return np.array(once * READINGS, np.int64).reshape(-1, LABELS)


def _shapes(word: str) -> tuple[str, str, str]:
    return word, f"{word[:AFFIX]}-", f"-{word[-AFFIX:]}"


@lru_cache(maxsize=1 << 16)
def _bucket(feature: str, buckets: int) -> int:
    return crc32(feature.encode()) % buckets
