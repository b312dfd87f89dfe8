"""Two LSTMs with one state, mixed at each step by a share p of the slow one; the share from a score.

    h = Q0.7(p h_slow + (1 - p) h_fast)    c = p c_slow + (1 - p) c_fast
    p = sigmoid((score + noise) / temperature),    noise = ln u - ln(1 - u), u uniform

(AmNets: Macoskey et al. 2021, arXiv:2108.01553; Gumbel-sigmoid, the binary concrete distribution: Maddison et
al. 2017, arXiv:1611.00712.) A hard share is 0 or 1, as on the processor, with the gradient of the soft one: h
and c are then those of the side that was taken. The backward pass is written out, as in lstm.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from ossicle.models.lstm import CELL_LIMIT
from ossicle.models.product import linear
from ossicle.models.qat import quantize_activation_
from torch import Tensor

Parameters = tuple[Tensor, Tensor]
"""Weight [4 H, X + H] and bias [4 H] of an LSTM."""


@dataclass(frozen=True)
class Gate:
    """How scores become shares.

    temperature: the lower, the nearer are soft shares to 0 and 1.
    hard: shares are 0 or 1.
    noise: draws the noise; none without.
    """

    temperature: float = 1.0
    hard: bool = True
    noise: torch.Generator | None = None

    def __call__(self, scores: Tensor) -> Tensor:
        """Shares of scores [T, B]."""
        if self.noise is not None:
            uniform = torch.rand(scores.shape, generator=self.noise).clamp(1e-6, 1 - 1e-6)
            scores = scores + (uniform.log() - (-uniform).log1p()).to(scores.device)
        soft = torch.sigmoid(scores / self.temperature)
        return (scores > 0).to(soft.dtype) + (soft - soft.detach()) if self.hard else soft


def mixed_lstm(x: Tensor, sides: Sequence[Parameters], share: Tensor, reduced: bool = False) -> Tensor:
    """Hidden states [T, B, H] of inputs [T, B, X], from zero states.

    Args:
        sides: the slow one and the fast one.
        share: [T, B] of the slow one.
        reduced: products of bfloat16, see product.py.
    """
    weight, bias = (torch.cat(parts) for parts in zip(*sides, strict=True))
    width = x.shape[2]
    projected = linear(x, weight[:, :width], bias, reduced)
    return _Mixture.apply(projected, weight[:, width:], share, reduced)


class _Mixture(torch.autograd.Function):
    """Gates are [T, B, side, i f g o, H]; `parts` [T, B, side, 1] are p and 1 - p."""

    @staticmethod
    def forward(context, inputs: Tensor, weight: Tensor, share: Tensor, reduced: bool):  # type: ignore[override]
        steps, batch, rows = inputs.shape
        width = rows // 8
        weight = weight.bfloat16() if reduced else weight.contiguous()
        gates, transposed = torch.empty_like(inputs), weight.t().contiguous()
        view = gates.view(steps, batch, 2, 4, width)
        cells, own = inputs.new_zeros(steps + 1, batch, width), inputs.new_empty(steps, batch, 2, width)
        squashed, parts = torch.empty_like(own), torch.stack([share, 1 - share], dim=2).unsqueeze(3)
        hidden = inputs.new_zeros(steps + 1, batch, width, dtype=weight.dtype)
        for t in range(steps):
            torch.add(inputs[t], hidden[t] @ transposed, out=gates[t])
            view[t, :, :, :2].sigmoid_()
            view[t, :, :, 2].tanh_()
            view[t, :, :, 3].sigmoid_()
            i, f, g, o = view[t].unbind(2)
            torch.mul(f, cells[t].unsqueeze(1), out=own[t]).addcmul_(i, g).clamp_(-CELL_LIMIT, CELL_LIMIT)
            torch.tanh(own[t], out=squashed[t])
            torch.sum(parts[t] * own[t], 1, out=cells[t + 1])
            hidden[t + 1].copy_(quantize_activation_((parts[t] * o * squashed[t]).sum(1)))
        context.save_for_backward(gates, cells, own, squashed, hidden, weight, parts)
        return hidden[1:].to(inputs.dtype)

    @staticmethod
    def backward(context, gradient: Tensor):  # type: ignore[override]
        gates, cells, own, squashed, hidden, weight, parts = context.saved_tensors
        steps, batch, rows = gates.shape
        width = rows // 8
        slopes, to_cell, forget, made = _slopes(gates.view(steps, batch, 2, 4, width), cells, squashed)
        d_gates, d_parts = torch.empty_like(gates), torch.empty_like(parts)
        view = d_gates.view(steps, batch, 2, 4, width)
        d_cell, d_hidden = gates.new_zeros(batch, 1, width), gates.new_zeros(batch, 1, width)
        for t in range(steps - 1, -1, -1):
            d_hidden = gradient[t].unsqueeze(1) + d_hidden
            torch.sum(d_hidden * made[t] + d_cell * own[t], 2, keepdim=True, out=d_parts[t])
            d_made = parts[t] * d_hidden
            d_own = torch.addcmul(parts[t] * d_cell, d_made, to_cell[t])
            torch.mul(slopes[t, :, :, :3], d_own.unsqueeze(2), out=view[t, :, :, :3])
            torch.mul(slopes[t, :, :, 3], d_made, out=view[t, :, :, 3])
            d_cell = (d_own * forget[t]).sum(1, keepdim=True)
            d_hidden = (d_gates[t].to(weight.dtype) @ weight).to(gates.dtype).unsqueeze(1)
        d_weight = d_gates.to(weight.dtype).view(-1, rows).t() @ hidden[:-1].reshape(-1, width)
        d_share = (d_parts[:, :, 0] - d_parts[:, :, 1]).squeeze(2)
        return d_gates, d_weight.to(gates.dtype), d_share, None


def _slopes(gates: Tensor, cells: Tensor, squashed: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Of each pre-activation; from a side's h to its c; forget gates; and each side's h."""
    i, f, g, o = gates.unbind(3)
    slopes = torch.empty_like(gates)
    slopes[:, :, :, 0] = g * i * (1 - i)
    slopes[:, :, :, 1] = cells[:-1].unsqueeze(2) * f * (1 - f)
    slopes[:, :, :, 2] = i * (1 - g * g)
    slopes[:, :, :, 3] = squashed * o * (1 - o)
    return slopes, o * (1 - squashed * squashed), f, o * squashed
