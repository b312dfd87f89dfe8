"""lstm.py's recurrence for a GPU: two kernels a step each way, a product and all that follows from it.

What follows is done element by element, is written in tensor operations and fused by torch.compile.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

import torch
from ossicle.models.qat import ACTIVATION_UNIT
from torch import Tensor
from torch.fx.experimental import _config

CELL_LIMIT = 16.0  # Q4.11


def advance(
    x: Tensor, product: Tensor, cell: Tensor, gates: Tensor, after: Tensor, squashed: Tensor, hidden: Tensor
) -> None:
    """One step of a batch. Writes gates i, f, g, o, the cell `after` it, tanh of that, and the hidden state.

    Args:
        x, product: [B, 4 H], what inputs and hidden states add to the gates; cell: [B, H].
        gates: [B, 4, H]; after, squashed, hidden: [B, H].
    """
    i, f, g, o = (x + product).chunk(4, 1)
    i, f, g, o = i.sigmoid(), f.sigmoid(), g.tanh(), o.sigmoid()
    now = (f * cell + i * g).clamp(-CELL_LIMIT, CELL_LIMIT)
    top = now.tanh()
    for k, gate in enumerate((i, f, g, o)):
        gates[:, k].copy_(gate)
    after.copy_(now)
    squashed.copy_(top)
    hidden.copy_((o * top * ACTIVATION_UNIT).round().clamp(-128, 127) / ACTIVATION_UNIT)


def retreat(
    above: Tensor, product: Tensor, cell: Tensor, gates: Tensor, squashed: Tensor, d_cell: Tensor,
    d_gates: Tensor,
) -> None:  # fmt: skip
    """One step backward. Writes the gradient of the gates before their nonlinearity, and of the cell.

    Args:
        above, product: [B, H], gradient of the hidden state from above and from the next step.
        cell: [B, H], before the step; gates, squashed: as `advance` wrote them.
        d_cell: [B, H], replaced; d_gates: [B, 4, H].
    """
    i, f, g, o = gates.unbind(1)
    d_hidden = above + product
    of_cell = d_cell + d_hidden * o * (1 - squashed * squashed)
    d_gates[:, 0].copy_(of_cell * g * i * (1 - i))
    d_gates[:, 1].copy_(of_cell * cell * f * (1 - f))
    d_gates[:, 2].copy_(of_cell * i * (1 - g * g))
    d_gates[:, 3].copy_(d_hidden * squashed * o * (1 - o))
    d_cell.copy_(of_cell * f)


@cache
def _fused(step: Callable[..., None]) -> Callable[..., None]:
    # One compiled function for all shapes: that two sizes are equal now and then must not become a condition.
    _config.use_duck_shape = False
    return torch.compile(step, dynamic=True)


def _cell(cells: Sequence[Tensor], t: int) -> Tensor:
    """The cell before step t. Even and odd ones lie in two tensors: what is read and what is written by one
    fused function must not be parts of one."""
    return cells[t % 2][t // 2]


class Recurrence(torch.autograd.Function):
    """As lstm.py's, step by step in two kernels."""

    @staticmethod
    def forward(context, inputs: Tensor, weight: Tensor, reduced: bool) -> Tensor:  # type: ignore[override]
        steps, batch, rows = inputs.shape
        width, kind = rows // 4, torch.bfloat16 if reduced else weight.dtype
        step, inputs = _fused(advance) if inputs.is_cuda else advance, inputs.contiguous()
        weight = weight.to(kind).contiguous()
        transposed, product = weight.t(), inputs.new_empty(batch, rows, dtype=kind)
        gates, squashed = inputs.new_empty(steps, batch, 4, width), inputs.new_empty(steps, batch, width)
        cells = [inputs.new_zeros(steps // 2 + 1, batch, width) for _ in range(2)]
        hidden = inputs.new_zeros(steps + 1, batch, width, dtype=kind)
        for t in range(steps):
            torch.mm(hidden[t], transposed, out=product)
            before, after = _cell(cells, t), _cell(cells, t + 1)
            step(inputs[t], product, before, gates[t], after, squashed[t], hidden[t + 1])
        context.save_for_backward(gates, *cells, squashed, hidden, weight)
        return hidden[1:].to(inputs.dtype)

    @staticmethod
    def backward(context, gradient: Tensor):  # type: ignore[override]
        gates, *cells, squashed, hidden, weight = context.saved_tensors
        steps, batch, _, width = gates.shape
        step, gradient = _fused(retreat) if gates.is_cuda else retreat, gradient.contiguous()
        d_gates = torch.empty(gates.shape, dtype=weight.dtype, device=gates.device)
        d_cell, product = gates.new_zeros(batch, width), weight.new_zeros(batch, width)
        for t in range(steps - 1, -1, -1):
            step(gradient[t], product, _cell(cells, t), gates[t], squashed[t], d_cell, d_gates[t])
            torch.mm(d_gates[t].view(batch, -1), weight, out=product)
        rows = d_gates.view(steps * batch, -1)
        d_weight = rows.t() @ hidden[:-1].reshape(-1, width)
        return d_gates.view(steps, batch, -1).to(gates.dtype), d_weight.to(gates.dtype), None
