"""Teacher and student: soft targets over the lattice, and the teacher's text where there is none.

    L = L_text + weight * sum over (t, u) and k of P'_k (ln P'_k - ln P_k),   k in {next label, blank, rest}

(Panchapagesan et al. 2021, arXiv:2011.06110): P' is the teacher's; three classes in place of the vocabulary
keep what decides the path. Clips of a source with `unannotated = true` lose their text; the teacher's greedy
transcript stands for it, in the lattice and, `pseudo` times, in L_text (Parthasarathi & Strom 2019,
arXiv:1904.01624).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from ossicle.models.data.batches import Batch
from ossicle.models.evaluate import transcribe
from ossicle.models.initial import Start, read_start
from ossicle.models.loss import next_labels, transducer_loss
from ossicle.models.network import BLANK, Transducer
from ossicle.models.objectives.objective import Setting, Terms
from ossicle.models.objectives.transducer import ctc_loss, hidden_states
from torch import Tensor


def three_classes(logits: Tensor, upcoming: Tensor) -> Tensor:
    """Log-probabilities [N, 3] of the next label, blank, and all else.

    Args:
        logits: [N, V], V > 2.
        upcoming: [N], see `next_labels`; where it is blank, no label comes, and the first class is empty.
    """
    log_probs = logits.float().log_softmax(1) if logits.dtype != torch.float64 else logits.log_softmax(1)
    index = upcoming.unsqueeze(1)
    blank, label = log_probs[:, BLANK], log_probs.gather(1, index).squeeze(1)
    others = torch.ones_like(log_probs, dtype=torch.bool).scatter_(1, index, False)
    others[:, BLANK] = False
    rest = log_probs.masked_fill(~others, -torch.inf).logsumexp(1)
    return torch.stack([label.masked_fill(upcoming == BLANK, -torch.inf), blank, rest], dim=1)


def lattice_divergence(student: Tensor, teacher: Tensor, upcoming: Tensor, rows: Tensor) -> Tensor:
    """Sum over each utterance's (t, u) of the three-class divergence of the student from the teacher, [B].

    Args:
        student, teacher: logits [N, V], packed as `transducer_loss` takes them.
        rows: [B] int64, rows of each utterance.
    """
    wanted, found = three_classes(teacher, upcoming), three_classes(student, upcoming)
    there = torch.isfinite(wanted)
    gap = torch.where(there, wanted, 0.0) - torch.where(there, found, 0.0)
    cells = (torch.exp(wanted) * gap).sum(1)
    return torch.stack([part.sum() for part in cells.split(rows.tolist())])


class DistillObjective:
    """L above, the mean over utterances."""

    def __init__(self, setting: Setting, start: Start, name: str, weight: float, pseudo: float) -> None:
        self.setting, self.name, self.weight, self.pseudo = setting, name, weight, pseudo
        self.teacher = start.network().to(setting.device).requires_grad_(False)
        self.teacher.masks = {key: mask.to(setting.device) for key, mask in self.teacher.masks.items()}

    def relabel(self, pack: Path, folder: Path, say: Callable[[str], None]) -> Path:
        """See `Objective`: the teacher's greedy transcript of every copy, from the features that it has."""
        out = folder / f"{pack.name}.{self.name}.jsonl"
        if out.exists():
            return out
        say(f"{pack.name}: texts thrown away, the teacher's put in their place")
        memory = np.load(pack.with_suffix(".npy"), mmap_mode="r")
        rows = [json.loads(line) for line in pack.with_suffix(".jsonl").read_text().splitlines()]
        width = self.setting.frontend.features
        clips = [np.array(memory[r["offset"] : r["offset"] + r["frames"]]).reshape(-1, width) for r in rows]
        checkpoint = self.teacher.checkpoint(self.setting.tokenizer, self.setting.frontend, {})
        texts = transcribe(checkpoint, clips)
        lines = [json.dumps({**row, "text": text}) + "\n" for row, text in zip(rows, texts, strict=True)]
        out.write_text("".join(lines))
        return out

    def __call__(self, network: Transducer, batch: Batch) -> Terms:
        """See `Objective`."""
        lengths = batch.labels, batch.frames, batch.counts
        hidden = hidden_states(network, batch)
        logits = network.joint(network.project(hidden), *lengths)
        with torch.no_grad():
            wanted = self.teacher.joint(self.teacher.project(hidden_states(self.teacher, batch)), *lengths)
        text = transducer_loss(logits, *lengths, self.setting.fast_emit)
        share = torch.where(batch.annotated, 1.0, self.pseudo).to(text.device)
        supervised = (share * (text + self.setting.ctc * ctc_loss(network, hidden, batch))).mean()
        upcoming = next_labels(batch.labels, batch.frames.tolist(), batch.counts.tolist())
        rows = batch.frames * (batch.counts + 1)
        soft = lattice_divergence(logits, wanted, upcoming, rows).mean()
        return Terms(supervised + self.weight * soft, text.mean())


def build(setting: Setting, teacher: str, weight: float = 0.02, pseudo: float = 1.0) -> DistillObjective:
    """The objective of a run.

    Args:
        teacher: a checkpoint, or the state.pt of a run, of the same tokenizer, frontend and frame rate.
        weight: of the divergence, which is a sum over some hundred (t, u).
        pseudo: of the loss of the teacher's text.
    Raises:
        ValueError: the teacher is unreadable, or another tokenizer's or frontend's.
    """
    start = read_start(Path(teacher))
    for what, found, wanted in (
        ("tokenizer", start.tokenizer, setting.tokenizer),
        ("frontend", start.frontend, setting.frontend),
    ):
        if found != wanted:
            raise ValueError(f"{teacher}: its {what} is not the student's")
    name = hashlib.sha256(Path(teacher).read_bytes()).hexdigest()[:8]
    return DistillObjective(setting, start, name, weight, pseudo)
