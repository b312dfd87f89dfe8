"""An LSTM over a sequence whose hidden state is rounded to Q0.7 at each step, as the processor's is.

    i, f, g, o = x W_x' + h W_h' + b    c = sigmoid(f) c + sigmoid(i) tanh(g)    h = Q0.7(sigmoid(o) tanh(c))

The backward pass is written out (Hochreiter & Schmidhuber 1997; straight-through for the rounding): one small
product a step and two large ones at the end, about as fast on a CPU as torch.nn.LSTM, which can't round.
"""

from __future__ import annotations

import torch
from ossicle.models.lstm_gpu import CELL_LIMIT, Recurrence
from ossicle.models.product import linear
from ossicle.models.qat import quantize_activation_
from torch import Tensor


class _Recurrence(torch.autograd.Function):
    @staticmethod
    def forward(context, inputs: Tensor, weight: Tensor, reduced: bool) -> Tensor:  # type: ignore[override]
        steps, batch, rows = inputs.shape
        width = rows // 4
        weight = weight.bfloat16() if reduced else weight.contiguous()
        gates, transposed = torch.empty_like(inputs), weight.t().contiguous()
        cells, squashed = inputs.new_zeros(steps + 1, batch, width), inputs.new_empty(steps, batch, width)
        # Q0.7 is exact in bfloat16 too.
        hidden = inputs.new_zeros(steps + 1, batch, width, dtype=weight.dtype)
        state = inputs.new_empty(batch, width)
        # Views are made at once: indexing in the loop costs as much as the arithmetic.
        x, h, now, c, s = (tensor.unbind() for tensor in (inputs, hidden, gates, cells, squashed))
        parts = [[p.unbind() for p in gates.split(width, dim=2)], gates[:, :, : 2 * width].unbind()]
        (_, f, g, o), both = parts
        for t in range(steps):
            torch.add(x[t], h[t] @ transposed, out=now[t])
            both[t].sigmoid_()
            g[t].tanh_()
            o[t].sigmoid_()
            torch.mul(f[t], c[t], out=c[t + 1]).addcmul_(parts[0][0][t], g[t]).clamp_(-CELL_LIMIT, CELL_LIMIT)
            torch.tanh(c[t + 1], out=s[t])
            h[t + 1].copy_(quantize_activation_(torch.mul(o[t], s[t], out=state)))
        context.save_for_backward(gates, cells, squashed, hidden, weight)
        return hidden[1:].to(inputs.dtype)

    @staticmethod
    def backward(context, gradient: Tensor) -> tuple[Tensor, Tensor, None]:  # type: ignore[override]
        gates, cells, squashed, hidden, weight = context.saved_tensors
        steps, batch, rows = gates.shape
        width = rows // 4
        i, f, g, o = gates.split(width, dim=2)
        slopes = torch.empty_like(gates).view(steps, batch, 4, width)
        slopes[:, :, 0] = g * i * (1 - i)
        slopes[:, :, 1] = cells[:-1] * f * (1 - f)
        slopes[:, :, 2] = i * (1 - g * g)
        slopes[:, :, 3] = squashed * o * (1 - o)
        d_gates, reduced = torch.empty_like(gates), torch.empty(gates.shape, dtype=weight.dtype)
        view = d_gates.view(steps, batch, 4, width)
        d_cell, d_hidden = gates.new_zeros(batch, width), gates.new_zeros(batch, width)
        before, last = view[:, :, :3].unbind(), view[:, :, 3].unbind()
        slope, slope_o = slopes[:, :, :3].unbind(), slopes[:, :, 3].unbind()
        to_cell, forget, above = (o * (1 - squashed * squashed)).unbind(), f.unbind(), gradient.unbind()
        whole, product = d_gates.unbind(), reduced.unbind()
        wide = d_cell.unsqueeze(1)
        for t in range(steps - 1, -1, -1):
            d_hidden = above[t] + d_hidden
            d_cell.addcmul_(d_hidden, to_cell[t])
            torch.mul(slope[t], wide, out=before[t])
            torch.mul(slope_o[t], d_hidden, out=last[t])
            d_cell.mul_(forget[t])
            d_hidden = product[t].copy_(whole[t]) @ weight
        d_weight = reduced.view(-1, rows).t() @ hidden[:-1].reshape(-1, width)
        return d_gates, d_weight.to(gates.dtype), None


def lstm(inputs: Tensor, weight: Tensor, bias: Tensor, reduced: bool = False) -> Tensor:
    """Hidden states [T, B, H] of inputs [T, B, X], from zero states.

    Args:
        weight: [4 H, X + H], rows i, f, g, o; columns x, then h.
        bias: [4 H].
        reduced: products of bfloat16, see product.py.
    """
    width = inputs.shape[2]
    projected = linear(inputs, weight[:, :width], bias, reduced)
    recurrence = Recurrence if inputs.is_cuda else _Recurrence
    return recurrence.apply(projected, weight[:, width:], reduced)
