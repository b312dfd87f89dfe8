"""Lay out every matrix for the lanes: rows in vector order, rows and columns padded with zeros."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from ossicle.compiler.graph import (
    GATES,
    Branch,
    Embedding,
    Graph,
    Linear,
    Lstm,
    Matrix,
    Op,
    Routine,
    Tensor,
    flat,
)
from ossicle.compiler.plan import CompileError, Layer, Plan
from ossicle.hw.config import GRANULE_BYTES, WEIGHTS_PER_WORD
from ossicle.hw.isa import OPCODES, Opcode

WORDS_MAX = (1 << next(f.width for f in OPCODES[Opcode.MAC].operands if f.name == "words")) - 1


@dataclass(frozen=True)
class Use:
    """How a routine uses a matrix: widths of the column pieces, as imported and as padded."""

    pieces: tuple[int, ...]
    padded: tuple[int, ...]
    gates: bool
    calls: float
    recurrent_of: str = ""


def legalize(plan: Plan) -> Plan:
    """Columns: each input padded as it lies in the activation memory. Rows: whole rounds of all lanes.

    Rows of an LSTM become unit-major, its gates adjacent: row 4 u + gate.

    Raises:
        CompileError: a row that is longer than a MAC instruction can be.
    """
    layers = {}
    for name, use in uses(plan.graph).items():
        layers[name] = _layer(plan, name, plan.graph.matrices[name], use)
    return plan.update(layers=layers)


def uses(graph: Graph) -> dict[str, Use]:
    """How each matrix is used, in program order. Ops may share a matrix, with inputs of the same widths."""
    found: dict[str, Use] = {}
    for routine in graph.routines.values():
        loaded = {part.name for given in routine.inputs for part in given.parts}
        loaded |= {op.output.name for op in flat(routine.ops) if isinstance(op, Embedding)}
        shares = _shares(graph, routine)
        for op in flat(routine.ops):
            if isinstance(op, (Linear, Lstm)):
                calls = routine.calls * shares.get(op, 1.0)
                _count(found, op, op.matrix, _use(graph, op, loaded, calls))
            if isinstance(op, Lstm) and op.recurrent:
                _count(found, op, op.recurrent, _recurrent_use(graph, op, calls))
    return found


def _count(found: dict[str, Use], op: Op, matrix: str, use: Use) -> None:
    before = found.get(matrix)
    if before and before.pieces != use.pieces:
        raise CompileError(f"{op.name} reads {matrix} with other inputs than the op before it")
    found[matrix] = replace(use, calls=use.calls + (before.calls if before else 0))


def _shares(graph: Graph, routine: Routine) -> dict[Op, float]:
    """Uses of either side's ops for each of the branch; together 1, by their weights that are not zero.

    Which side is taken more often is not known. A sparse one is streamed in less time, and so has less to
    gain from staying on the chip.
    """
    shares: dict[Op, float] = {}
    for op in routine.ops:
        if isinstance(op, Branch):
            work = [1 + sum(_nonzeros(graph, each) for each in side) for side in (op.above, op.below)]
            for side, own in zip((op.above, op.below), work, strict=True):
                shares.update(dict.fromkeys(side, own / sum(work)))
    return shares


def _nonzeros(graph: Graph, op: Op) -> int:
    return int(np.count_nonzero(graph.matrices[op.matrix].weight)) if isinstance(op, (Linear, Lstm)) else 0


def padded_bytes(tensor: Tensor, loaded: bool) -> int:
    """Bytes of an int8 tensor in the activation memory: granules if it comes from DRAM, else words."""
    unit = GRANULE_BYTES if loaded else WEIGHTS_PER_WORD
    return -(-tensor.count // unit) * unit


def _use(graph: Graph, op: Op, loaded: set[str], calls: float) -> Use:
    pieces = [tensor.count for tensor in op.inputs]
    padded = [padded_bytes(tensor, tensor.name in loaded) for tensor in op.inputs]
    if isinstance(op, Lstm) and not op.recurrent:
        pieces.append(graph.states[op.state])
        padded.append(_state_bytes(graph, op))
    return Use(tuple(pieces), tuple(padded), isinstance(op, Lstm), calls)


def _recurrent_use(graph: Graph, op: Lstm, calls: float) -> Use:
    return Use((graph.states[op.state],), (_state_bytes(graph, op),), True, calls, op.matrix)


def _state_bytes(graph: Graph, op: Lstm) -> int:
    """Bytes of a state's h in the activation memory: whole words."""
    return -(-graph.states[op.state] // WEIGHTS_PER_WORD) * WEIGHTS_PER_WORD


def _layer(plan: Plan, name: str, matrix: Matrix, use: Use) -> Layer:
    config, (rows, columns) = plan.config, matrix.shape
    words = sum(use.padded) // WEIGHTS_PER_WORD
    if words > WORDS_MAX:
        raise CompileError(f"{name} has rows of {words} words; a MAC instruction takes {WORDS_MAX} at most")
    source = _vector_order(rows, use.gates)
    slots = -(-len(source) // config.lanes)
    weight = np.zeros((slots * config.lanes, words * WEIGHTS_PER_WORD), np.int8)
    weight[np.ix_(np.arange(rows), _columns(use))] = matrix.weight[source]

    def pad(values: NDArray) -> NDArray:
        made = np.zeros(len(weight), values.dtype)
        made[:rows] = values[source]
        return made

    steps = 0 if use.recurrent_of else -(-rows // config.vector_width)
    return Layer(
        name, rows, columns, weight, pad(matrix.bias), pad(matrix.multiplier), pad(matrix.shift),
        slots=slots, words=words, steps=steps, calls=use.calls, recurrent_of=use.recurrent_of,
    )  # fmt: skip


def _vector_order(rows: int, gates: bool) -> NDArray[np.int64]:
    """Imported row of each row of the layout."""
    order = np.arange(rows)
    return order.reshape(GATES, -1).T.ravel() if gates else order


def _columns(use: Use) -> NDArray[np.int64]:
    """Padded column of each imported column."""
    starts = np.cumsum([0, *use.padded[:-1]])
    return np.concatenate([start + np.arange(piece) for start, piece in zip(starts, use.pieces, strict=True)])
