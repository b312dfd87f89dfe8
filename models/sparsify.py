"""Gradual pruning by magnitude (Zhu & Gupta 2017, arXiv:1710.01878).

    s(t) = s_f + (s_i - s_f) (1 - (t - t_0) / (t_1 - t_0))**3,   s_i = 0

Weights compete within a block: one gate of an LSTM, input and recurrent columns apart, so that no gate and no
path dies of having small weights throughout. A pruned weight stays zero.
"""

from __future__ import annotations

import torch
from ossicle.models.network import Transducer
from torch import Tensor


def target_sparsity(step: int, begin: int, end: int, final: float) -> float:
    """Fraction of zeros wanted at a step: 0 until `begin`, `final` from `end` on, a cubic between."""
    if step < begin:
        return 0.0
    progress = min(1.0, (step - begin) / max(1, end - begin))
    return final * (1 - (1 - progress) ** 3)


def magnitude_mask(weight: Tensor, zeros: float) -> Tensor:
    """1 where a weight stays, 0 where it goes: floor(zeros x size) smallest magnitudes of the block go."""
    drop = int(zeros * weight.numel())
    mask = weight.new_ones(weight.numel())
    if drop:
        mask[torch.topk(weight.abs().flatten(), drop, largest=False).indices] = 0
    return mask.view_as(weight)


def _blocks(name: str, topology: dict, rows: int, columns: int) -> list[tuple[slice, slice]]:
    if not name.startswith("encoder.") or name == "encoder.projection":
        return [(slice(0, rows), slice(0, columns))]
    hidden = topology["encoder"][int(name.split(".")[1])]["hidden"]
    parts = (slice(0, columns - hidden), slice(columns - hidden, columns))
    return [(slice(g * hidden, (g + 1) * hidden), part) for g in range(4) for part in parts]


@torch.no_grad()
def prune(network: Transducer, step: int, begin: int, end: int, final: dict[str, float]) -> dict[str, float]:
    """Set the masks for a step; return the sparsity of each matrix. `final`: name -> sparsity at the end."""
    reached = {}
    for name, sparsity in final.items():
        weight = network.weights[name.replace(".", "_")]
        zeros = target_sparsity(step, begin, end, sparsity)
        mask = torch.empty_like(weight)
        for rows, columns in _blocks(name, network.topology, *weight.shape):
            mask[rows, columns] = magnitude_mask(weight[rows, columns], zeros)
        weight.mul_(mask)
        network.masks[name] = mask
        reached[name] = 1 - mask.mean().item()
    return reached
