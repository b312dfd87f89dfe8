"""The golden model: what each op of a Graph computes, one numpy function each, exact on every machine.

Every array may have batch dimensions in front: [..., count]. Products of int8 vectors are summed by the BLAS
in float32 while every partial sum stays below 2**24, in float64 beyond: both are exact, in any order.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray
from ossicle.compiler.graph import GATES, Add, Branch, Embedding, Graph, Linear, Lstm, Matrix, Op, Routine
from ossicle.hw import numerics
from ossicle.hw.isa import Function

FLOAT32_COLUMNS = (1 << 24) // (128 * 128)


def apply(function: Function, value: ArrayLike, bits: int) -> numerics.Int:
    """What LINEAR and ADD do with a pre-activation: the function, then 16 bits as it is or 8 bits, Q0.7."""
    made = {
        Function.IDENTITY: np.asarray,
        Function.RELU: numerics.relu,
        Function.SIGMOID: numerics.sigmoid,
        Function.TANH: numerics.tanh,
    }[function](value)
    gate = function in (Function.SIGMOID, Function.TANH)
    if bits == 8:
        return numerics.gate_to_activation(made) if gate else numerics.preactivation_to_activation(made)
    return numerics.saturate(made, 16)


def product(weight: NDArray, x: ArrayLike) -> numerics.Int:
    """weight [rows, columns] float @ x [..., columns] int8, exact."""
    return (np.asarray(x).astype(weight.dtype) @ weight.T).astype(np.int64)


def linear(matrix: Matrix, weight: NDArray, x: ArrayLike, function: Function, bits: int) -> numerics.Int:
    """x [..., columns] int8 -> [..., rows]; `weight` is the matrix's weight as floats."""
    total = product(weight, x)
    return apply(function, numerics.requantize(total, matrix.bias, matrix.multiplier, matrix.shift), bits)


def lstm(matrix: Matrix, weight: NDArray, x: ArrayLike, cell: ArrayLike) -> tuple[numerics.Int, numerics.Int]:
    """x [..., inputs and h] int8, cell [..., units] Q4.11 -> (cell, h)."""
    return lstm_update(matrix, product(weight, x), cell)


def lstm_update(matrix: Matrix, total: ArrayLike, cell: ArrayLike) -> tuple[numerics.Int, numerics.Int]:
    """Sums of products [..., 4 units] int32, cell [..., units] Q4.11 -> (cell, h)."""
    gates = numerics.requantize(total, matrix.bias, matrix.multiplier, matrix.shift)
    units = gates.shape[-1] // GATES
    i, f, g, o = (gates[..., k * units : (k + 1) * units] for k in range(GATES))
    return numerics.lstm_cell(i, f, g, o, cell)


def add(first: ArrayLike, second: ArrayLike, function: Function, bits: int) -> numerics.Int:
    """[..., count] int16 twice -> [..., count]."""
    total = np.asarray(first, np.int64) + np.asarray(second, np.int64)
    return apply(function, numerics.saturate(total, 16), bits)


