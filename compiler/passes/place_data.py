"""Lay out the constants section and the symbols: what lies in DRAM beside code and weights."""

from __future__ import annotations

import numpy as np
from ossicle.compiler.graph import Format, Input, Tensor
from ossicle.compiler.passes.legalize import padded_bytes
from ossicle.compiler.plan import Layer, Plan, SymbolPlan
from ossicle.hw.config import GRANULE_BYTES, ROW_PARAMETER_BYTES

KEPT = {"hidden": "kept.hidden", "cell": "kept.cell"}
"""Symbols of the states that are kept in DRAM, by the region of the chip that they are a copy of."""
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
    """Bytes of the block of zeros: the longer of all h and all c, ZERO_BYTES at most."""
    cells = plan.regions["cell"].size * 2 * plan.config.vector_width
    return min(max(plan.regions["hidden"].size, cells), ZERO_BYTES)


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
    return found | (_kept_symbols(plan) if plan.graph.kept else {})


def _kept_symbols(plan: Plan) -> dict[str, SymbolPlan]:
    """All h, and all c, as they lie on the chip: whole granules."""
    hidden, cell = plan.regions["hidden"].size, plan.regions["cell"].size * plan.config.vector_width
    return {
        KEPT["hidden"]: SymbolPlan(KEPT["hidden"], "int8", hidden, plan.graph.kept, hidden),
        KEPT["cell"]: SymbolPlan(KEPT["cell"], "int16", cell, plan.graph.kept, 2 * cell),
    }


def _symbol(plan: Plan, given: Input) -> SymbolPlan:
    """Several parts in a slot: each padded to whole granules, and counted so."""
    first: Tensor = given.parts[0]
    size = np.dtype(first.format.dtype).itemsize
    count = first.count
    if len(given.parts) > 1:
        count = sum(padded_bytes(part, True) for part in given.parts)
    stride = -(-count * size // GRANULE_BYTES) * GRANULE_BYTES
    most = max(routine.steps for routine in plan.graph.routines.values())
    slots = max(plan.options.slots.get(given.name, plan.options.default_slots), most)
    return SymbolPlan(given.name, first.format.dtype, count, slots, stride)
