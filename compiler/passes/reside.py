"""Decide what stays on the chip: weights and row parameters used most often, per word they take."""

from __future__ import annotations

from dataclasses import dataclass

from ossicle.compiler.codec import entropy_bits
from ossicle.compiler.plan import CompileError, Layer, Plan
from ossicle.hw.config import GRANULE_BYTES, WEIGHTS_PER_WORD, NpuConfig

TILE_CYCLES = 128
"""Cycles a streamed tile costs beside its bits: first beat, initial states, streams that end early. About."""
BUFFERS = 2


@dataclass(frozen=True)
class Residence:
    """Row slots of each layer that stay, and the words of each streaming buffer."""

    slots: dict[str, int]
    buffer: int
    cost: float
    """Cycles of streaming for each job of the encoder, estimated; for the fewest bytes, of the bus alone."""


def reside_weights(plan: Plan) -> Plan:
    """Choose the streaming buffers' size, then fill the rest with slots of the layers used most.

    A layer may stay in part: its other slots stream while those are computed.

    Raises:
        CompileError: a weight memory that does not hold one row slot of a streamed layer in each buffer.
    """
    layers, capacity = list(plan.layers.values()), plan.config.weight_words
    needed = sum(layer.slots * layer.words for layer in layers)
    if plan.options.resident and needed <= capacity:
        return plan.update_layers(resident_slots={layer.name: layer.slots for layer in layers})
    cycles = {layer.name: _word_cycles(plan.config, layer) for layer in layers}
    found = [made for size in sizes(layers, capacity) if (made := _fill(plan, layers, size, cycles))]
    if not found:
        widest = max(layer.words for layer in layers)
        raise CompileError(
            f"weight memory: a row of {widest} words in each of {BUFFERS} buffers needs weight_words = "
            f"{BUFFERS * widest}, there are {capacity}"
        )
    best = min(found, key=lambda made: (made.cost, made.buffer))
    return plan.update(weight_buffer=best.buffer).update_layers(resident_slots=best.slots)


def sizes(layers: list[Layer], capacity: int) -> list[int]:
    """Sizes of a buffer worth a try: whole slots of some layer."""
    widths = {layer.words for layer in layers}
    return sorted({k * words for words in widths for k in range(1, capacity // (BUFFERS * words) + 1)})


def _fill(plan: Plan, layers: list[Layer], buffer: int, cycles: dict[str, float]) -> Residence | None:
    """Fill what two buffers of this size leave; None if a streamed layer's row does not fit a buffer.

    cycles: in which the bus brings a word of every lane, by layer.
    """
    left = plan.config.weight_words - BUFFERS * buffer if plan.options.resident else 0
    slots, cost = {}, 0.0
    for calls in sorted({layer.calls for layer in layers}, reverse=True):
        equals = [layer for layer in layers if layer.calls == calls]
        shared = share(left, equals)
        left -= sum(shared[layer.name] * layer.words for layer in equals)
        slots |= shared
    for layer in layers:
        streamed = layer.slots - slots[layer.name]
        if streamed and layer.words > buffer:
            return None
        fitting = max(min(buffer // layer.words, streamed), 1)
        waits = fitting * (streamed > 0)  # for the first tile, beside which there is no work yet
        each = TILE_CYCLES
        if plan.options.fewest_bytes:
            waits, each = 0, _tile_bits(plan.config) / plan.config.bus_bits
        tiles = -(-streamed // fitting)
        cost += layer.calls * ((streamed + waits) * layer.words * cycles[layer.name] + tiles * each)
    return Residence(slots, buffer, cost)


def _tile_bits(config: NpuConfig) -> float:
    """Bits of a tile beside those of its weights: initial states, and the rest of its last granule."""
    return config.decoder_streams * config.table_log + 8 * GRANULE_BYTES / 2


def share(words: int, layers: list[Layer]) -> dict[str, int]:
    """Resident slots of layers used equally often: equal shares, so that each streams while it computes.

    What a small layer leaves of its share goes to the larger ones.
    """
    slots = {}
    ordered = sorted(layers, key=lambda layer: layer.slots * layer.words)
    for done, layer in enumerate(ordered):
        slots[layer.name] = min(layer.slots, words // (len(ordered) - done) // layer.words)
        words -= slots[layer.name] * layer.words
    return slots


def _word_cycles(config: NpuConfig, layer: Layer) -> float:
    """Cycles in which the bus brings one word of every lane, at the entropy of the layer's weights."""
    bits = entropy_bits(layer.weight) / layer.weight.size
    return config.lanes * WEIGHTS_PER_WORD * bits / config.bus_bits


def reside_parameters(plan: Plan) -> Plan:
    """Keep the row parameters of whole layers, those used most first; two buffers take turns for the others.

    Raises:
        CompileError: a parameter memory with no room for two buffers of one step.
    """
    layers, capacity = list(plan.layers.values()), plan.config.parameter_words
    if sum(layer.steps for layer in layers) <= capacity:
        return plan.update_layers(parameters_resident={layer.name: True for layer in layers})
    round_steps = plan.config.lanes // plan.config.vector_width
    left, kept = capacity, {}
    for layer in sorted(layers, key=lambda layer: (-layer.calls, layer.steps)):
        kept[layer.name] = left - layer.steps >= BUFFERS * min(4 * round_steps, capacity // 4)
        left -= layer.steps if kept[layer.name] else 0
    buffer = left // BUFFERS
    if buffer >= round_steps:
        buffer -= buffer % round_steps
    buffer = min(buffer, max(layer.steps for layer in layers))
    if buffer < 1:
        raise CompileError(f"parameter memory: two steps need parameter_words = 2, there are {capacity}")
    return plan.update(parameter_buffer=buffer).update_layers(parameters_resident=kept)
