"""Fake quantization: the forward pass rounds as the processor does, gradients pass straight through."""

from __future__ import annotations

import torch
from torch import Tensor

ACTIVATION_UNIT = 128.0  # Q0.7


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
    return _RoundWeight.apply(weight, (1 << (bits - 1)) - 1)
