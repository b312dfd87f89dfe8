"""Training of a branch: from soft shares to hard decisions, at a cost that a controller holds.

    L = L_text + weight C + stiffness / 2 (C - cost)**2
    C = mean over frames of p + (1 - p) C_fast / C_slow
    weight <- max(0, weight + pace (C - cost))

C_slow and C_fast are the useful products (weights that are not zero) of the layers of either side, so that
C = 1 is the slow side throughout. (Amortized loss: Macoskey et al. 2021, arXiv:2108.01553; a cost to be
tuned: CCA-T, 2022, arXiv:2207.02393.) The controller saves trying weights, at most of which all frames end up
on one side; the square damps it: scores far from 0 have hardly a gradient to come back by.

    [branch]
    from = 1                     # the first layer with two sides
    hidden = 16                  # units of the arbitrator
    cost = 0.6                   # wanted of C
    temperature = [2.0, 0.3]     # from the first step to `hard_from`
    hard_from = 0.8              # part of the run from which on decisions are hard
    pace = 0.02
    stiffness = 10.0
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from ossicle.models.data.batches import Batch
from ossicle.models.encoder import FAST, SLOW, branch_layers
from ossicle.models.mixture import Gate
from ossicle.models.network import Transducer
from torch import Tensor


@dataclass(frozen=True)
class BranchOptions:
    """A recipe's [branch], see above; `begin` is its `from`."""

    begin: int
    hidden: int = 16
    cost: float = 0.6
    temperature: tuple[float, float] = (2.0, 0.3)
    hard_from: float = 0.8
    pace: float = 0.02
    stiffness: float = 10.0

    @classmethod
    def read(cls, table: dict[str, Any]) -> BranchOptions:
        """Raises ValueError or TypeError on a table with wrong keys or values."""
        if "from" not in table or "begin" in table:
            raise ValueError("[branch] needs `from`, its first layer")
        return cls(**{{"from": "begin"}.get(key, key): value for key, value in table.items()})

    def __post_init__(self) -> None:
        if not 0 < self.cost <= 1:
            raise ValueError(f"[branch]: cost = {self.cost} is no share of the slow side's; use above 0 to 1")
        if not 0 <= self.hard_from <= 1:
            raise ValueError(f"[branch]: hard_from = {self.hard_from} is no part of the run; use 0 to 1")
        if len(self.temperature) != 2 or min(self.temperature) <= 0:
            raise ValueError(f"[branch]: temperature = {list(self.temperature)}; use two, above 0")

    def topology(self) -> dict:
        """What a topology says of it."""
        return {"from": self.begin, "hidden": self.hidden}


class Branching:
    """The part of a run that trains its branch.

    weight: of the cost, as the controller has it. cost, slow: of the last batch, C and the mean of p.
    """

    def __init__(self, options: BranchOptions, steps: int, seed: int) -> None:
        self.options, self.steps, self.seed = options, steps, seed
        self.weight = self.cost = self.slow = 0.0

    def gate(self, step: int, rank: int = 0) -> Gate:
        """The gate of a step: its noise is the same whenever the run gets there."""
        until = self.options.hard_from * self.steps
        if step >= until:
            return Gate(self.options.temperature[1])
        first, last = self.options.temperature
        seed = np.random.SeedSequence([self.seed, step, rank]).generate_state(1)
        noise = torch.Generator().manual_seed(int(seed[0]))
        return Gate(first * (last / first) ** (step / until), False, noise)

    def penalty(self, network: Transducer, batch: Batch) -> Tensor:
        """What L has beside L_text, for a batch of which the network has just encoded the features."""
        share = network.share
        assert share is not None, "the network has no branch, or has encoded nothing"
        ends = (batch.starts + batch.frames).to(share.device)
        there = torch.arange(share.shape[0], device=share.device).unsqueeze(1) < ends
        slow = share[there].mean()
        cost = slow + (1 - slow) * fast_share(network)
        self.slow, self.cost = slow.item(), cost.item()
        return self.weight * cost + self.options.stiffness / 2 * (cost - self.options.cost) ** 2

    def settle(self, cost: float) -> None:
        """Move the weight after a step that had this cost."""
        self.weight = max(0.0, self.weight + self.options.pace * (cost - self.options.cost))

    def report(self) -> dict[str, float]:
        """For the log."""
        return {"slow": round(self.slow, 3), "cost": round(self.cost, 3), "weight": round(self.weight, 3)}


@torch.no_grad()
def fast_share(network: Transducer) -> float:
    """C_fast / C_slow of the present weights."""
    slow, fast = (
        sum(_products(network, f"encoder.{i}{side}") for i in branch_layers(network.topology))
        for side in (SLOW, FAST)
    )
    return fast / max(1, slow)


def _products(network: Transducer, name: str) -> int:
    weight = network.weights[name.replace(".", "_")]
    return int(network.masks[name].sum()) if name in network.masks else weight.numel()
