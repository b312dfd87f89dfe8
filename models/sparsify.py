"""Gradual pruning: how many weights are zero by when, which ones, and how they get there.

    s(t) = s_f + (s_i - s_f) (1 - (t - t_0) / (t_1 - t_0))**3         (Zhu & Gupta 2017, arXiv:1710.01878)

Weights compete within a block: one gate of an LSTM, input and recurrent columns apart, so that no gate and no
path dies of having small weights throughout. "balanced": within groups of rows of a block, all of which keep
the same number. A lane of the processor gets one row of each slot; where rows have equal counts, all lanes
finish at once, however many there are and however rows are cut into tiles (as in ESE, Han et al. 2017,
arXiv:1612.00694, and CBTD, Gao et al. 2022, arXiv:2108.02297).

"magnitude" sets the smallest weights to zero at once, for good. "shrink", after compressed sensing (Zhen et
al. 2021, arXiv:2102.04932), draws them there, and lets those that the loss needs come back until the end:

    w <- sign(w) max(|w| - eta(t) tau, 0)    for weights that are to go, tau the largest of them in the block
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from ossicle.models.export import matrix_shapes
from ossicle.models.network import Transducer
from torch import Tensor

KINDS = ("unstructured", "balanced")
METHODS = ("magnitude", "shrink")
EVERY = 25
"""Steps from one choice of weights to the next."""


def target_sparsity(step: int, begin: int, end: int, final: float, initial: float = 0.0) -> float:
    """Fraction of zeros wanted at a step: `initial` until `begin`, `final` from `end` on, a cubic between."""
    if step < begin:
        return initial
    progress = (step - begin) / (end - begin) if step < end else 1.0
    return final + (initial - final) * (1 - progress) ** 3


def magnitude_mask(weight: Tensor, zeros: float) -> Tensor:
    """1 where a weight stays, 0 where it goes: floor(zeros x size) smallest magnitudes of the block go."""
    return _smallest_out(weight.reshape(1, -1), zeros).view_as(weight)


def balanced_mask(weight: Tensor, zeros: float, rows: int = 1) -> Tensor:
    """1 where a weight of [R, columns] stays; every group of `rows` rows keeps the same number.

    Group j has the rows j, j + R / rows, j + 2 R / rows, ...: rows that one lane gets, slot after slot.
    """
    groups, columns = weight.shape[0] // rows, weight.shape[1]
    together = weight.reshape(rows, groups, columns).transpose(0, 1).reshape(groups, -1)
    mask = _smallest_out(together, zeros)
    return mask.view(groups, rows, columns).transpose(0, 1).reshape(weight.shape)


def _smallest_out(groups: Tensor, zeros: float) -> Tensor:
    drop = int(zeros * groups.shape[1] + 1e-9)
    mask = torch.ones_like(groups)
    if drop:
        mask.scatter_(1, torch.topk(groups.abs(), drop, dim=1, largest=False).indices, 0.0)
    return mask


def shrunk(weight: Tensor, mask: Tensor, strength: float) -> Tensor:
    """Weights of a block after one step of shrinkage: those that `mask` has 0 for are nearer to 0."""
    gone = weight * (1 - mask)
    limit = strength * gone.abs().max()
    return weight * mask + torch.sign(gone) * (gone.abs() - limit).clamp_min(0)


def blocks(name: str, topology: dict) -> list[tuple[slice, slice]]:
    """(rows, columns) of the blocks of a matrix."""
    rows, columns = matrix_shapes(topology)[name]
    if not name.startswith("encoder.") or name == "encoder.projection":
        return [(slice(0, rows), slice(0, columns))]
    hidden = topology["encoder"][int(name.split(".")[1])]["hidden"]
    parts = (slice(0, columns - hidden), slice(columns - hidden, columns))
    return [(slice(g * hidden, (g + 1) * hidden), part) for g in range(4) for part in parts]


@dataclass(frozen=True, kw_only=True)
class Pruning:
    """A plan of pruning.

    final, initial: sparsity of each matrix from step `end` on, and until step `begin`.
    kind, method: see above.
    rows: rows of a group, "balanced".
    shrinkage: eta at `end`; it grows from 0 at `begin`.
    """

    final: Mapping[str, float]
    begin: int
    end: int
    initial: Mapping[str, float] = field(default_factory=dict)
    kind: str = "unstructured"
    rows: int = 1
    method: str = "magnitude"
    shrinkage: float = 1.0

    def check(self, topology: dict) -> None:
        """Raise ValueError if a group of rows does not divide a block of some matrix."""
        for name in self.final if self.kind == "balanced" else ():
            rows, _ = blocks(name, topology)[0]
            if rows.stop % self.rows:
                raise ValueError(
                    f"{name}: groups of {self.rows} rows do not divide the {rows.stop} of a block"
                )

    def due(self, network: Transducer, step: int) -> bool:
        """Whether the weights are to be chosen anew at a step."""
        if step > self.end:
            return any(name not in network.masks for name in self.final)  # the end was missed
        return step == self.end or (step >= self.begin and (step - self.begin) % EVERY == 0)

    @torch.no_grad()
    def apply(self, network: Transducer, step: int) -> dict[str, float]:
        """Choose and prune the weights of a step; return the fraction of zeros of each matrix."""
        reached = {}
        for name, final in self.final.items():
            zeros = target_sparsity(step, self.begin, self.end, final, self.initial.get(name, 0.0))
            weight = network.weights[name.replace(".", "_")]
            if self.method == "shrink" and step < self.end:
                self._shrink(name, weight, network.topology, zeros, step)
            else:
                mask = self.mask(name, weight, network.topology, zeros)
                network.masks.setdefault(name, mask).copy_(mask)  # in place, see graphed.py
                weight.mul_(mask)
            reached[name] = (weight == 0).float().mean().item()
        return reached

    def mask(self, name: str, weight: Tensor, topology: dict, zeros: float) -> Tensor:
        """1 where a weight stays with this fraction of zeros."""
        mask = torch.empty_like(weight)
        for block in blocks(name, topology):
            mask[block] = self._mask(weight[block], zeros)
        return mask

    def _mask(self, weight: Tensor, zeros: float) -> Tensor:
        if self.kind == "balanced":
            return balanced_mask(weight, zeros, self.rows)
        return magnitude_mask(weight, zeros)

    def _shrink(self, name: str, weight: Tensor, topology: dict, zeros: float, step: int) -> None:
        strength = self.shrinkage * (step - self.begin) / max(1, self.end - self.begin)
        for block in blocks(name, topology):
            part = weight[block]
            weight[block] = shrunk(part, self._mask(part, zeros), min(1.0, strength))
