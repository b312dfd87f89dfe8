"""Instructions that clear the states of a part of the graph, keep them in DRAM and bring them back.

A part whose states are away has them in DRAM between its jobs: a job that steps them begins with
`fetch_states` and ends with `return_states`; what clears, keeps or recalls them goes by way of the chip.
"""

from __future__ import annotations

from collections.abc import Iterator

from ossicle.compiler.passes.place_data import HOME, KEPT, zero_bytes
from ossicle.compiler.plan import Place, Plan, Region, Step
from ossicle.hw.config import GRANULE_BYTES, WEIGHTS_PER_WORD
from ossicle.hw.isa import Opcode, Target

TARGETS = {"hidden": Target.ACTIVATION, "cell": Target.VECTOR}


def clear_states(plan: Plan, part: str) -> tuple[Step, ...]:
    """Zeros over all h and c."""
    return (*_zeros(plan, part), *_if_away(plan, part, Opcode.STORE))


def keep_states(plan: Plan, part: str) -> tuple[Step, ...]:
    """All h and c to the slot in argument register 1."""
    return (*_if_away(plan, part, Opcode.LOAD), *_copies(plan, part, Opcode.STORE, KEPT))


def recall_states(plan: Plan, part: str) -> tuple[Step, ...]:
    """All h and c from the slot in argument register 1."""
    return (*_copies(plan, part, Opcode.LOAD, KEPT), *_if_away(plan, part, Opcode.STORE))


def fetch_states(plan: Plan, part: str) -> tuple[Step, ...]:
    """All h and c of a part that is away, to the chip."""
    return tuple(_copies(plan, part, Opcode.LOAD, HOME))


def return_states(plan: Plan, part: str) -> tuple[Step, ...]:
    """All h and c of a part that is away, from the chip."""
    return tuple(_copies(plan, part, Opcode.STORE, HOME))


def _if_away(plan: Plan, part: str, opcode: Opcode) -> Iterator[Step]:
    if part in plan.away:
        yield from _copies(plan, part, opcode, HOME)


def _zeros(plan: Plan, part: str) -> Iterator[Step]:
    block = zero_bytes(plan)
    for name, target in TARGETS.items():
        region = plan.regions[part + name]
        unit, word = _units(plan, target)
        for start in range(0, region.size, max(block // unit, 1)):
            size = min(block // unit, region.size - start)
            operands = {
                "target": target,
                "length": size * unit // GRANULE_BYTES,
                "destination": (region.start + start) // word,
            }
            writes = (Region(region.memory, region.start + start, size),)
            place = Place("constants", plan.constant_offsets["zeros"])
            yield Step(Opcode.LOAD, operands, (), writes, place, "clear", name)


def _units(plan: Plan, target: Target) -> tuple[int, int]:
    """Bytes of a unit in which a region of this memory is counted, and units of a word."""
    return (1, WEIGHTS_PER_WORD) if target is Target.ACTIVATION else (2 * plan.config.vector_width, 1)


def _copies(plan: Plan, part: str, opcode: Opcode, symbols: dict[str, str]) -> Iterator[Step]:
    """STORE to, or LOAD from, a slot of the symbols: KEPT's of argument register 1, HOME's only one."""
    for name, target in TARGETS.items():
        region, symbol = plan.regions[part + name], plan.symbols[part + symbols[name]]
        granules, stores = symbol.stride // GRANULE_BYTES, opcode is Opcode.STORE
        where = {"source" if stores else "destination": region.start // _units(plan, target)[1]}
        operands = {"target": target, "length": granules, **where}
        if symbols is KEPT:
            operands |= {"argument": 1, "stride": granules}
        reads, writes = ((region,), ()) if stores else ((), (region,))
        yield Step(opcode, operands, reads, writes, Place(symbol.name), opcode.name.lower(), name)
