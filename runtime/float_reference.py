"""A stack of layers in floating point: what its integers stand for, nothing rounded, no table of a function.

    W = weight * multiplier / 2**shift, b = bias * multiplier / 2**shift, in steps of the output
    gates = (W [x; h] + b) / 2**11; logits = W x + b, Q7.8 but not rounded

For a machine that has no need of the processor's integers: it is several times as fast there as they are.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray
from ossicle.compiler.graph import GATES, Embedding, Graph, Linear, Lstm
from ossicle.hw.isa import Function
from ossicle.hw.numerics import ACTIVATION_FRACTION, PREACTIVATION_FRACTION

STEPS = float(1 << ACTIVATION_FRACTION)  # of an activation, in 1
PREACTIVATION = float(1 << PREACTIVATION_FRACTION)
Floats = NDArray[np.float32]


class FloatReference:
    """A graph of embeddings, LSTMs and a linear output, executed; `hidden` and `cell` are the LSTMs' states.

    Raises:
        ValueError: a graph with other ops.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        for routine in graph.routines.values():
            odd = [op.name for op in routine.ops if not _known(op)]
            if odd:
                raise ValueError(f"{graph.name}: {', '.join(odd)} cannot be computed in floating point")
        self._matrices: dict[str, tuple[Floats, Floats]] = {}
        for name, matrix in graph.matrices.items():
            scale = matrix.multiplier / np.exp2(matrix.shift.astype(np.float64))
            weight, bias = (matrix.weight * scale[:, None]).T, matrix.bias * scale
            self._matrices[name] = weight.astype(np.float32, order="C"), bias.astype(np.float32)
        self.reset()

    def reset(self, batch: tuple[int, ...] = ()) -> None:
        """Zero states."""
        sizes = self.graph.states.items()
        self.hidden = {name: np.zeros((*batch, units), np.float32) for name, units in sizes}
        self.cell = {name: np.zeros((*batch, units), np.float32) for name, units in sizes}

    def run(self, name: str, inputs: Mapping[str, ArrayLike]) -> NDArray:
        """One job on a batch: input tensors by name -> the output, [batch, count]."""
        routine, values = self.graph.routines[name], {key: np.asarray(value) for key, value in inputs.items()}
        for op in routine.ops:
            given = [values[tensor.name] for tensor in op.inputs]
            if isinstance(op, Embedding):
                made = self.graph.tables[op.table][given[0]].astype(np.float32)
            elif isinstance(op, Lstm):
                made = self._lstm(op, given)
            else:
                assert isinstance(op, Linear), "checked before"
                made = self._product(op.matrix, given)
            values[op.output.name] = made
        return values[routine.output.name]

    def _product(self, name: str, given: list[NDArray]) -> Floats:
        weight, bias = self._matrices[name]
        return np.concatenate(given, axis=-1) @ weight + bias

    def _lstm(self, op: Lstm, given: list[NDArray]) -> Floats:
        gates = self._product(op.matrix, [*given, self.hidden[op.state]]) / PREACTIVATION
        i, f, g, o = np.split(gates, GATES, axis=-1)
        cell = _sigmoid(f) * self.cell[op.state] + _sigmoid(i) * np.tanh(g)
        self.cell[op.state] = cell
        self.hidden[op.state] = STEPS * _sigmoid(o) * np.tanh(cell)
        return self.hidden[op.state]


def _known(op: object) -> bool:
    linear = isinstance(op, Linear) and op.function is Function.IDENTITY
    return linear or isinstance(op, Embedding) or (isinstance(op, Lstm) and not op.recurrent)


def _sigmoid(x: Floats) -> Floats:
    return np.float32(0.5) + np.float32(0.5) * np.tanh(np.float32(0.5) * x)