class Reference:
    """A Graph, executed. Holds the states of the LSTMs, which `reset` clears.

    Args:
        graph: a verified graph. `encode`, `predict` and `joint` need the routines of a transducer.
        batch: shape in front of every state; () for a single stream.
    """

    def __init__(self, graph: Graph, batch: tuple[int, ...] = ()) -> None:
        self.graph = graph
        self._weights = {name: _floats(matrix.weight) for name, matrix in graph.matrices.items()}
        self.reset(batch)

    def reset(self, batch: tuple[int, ...] = ()) -> None:
        """Zero states, for a new utterance (or a batch of them)."""
        self.hidden = {name: np.zeros((*batch, units), np.int8) for name, units in self.graph.states.items()}
        self.cell = {name: np.zeros((*batch, units), np.int16) for name, units in self.graph.states.items()}

    def run(self, name: str, inputs: Mapping[str, ArrayLike]) -> NDArray:
        """One job: the value of every input tensor by name -> the routine's output, in its format's type.

        Of a job of several steps, [..., steps, count].
        """
        routine = self.graph.routines[name]
        values = {key: np.asarray(value) for key, value in inputs.items()}
        self._run(routine.ops, values)
        if routine.rest:
            return np.stack([values[output.name] for output in routine.outputs], axis=-2)
        return values[routine.output.name]

    def _run(self, ops: Iterable[Op], values: dict[str, NDArray]) -> None:
        """Execute ops on the values by name, and add what they make."""
        for op in ops:
            if isinstance(op, Branch):
                values[op.output.name] = self._branch(op, values)
            else:
                values[op.output.name] = self._execute(op, [values[t.name] for t in op.inputs])

    def _branch(self, op: Branch, values: dict[str, NDArray]) -> NDArray:
        """Both sides from the same states; each stream of the batch keeps those of the side that it takes."""
        above = values[op.inputs[0].name] > 0
        before, sides = (self.hidden, self.cell), []
        for side in (op.above, op.below):
            self.hidden, self.cell = (dict(states) for states in before)
            made = dict(values)
            self._run(side, made)
            sides.append((made[op.output.name], self.hidden, self.cell))
        (yes, hidden, cell), (no, other_hidden, other_cell) = sides
        self.hidden = {name: np.where(above, hidden[name], other_hidden[name]) for name in hidden}
        self.cell = {name: np.where(above, cell[name], other_cell[name]) for name in cell}
        return np.where(above, yes, no)

    def encode(self, features: ArrayLike) -> NDArray[np.int16]:
        """features int8 [..., frames, features] -> int16 [..., frames / frames a job, joint].

        Raises:
            ValueError: frames that are not whole jobs.
        """
        features = np.asarray(features)
        parts = self.graph.routines["encode"].inputs[0].parts
        frames = features.shape[-2]
        if frames % len(parts):
            raise ValueError(f"{frames} frames are not a multiple of {len(parts)}; pad with zero frames")
        made = []
        for start in range(0, frames, len(parts)):
            inputs = {part.name: features[..., start + k, :] for k, part in enumerate(parts)}
            made.append(self.run("encode", inputs))
        width = self.graph.routines["encode"].output.count
        return np.stack(made, axis=-2) if made else np.zeros((*features.shape[:-2], 0, width), np.int16)

    def predict(self, *labels: ArrayLike) -> NDArray[np.int16]:
        """Labels, older first, each an integer or [...] -> int16 [..., joint]."""
        return self._positional("predict", labels)

    def joint(self, encoded: ArrayLike, predicted: ArrayLike) -> NDArray[np.int16]:
        """int16 [..., joint] twice -> logits int16 [..., V], Q7.8."""
        return self._positional("joint", (encoded, predicted))

    def _positional(self, name: str, values: tuple[ArrayLike, ...]) -> NDArray:
        routine: Routine = self.graph.routines[name]
        names = [given.parts[0].name for given in routine.inputs]
        return self.run(name, dict(zip(names, values, strict=True)))

    def _execute(self, op: Op, inputs: list[NDArray]) -> NDArray:
        bits = 8 if op.output.format.dtype == "int8" else 16
        match op:
            case Embedding(table=table):
                made = self.graph.tables[table][inputs[0]]
            case Linear(matrix=name, function=function):
                matrix, weight = self.graph.matrices[name], self._weights[name]
                made = linear(matrix, weight, _concatenate(inputs), function, bits)
            case Add(function=function):
                made = add(inputs[0], inputs[1], function, bits)
            case Lstm(matrix=name, state=state):
                matrix, weight, h = self.graph.matrices[name], self._weights[name], self.hidden[state]
                if op.recurrent:
                    total = product(weight, _concatenate(inputs)) + product(self._weights[op.recurrent], h)
                    cell, made = lstm_update(matrix, total, self.cell[state])
                else:
                    cell, made = lstm(matrix, weight, _concatenate([*inputs, h]), self.cell[state])
                self.cell[state], self.hidden[state] = cell.astype(np.int16), made.astype(np.int8)
            case _:
                raise NotImplementedError(f"{op.name}: no meaning for {type(op).__name__}")
        return made.astype(op.output.format.dtype)


def _floats(weight: NDArray[np.int8]) -> NDArray:
    return weight.astype(np.float32 if weight.shape[1] < FLOAT32_COLUMNS else np.float64)


def _concatenate(inputs: list[NDArray]) -> NDArray:
    batch = np.broadcast_shapes(*(x.shape[:-1] for x in inputs))
    return np.concatenate([np.broadcast_to(x, (*batch, x.shape[-1])) for x in inputs], axis=-1)
