"""Training for whole numbers: fake quantization, or a regularizer that pulls weights to their levels.

Fake quantization rounds in the forward pass, and gradients pass straight through. The regularizer leaves the
forward pass in float and acts in the backward pass alone, by what it adds to the gradient of each weight:

    R(w) = (D / pi) |sin(pi w / D)|      dR/dw = cos(pi w / D) sign(sin(pi w / D))

(the absolute cosine of Nguyen et al. 2020, Interspeech, "Quantization aware training with absolute-cosine
regularization", moved by half a level D: a cosine's zeros lie between the whole numbers, and neither a pruned
weight nor the checkpoint's integers can do without zero). D is the scale of the weight's row, and the factor
D / pi makes the pull at most 1 at any number of bits.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

ACTIVATION_UNIT = 128.0  # Q0.7
EDGE = 0.01  # of a level: so near to it the pull fades, or a row's largest weight would drift with rounding


class _RoundActivation(torch.autograd.Function):
    @staticmethod
    def forward(context, value: Tensor) -> Tensor:  # type: ignore[override]
        return quantize_activation_(value.clone())

    @staticmethod
    def backward(context, gradient: Tensor) -> Tensor:  # type: ignore[override]
        return gradient


class _TanhActivation(torch.autograd.Function):
    @staticmethod
    def forward(context, value: Tensor, kind: torch.dtype) -> Tensor:  # type: ignore[override]
        rounded = quantize_activation_(torch.tanh(value)).to(kind)
        context.save_for_backward(rounded)
        context.kind = value.dtype
        return rounded

    @staticmethod
    def backward(context, gradient: Tensor):  # type: ignore[override]
        (rounded,) = context.saved_tensors
        return (gradient - gradient * rounded * rounded).to(context.kind), None


class _RoundWeight(torch.autograd.Function):
    @staticmethod
    def forward(context, weight: Tensor, top: int) -> Tensor:  # type: ignore[override]
        scale = row_scale(weight, top)
        return torch.round(weight / scale).clamp_(-top, top).mul_(scale)

    @staticmethod
    def backward(context, gradient: Tensor):  # type: ignore[override]
        return gradient, None


def quantize_activation_(value: Tensor) -> Tensor:
    """Round to Q0.7 in place: multiples of 2**-7 in [-1, 1), half to even."""
    return value.mul_(ACTIVATION_UNIT).round_().clamp_(-128, 127).div_(ACTIVATION_UNIT)


def fake_activation(value: Tensor) -> Tensor:
    """Q0.7 values, with the gradient of the identity (straight-through estimator)."""
    return _RoundActivation.apply(value)


def tanh_activation(value: Tensor, reduced: bool = False) -> Tensor:
    """Q0.7 of tanh, straight through the rounding; `reduced`: in bfloat16, which holds Q0.7 exactly."""
    return _TanhActivation.apply(value, torch.bfloat16 if reduced else value.dtype)


def row_scale(weight: Tensor, top: int) -> Tensor:
    """[rows, 1]: the largest magnitude of each row over `top`; 1 / top for a row of zeros."""
    largest = weight.abs().amax(dim=1, keepdim=True)
    return torch.where(largest > 0, largest, torch.ones_like(largest)) / top


def fake_weight(weight: Tensor, bits: int) -> Tensor:
    """Weights [rows, columns] rounded to symmetric integers times the scale of their row."""
    return _RoundWeight.apply(weight, largest_integer(bits))


def largest_integer(bits: int) -> int:
    """2**(bits - 1) - 1: integers of `bits` are symmetric."""
    return (1 << (bits - 1)) - 1


def level_penalty(weight: Tensor, bits: int) -> Tensor:
    """Sum of R over weights [rows, columns]: 0 where every weight is a whole number of its row's scale."""
    scale = row_scale(weight.detach(), largest_integer(bits))
    return (torch.sin(weight * (math.pi / scale)).abs() * (scale / math.pi)).sum()


def level_pull(weight: Tensor, bits: int) -> Tensor:
    """dR/dw of each weight, [rows, columns] in -1..1; 0 for a weight that is 0. Scales are held fast."""
    steps = weight / row_scale(weight, largest_integer(bits))
    off = steps - steps.round()  # cos and sin of pi times this are those of the equation but for one sign
    return torch.cos(off * math.pi) * (off / EDGE).clamp_(-1, 1)


def distance_to_levels(weight: Tensor, bits: int) -> float:
    """Mean distance of the weights from their nearest levels, in levels: 0.25 if they lie anywhere."""
    steps = weight / row_scale(weight, largest_integer(bits))
    return (steps - steps.round()).abs().mean().item()
