"""Cut every layer into tiles: the resident slots, then blocks of slots that fit a streaming buffer."""

from __future__ import annotations

from itertools import pairwise

from ossicle.compiler.plan import Layer, Plan, Tile
from ossicle.hw.isa import OPCODES, Opcode

SLOTS_MAX = (1 << next(f.width for f in OPCODES[Opcode.MAC].operands if f.name == "rows")) - 1


def tile(plan: Plan) -> Plan:
    """Streamed tiles of a layer differ by one slot at most."""
    return plan.update_layers(tiles={name: _tiles(plan, layer) for name, layer in plan.layers.items()})


def _tiles(plan: Plan, layer: Layer) -> tuple[Tile, ...]:
    made = [
        Tile(first, size, True) for first, size in _even(0, layer.resident_slots, SLOTS_MAX)
    ]
    fitting = min(plan.weight_buffer // layer.words, SLOTS_MAX)
    streamed = layer.slots - layer.resident_slots
    made += [Tile(first, size, False) for first, size in _even(layer.resident_slots, streamed, fitting)]
    return tuple(made)


def _even(start: int, count: int, most: int) -> list[tuple[int, int]]:
    """Cut `count` into the fewest parts of `most` at most, as even as can be: (first, size)."""
    parts = -(-count // most) if count else 0
    cuts = [start + count * k // parts for k in range(parts + 1)] if parts else []
    return [(a, b - a) for a, b in pairwise(cuts)]
