"""Minimum word error rate: sentences that the search confuses lose probability by their errors.

    L = sum over n of P'_n (R_n - R') + text * L_text,    P'_n = P(y_n | x) / sum of P(y_m | x)

(Prabhavalkar et al. 2018, arXiv:1712.01818; for transducers Guo et al. 2020, arXiv:2007.13802.) R_n is the
number of word errors of path n, R' the mean over paths, P(y_n | x) the sum over all alignments. The paths are
the best of the lattice that the runtime's search finds in the integers of the network as it is at that step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from ossicle.models.data.batches import Batch
from ossicle.models.evaluate import OFFSET
from ossicle.models.exact import LABELS_PER_FRAME
from ossicle.models.loss import transducer_loss
from ossicle.models.network import Transducer
from ossicle.models.objectives.objective import Setting, Terms
from ossicle.models.objectives.transducer import TransducerObjective, hidden_states
from ossicle.models.search import Searcher
from ossicle.runtime.lattice_measures import word_errors
from ossicle.runtime.transducer import SearchOptions
from sentencepiece import SentencePieceProcessor
from torch import Tensor


@dataclass(frozen=True)
class Paths:
    """Sentences that the search found for some utterances, one after another.

    utterance: [N], row of the batch; labels: of each; errors: [N], in words.
    """

    utterance: list[int]
    labels: list[list[int]]
    errors: list[float]


def expected_errors(log_probs: Tensor, errors: Tensor, utterance: Tensor) -> Tensor:
    """Sum over all utterances of sum_n P'_n (R_n - R').

    Args:
        log_probs: [N], log P(y_n | x); errors: [N], R_n.
        utterance: [N], which one each path is of.
    """
    total = log_probs.new_zeros(())
    for which in utterance.unique().tolist():
        own = utterance == which
        posterior = log_probs[own].softmax(0)
        total = total + (posterior * (errors[own] - errors[own].mean())).sum()
    return total


class MwerObjective:
    """L above, the mean over utterances; those whose paths have equal errors count in L_text alone."""

    def __init__(self, setting: Setting, paths: int, beam: int, text: float) -> None:
        self.setting, self.paths, self.text = setting, paths, text
        self.options = SearchOptions(beam=beam, labels_per_frame=LABELS_PER_FRAME)
        self.tokenizer = SentencePieceProcessor(model_proto=setting.tokenizer)
        self.supervised = TransducerObjective(setting.ctc, setting.fast_emit)

    def relabel(self, pack: Path, folder: Path, say: Callable[[str], None]) -> Path:
        """See `Objective`; there are no errors to count without a text."""
        return self.supervised.relabel(pack, folder, say)

    @torch.no_grad()
    def search(self, network: Transducer, batch: Batch) -> Paths:
        """The best paths of each utterance, without those utterances whose paths all have as many errors."""
        searcher = Searcher(
            network.checkpoint(self.setting.tokenizer, self.setting.frontend, {}), self.options
        )
        encoded = searcher.model.encode((batch.features * 128).round().to(torch.int8).cpu())
        found = Paths([], [], [])
        lengths = zip(batch.starts.tolist(), batch.frames.tolist(), batch.counts.tolist(), strict=True)
        for b, (start, frames, count) in enumerate(lengths):
            reference = self._text(batch.labels[b, :count].tolist())
            texts = [
                path.text for path in searcher.lattice(encoded[b, start : start + frames]).nbest(self.paths)
            ]
            errors = [float(word_errors(reference, text)) for text in texts]
            if len(set(errors)) > 1:
                found.utterance.extend([b] * len(texts))
                found.labels.extend([piece + OFFSET for piece in self.tokenizer.encode(t)] for t in texts)
                found.errors.extend(errors)
        return found

    def _text(self, labels: list[int]) -> str:
        return self.tokenizer.decode([label - OFFSET for label in labels])

    def __call__(self, network: Transducer, batch: Batch) -> Terms:
        """See `Objective`."""
        hidden = hidden_states(network, batch)
        terms = self.supervised.terms(network, hidden, batch)
        paths = self.search(network, batch)
        total = self.text * terms.total
        if paths.utterance:
            total = total + self.risk(network, hidden, batch, paths) / len(batch.frames)
        return Terms(total, terms.transducer)

    def risk(self, network: Transducer, hidden: Tensor, batch: Batch, paths: Paths) -> Tensor:
        """Sum over utterances of the expected word errors of their paths, less the mean.

        Args:
            hidden: hidden states of the encoder [B, T, H].
        """
        rows = torch.tensor(paths.utterance)
        counts = torch.tensor([len(labels) for labels in paths.labels])
        labels = torch.zeros(len(rows), max(1, int(counts.max())), dtype=torch.long)
        for row, path in zip(labels, paths.labels, strict=True):
            row[: len(path)] = torch.tensor(path, dtype=torch.long)
        device, frames = hidden.device, batch.frames[rows]
        labels = labels.to(device)
        encoded = network.project(hidden)[rows.to(device)]
        logits = network.joint(encoded, labels, frames, counts)
        log_probs = -transducer_loss(logits, labels, frames, counts)
        return expected_errors(log_probs, torch.tensor(paths.errors, device=device), rows.to(device))


def build(setting: Setting, paths: int = 4, beam: int = 4, text: float = 0.05) -> MwerObjective:
    """The objective of a run that starts from a trained model.

    Args:
        paths: of each utterance at most; beam: states of the search.
        text: weight of the loss of the text, without which the model drifts.
    Raises:
        ValueError: fewer than two paths, or a beam out of range.
    """
    if paths < 2:
        raise ValueError(f"paths = {paths} leaves nothing to choose between; use 2 or more")
    return MwerObjective(setting, paths, beam, text)
