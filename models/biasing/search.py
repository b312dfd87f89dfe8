"""The runtime's beam search over the integers of a recognizer and its adapter, a catalogue an utterance.

searcher = BiasedSearcher(checkpoint, adapter, options)
searcher.biased(utterances, catalogues)                # lattices
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from ossicle.compiler.biasing import Adapter
from ossicle.models.biasing.checkpoint import core_of
from ossicle.models.biasing.exact import ExactBiasing
from ossicle.models.data.split import Row
from ossicle.models.export import Checkpoint
from ossicle.models.search import Phrases, Searcher, by_processes, contexts_of, encodings
from ossicle.runtime.biasing import Entries
from ossicle.runtime.fusion import BOOST
from ossicle.runtime.lattice import Lattice, LatticeOptions
from ossicle.runtime.phrases import Speller
from ossicle.runtime.transducer import Context, SearchOptions, log_softmax
from torch import Tensor

Progress = Callable[[int, int], None]
_searcher: BiasedSearcher | None = None  # of a process of a pool


def check_belongs(checkpoint: Checkpoint, adapter: Adapter) -> None:
    """Raises ValueError unless the adapter was trained on this recognizer."""
    said, found = adapter.header["core"], core_of(checkpoint)
    if said["fingerprint"] != found["fingerprint"]:
        raise ValueError(
            f"the biasing checkpoint is for the recognizer {said.get('name', 'unnamed')!r} "
            f"({said['fingerprint'][:12]}), not for this {found['name']!r} ({found['fingerprint'][:12]}): "
            "train it on this one"
        )


class BiasedSearcher(Searcher):
    """A recognizer, its adapter, and how to search them.

    Raises:
        ValueError: the adapter is another recognizer's.
    """

    def __init__(
        self, checkpoint: Checkpoint, adapter: Adapter, options: SearchOptions, boost: float = BOOST,
        kept: LatticeOptions | None = None,
    ) -> None:  # fmt: skip
        super().__init__(checkpoint, options, boost, kept)
        check_belongs(checkpoint, adapter)
        self.biasing, self.speller = ExactBiasing(adapter, self.model), Speller(checkpoint.tokenizer)
        self.entries: Entries | None = None
        """What is attended to."""
        self._asked: dict[Context, Tensor] = {}

    def biased(
        self, utterances: Sequence[NDArray[np.int8]], catalogues: Sequence[Phrases],
        progress: Progress | None = None, boosted: Sequence[Phrases] | None = None,
    ) -> list[Lattice]:  # fmt: skip
        """The lattice of each utterance (features [T, 120]) with its catalogue of phrases, in their order.

        Phrases that the tokenizer can't spell are left out.

        Args:
            boosted: phrases of each that are boosted in the search.
        """
        found: list[Lattice | None] = [None] * len(utterances)
        for done, (i, encoded) in enumerate(encodings(self.model, list(utterances)), 1):
            phrases, _ = self.speller.spell(catalogues[i])
            self.entries = self.biasing.entries(phrases) if phrases else None
            self.set_boosts(boosted[i] if boosted else ())
            found[i] = self.lattice(encoded)
            if progress:
                progress(done, len(utterances))
        self.entries = None
        return [lattice for lattice in found if lattice is not None]

    def log_probs(self, frame: Tensor, contexts: list[Context]) -> list[NDArray[np.float64]]:
        """See `Searcher.log_probs`: biased toward the entries, where there are some."""
        if self.entries is None:
            return super().log_probs(frame, contexts)
        new = [context for context in dict.fromkeys(contexts) if context not in self._asked]
        if new:
            self._asked.update(zip(new, self.biasing.label_query(torch.tensor(new)), strict=True))
        new = [context for context in dict.fromkeys(contexts) if context not in self._predictions]
        if new:
            self._predictions.update(zip(new, self.model.predict(torch.tensor(new)), strict=True))
        predicted, asked = (
            torch.stack([known[context] for context in contexts])
            for known in (self._predictions, self._asked)
        )
        encoded = frame.expand(len(contexts), -1)
        logits = self.biasing.logits(encoded, predicted, asked, self.entries)
        return [log_softmax(row) for row in logits.numpy()]


@dataclass(frozen=True)
class Biasing:
    """An adapter, and the phrases of utterances that bring none of their own."""

    adapter: Adapter
    phrases: tuple[str, ...] = ()

    def lattices(
        self, checkpoint: Checkpoint, options: SearchOptions, rows: Sequence[Row],
        utterances: list[NDArray[np.int8]], workers: int = 1, progress: Progress | None = None,
        boosted: Sequence[Phrases] | None = None, boost: float = BOOST, kept: LatticeOptions | None = None,
    ) -> list[Lattice]:  # fmt: skip
        """The lattice of each row of a manifest: its `context` are its phrases."""
        catalogues = contexts_of(rows, self.phrases)
        return biased_lattices(
            checkpoint, self.adapter, options, utterances, catalogues, workers, progress, boosted, boost,
            kept,
        )  # fmt: skip


def biased_lattices(
    checkpoint: Checkpoint, adapter: Adapter, options: SearchOptions, utterances: list[NDArray[np.int8]],
    catalogues: Sequence[Phrases], workers: int = 1, progress: Progress | None = None,
    boosted: Sequence[Phrases] | None = None, boost: float = BOOST, kept: LatticeOptions | None = None,
) -> list[Lattice]:  # fmt: skip
    """What `BiasedSearcher.biased` finds, by so many processes."""
    given = (checkpoint, adapter, options, boost, kept)
    if workers == 1:
        return BiasedSearcher(*given).biased(utterances, catalogues, progress, boosted)
    columns = (utterances, catalogues, boosted or [()] * len(utterances))
    return by_processes(_biased, columns, workers, _begin, given, progress)


def _begin(
    checkpoint: Checkpoint, adapter: Adapter, options: SearchOptions, boost: float,
    kept: LatticeOptions | None,
) -> None:  # fmt: skip
    """In a process of the pool."""
    global _searcher
    torch.set_num_threads(1)
    _searcher = BiasedSearcher(checkpoint, adapter, options, boost, kept)


def _biased(
    utterances: list[NDArray[np.int8]], catalogues: list[Phrases], boosted: list[Phrases]
) -> list[Lattice]:
    assert _searcher is not None, "the pool's initializer has not run"
    return _searcher.biased(utterances, catalogues, None, boosted)
