"""What a branching encoder's decisions cost, and what might decide in the arbitrator's place.

A decision is a score above a threshold (`exact.Scorer`), and the threshold sets the cost: so anything that
scores frames can be held against the arbitrator at the same share of slow frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from ossicle.models.encoder import FAST, SLOW, branch_layers, encoder_shapes
from ossicle.models.exact import ExactTransducer, Scorer
from ossicle.models.export import Checkpoint
from ossicle.models.search import frame_by_frame
from torch import Tensor


@dataclass(frozen=True)
class Cost:
    """Of frames of the encoder: how many, the share of them on the slow side, useful products of each (mean).

    A product is useful if its weight is not zero; zeros among the activations are not looked at.
    """

    frames: int
    slow: float
    macs: float

    def row(self) -> dict:
        """As a table shows it."""
        return {"slow frames %": round(100 * self.slow, 1), "encoder MACs/frame": round(self.macs)}


def side_macs(checkpoint: Checkpoint) -> tuple[int, int]:
    """Useful products of a frame of the encoder on the slow side, and on the fast side."""
    topology, used = checkpoint.topology, {}
    for name in encoder_shapes(topology):
        used[name] = int(np.count_nonzero(checkpoint.matrices[name].weight))
    steps = 1
    for i in range(len(topology["encoder"]) - 1, -1, -1):
        used[f"encoder.{i}"] *= steps
        steps *= topology["encoder"][i]["reduce"]
    sides = [sum(used.pop(f"encoder.{i}{side}") for i in branch_layers(topology)) for side in (SLOW, FAST)]
    shared = sum(used.values())
    return shared + sides[0], shared + sides[1]


def cost_of(checkpoint: Checkpoint, slow: Sequence[NDArray[np.bool_]]) -> Cost:
    """The cost of some utterances' decisions."""
    decided = np.concatenate(slow) if slow else np.zeros(0, bool)
    share = float(decided.mean()) if len(decided) else 0.0
    above, below = side_macs(checkpoint)
    return Cost(len(decided), share, share * above + (1 - share) * below)


def scores_of(model: ExactTransducer, utterances: list[NDArray[np.int8]]) -> list[NDArray]:
    """The scorer's value at each frame of each utterance (features [T, 120])."""
    found = dict(frame_by_frame(model.scores, utterances))
    return [found[i].numpy() for i in range(len(utterances))]


def decisions(model: ExactTransducer, utterances: list[NDArray[np.int8]]) -> list[NDArray[np.bool_]]:
    """Whether each frame of each utterance takes the slow side."""
    return [score > model.threshold for score in scores_of(model, utterances)]


def energy(features: Tensor, front: Tensor) -> Tensor:
    """A `Scorer`: the mean of a frame's features, which are log-mel energies."""
    steps = features.shape[1] // front.shape[0]
    whole = features[:, : front.shape[0] * steps].float().unflatten(1, (front.shape[0], steps))
    return whole.mean(dim=(2, 3)).transpose(0, 1)


def chance(seed: int) -> Scorer:
    """A `Scorer`: numbers between 0 and 1, the same for every batch of a shape."""

    def scorer(features: Tensor, front: Tensor) -> Tensor:
        return torch.rand(front.shape[:2], generator=torch.Generator().manual_seed(seed))

    return scorer


def threshold_of(scores: Sequence[NDArray], share: float) -> float:
    """The threshold that this share of all scores is above."""
    return float(np.quantile(np.concatenate(scores), 1 - share))
