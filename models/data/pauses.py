"""Pauses of 0.2 to 1.2 s inside an utterance: pieces spoken apart, and digital silence between them."""

from __future__ import annotations

import random
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from ossicle.models.data.grammar import Sentence

RATE = 16000
SHARE = 0.3  # of the sentences that have a place for one
SECONDS = (0.2, 1.2)
QUIET = 0.003  # of the peak: what is less, at an edge, is the engine's own silence
FADE = 80  # samples

Pause = tuple[int, float]  # before which word, seconds
Samples = NDArray[np.int16]


def draw_pauses(sentence: Sentence, rng: random.Random) -> tuple[Pause, ...]:
    """Often none; else one or two where the sentence allows them."""
    if not sentence.breaks or rng.random() >= SHARE:
        return ()
    count = min(len(sentence.breaks), 1 if rng.random() < 0.7 else 2)
    places = sorted(rng.sample(sentence.breaks, count))
    return tuple((place, round(rng.uniform(*SECONDS), 2)) for place in places)


def pieces(spoken: str, pauses: tuple[Pause, ...]) -> list[str]:
    """What is said before, between and after the pauses."""
    words = spoken.split()
    places = [0, *(place for place, _ in pauses), len(words)]
    return [" ".join(words[a:b]) for a, b in pairwise(places)]


def join(spoken: list[Samples], pauses: tuple[Pause, ...]) -> tuple[Samples, list[list[float]]]:
    """One clip of the pieces, and each pause's [begin, end] in seconds."""
    parts, spans, length = [], [], 0
    for i, piece in enumerate(spoken):
        part = trimmed(piece, begin=i > 0, end=i < len(pauses))
        parts.append(part)
        length += len(part)
        if i < len(pauses):
            silence = np.zeros(round(pauses[i][1] * RATE), np.int16)
            spans.append([round(length / RATE, 4), round((length + len(silence)) / RATE, 4)])
            parts.append(silence)
            length += len(silence)
    return np.concatenate(parts), spans


def trimmed(samples: Samples, begin: bool, end: bool) -> Samples:
    """Without the silence at an edge, which fades in or out in 5 ms so that nothing clicks."""
    loud = np.flatnonzero(np.abs(samples.astype(np.int32)) > QUIET * np.abs(samples.astype(np.int32)).max())
    first = max(0, loud[0] - FADE) if begin and len(loud) else 0
    last = loud[-1] + FADE if end and len(loud) else len(samples)
    part = samples[first:last].astype(np.float64)
    ramp = np.linspace(0, 1, min(FADE, len(part)))
    if begin:
        part[: len(ramp)] *= ramp
    if end:
        part[len(part) - len(ramp) :] *= ramp[::-1]
    return np.rint(part).astype(np.int16)
