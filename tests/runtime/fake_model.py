"""A made-up transducer: random log-probabilities by the frame and the last two labels alone."""

from __future__ import annotations

import itertools
import math

import numpy as np
from ossicle.runtime.transducer import BLANK, BeamSearch, SearchOptions, add_logs, log_softmax

START = (BLANK, BLANK)
PIECES = ["<blank>", "▁a", "▁b", "c", "▁", "d"]


class FakeModel:
    """`log_probs(frame, context)`; `sharp` sets how sure the model is, in steps of 1/256."""

    def __init__(self, seed: int, vocabulary: int = 4, sharp: int = 500) -> None:
        self.seed, self.vocabulary, self.sharp = seed, vocabulary, sharp

    def logits(self, frame: int, context: tuple[int, ...]) -> np.ndarray:
        rng = np.random.default_rng([self.seed, frame, *context])
        return rng.normal(0, self.sharp, self.vocabulary).clip(-32768, 32767).astype(np.int16)

    def log_probs(self, frame: int, context: tuple[int, ...]) -> np.ndarray:
        return log_softmax(self.logits(frame, context))

    def search(self, frames: int, **options) -> BeamSearch:
        """A finished search over the first `frames` frames."""
        search = BeamSearch(SearchOptions(**options))
        for frame in range(frames):
            search.advance(lambda context, frame=frame: self.log_probs(frame, context))
        return search

    def all_sequences(self, frames: int, labels_per_frame: int = 2) -> dict[tuple[int, ...], float]:
        """Label sequence -> log of the sum over its alignments, by trying every alignment."""
        sums: dict[tuple[int, ...], float] = {}
        emissions = [
            labels
            for count in range(labels_per_frame + 1)
            for labels in itertools.product(range(1, self.vocabulary), repeat=count)
        ]
        self._extend((), 0.0, 0, frames, labels_per_frame, emissions, sums)
        return sums

    def _extend(self, done, score, frame, frames, limit, emissions, sums) -> None:
        if frame == frames:
            sums[done] = add_logs(sums.get(done, -math.inf), score)
            return
        for labels in emissions:
            made, total = done, score
            for label in (*labels, BLANK)[:limit]:
                total += float(self.log_probs(frame, (START + made)[-2:])[label])
                made = made if label == BLANK else (*made, label)
            self._extend(made, total, frame + 1, frames, limit, emissions, sums)


def spelled(labels: tuple[int, ...]) -> tuple[str, ...]:
    """Words of a label sequence, by PIECES."""
    return tuple("".join(PIECES[label] for label in labels).replace("▁", " ").split())


def word_sums(sequences: dict[tuple[int, ...], float]) -> dict[tuple[str, ...], float]:
    """The same by word sequence."""
    sums: dict[tuple[str, ...], float] = {}
    for labels, score in sequences.items():
        sums[spelled(labels)] = add_logs(sums.get(spelled(labels), -math.inf), score)
    return sums
