"""The IR: a model as routines of five kinds of op on integer tensors. `reference.py` says what each computes.

    encode(features)
      encoder.0@0 = lstm encoder.0 [1024 x 376] (features.0) state encoder.0    int8[256] Q0.7
      …

Concatenation has no op of its own: an op's inputs, in order, are the columns of its matrix.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from enum import Enum

import numpy as np
from numpy.typing import NDArray
from ossicle.hw.isa import Function

GATES = 4


class GraphError(ValueError):
    """A graph whose parts do not fit together."""


class Format(Enum):
    """Fixed-point format of a tensor, see hw/numerics.py: (numpy type, name)."""

    ACTIVATION = ("int8", "Q0.7")
    PREACTIVATION = ("int16", "Q4.11")
    GATE = ("int16", "Q0.15")
    LOGIT = ("int16", "Q7.8")
    LABEL = ("uint16", "label")

    @property
    def dtype(self) -> str:
        return self.value[0]


@dataclass(frozen=True)
class Tensor:
    """A vector of `count` integers."""

    name: str
    count: int
    format: Format

    def __str__(self) -> str:
        return f"{self.name} {self.format.dtype}[{self.count}] {self.format.value[1]}"


@dataclass(frozen=True)
class Input:
    """What the caller hands over: vectors that follow one another in one slot, or one label."""

    name: str
    parts: tuple[Tensor, ...]


@dataclass(frozen=True, eq=False)
class Matrix:
    """Integer weights and the row parameters that requantize the accumulators.

    weight int8 [rows, columns], bias int32 [rows], multiplier uint16 [rows], shift uint8 [rows]
    """

    weight: NDArray[np.int8]
    bias: NDArray[np.int32]
    multiplier: NDArray[np.uint16]
    shift: NDArray[np.uint8]

    @property
    def shape(self) -> tuple[int, int]:
        rows, columns = self.weight.shape
        return rows, columns


@dataclass(frozen=True)
class Op:
    name: str
    inputs: tuple[Tensor, ...]
    output: Tensor


@dataclass(frozen=True)
class Embedding(Op):
    """Row `inputs[0]` (a label) of a table, int8."""

    table: str


@dataclass(frozen=True)
class Linear(Op):
    """function(requantize(matrix @ [inputs]))."""

    matrix: str
    function: Function


@dataclass(frozen=True)
class Lstm(Op):
    """One LSTM step on matrix @ [inputs; h], rows gate-major i, f, g, o; updates the state, gives h.

    With `recurrent`, a matrix of its own for h: matrix @ inputs + recurrent @ h, row parameters of `matrix`.
    """

    matrix: str
    state: str
    recurrent: str = ""


@dataclass(frozen=True)
class Add(Op):
    """function(saturate16(inputs[0] + inputs[1]))."""

    function: Function


@dataclass(frozen=True)
class Branch(Op):
    """`above` if the score `inputs[0]` (one int16) is above 0, else `below`.

    Both make `output` and step the same states; what else they make is theirs alone. Tensors of one name are
    the same in both. No branch lies in a branch.
    """

    above: tuple[Op, ...]
    below: tuple[Op, ...]


@dataclass(frozen=True)
class Routine:
    """What one job computes. `calls`: jobs for each of the encoder, about: it decides what stays on chip.

    A job of several steps takes as many slots of its inputs, the first one named; outputs `output` and `rest`
    go to as many slots.
    """

    name: str
    inputs: tuple[Input, ...]
    ops: tuple[Op, ...]
    output: Tensor
    calls: float = 1.0
    rest: tuple[Tensor, ...] = ()

    @property
    def outputs(self) -> tuple[Tensor, ...]:
        return (self.output, *self.rest)

    @property
    def steps(self) -> int:
        return len(self.outputs)

    @property
    def recurrent(self) -> bool:
        """Whether it steps a state."""
        return any(isinstance(op, Lstm) for op in flat(self.ops))


@dataclass(frozen=True, eq=False)
class Graph:
    """A model.

    states: units of each LSTM state.
    meta: what the runtime needs beside the arrays.
    kept: slots in DRAM where all states can be kept, and recalled from; 0: there are no such jobs.
    networks: of several models on one processor (link.py): each by what its names begin with.
    """

    name: str
    matrices: dict[str, Matrix]
    tables: dict[str, NDArray[np.int8]]
    states: dict[str, int]
    routines: dict[str, Routine]
    meta: dict = field(default_factory=dict)
    kept: int = 0
    networks: dict[str, Graph] = field(default_factory=dict)

    @property
    def parts(self) -> dict[str, Graph]:
        """The models by what their names begin with: those of a link, or this one, with nothing before it."""
        return self.networks or {"": self}

    def ops(self) -> Iterator[Op]:
        """Every op, those of branches among them."""
        for routine in self.routines.values():
            yield from flat(routine.ops)

    def map_matrices(self, change: Callable[[Matrix], Matrix]) -> Graph:
        """A copy with every matrix changed."""
        matrices = {name: change(matrix) for name, matrix in self.matrices.items()}
        return replace(self, matrices=matrices)

    def __str__(self) -> str:
        lines = [f"graph {self.name}"]
        lines += [f"  state {name}: h int8[{units}], c int16[{units}]" for name, units in self.states.items()]
        for routine in self.routines.values():
            lines.append(f"{routine.name}({', '.join(i.name for i in routine.inputs)}) -> {routine.output}")
            for op in routine.ops:
                lines += [f"  {line}" for line in self._lines(op)]
        return "\n".join(lines)

    def _lines(self, op: Op) -> list[str]:
        if not isinstance(op, Branch):
            return [self._line(op)]
        above, below = ([f"  {self._line(each)}" for each in side] for side in (op.above, op.below))
        return [f"{op.output} = if {op.inputs[0].name} > 0", *above, "else", *below]

    def _line(self, op: Op) -> str:
        arguments = ", ".join(tensor.name for tensor in op.inputs)
        match op:
            case Embedding(table=table):
                what = f"embedding {table} {list(self.tables[table].shape)}"
            case Linear(matrix=matrix, function=function):
                what = f"linear {matrix} {list(self.matrices[matrix].shape)} {function.name.lower()}"
            case Lstm(matrix=matrix, state=state):
                split = f" + {op.recurrent}" if op.recurrent else ""
                what = f"lstm {matrix} {list(self.matrices[matrix].shape)}{split} state {state}"
            case Add(function=function):
                what = f"add {function.name.lower()}"
            case _:
                what = type(op).__name__.lower()
        return f"{op.output} = {what} ({arguments})"


def part_of(name: str) -> str:
    """What the names of a model begin with, of one of its layers, states, routines or symbols."""
    return name[: name.rfind("/") + 1]


def flat(ops: Iterable[Op]) -> Iterator[Op]:
    """Ops in order; a branch is followed by those of `above`, then those of `below`."""
    for op in ops:
        yield op
        if isinstance(op, Branch):
            yield from flat((*op.above, *op.below))


def verify(graph: Graph) -> None:
    """Raises GraphError unless every name is defined before its use and every width fits."""
    for routine in graph.routines.values():
        known = {part for given in routine.inputs for part in given.parts}
        for op in routine.ops:
            _verify_op(graph, routine.name, op, known)
        for output in routine.outputs:
            if output not in known:
                raise GraphError(f"{routine.name} gives {output}, which nothing makes")


def _verify_op(graph: Graph, where: str, op: Op, known: set[Tensor]) -> None:
    """Check an op after those that made `known`, and add what it makes."""
    for tensor in op.inputs:
        if tensor not in known:
            raise GraphError(f"{where}: {op.name} reads {tensor}, which nothing makes before")
    if any(op.output.name == tensor.name for tensor in known):
        raise GraphError(f"{where}: {op.name} makes {op.output.name} a second time")
    if isinstance(op, Branch):
        _verify_branch(graph, where, op, known)
    else:
        _verify_widths(graph, op)
    known.add(op.output)


def _verify_branch(graph: Graph, where: str, op: Branch, known: set[Tensor]) -> None:
    _expect(op, "elements of the score", sum(tensor.count for tensor in op.inputs), 1)
    if op.inputs[0].format.dtype != "int16":
        raise GraphError(f"{where}: the score of {op.name} is {op.inputs[0].format.dtype}, not int16")
    made: dict[str, Tensor] = {}
    for side in (op.above, op.below):
        there = set(known)
        for each in side:
            if isinstance(each, Branch):
                raise GraphError(f"{where}: {each.name} lies in the branch {op.name}")
            _verify_op(graph, where, each, there)
            if made.setdefault(each.output.name, each.output) != each.output:
                raise GraphError(f"{where}: {op.name} has two tensors {each.output.name}")
        if op.output not in there:
            raise GraphError(f"{where}: one side of {op.name} does not make {op.output}")
    sides = (op.above, op.below)
    above, below = (sorted(each.state for each in side if isinstance(each, Lstm)) for side in sides)
    if above != below:
        raise GraphError(f"{where}: {op.name} steps states {above} on one side, {below} on the other")


def _verify_widths(graph: Graph, op: Op) -> None:
    rows = columns = 0
    match op:
        case Lstm(matrix=matrix, state=state):
            rows, columns = graph.matrices[matrix].shape
            if op.recurrent:
                wide = graph.matrices[op.recurrent].shape
                _expect(op, "rows of the recurrent matrix", wide[0], rows)
                _expect(op, "columns of the recurrent matrix", wide[1], graph.states[state])
            else:
                columns -= graph.states[state]
            _expect(op, "the state's units", graph.states[state], op.output.count)
            _expect(op, "rows", rows, GATES * op.output.count)
        case Linear(matrix=matrix):
            rows, columns = graph.matrices[matrix].shape
            _expect(op, "rows", rows, op.output.count)
        case Add():
            for tensor in op.inputs:
                _expect(op, "elements", tensor.count, op.output.count)
            return
        case Embedding(table=table):
            _expect(op, "columns", graph.tables[table].shape[1], op.output.count)
            return
    _expect(op, "columns", columns, sum(tensor.count for tensor in op.inputs))


def _expect(op: Op, what: str, given: int, needed: int) -> None:
    if given != needed:
        raise GraphError(f"{op.name}: {what}: {given}, where the op needs {needed}")
