"""Lay out the constants section and the symbols: what lies in DRAM beside code and weights."""

from __future__ import annotations

import numpy as np
from ossicle.compiler.graph import Format, Input, Tensor, part_of
from ossicle.compiler.passes.legalize import padded_bytes
from ossicle.compiler.plan import Layer, Plan, SymbolPlan
from ossicle.hw.config import GRANULE_BYTES, ROW_PARAMETER_BYTES

KEPT = {"hidden": "kept.hidden", "cell": "kept.cell"}
"""Symbols of the states that are kept in DRAM, by the region of the chip that they are a copy of."""
HOME = {"hidden": "state.hidden", "cell": "state.cell"}
"""Symbols of states that lie in DRAM between jobs."""
ZERO_BYTES = 4096
"""Longest block of zeros: a longer state is cleared by several LOADs."""


def place_data(plan: Plan) -> Plan:
    """Constants: zeros, row parameters of each layer, embedding tables with rows of whole granules."""
    section, offsets = bytearray(), {}

    def add(name: str, content: bytes) -> None:
        offsets[name] = len(section)
        section.extend(content + bytes(-len(content) % GRANULE_BYTES))

    add("zeros", bytes(zero_bytes(plan)))
    for name, layer in plan.layers.items():
        add(name, row_parameters(plan, layer))
    for name, table in plan.graph.tables.items():
        padded = np.zeros((len(table), -(-table.shape[1] // GRANULE_BYTES) * GRANULE_BYTES), np.int8)
        padded[:, : table.shape[1]] = table
        add(name, padded.tobytes())
    return plan.update(constants=bytes(section), constant_offsets=offsets, symbols=_symbols(plan))


def zero_bytes(plan: Plan) -> int:
    """Bytes of the block of zeros: the longest of all h and all c of a part, ZERO_BYTES at most."""
    hidden = [plan.regions[f"{part}hidden"].size for part in plan.graph.parts]
    cells = [plan.regions[f"{part}cell"].size * 2 * plan.config.vector_width for part in plan.graph.parts]
    return min(max(*hidden, *cells), ZERO_BYTES)


def row_parameters(plan: Plan, layer: Layer) -> bytes:
    """A word a vector step: bias int32, multiplier u16, shift u8, lane u8 of each of its rows."""
    assert layer.lane is not None, "rows have no lanes yet"
    kind = np.dtype([("bias", "<i4"), ("multiplier", "<u2"), ("shift", "u1"), ("lane", "u1")])
    assert kind.itemsize == ROW_PARAMETER_BYTES
    made = np.zeros(len(layer.weight), kind)
    for name in kind.names or ():
        made[name] = getattr(layer, name)
    return made[: layer.steps * plan.config.vector_width].tobytes()


def _symbols(plan: Plan) -> dict[str, SymbolPlan]:
    found: dict[str, SymbolPlan] = {}
    for routine in plan.graph.routines.values():
        for given in routine.inputs:
            if given.parts[0].format is not Format.LABEL:
                found.setdefault(given.name, _symbol(plan, given))
        output = routine.output
        found.setdefault(output.name, _symbol(plan, Input(output.name, (output,))))
    for part, graph in plan.graph.parts.items():
        found |= _states(plan, part, KEPT, graph.kept) if graph.kept else {}
        found |= _states(plan, part, HOME, 1) if part in plan.away else {}
    return found


def _states(plan: Plan, part: str, names: dict[str, str], slots: int) -> dict[str, SymbolPlan]:
    """Symbols for all h, and all c, of a part, as they lie on the chip: whole granules."""
    hidden = plan.regions[f"{part}hidden"].size
    cell = plan.regions[f"{part}cell"].size * plan.config.vector_width
    made = (
        SymbolPlan(part + names["hidden"], "int8", hidden, slots, hidden),
        SymbolPlan(part + names["cell"], "int16", cell, slots, 2 * cell),
    )
    return {symbol.name: symbol for symbol in made}


def _symbol(plan: Plan, given: Input) -> SymbolPlan:
    """Several parts in a slot: each padded to whole granules, and counted so."""
    first: Tensor = given.parts[0]
    size = np.dtype(first.format.dtype).itemsize
    count = first.count
    if len(given.parts) > 1:
        count = sum(padded_bytes(part, True) for part in given.parts)
    stride = -(-count * size // GRANULE_BYTES) * GRANULE_BYTES
    most = max(routine.steps for routine in plan.graph.routines.values())
    own = given.name.removeprefix(part_of(given.name))
    slots = max(plan.options.slots.get(own, plan.options.default_slots), most)
    return SymbolPlan(given.name, first.format.dtype, count, slots, stride)
