"""Several networks on one processor: their graphs joined into one, compiled together, and told apart again.

    graphs --`join`--> one Graph --passes--> one Program, the link --`members`--> a Program for each network

Names get the network's before them: job `encode` of `recognizer` is `recognizer/encode`. The passes share the
chip out as they do among the layers of one model: weights and row parameters that are used most often stay,
whatever network they are of; the rest streams through buffers that all use in turn. States have places of
their own; where there is no room for all, those of some networks lie in DRAM between their jobs. So no job
changes what another network keeps on the chip, and each gives what it gives alone, bit for bit.

A member is a Program on the link's image with the network's own names: a device that has loaded the link has
loaded all members.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from ossicle.compiler.api import compile_graph
from ossicle.compiler.chunk import CHUNK
from ossicle.compiler.graph import Branch, Embedding, Graph, Input, Linear, Lstm, Op, Routine, Tensor, verify
from ossicle.compiler.plan import CompileError, Options
from ossicle.compiler.program import Program, ProgramError
from ossicle.hw.config import NpuConfig

NETWORKS = "networks"
"""Key of a link's meta."""


@dataclass(frozen=True)
class Network:
    """A model of a link, and how often it is used.

    Args:
        rate: jobs of its encoder, or of its step, for each second of audio, about: it decides what stays on
            the chip.
    Raises:
        CompileError: a rate that is none.
    """

    graph: Graph
    rate: float

    def __post_init__(self) -> None:
        if not self.rate > 0:
            raise CompileError(f"{self.graph.name}: {self.rate} jobs a second are none; use more than 0")


def link(networks: Mapping[str, Network], config: NpuConfig, options: Options | None = None) -> Program:
    """Compile networks, by name, into one program.

    Raises:
        CompileError: no networks, a name that is none, a network with chunks, or one that the processor
            cannot hold even alone.
    """
    options = options or Options()
    if options.chunk != 1:
        raise CompileError(f"a link with chunks of {options.chunk} steps is not possible; use 1")
    return compile_graph(join(networks), config, options)


def join(networks: Mapping[str, Network]) -> Graph:
    """One graph of all: calls of its routines are jobs for each second of audio."""
    if not networks:
        raise CompileError("a link needs one network or more")
    made = Graph("+".join(networks), {}, {}, {}, {}, {})
    for name, network in networks.items():
        if not name or "/" in name:
            raise CompileError(f"a network named {name!r} is not possible; use letters without '/'")
        if CHUNK in network.graph.routines:
            raise CompileError(f"{name}: a network of a link takes one step a job, not chunks")
        own = _Named(f"{name}/", network.rate).graph(network.graph)
        made = replace(
            made,
            matrices=made.matrices | own.matrices,
            tables=made.tables | own.tables,
            states=made.states | own.states,
            routines=made.routines | own.routines,
            networks=made.networks | {f"{name}/": network.graph},
        )
    verify(made)
    return made


def members(program: Program) -> dict[str, Program]:
    """The programs of a link, by network: each with its own entries, symbols and meta, on the whole image.

    Raises:
        ProgramError: a program that is no link.
    """
    if NETWORKS not in program.meta:
        raise ProgramError(f"{program.meta.get('name', 'the program')} is one network, not a link of several")
    return {name: _member(program, f"{name}/", meta) for name, meta in program.meta[NETWORKS].items()}


def _member(program: Program, part: str, meta: dict) -> Program:
    def own(table: dict) -> dict:
        return {name.removeprefix(part): value for name, value in table.items() if name.startswith(part)}

    symbols = {name: replace(symbol, name=name) for name, symbol in own(program.symbols).items()}
    return replace(
        program, symbols=symbols, entries=own(program.entries), debug=own(program.debug), meta=meta
    )


@dataclass(frozen=True)
class _Named:
    """Renames all of a graph; `rate` jobs a second for each of the encoder."""

    part: str
    rate: float

    def graph(self, graph: Graph) -> Graph:
        return replace(
            graph,
            matrices=self._keys(graph.matrices),
            tables=self._keys(graph.tables),
            states=self._keys(graph.states),
            routines=self._keys({name: self._routine(routine) for name, routine in graph.routines.items()}),
        )

    def _keys(self, table: dict) -> dict:
        return {self.part + name: value for name, value in table.items()}

    def _routine(self, routine: Routine) -> Routine:
        return replace(
            routine,
            name=self.part + routine.name,
            inputs=tuple(
                Input(self.part + given.name, self._tensors(given.parts)) for given in routine.inputs
            ),
            ops=tuple(map(self._op, routine.ops)),
            output=self._tensor(routine.output),
            calls=routine.calls * self.rate,
            rest=self._tensors(routine.rest),
        )

    def _tensor(self, tensor: Tensor) -> Tensor:
        return replace(tensor, name=self.part + tensor.name)

    def _tensors(self, tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return tuple(map(self._tensor, tensors))

    def _op(self, op: Op) -> Op:
        named = {
            "name": self.part + op.name,
            "inputs": self._tensors(op.inputs),
            "output": self._tensor(op.output),
        }
        match op:
            case Embedding():
                named["table"] = self.part + op.table
            case Linear():
                named["matrix"] = self.part + op.matrix
            case Lstm():
                named |= {"matrix": self.part + op.matrix, "state": self.part + op.state}
                named["recurrent"] = op.recurrent and self.part + op.recurrent
            case Branch():
                named |= {"above": tuple(map(self._op, op.above)), "below": tuple(map(self._op, op.below))}
        return replace(op, **named)
