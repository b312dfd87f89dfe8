"""The transducer loss of the text, and a CTC loss beside it: log p by alignment, FastEmit (see loss.py).

    L = L_transducer + ctc * L_ctc

The auxiliary head (Graves et al. 2006; as in Kim et al. 2017, arXiv:1609.06773) is not exported.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ossicle.models import padded
from ossicle.models.data.batches import Batch
from ossicle.models.loss import transducer_loss
from ossicle.models.network import Transducer
from ossicle.models.objectives.objective import Setting, Terms
from torch import Tensor
from torch.nn import functional


class TransducerObjective:
    """L above, the mean over utterances."""

    def __init__(self, ctc: float, fast_emit: float) -> None:
        self.ctc, self.fast_emit = ctc, fast_emit

    def relabel(self, pack: Path, folder: Path, say: Callable[[str], None]) -> Path:
        """See `Objective`; there is no teacher here."""
        raise ValueError(f'{pack.name}: unannotated clips need [objective] of kind "distill"')

    def __call__(self, network: Transducer, batch: Batch) -> Terms:
        """See `Objective`."""
        return self.terms(network, hidden_states(network, batch), batch)

    def terms(self, network: Transducer, hidden: Tensor, batch: Batch) -> Terms:
        """The loss of a batch whose hidden states [B, T, H] are known."""
        if batch.padded:
            return self.padded_terms(network, hidden, batch)
        logits = network.joint(network.project(hidden), batch.labels, batch.frames, batch.counts)
        loss = transducer_loss(logits, batch.labels, batch.frames, batch.counts, self.fast_emit).mean()
        return Terms(loss + self.ctc * ctc_loss(network, hidden, batch).mean(), loss)

    def padded_terms(self, network: Transducer, hidden: Tensor, batch: Batch) -> Terms:
        """The same of a batch whose lengths, too, lie where its features do; see padded.py."""
        labels, frames, counts = batch.labels, batch.frames, batch.counts
        logits = network.padded_joint(network.project(hidden), labels)
        loss = padded.transducer_loss(logits, labels, frames, counts, self.fast_emit).mean()
        if not self.ctc:
            return Terms(loss, loss)
        beside = padded.ctc_loss(network.ctc_logits(hidden), labels, frames, counts).mean()
        return Terms(loss + self.ctc * beside, loss)


def hidden_states(network: Transducer, batch: Batch) -> Tensor:
    """The encoder's hidden states [B, T, H] of a batch, those of context left out."""
    if batch.padded:
        return network.encode(batch.features)
    return network.after_context(network.encode(batch.features), batch.starts)


def ctc_loss(network: Transducer, hidden: Tensor, batch: Batch) -> Tensor:
    """CTC loss [B] of the auxiliary head on hidden states [B, T, H]; 0 where the text is too long."""
    log_probs = network.ctc_logits(hidden).log_softmax(2).transpose(0, 1)
    return functional.ctc_loss(
        log_probs, batch.labels, batch.frames, batch.counts, reduction="none", zero_infinity=True
    )


def build(setting: Setting) -> TransducerObjective:
    """The objective of a run; it has no keys of its own."""
    return TransducerObjective(setting.ctc, setting.fast_emit)
