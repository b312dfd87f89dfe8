"""The runtime's beam search over the exact integer model: what the processor finds, without the processor.

    features -> ExactTransducer.encode -> each frame: BeamSearch asks for a context's logits -> lattice

The search and the lattice are those of runtime/; this module stands where the driver and a device do there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context

import numpy as np
import torch
from numpy.typing import NDArray
from ossicle.models.data.split import Row
from ossicle.models.exact import ExactTransducer
from ossicle.models.export import Checkpoint
from ossicle.models.floating import transducer_of
from ossicle.models.initial import Start
from ossicle.runtime.alias_evidence import Evidence, Question
from ossicle.runtime.aliases import Aliases
from ossicle.runtime.fusion import BOOST, Boosts
from ossicle.runtime.lattice import Lattice, LatticeOptions, build_lattice
from ossicle.runtime.phrases import Speller
from ossicle.runtime.transducer import BeamSearch, Context, SearchOptions, log_softmax
from sentencepiece import SentencePieceProcessor
from torch import Tensor

Phrases = Sequence[str]
BATCH = 64
PART = 16  # utterances that a process takes at a time
_searcher: Searcher | None = None  # of a process of a pool


def pieces_of(tokenizer: bytes) -> list[str]:
    """Text of each label of a sentencepiece model; blank's is empty."""
    processor = SentencePieceProcessor(model_proto=tokenizer)
    return ["", *(processor.id_to_piece(i) for i in range(processor.get_piece_size()))]


class Searcher:
    """A checkpoint, or a float model, and how to search it.

    Args:
        boost: of phrases, where some are given, for each letter.
        kept: what the lattices keep.
    """

    def __init__(
        self, checkpoint: Checkpoint | Start, options: SearchOptions, boost: float = BOOST,
        kept: LatticeOptions | None = None,
    ) -> None:  # fmt: skip
        if isinstance(checkpoint, Checkpoint) and checkpoint.is_stack:
            raise ValueError("the checkpoint is a stack of layers; there is nothing to transcribe with it")
        self.model, self.options = transducer_of(checkpoint), options
        self.pieces, self.boost = pieces_of(checkpoint.tokenizer), boost
        self._speller = Speller(checkpoint.tokenizer)
        self.kept = kept or LatticeOptions()
        self.boosts: Boosts | None = None
        """What is boosted."""
        self.aliases: Aliases | None = None
        """What is found by its sound."""
        self._boosted: tuple[str, ...] = ()
        self._predictions: dict[Context, Tensor] = {}

    def search(self, encoded: Tensor) -> BeamSearch:
        """The search of one utterance. `encoded`: its encoder projections [T, joint], Q4.11 in float64."""
        search, alive = BeamSearch(self.options, self.model.context, self.boosts), []
        for frame in encoded:
            ask = _Asked(self, frame, alive)
            search.advance(ask)
            alive = ask.asked
        return search

    def lattices(
        self, utterances: list[NDArray[np.int8]], progress: Callable[[int, int], None] | None = None,
        boosted: Sequence[Phrases] | None = None, begins: Sequence[int] | None = None,
    ) -> list[Lattice]:  # fmt: skip
        """The lattice of each utterance (features [T, 120]), in the order given.

        Args:
            boosted: phrases of each; those with letters that no piece has are left out.
            begins: of each, the encoder frame from which on it has a text; times count from there.
        """
        found: list[Lattice | None] = [None] * len(utterances)
        for done, (i, encoded) in enumerate(encodings(self.model, utterances), 1):
            self.set_boosts(boosted[i] if boosted else ())
            found[i] = self.lattice(encoded[begins[i] :] if begins else encoded)
            if progress:
                progress(done, len(utterances))
        return [lattice for lattice in found if lattice is not None]

    def set_boosts(self, phrases: Phrases) -> None:
        """Boost these in the searches that follow; none: nothing."""
        if tuple(phrases) != self._boosted:  # one list for all utterances is made ready once
            self._boosted = tuple(phrases)
            made = Boosts(phrases, self.pieces, self.boost)
            self.boosts = made if len(made) else None
            self.aliases = self.kept.aliases(made.phrases) if len(made) else None

    def lattice(self, encoded: Tensor) -> Lattice:
        """The lattice of one utterance's encoder projections [T, joint]."""
        graph = self.search(encoded).graph()
        return build_lattice(
            graph, self.pieces, self.kept, aliases=self.aliases, evidence=self.evidence(encoded)
        )

    def evidence(self, encoded: Tensor) -> Evidence:
        """What the transducer says of names in one utterance [T, joint] when it is asked again."""
        steps = torch.cat([encoded, torch.zeros_like(encoded[:1])])  # the last is no audio

        def ask(questions: list[Question]) -> list[NDArray[np.float64]]:
            frames = [-1 if frame is None else frame for frame, _ in questions]
            return self.log_probs(steps[frames], [context for _, context in questions])

        return Evidence(len(encoded), self.model.context, ask, self._speller.labels)

    def log_probs(self, frame: Tensor, contexts: list[Context]) -> list[NDArray[np.float64]]:
        """Log-probabilities [V] in a frame's projection [joint] after each of some contexts.

        Args:
            frame: of all of them, or [contexts, joint] of each its own.
        """
        new = [context for context in dict.fromkeys(contexts) if context not in self._predictions]
        if new:
            self._predictions.update(zip(new, self.model.predict(torch.tensor(new)), strict=True))
        predicted = torch.stack([self._predictions[context] for context in contexts])
        return [log_softmax(row) for row in self.model.logits(frame, predicted).numpy()]


