"""A stack of layers (see layers.py) as torch parameters, rounded in the forward pass as the processor rounds.

Activations are rounded to Q0.7 always; weights are masked when pruning has begun and rounded when
`weight_bits` is set.
"""

from __future__ import annotations

import numpy as np
import torch
from ossicle.models.export import Checkpoint, matrix_shapes, quantize_matrix, table_shapes
from ossicle.models.layers import layer_names
from ossicle.models.lstm import lstm
from ossicle.models.product import linear
from ossicle.models.qat import fake_activation, fake_weight, tanh_activation
from ossicle.models.sparsify import magnitude_mask, target_sparsity
from ossicle.runtime.frontend import FrontendParameters
from torch import Tensor, nn
from torch.nn import functional

WIDER = 2.5


def join(x: Tensor, count: int) -> Tensor:
    """[T, B, width] -> [T / count, B, count * width]: successive vectors side by side, whole groups only."""
    steps = x.shape[0] // count
    if count == 1:
        return x
    return x[: steps * count].unflatten(0, (steps, count)).transpose(1, 2).flatten(2)


class Stack(nn.Module):
    """The network of a topology of kind "stack"."""

    def __init__(self, topology: dict) -> None:
        super().__init__()
        self.topology = topology
        self.weight_bits: int | None = None
        self.reduced = False
        self.weights, self.biases, self.masks = nn.ParameterDict(), nn.ParameterDict(), {}
        shapes = matrix_shapes(topology)
        for name, layer in zip(layer_names(topology), topology["layers"], strict=True):
            weight, bias = _initial(*shapes[name], layer.get("lstm", 0))
            self.weights[_key(name)], self.biases[_key(name)] = nn.Parameter(weight), nn.Parameter(bias)
        for rows, columns in table_shapes(topology).values():
            self.embedding = nn.Parameter(torch.empty(rows, columns).uniform_(-0.5, 0.5))

    def matrix(self, name: str) -> tuple[Tensor, Tensor]:
        """Weight [rows, columns] and bias [rows] as the forward pass uses them."""
        weight = self.weights[_key(name)]
        if name in self.masks:
            weight = weight * self.masks[name]
        if self.weight_bits:
            weight = fake_weight(weight, self.weight_bits)
        return weight, self.biases[_key(name)]

    def forward(self, inputs: Tensor) -> Tensor:
        """[B, T, 120] in [-1, 1), or labels [B, T, labels] -> outputs [B, T / frames a step, rows]."""
        x = inputs.transpose(0, 1)
        if "tokens" in self.topology:
            table = fake_activation(self.embedding.clamp(-1, 127 / 128))
            x = functional.embedding(x, table).flatten(2)
        for name, layer in zip(layer_names(self.topology), self.topology["layers"], strict=True):
            x = join(x, layer.get("reduce", 1))
            if "lstm" in layer:
                x = lstm(x, *self.matrix(name), self.reduced)
            else:
                x = _apply(layer.get("function"), linear(x, *self.matrix(name), self.reduced))
        return x.transpose(0, 1)

    @torch.no_grad()
    def prune(self, step: int, begin: int, end: int, final: dict[str, float]) -> dict[str, float]:
        """Set the masks for a step (sparsify.py); return the zeros of each matrix, `final` at the end."""
        reached = {}
        for name, sparsity in final.items():
            weight, zeros = self.weights[_key(name)], target_sparsity(step, begin, end, sparsity)
            mask = torch.empty_like(weight)
            for block in self._blocks(name):
                mask[block] = magnitude_mask(weight[block], zeros)
            weight.mul_(mask)
            self.masks[name] = mask
            reached[name] = 1 - mask.mean().item()
        return reached

    def _blocks(self, name: str) -> list[tuple[slice, slice]]:
        """Where weights compete: each gate of an LSTM, input and recurrent columns apart; else all."""
        layer = self.topology["layers"][layer_names(self.topology).index(name)]
        hidden = layer.get("lstm", 0)
        if not hidden:
            return [(slice(None), slice(None))]
        gates = [slice(g * hidden, (g + 1) * hidden) for g in range(4)]
        return [(rows, columns) for rows in gates for columns in (slice(0, -hidden), slice(-hidden, None))]

    @torch.no_grad()
    def checkpoint(self, frontend: FrontendParameters | None, header: dict) -> Checkpoint:
        """The integers of the present parameters, 8 bits where no other number is set."""
        bits, self.weight_bits, saved = self.weight_bits or 8, None, self.weight_bits
        matrices = {}
        for name in matrix_shapes(self.topology):
            weight, bias = (part.double().cpu().numpy() for part in self.matrix(name))
            matrices[name] = quantize_matrix(name, weight, bias, bits=bits)
        self.weight_bits = saved
        header = {**header, "quantization": dict.fromkeys(matrices, bits)}
        table = None
        if "tokens" in self.topology:
            table = np.clip(np.rint(self.embedding.cpu().numpy() * 128), -128, 127).astype(np.int8)
        return Checkpoint(self.topology, matrices, table, b"", frontend, header)


def _key(name: str) -> str:
    return name.replace(".", "_")


def _initial(rows: int, columns: int, hidden: int) -> tuple[Tensor, Tensor]:
    bound, bias = columns**-0.5, torch.zeros(rows)
    weight = torch.empty(rows, columns).uniform_(-bound, bound)
    if hidden:
        bias[hidden : 2 * hidden] = 1.0  # forget gates start open
        inner = hidden**-0.5
        weight[:, -hidden:].uniform_(-inner, inner)
        weight[:, :-hidden].uniform_(-WIDER * inner, WIDER * inner)
    return weight, bias


def _apply(function: str | None, value: Tensor) -> Tensor:
    if function is None:
        return value
    if function == "tanh":
        return tanh_activation(value)
    return fake_activation(torch.relu(value) if function == "relu" else torch.sigmoid(value))
