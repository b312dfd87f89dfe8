"""An LSTM over a sequence whose hidden state is rounded to Q0.7 at each step, as the processor's is.

    i, f, g, o = x W_x' + h W_h' + b    c = sigmoid(f) c + sigmoid(i) tanh(g)    h = Q0.7(sigmoid(o) tanh(c))

The backward pass is written out (Hochreiter & Schmidhuber 1997; straight-through for the rounding): one small
product a step and two large ones at the end, about as fast on a CPU as torch.nn.LSTM, which can't round.
"""

from __future__ import annotations

import torch
from ossicle.models.product import linear
from ossicle.models.qat import quantize_activation_
from torch import Tensor

CELL_LIMIT = 16.0  # Q4.11


class _Recurrence(torch.autograd.Function):
    @staticmethod
    def forward(context, inputs: Tensor, weight: Tensor, reduced: bool) -> Tensor:  # type: ignore[override]
        steps, batch, rows = inputs.shape
        width = rows // 4
        weight = weight.bfloat16() if reduced else weight.contiguous()
        gates, transposed = torch.empty_like(inputs), weight.t().contiguous()
        cells, hidden = (inputs.new_zeros(steps + 1, batch, width) for _ in range(2))
        squashed = inputs.new_empty(steps, batch, width)
        for t in range(steps):
            now = torch.add(inputs[t], hidden[t].to(weight.dtype) @ transposed, out=gates[t])
            now[:, : 2 * width].sigmoid_()
            now[:, 2 * width : 3 * width].tanh_()
            now[:, 3 * width :].sigmoid_()
            i, f, g, o = now.split(width, dim=1)
            cell = torch.mul(f, cells[t], out=cells[t + 1]).addcmul_(i, g).clamp_(-CELL_LIMIT, CELL_LIMIT)
            torch.tanh(cell, out=squashed[t])
            quantize_activation_(torch.mul(o, squashed[t], out=hidden[t + 1]))
        context.save_for_backward(gates, cells, squashed, hidden, weight)
        return hidden[1:]

    @staticmethod
    def backward(context, gradient: Tensor) -> tuple[Tensor, Tensor, None]:  # type: ignore[override]
        gates, cells, squashed, hidden, weight = context.saved_tensors
        steps, batch, rows = gates.shape
        width = rows // 4
        i, f, g, o = (part.squeeze(2) for part in gates.view(steps, batch, 4, width).split(1, dim=2))
        to_cell = o * (1 - squashed * squashed)
        slopes = torch.empty_like(gates).view(steps, batch, 4, width)
        slopes[:, :, 0] = g * i * (1 - i)
        slopes[:, :, 1] = cells[:-1] * f * (1 - f)
        slopes[:, :, 2] = i * (1 - g * g)
        slopes[:, :, 3] = squashed * o * (1 - o)
        d_gates = torch.empty_like(gates)
        view = d_gates.view(steps, batch, 4, width)
        d_cell, d_hidden = gates.new_zeros(batch, width), gates.new_zeros(batch, width)
        for t in range(steps - 1, -1, -1):
            d_hidden = d_hidden + gradient[t]
            d_cell.addcmul_(d_hidden, to_cell[t])
            torch.mul(slopes[t, :, :3], d_cell.unsqueeze(1), out=view[t, :, :3])
            torch.mul(slopes[t, :, 3], d_hidden, out=view[t, :, 3])
            d_cell.mul_(f[t])
            d_hidden = (d_gates[t].to(weight.dtype) @ weight).to(gates.dtype)
        before = hidden[:-1].reshape(-1, width).to(weight.dtype)
        d_weight = (d_gates.view(-1, rows).to(weight.dtype).t() @ before).to(gates.dtype)
        return d_gates, d_weight, None


def lstm(inputs: Tensor, weight: Tensor, bias: Tensor, reduced: bool = False) -> Tensor:
    """Hidden states [T, B, H] of inputs [T, B, X], from zero states.

    Args:
        weight: [4 H, X + H], rows i, f, g, o; columns x, then h.
        bias: [4 H].
        reduced: products of bfloat16, see product.py.
    """
    width = inputs.shape[2]
    projected = linear(inputs, weight[:, :width], bias, reduced)
    return _Recurrence.apply(projected, weight[:, width:], reduced)
