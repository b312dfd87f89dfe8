"""Cut every layer into tiles: resident slots in turn with blocks of slots that fit a streaming buffer."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import zip_longest

from ossicle.compiler.plan import Layer, Plan, Tile
from ossicle.hw.isa import OPCODES, Opcode

SLOTS_MAX = (1 << next(f.width for f in OPCODES[Opcode.MAC].operands if f.name == "rows")) - 1
RESIDENT_SLOTS = 4
"""Least slots of a resident tile beside streamed ones: lanes wait for one another at its end."""
HELD_TILES = 4
"""Held tiles of a layer: the lanes begin with the first while the last is on its way."""


def tile(plan: Plan) -> Plan:
    """Tiles take turns, so that the decoder fills one buffer while the lanes are busy with resident slots."""
    return plan.update_layers(tiles={name: _tiles(plan, layer) for name, layer in plan.layers.items()})


def _tiles(plan: Plan, layer: Layer) -> tuple[Tile, ...]:
    if layer.recurrent_of:
        return tuple(_recurrent_tiles(plan, layer))
    fitting = min(plan.weight_buffer // layer.words, SLOTS_MAX)
    streamed = _even(layer.slots - layer.resident_slots, fitting)
    pieces = min(len(streamed), layer.resident_slots // RESIDENT_SLOTS)
    resident = _even(layer.resident_slots, min(SLOTS_MAX, -(-layer.resident_slots // max(pieces, 1))))
    each = -(-len(streamed) // max(len(resident), 1))
    made: list[Tile] = []
    groups = [streamed[k : k + each] for k in range(0, len(streamed), max(each, 1))]
    for stay, others in zip_longest(resident, groups, fillvalue=None):
        for size, kept in [(stay, True), *((size, False) for size in others or [])]:
            if size:
                made.append(Tile(made[-1].first + made[-1].slots if made else 0, size, kept))
    return tuple(made)


def held_tile(slots: int) -> int:
    """Slots of each held tile, of so many held slots."""
    return min(SLOTS_MAX, max(RESIDENT_SLOTS, -(-slots // HELD_TILES)))


def _recurrent_tiles(plan: Plan, layer: Layer) -> Iterator[Tile]:
    """Resident slots first, while held and streamed ones may still be on their way; held ones in several
    tiles, so that the first is there before the last."""
    streamed = layer.slots - layer.resident_slots - layer.held_slots
    fitting = min(plan.weight_buffer // layer.words, SLOTS_MAX)
    held = held_tile(layer.held_slots)
    first = 0
    for count, most, resident, keeps in (
        (layer.resident_slots, SLOTS_MAX, True, False),
        (layer.held_slots, held, False, True),
        (streamed, fitting, False, False),
    ):
        for size in _even(count, most):
            yield Tile(first, size, resident, keeps)
            first += size


def _even(count: int, most: int) -> list[int]:
    """Cut `count` into the fewest parts of `most` at most, as even as can be."""
    parts = -(-count // most) if count else 0
    return [count * (k + 1) // parts - count * k // parts for k in range(parts)]
