"""Matrix products in training: float32, or bfloat16 operands, which take half the time on some CPUs.

Products of bfloat16 are summed in float32 and rounded to 8 bits of mantissa; parameters, gradients and the
optimizer stay in float32. Hidden states in Q0.7 are exact in bfloat16.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


class _ReducedLinear(torch.autograd.Function):
    @staticmethod
    def forward(context, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:  # type: ignore[override]
        x, weight = x.bfloat16(), weight.bfloat16()
        context.save_for_backward(x, weight)
        return functional.linear(x, weight).float().add_(bias)

    @staticmethod
    def backward(context, gradient: Tensor):  # type: ignore[override]
        x, weight = context.saved_tensors
        rows = gradient.reshape(-1, gradient.shape[-1])
        reduced = rows.bfloat16()
        d_x = None
        if context.needs_input_grad[0]:
            d_x = (reduced @ weight).float().view(x.shape)
        d_weight = (reduced.t() @ x.reshape(-1, x.shape[-1])).float()
        return d_x, d_weight, rows.sum(dim=0)


def linear(x: Tensor, weight: Tensor, bias: Tensor, reduced: bool) -> Tensor:
    """x [..., columns] @ weight [rows, columns]' + bias [rows]."""
    return _ReducedLinear.apply(x, weight, bias) if reduced else functional.linear(x, weight, bias)
