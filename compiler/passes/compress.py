"""Code every tile's weights; lay tables and codes out in the weights section."""

from __future__ import annotations

from dataclasses import replace

from ossicle.compiler.codec import TableSet, encode
from ossicle.compiler.plan import Coded, Layer, Plan
from ossicle.hw.config import GRANULE_BYTES, WEIGHTS_PER_GROUP


def compress(plan: Plan) -> Plan:
    """Order of the section: tables, then layers in program order, tile after tile."""
    section, groups = bytearray(), []
    for group in plan.tables:
        groups.append(replace(group, offset=len(section)))
        section += group.content
    coded = {name: _tiles(plan, layer, section) for name, layer in plan.layers.items()}
    return plan.update(tables=tuple(groups), weights=bytes(section)).update_layers(coded=coded)


def _tiles(plan: Plan, layer: Layer, section: bytearray) -> tuple[Coded, ...]:
    tables = TableSet.from_bytes(plan.tables[layer.table].content, plan.config.table_log)
    made = []
    for tile in layer.tiles:
        banks = layer.bank(tile).reshape(plan.config.lanes, -1, WEIGHTS_PER_GROUP)
        code = encode(banks, tables, plan.config)
        made.append(Coded(len(section), len(code) // GRANULE_BYTES))
        section += code
    return tuple(made)
