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
        context.kind = x.dtype
        rows, weight = x.reshape(-1, x.shape[-1]).bfloat16(), weight.bfloat16()
        context.save_for_backward(rows, weight)
        return torch.addmm(bias.bfloat16(), rows, weight.t()).to(x.dtype).view(*x.shape[:-1], -1)

    @staticmethod
    def backward(context, gradient: Tensor):  # type: ignore[override]
        x, weight = context.saved_tensors
        rows = gradient.reshape(-1, gradient.shape[-1]).bfloat16()
        d_x = None
        if context.needs_input_grad[0]:
            d_x = (rows @ weight).to(context.kind).view(*gradient.shape[:-1], -1)
        d_weight = (rows.t() @ x).float()
        return d_x, d_weight, rows.sum(dim=0, dtype=torch.float32)


def linear(x: Tensor, weight: Tensor, bias: Tensor, reduced: bool) -> Tensor:
    """x [..., columns] @ weight [rows, columns]' + bias [rows], of the type of x."""
    return _ReducedLinear.apply(x, weight, bias) if reduced else functional.linear(x, weight, bias)