def contexts_of(rows: Sequence[Row], phrases: Phrases = ()) -> list[Phrases]:
    """The `context` of each row, or those phrases where it has none. Raises ValueError on what is no list."""
    contexts = [row.get("context", phrases) for row in rows]
    odd = next((c for c in contexts if not isinstance(c, list | tuple)), None)
    if odd is not None:
        hint = "; seconds before the text are `wake_seconds`" if isinstance(odd, int | float) else ""
        raise ValueError(f"a row's context is to be a list of phrases, not {odd!r}{hint}")
    return contexts


def lattices_of(
    checkpoint: Checkpoint | Start, options: SearchOptions, utterances: list[NDArray[np.int8]],
    workers: int = 1, progress: Callable[[int, int], None] | None = None,
    boosted: Sequence[Phrases] | None = None, boost: float = BOOST, kept: LatticeOptions | None = None,
    begins: Sequence[int] | None = None,
) -> list[Lattice]:  # fmt: skip
    """What `Searcher.lattices` finds, by so many processes."""
    if workers == 1:
        return Searcher(checkpoint, options, boost, kept).lattices(utterances, progress, boosted, begins)
    count = len(utterances)
    columns = (utterances, boosted or [()] * count, begins or [0] * count)
    return by_processes(_lattices, columns, workers, _begin, (checkpoint, options, boost, kept), progress)


def by_processes(
    search: Callable[..., list[Lattice]], columns: tuple[Sequence, ...], workers: int,
    begin: Callable[..., None], given: tuple, progress: Callable[[int, int], None] | None = None,
) -> list[Lattice]:  # fmt: skip
    """What `search` finds of some columns, the first of them utterances, in parts, by so many processes.

    Each process begins with `begin(*given)`.
    """
    utterances = columns[0]
    order = sorted(range(len(utterances)), key=lambda i: -len(utterances[i]))  # the longest are begun first
    parts = [order[start : start + PART] for start in range(0, len(order), PART)]
    found: list[Lattice | None] = [None] * len(utterances)
    with ProcessPoolExecutor(workers, get_context("spawn"), begin, given) as pool:
        jobs = {pool.submit(search, *([rows[i] for i in part] for rows in columns)): part for part in parts}
        for job in as_completed(jobs):
            for i, lattice in zip(jobs[job], job.result(), strict=True):
                found[i] = lattice
            if progress:
                progress(sum(lattice is not None for lattice in found), len(found))
    return [lattice for lattice in found if lattice is not None]


def _begin(
    checkpoint: Checkpoint | Start, options: SearchOptions, boost: float, kept: LatticeOptions | None
) -> None:
    """In a process of the pool."""
    global _searcher
    torch.set_num_threads(1)
    _searcher = Searcher(checkpoint, options, boost, kept)


def _lattices(
    utterances: list[NDArray[np.int8]], boosted: list[Phrases], begins: list[int]
) -> list[Lattice]:
    assert _searcher is not None, "the pool's initializer has not run"
    return _searcher.lattices(utterances, None, boosted, begins)


class _Asked:
    """A frame's log-probabilities; the contexts of the frame before, most of which live on, come at once."""

    def __init__(self, searcher: Searcher, frame: Tensor, alive: list[Context]) -> None:
        self._searcher, self._frame, self._alive = searcher, frame, alive
        self._known: dict[Context, NDArray[np.float64]] = {}
        self.asked: list[Context] = []

    def __call__(self, context: Context) -> NDArray[np.float64]:
        if context not in self._known:
            wanted = [c for c in dict.fromkeys([context, *self._alive]) if c not in self._known]
            self._known.update(zip(wanted, self._searcher.log_probs(self._frame, wanted), strict=True))
        self.asked.append(context)
        return self._known[context]


def encodings(model: ExactTransducer, utterances: list[NDArray[np.int8]]) -> Iterator[tuple[int, Tensor]]:
    """(index, encoder projections [T, joint]) of each utterance, see `frame_by_frame`."""
    return frame_by_frame(model.encode, utterances)


def frame_by_frame(
    compute: Callable[[Tensor], Tensor], utterances: list[NDArray[np.int8]]
) -> Iterator[tuple[int, Tensor]]:
    """(index, what comes of each of its frames) of each utterance, in batches of like length.

    Args:
        compute: padded features int8 [B, T, 120] -> [B, T / 2, ...].
    """
    order = sorted(range(len(utterances)), key=lambda i: len(utterances[i]))
    for start in range(0, len(order), BATCH):
        batch = order[start : start + BATCH]
        padded, lengths = pad([utterances[i] for i in batch])
        made = compute(padded)
        reduction = padded.shape[1] // max(1, made.shape[1])
        for row, i in enumerate(batch):
            yield i, made[row, : int(lengths[row]) // reduction]


def pad(utterances: list[NDArray[np.int8]]) -> tuple[Tensor, Tensor]:
    """Features [T, 120] of some utterances -> int8 [B, longest, 120], zeros at the ends, and lengths [B]."""
    lengths = torch.tensor([len(u) for u in utterances])
    padded = torch.zeros(len(utterances), int(lengths.max()), utterances[0].shape[1], dtype=torch.int8)
    for row, utterance in zip(padded, utterances, strict=True):
        row[: len(utterance)] = torch.from_numpy(utterance)
    return padded, lengths
