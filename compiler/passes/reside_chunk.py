"""Decide what stays on the chip in a program with chunks of encoder steps.

A layer's columns for its inputs are streamed once a chunk, and used for every step of it. Those for h are
needed by every step: slots of them stay for good, or for the job in an area that layers share (held), or are
streamed in every step.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from ossicle.compiler.chunk import CHUNK
from ossicle.compiler.codec import entropy_bits
from ossicle.compiler.graph import Linear, Lstm, Routine, flat
from ossicle.compiler.passes.reside import BUFFERS, TILE_CYCLES, share, sizes
from ossicle.compiler.passes.tile import held_tile
from ossicle.compiler.plan import CompileError, Layer, Plan, Residence

HOLDS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0)
"""Sizes of the held area worth a try, in largest recurrent layers."""
APART = 1.1
MAC_CYCLES = 16
"""Cycles of a MAC instruction beside its products: the first words, the last lane. About."""
NEAR = 1.02
"""Costs within 2 % are taken for equal: the estimates are no better."""


@dataclass(frozen=True)
class Filling:
    """A residence, slots of each layer under it, and its estimated cost for each step of the encoder."""

    residence: Residence
    resident: dict[str, int]
    held: dict[str, int]
    bytes: float
    """DRAM bytes of weights."""
    cycles: float


def reside_chunk(plan: Plan) -> Plan:
    """Fill the weight memory as `plan.options.residence` says; without it, as costs the fewest cycles.

    Raises:
        CompileError: a weight memory that does not hold one row slot of a streamed layer in each buffer.
    """
    costs = Costs(plan)
    given = plan.options.residence
    chosen = fastest(fillings(costs)) if given is None else costs.fill(given)
    if chosen is None:
        widest = max(layer.words for layer in plan.layers.values())
        raise CompileError(
            f"weight memory: a row of {widest} words in each of {BUFFERS} buffers needs weight_words = "
            f"{BUFFERS * widest}, there are {plan.config.weight_words}"
        )
    plan = plan.update(weight_buffer=chosen.residence.buffer, hold=chosen.residence.hold)
    return plan.update_layers(resident_slots=chosen.resident, held_slots=chosen.held)


def fastest(found: list[Filling]) -> Filling | None:
    """The fewest cycles; of those that are near, the fewest bytes."""
    least = min((made.cycles for made in found), default=0.0)
    near = [made for made in found if made.cycles <= NEAR * least]
    return min(near, key=lambda made: (made.bytes, made.cycles), default=None)


def leanest(found: list[Filling]) -> Filling | None:
    """The fewest bytes; of those that are near, the fewest cycles."""
    least = min((made.bytes for made in found), default=0.0)
    near = [made for made in found if made.bytes <= NEAR * least]
    return min(near, key=lambda made: (made.cycles, made.bytes), default=None)


def fillings(costs: Costs) -> list[Filling]:
    """Every filling worth a try that fits."""
    return [made for residence in _residences(costs) if (made := costs.fill(residence))]


def _residences(costs: Costs) -> Iterator[Residence]:
    layers, capacity = costs.layers, costs.plan.config.weight_words
    needed = sum(layer.slots * layer.words for layer in layers)
    if not costs.plan.options.resident:
        capacity_for_hold = (0,)
    elif needed <= capacity:
        yield Residence(0, 0, True)
        return
    else:
        most = max(layer.slots * layer.words for layer in costs.recurrent)
        capacity_for_hold = sorted({min(int(part * most), capacity) for part in HOLDS})
    for buffer in _thinned(sizes(layers, capacity)):
        for hold in capacity_for_hold:
            for first in (True, False):
                yield Residence(hold, buffer, first)


def _thinned(values: list[int]) -> Iterator[int]:
    """Of ascending values those that are a tenth larger than the one before."""
    last = 0.0
    for value in values:
        if value >= APART * last:
            last = value
            yield value


class Costs:
    """What the layers of a legalized plan need of bus and lanes; with chunks, under each filling.

    Args:
        entry: the job of the encoder that counts.
    """

    def __init__(self, plan: Plan, entry: str = CHUNK) -> None:
        self.plan = plan
        self.layers = list(plan.layers.values())
        self.routine: Routine = plan.graph.routines[entry]
        self.steps = self.routine.steps
        self.uses = Counter(op.matrix for op in flat(self.routine.ops) if isinstance(op, Linear | Lstm))
        self.recurrent = [layer for layer in self.layers if layer.recurrent_of]
        self.inputs = [layer for layer in self.layers if layer.name in self.uses]
        encoder = {layer.name for layer in (*self.recurrent, *self.inputs)}
        self.others = [layer for layer in self.layers if layer.name not in encoder]

    @cached_property
    def word_bytes(self) -> dict[str, float]:
        """Coded bytes of one word of every lane, by layer, at the order-0 entropy of its weights."""
        made = {}
        for layer in self.layers:
            weights = self.plan.graph.matrices[layer.name].weight
            made[layer.name] = entropy_bits(weights) / 8 / (layer.slots * layer.words)
        return made

    @cached_property
    def work(self) -> dict[str, float]:
        """Cycles of the lanes for one product with each layer: its non-zeros, spread evenly."""
        return {layer.name: np.count_nonzero(layer.weight) / self.plan.config.lanes for layer in self.layers}

    def fill(self, residence: Residence) -> Filling | None:
        """Slots that stay under a residence, and its cost; None if it does not fit."""
        capacity = self.plan.config.weight_words
        left = capacity - residence.hold - BUFFERS * residence.buffer
        if left < 0:
            return None
        if not self.plan.options.resident:
            left = 0
        resident = dict.fromkeys(self.plan.layers, 0)
        for layers in self._order(residence, resident):
            shared = share(left, layers)
            for layer in layers:
                resident[layer.name] += shared[layer.name]
                left -= shared[layer.name] * layer.words
        held = {
            layer.name: min(residence.hold // layer.words, layer.slots - resident[layer.name])
            for layer in self.recurrent
        }
        for layer in self.layers:
            brought = layer.slots - resident[layer.name] - held.get(layer.name, 0)
            if brought and layer.words > residence.buffer:
                return None
        return Filling(residence, resident, held, *self._cost(residence, resident, held))

    def _order(self, residence: Residence, resident: dict[str, int]) -> Iterator[list[Layer]]:
        """Layers that share what is left, the neediest first, each with its slots still to place."""
        for calls in sorted({layer.calls for layer in self.others}, reverse=True):
            yield [layer for layer in self.others if layer.calls == calls]
        beyond = [
            replace(layer, slots=max(0, layer.slots - residence.hold // layer.words))
            for layer in self.recurrent
        ]
        for calls in sorted({layer.calls for layer in beyond}, reverse=True):
            yield [layer for layer in beyond if layer.calls == calls]
        groups = [self.recurrent, self.inputs]
        for group in groups if residence.recurrent_first else [[*self.recurrent, *self.inputs]]:
            yield [replace(layer, slots=layer.slots - resident[layer.name]) for layer in group]

    def _cost(
        self, residence: Residence, resident: dict[str, int], held: dict[str, int]
    ) -> tuple[float, float]:
        """Bytes and cycles a step. Of a layer, bus and lanes work side by side; what the buffers take ahead
        is streamed while the layer before is at its products with h."""
        moved, cycles, ahead = 0.0, 0.0, 0.0
        bus_bytes = self.plan.config.bus_bytes
        recurrent = {layer.recurrent_of: layer for layer in self.recurrent}
        wholly = 2 * max((layer.slots * layer.words for layer in self.recurrent), default=0)
        for layer in self.inputs:
            after, uses = recurrent.get(layer.name), self.uses[layer.name]
            passes = -(-uses // max(1, self.plan.config.accumulators // layer.slots))
            once = passes * (layer.slots - resident[layer.name]) * self.slot_bytes(layer)
            each = kept = 0.0
            if after is not None:
                kept = held[after.name] * self.slot_bytes(after)
                each = (after.slots - resident[after.name] - held[after.name]) * self.slot_bytes(after) * uses
            moved += once + kept + each
            window = BUFFERS * residence.buffer * self.word_bytes[layer.name] / bus_bytes
            window += kept / bus_bytes if residence.hold >= wholly else 0.0
            bus = self.bus(once + kept, layer, residence.buffer) - min(ahead, window)
            tile = residence.buffer // layer.words if once else layer.slots
            cycles += max(bus, self.lanes(layer, uses, tile))
            step = 0.0
            if after is not None:
                tile = residence.buffer // after.words if each else self._held_tile(after, held)
                step = self.lanes(after, uses, tile)
            last = max(step, self.bus(each, layer, residence.buffer)) if each else step
            cycles += last
            ahead = max(0.0, last - (each / bus_bytes))
        for layer in self.others:
            brought = layer.calls * self.steps * (layer.slots - resident[layer.name]) * self.slot_bytes(layer)
            moved += brought
            lanes = self.lanes(layer, layer.calls * self.steps, layer.slots)
            cycles += max(self.bus(brought, layer, residence.buffer), lanes)
        return moved / self.steps, cycles / self.steps

    @cached_property
    def spread(self) -> dict[str, float]:
        """By layer, how much more than the mean the fullest lane has of one slot, as a share of the mean."""
        made = {}
        for layer in self.layers:
            rows = np.count_nonzero(layer.weight, axis=1).reshape(layer.slots, -1)
            made[layer.name] = float(rows.max(axis=1).sum() / max(rows.mean(axis=1).sum(), 1e-9)) - 1
        return made

    def lanes(self, layer: Layer, uses: float, tile_slots: int) -> float:
        """Cycles of the lanes: in each tile they wait for the fullest, which has a slot's spread more."""
        slots = min(max(tile_slots, 1), layer.slots)
        tiles = -(-layer.slots // slots)
        return uses * (self.work[layer.name] * (1 + self.spread[layer.name] / slots) + tiles * MAC_CYCLES)

    def _held_tile(self, layer: Layer, held: dict[str, int]) -> int:
        """Slots of its tiles, if none is streamed in every step."""
        return held_tile(held[layer.name]) if held[layer.name] else layer.slots

    def slot_bytes(self, layer: Layer) -> float:
        return layer.words * self.word_bytes[layer.name]

    def bus(self, size: float, layer: Layer, buffer: int) -> float:
        """Cycles in which the bus brings so many bytes, tile by tile."""
        if not size:
            return 0.0
        tile = max(max(buffer // layer.words, 1) * self.slot_bytes(layer), 1.0)
        return size / self.plan.config.bus_bytes + size / tile * TILE_CYCLES
