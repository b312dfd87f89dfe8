"""Encoder steps in chunks: a job that takes several steps at once, layer by layer.

    encode(features)                one step
    encode.chunk(features)          `steps` of them: what a layer's inputs need of its weights is computed for
                                    all steps while they are there; only the products with h go step by step

Every LSTM's matrix is cut in two, for its inputs and for h, in both jobs: they share what stays on the chip.
Sums of products are integers, so that the cut changes no result.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from ossicle.compiler.graph import Branch, Graph, GraphError, Input, Linear, Lstm, Matrix, Op, Routine, Tensor
from ossicle.compiler.graph import verify as verify_graph

ENCODE = "encode"
CHUNK = "encode.chunk"
RECURRENT = ".recurrent"
"""What follows a matrix's name in that of its columns for h."""


def why_not(graph: Graph) -> str:
    """Why a graph has no chunks, one line; empty if it can have them."""
    routine = graph.routines.get(ENCODE)
    if routine is None:
        return f"{graph.name} has no encoder: its jobs take one step each"
    if any(isinstance(op, Branch) for op in routine.ops):
        return (
            "the encoder branches: which weights a step needs is known only after the step before it, so "
            "that steps cannot share them"
        )
    if not any(isinstance(op, Lstm) for op in routine.ops):
        return f"the encoder of {graph.name} has no recurrent layer"
    return ""


def chunk(graph: Graph, steps: int) -> Graph:
    """A copy with the routine CHUNK of so many steps, and LSTMs whose matrices are cut; of 1 step, as it is.

    Raises:
        GraphError: a graph that cannot have chunks, in one line.
    """
    if steps == 1:
        return graph
    reason = why_not(graph)
    if reason:
        raise GraphError(f"chunks of {steps} steps are not possible: {reason}")
    encode = replace(graph.routines[ENCODE], ops=tuple(_cut(op) for op in graph.routines[ENCODE].ops))
    routines = {**graph.routines, ENCODE: encode}
    made = replace(graph, matrices=_cut_matrices(graph, encode), routines=routines)
    found: dict[str, Routine] = {}
    for name, routine in made.routines.items():
        found[name] = routine
        if name == ENCODE:
            found[CHUNK] = _chunk(encode, steps)
    made = replace(made, routines=found)
    verify_graph(made)
    return made


def _cut(op: Op) -> Op:
    return replace(op, recurrent=op.matrix + RECURRENT) if isinstance(op, Lstm) else op


def _cut_matrices(graph: Graph, encode: Routine) -> dict[str, Matrix]:
    """Matrices in their order, those for h after the others of their layers; without row parameters."""
    states = {op.matrix: op.state for op in encode.ops if isinstance(op, Lstm)}
    made: dict[str, Matrix] = {}
    for name, matrix in graph.matrices.items():
        if name not in states:
            made[name] = matrix
            continue
        inputs = matrix.weight.shape[1] - graph.states[states[name]]
        none = [
            np.zeros(len(matrix.weight), part.dtype)
            for part in (matrix.bias, matrix.multiplier, matrix.shift)
        ]
        made[name] = replace(matrix, weight=np.ascontiguousarray(matrix.weight[:, :inputs]))
        made[name + RECURRENT] = Matrix(np.ascontiguousarray(matrix.weight[:, inputs:]), *none)
    return made


def _chunk(encode: Routine, steps: int) -> Routine:
    """`steps` copies of a routine's ops, those of each matrix together, in the order of time."""
    copies = [_copy(encode, step) for step in range(steps)]
    order = list(dict.fromkeys(_matrix(op) for op in encode.ops))
    ops = tuple(op for matrix in order for copy in copies for op in copy.ops if _matrix(op) == matrix)
    inputs = tuple(
        Input(given.name, tuple(part for copy in copies for part in copy.inputs[index].parts))
        for index, given in enumerate(encode.inputs)
    )
    outputs = [copy.output for copy in copies]
    return Routine(CHUNK, inputs, ops, outputs[0], 0.0, tuple(outputs[1:]))


def _matrix(op: Op) -> str:
    assert isinstance(op, Linear | Lstm), f"{op.name}: an encoder of LSTM and linear layers alone"
    return op.matrix


def _copy(routine: Routine, step: int) -> Routine:
    """The routine with names of a step's own; the first step keeps them."""

    def named(tensor: Tensor) -> Tensor:
        return replace(tensor, name=f"{tensor.name}~{step}") if step else tensor

    ops = tuple(
        replace(
            op,
            name=f"{op.name}~{step}" if step else op.name,
            inputs=tuple(map(named, op.inputs)),
            output=named(op.output),
        )
        for op in routine.ops
    )
    inputs = tuple(Input(given.name, tuple(map(named, given.parts))) for given in routine.inputs)
    return replace(routine, inputs=inputs, ops=ops, output=named(routine.output))
