"""The best sentences of a lattice, scored anew with a language model of whole sentences.

    score(sentence) = log P_transducer + boost + weight * log P_model + bonus * words
    log P_model     = sum of log softmax(logits after what comes before)[piece], and of the end's

(n-best rescoring: Ostendorf et al. 1991, HLT, "Integration of diverse recognition methodologies through
reevaluation of N-best sentence hypotheses".) The best of them is the one in which the fewest words are
likely to be wrong (expected_errors.py), or the likeliest.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from ossicle.compiler.graph import Graph
from ossicle.compiler.program import Program
from ossicle.runtime.expected_errors import expected_errors
from ossicle.runtime.language_model import BOUNDARY, Model, PrefixTree, Progress
from ossicle.runtime.lattice import WORD_BEGIN, Lattice, Path
from ossicle.runtime.transducer import log_softmax
from sentencepiece import SentencePieceProcessor

ERRORS, SCORE = "errors", "score"


@dataclass(frozen=True, kw_only=True)
class RescoringOptions:
    """`nbest` sentences of the lattice are scored; `weight` and `bonus`: see the head of this file, and
    docs/decisions for how they were chosen. `best`: what the first sentence has, the fewest expected word
    "errors", or the best "score".

    Raises:
        ValueError: a value out of range.
    """

    nbest: int = 50
    weight: float = 0.5
    bonus: float = 1.5
    best: str = ERRORS

    def __post_init__(self) -> None:
        if not 1 <= self.nbest <= 1000:
            raise ValueError(f"{self.nbest} sentences to rescore is not possible; use 1 to 1000")
        if not 0 <= self.weight <= 10:
            raise ValueError(f"a language model's weight of {self.weight} is not possible; use 0 to 10")
        if not -20 <= self.bonus <= 20:
            raise ValueError(f"a bonus of {self.bonus} a word is not possible; use -20 to 20")
        if self.best not in RANK:
            raise ValueError(f"sentences by {self.best!r} are not possible; use {ERRORS} or {SCORE}")

    def __str__(self) -> str:
        order = "fewest errors" if self.best == ERRORS else "best score"
        return f"{self.nbest} sentences, weight {self.weight:g}, bonus {self.bonus:g} a word, {order} first"


@dataclass(frozen=True)
class Rescored:
    """A sentence: `path` has the transducer's score and the boost, `model` the language model's; `score` is
    the whole, `errors` the expected word errors among the sentences scored with it. `by_word`: the model's of
    each word after those before it and of the end, where known."""

    path: Path
    model: float
    score: float
    errors: float = 0.0
    by_word: tuple[float, ...] = ()

    @property
    def text(self) -> str:
        return self.path.text


RANK: dict[str, Callable[[Rescored], float]] = {ERRORS: lambda one: one.errors, SCORE: lambda one: -one.score}
"""What is least in the best sentence, by `RescoringOptions.best`."""


class Rescorer:
    """A language model beside a recognizer.

        rescorer = Rescorer(HostModel(import_checkpoint("lm.safetensors")), tokenizer)
        rescorer.rescore(lattice)[0].text

    Args:
        tokenizer: the recognizer's sentencepiece model.
    Raises:
        ValueError: the model has other pieces than the tokenizer.
    """

    def __init__(self, model: Model, tokenizer: bytes, options: RescoringOptions | None = None) -> None:
        self.model, self.options = model, options or RescoringOptions()
        self._tokenizer = SentencePieceProcessor(model_proto=tokenizer)
        check_pieces(model.labels, tokenizer)

    def rescore(self, lattice: Lattice, progress: Progress | None = None) -> list[Rescored]:
        """The sentences, best first; of equally good ones the likelier, then the lattice's better, first.

        Raises:
            DeviceFault: a job stopped with a fault.
        """
        paths = lattice.nbest(self.options.nbest)
        pieces, scores = self._piece_scores([path.text for path in paths], progress)
        made = [
            self._rescored(path, labels, of_labels)
            for path, labels, of_labels in zip(paths, pieces, scores, strict=True)
        ]
        errors = expected_errors([one.path.words for one in made], [one.score for one in made])
        made = [replace(one, errors=float(value)) for one, value in zip(made, errors, strict=True)]
        rank = RANK[self.options.best]
        return sorted(made, key=lambda one: (rank(one), -one.score))  # stable

    def log_probs(self, texts: Sequence[str], progress: Progress | None = None) -> list[float]:
        """The language model's log-probability of each text, its end included."""
        return [sum(scores) for scores in self._piece_scores(texts, progress)[1]]

    def _rescored(self, path: Path, labels: Sequence[int], scores: Sequence[float]) -> Rescored:
        options, model = self.options, sum(scores)
        score = path.score + options.weight * model + options.bonus * len(path.words)
        return Rescored(path, model, score, by_word=self._by_word(labels, scores))

    def _by_word(self, labels: Sequence[int], scores: Sequence[float]) -> tuple[float, ...]:
        """A word is the pieces from one with the mark of a begin to the next."""
        made: list[float] = []
        for label, score in zip(labels, scores, strict=False):
            if not made or self.model.labels[label].startswith(WORD_BEGIN):
                made.append(0.0)
            made[-1] += score
        return (*made, scores[-1])

    def _piece_scores(
        self, texts: Sequence[str], progress: Progress | None = None
    ) -> tuple[list[list[int]], list[list[float]]]:
        """Of each text its labels, and the log-probabilities of these and of its end."""
        encoded = self._tokenizer.encode(list(texts), num_threads=1)  # starting threads takes longer
        sequences = [[piece + 1 for piece in pieces] for pieces in encoded]
        tree = PrefixTree(sequences)
        after = [log_softmax(row) for row in self.model.logits(tree, progress)]
        return sequences, [
            [
                float(after[node][label])
                for node, label in zip(tree.nodes(sequence), [*sequence, BOUNDARY], strict=True)
            ]
            for sequence in sequences
        ]


def check_pieces(labels: Sequence[str], tokenizer: bytes) -> None:
    """Raise ValueError unless a language model's labels are blank and the pieces of a sentencepiece model."""
    processor = SentencePieceProcessor(model_proto=tokenizer)
    if list(labels[1:]) != [processor.id_to_piece(i) for i in range(processor.get_piece_size())]:
        raise ValueError(
            "the language model has other word pieces than the recognizer; train it with that tokenizer"
        )


def tokenizer_of(program: Program | Graph) -> bytes:
    """The sentencepiece model of a recognizer. Raises ValueError on another net."""
    if not program.meta.get("tokenizer"):
        raise ValueError(f"{program.meta['name']}: not the program of a recognizer")
    return base64.b64decode(program.meta["tokenizer"])
