"""Instructions of a branch: the vector unit compares the score, the sequencer passes over one side.

    compare  predicate = score > 0
    barrier, skip if not predicate        above …, barrier
             skip if predicate            below …, barrier

A barrier is a SKIP that waits for all before it: tokens of what may be passed over are given and taken on one
side of it, so that they add up on every path. What is passed over is not read from DRAM either.
"""

from __future__ import annotations

from collections.abc import Iterator

from ossicle.compiler.plan import Plan, Region, Step, memory_sizes
from ossicle.hw.isa import OPCODES, Opcode

PREDICATE = "predicate"
NUMBER = 0
"""The predicate register of every branch: it is read before the next is compared."""
SKIP_MAX = (1 << next(f.width for f in OPCODES[Opcode.SKIP].operands if f.name == "count")) - 1


def branch(
    plan: Plan, score: Region, above: list[Step], below: list[Step], op: str, layer: str
) -> list[Step]:
    """A branch between two sides, already written, on element 0 of the score's vector word.

    Args:
        op, layer: what the COMPARE and the SKIPs are for, see `Step`.
    """
    made = [_compare(score, op, layer)]
    for sense, side in ((False, above), (True, below)):
        for part in _parts([*side, _skip(plan, op, layer, barrier=True)]):
            first = len(made) == 1
            made += [_skip(plan, op, layer, sense=sense, count=len(part), barrier=first), *part]
    return made


def _parts(side: list[Step]) -> Iterator[list[Step]]:
    """Pieces that one SKIP can pass over."""
    for start in range(0, len(side), SKIP_MAX):
        yield side[start : start + SKIP_MAX]


def _compare(score: Region, op: str, layer: str) -> Step:
    operands = {"source": score.start, "threshold": 0, "predicate": NUMBER}
    return Step(Opcode.COMPARE, operands, (score,), (Region(PREDICATE, NUMBER, 1),), None, op, layer)


def _skip(
    plan: Plan, op: str, layer: str, *, sense: bool = False, count: int = 0, barrier: bool = False
) -> Step:
    """A SKIP; a barrier is one that counts as writing every memory."""
    sizes = memory_sizes(plan.config) if barrier else {}
    writes = tuple(Region(memory, 0, size) for memory, size in sizes.items())
    operands = {"predicate": NUMBER, "sense": int(sense), "count": count}
    return Step(Opcode.SKIP, operands, (Region(PREDICATE, NUMBER, 1),), writes, None, op, layer)
