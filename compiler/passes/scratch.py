"""Places of a chunk's tensors on the chip: what is read no more makes room for what comes after.

Ops of one matrix form a group. A group of LSTM steps first reads all its inputs (products), then makes its
outputs, which may thus lie where the inputs were, if the accumulators hold the sums of all steps. The h of
the last steps lie in the state's own places, as after a job of one step.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

from ossicle.compiler.graph import Format, Linear, Lstm, Op, Routine, Tensor
from ossicle.compiler.passes.legalize import padded_bytes
from ossicle.compiler.plan import Plan, Region
from ossicle.hw.config import GRANULE_BYTES

ACTIVATION, VECTOR = "activation", "vector"


@dataclass(frozen=True)
class Block:
    """Tensors that lie side by side, and when: from the half-step `birth` to `death`, both included.

    Half-steps 2 g and 2 g + 1 are the products and the outputs of group g.
    """

    memory: str
    tensors: tuple[str, ...]
    stride: int
    birth: int
    death: int

    @property
    def size(self) -> int:
        return self.stride * len(self.tensors)


def groups(routine: Routine) -> list[tuple[Op, ...]]:
    """Ops of a chunk's routine, those of one matrix together."""
    return [tuple(ops) for _, ops in groupby(routine.ops, key=lambda op: op.matrix)]


def at_once(plan: Plan, op: Linear | Lstm) -> int:
    """Steps of an op whose sums the accumulators hold."""
    return max(1, plan.config.accumulators // plan.layers[op.matrix].slots)


def place_chunk(
    plan: Plan, routine: Routine, top: dict[str, int], regions: dict[str, Region], rings: dict[str, int]
) -> tuple[dict[str, Region], dict[str, Region], dict[str, int]]:
    """Regions of the routine's tensors; the h that each LSTM step reads; ends of both memories.

    Args:
        top: the first free byte or word of each memory.
        regions: of the states' own places.
        rings: places of each state's h.
    """
    made: dict[str, Region] = {}
    previous: dict[str, Region] = {}
    for ops in groups(routine):
        if isinstance(ops[0], Lstm):
            _ring(routine, ops, regions, rings[ops[0].state], made)
    blocks = list(_blocks(plan, routine, made))
    ends = dict(top)
    placed: list[tuple[Block, int]] = []
    for block in sorted(blocks, key=lambda block: (block.birth, -block.size)):
        start = _lowest(block, placed, top[block.memory], _unit(plan, block.memory))
        placed.append((block, start))
        ends[block.memory] = max(ends[block.memory], start + block.size)
        for k, name in enumerate(block.tensors):
            made[f"{routine.name}/{name}"] = Region(block.memory, start + k * block.stride, block.stride)
    for ops in groups(routine):
        if isinstance(ops[0], Lstm):
            last = regions[f"hidden/{ops[0].state}/{rings[ops[0].state] - 1}"]
            for op in ops:
                previous[f"{routine.name}/{op.name}"] = last
                last = made[f"{routine.name}/{op.output.name}"]
    return made, previous, ends


def _ring(
    routine: Routine, ops: tuple[Op, ...], regions: dict[str, Region], ring: int, made: dict[str, Region]
) -> None:
    """The last outputs go to the state's own places."""
    for k, op in enumerate(ops[-ring:]):
        made[f"{routine.name}/{op.output.name}"] = regions[f"hidden/{op.state}/{k}"]


def _blocks(plan: Plan, routine: Routine, placed: dict[str, Region]) -> Iterator[Block]:
    """Inputs, then each group's outputs that have no place yet."""
    read: dict[str, int] = {}
    batches = groups(routine)
    for g, ops in enumerate(batches):
        products_first = isinstance(ops[0], Lstm) and len(ops) <= at_once(plan, ops[0])
        until = 2 * g if products_first else 2 * g + 1
        read.update({tensor.name: until for op in ops for tensor in op.inputs})
    last = 2 * len(batches)
    read.update({output.name: last for output in routine.outputs})
    for given in routine.inputs:
        yield _block(plan, given.parts, True, -1, read)
    for g, ops in enumerate(batches):
        free = [op.output for op in ops if f"{routine.name}/{op.output.name}" not in placed]
        if free:
            yield _block(plan, free, False, 2 * g + 1, read)


def _block(plan: Plan, tensors, loaded: bool, birth: int, read: dict[str, int]) -> Block:
    first: Tensor = tensors[0]
    death = max(read.get(tensor.name, birth) for tensor in tensors)
    names = tuple(tensor.name for tensor in tensors)
    if first.format is Format.ACTIVATION:
        return Block(ACTIVATION, names, padded_bytes(first, loaded), birth, death)
    words = -(-first.count // plan.config.vector_width)
    granule = _unit(plan, VECTOR)
    return Block(VECTOR, names, -(-words // granule) * granule, birth, death)


def _unit(plan: Plan, memory: str) -> int:
    """Words or bytes of a granule, which LOAD writes and STORE reads."""
    return GRANULE_BYTES if memory == ACTIVATION else max(1, GRANULE_BYTES // (2 * plan.config.vector_width))


def _lowest(block: Block, placed: list[tuple[Block, int]], bottom: int, unit: int) -> int:
    """The first place from the bottom that no block takes while this one lives."""
    taken = sorted(
        (start, start + other.size)
        for other, start in placed
        if other.memory == block.memory and other.birth <= block.death and block.birth <= other.death
    )
    start = bottom
    for low, high in taken:
        if start + block.size <= low:
            break
        start = max(start, -(-high // unit) * unit)
    return start
