"""Give weights, row parameters, states and tensors their places on the chip."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field

from ossicle.compiler.graph import Branch, Embedding, Format, Graph, Lstm, Op, Routine, part_of
from ossicle.compiler.passes.legalize import padded_bytes
from ossicle.compiler.passes.reside import BUFFERS
from ossicle.compiler.passes.scratch import place_chunk
from ossicle.compiler.plan import CompileError, Plan, Region
from ossicle.hw.config import GRANULE_BYTES, WEIGHTS_PER_WORD, NpuConfig

ACTIVATION, VECTOR, WEIGHT, PARAMETER = "activation", "vector", "weight", "parameter"
ACCUMULATOR, TABLE = "accumulator", "table"


def allocate_weights(plan: Plan) -> Plan:
    """Resident tiles from word 0, the area of held ones and the two streaming buffers after them."""
    words, following = {}, 0
    for name, layer in plan.layers.items():
        starts = []
        for tile in layer.tiles:
            starts.append(following if tile.resident else 0)
            following += tile.slots * layer.words if tile.resident else 0
        words[name] = tuple(starts)
    words |= _held(plan, words, following)
    following += plan.hold
    _fit("weight", "weights and buffers", following + BUFFERS * plan.weight_buffer, plan.config.weight_words)
    for layer in plan.layers.values():
        _fit("accumulator", layer.name, layer.slots, plan.config.accumulators)
    return plan.update(weight_buffer_word=following).update_layers(bank_words=words)


def _held(plan: Plan, words: dict[str, tuple[int, ...]], area: int) -> dict[str, tuple[int, ...]]:
    """Places of held tiles: layers begin at the area's two ends in turn, so that one can come while the one
    before it is in use, as far as there is room."""
    made, turn = {}, 0
    for name, layer in plan.layers.items():
        size = layer.held_slots * layer.words
        if not size:
            continue
        following, starts = area + (plan.hold - size if turn else 0), list(words[name])
        for index, tile in enumerate(layer.tiles):
            if tile.held:
                starts[index] = following
                following += tile.slots * layer.words
        made[name], turn = tuple(starts), 1 - turn
    return made


def allocate_parameters(plan: Plan) -> Plan:
    """Resident row parameters from word 0, the two buffers after them."""
    words, following = {}, 0
    for name, layer in plan.layers.items():
        if layer.parameters_resident:
            words[name] = following
            following += layer.steps
    needed = following + BUFFERS * plan.parameter_buffer
    _fit("parameter", "row parameters", needed, plan.config.parameter_words)
    return plan.update(parameter_buffer_word=following).update_layers(parameter_word=words)


def allocate_tensors(plan: Plan) -> Plan:
    """States first, which last; then each routine's tensors, all routines from the same place.

    The h of a state is a ring: as many places as the op that reads them concatenates, so that the outputs of
    successive steps lie side by side. Of several models, the states of those that can best do without stay
    away, in DRAM, until all routines fit: they lie before the tensors of the routines that step them, in the
    same place.
    """
    order, count = _by_moves(plan), 0
    while True:
        try:
            made = _allocate_tensors(plan.update(away=frozenset(order[:count])))
            break
        except CompileError:
            if count == len(order):
                raise
            count += 1
    for part in reversed(order[:count]):
        with suppress(CompileError):
            made = _allocate_tensors(plan.update(away=made.away - {part}))
    return made


def _by_moves(plan: Plan) -> list[str]:
    """Parts whose states may be away, those first that move the fewest units in and out."""
    if not plan.graph.networks:
        return []
    moved = dict.fromkeys(plan.graph.networks, 0.0)
    for routine in plan.graph.routines.values():
        part = part_of(routine.name)
        if routine.recurrent:
            moved[part] += routine.calls * sum(plan.graph.networks[part].states.values())
    return sorted((part for part in moved if moved[part]), key=lambda part: moved[part])


def _allocate_tensors(plan: Plan) -> Plan:
    rings = {name: ring_size(plan.graph, name) for name in plan.graph.states}
    parts = list(plan.graph.parts)
    states = _Places(plan.config)
    for part in parts:
        if part not in plan.away:
            _place_states(plan, part, states, rings)
    regions, tops = states.regions, dict.fromkeys(parts, states.top)
    for part in sorted(plan.away):
        own = _Places(plan.config, dict(states.top))
        _place_states(plan, part, own, rings)
        regions, tops[part] = regions | own.regions, own.top
    previous: dict[str, Region] = {}
    for routine in plan.graph.routines.values():
        top = tops[part_of(routine.name)] if routine.recurrent else states.top
        places = _Places(plan.config, dict(top))
        if routine.steps > 1:
            places.regions, found, places.top = place_chunk(plan, routine, top, regions, rings)
            previous |= found
        else:
            _place_routine(plan, routine, places, regions, previous, rings)
        regions |= places.regions
        needed = -(-places.top[ACTIVATION] // WEIGHTS_PER_WORD)
        _fit("activation", routine.name, needed, plan.config.activation_words)
        _fit("vector", routine.name, places.top[VECTOR], plan.config.vector_words)
    return plan.update(regions=regions, previous=previous)


def _place_states(plan: Plan, part: str, places: _Places, rings: dict[str, int]) -> None:
    """All h of a part side by side, and all c."""
    own = {name: units for name, units in plan.graph.states.items() if part_of(name) == part}
    before = dict(places.top)
    for name, units in own.items():
        stride = -(-units // WEIGHTS_PER_WORD) * WEIGHTS_PER_WORD
        for k in range(rings[name]):
            places.take(f"hidden/{name}/{k}", ACTIVATION, stride)
    for name, units in own.items():
        places.take(f"cell/{name}", VECTOR, -(-units // plan.config.units_per_step))
    places.align()
    for name, memory in (("hidden", ACTIVATION), ("cell", VECTOR)):
        places.regions[part + name] = Region(memory, before[memory], places.top[memory] - before[memory])


def ring_size(graph: Graph, state: str) -> int:
    """Places of a state's h: outputs of its LSTM that one op concatenates, 1 or more."""
    made = {op.output for op in graph.ops() if isinstance(op, Lstm) and op.state == state}
    return max([1, *(sum(tensor in made for tensor in op.inputs) for op in graph.ops())])


@dataclass
class _Places:
    """Hands out the two memories of tensors from the bottom; aligned to the granules that LOAD writes."""

    config: NpuConfig
    top: dict[str, int] = field(default_factory=lambda: {ACTIVATION: 0, VECTOR: 0})
    regions: dict[str, Region] = field(default_factory=dict)

    def take(self, name: str, memory: str, size: int) -> None:
        self.regions[name] = Region(memory, self.top[memory], size)
        self.top[memory] += size

    def align(self) -> None:
        for memory, unit in ((ACTIVATION, GRANULE_BYTES), (VECTOR, vector_granule(self.config))):
            self.top[memory] = -(-self.top[memory] // unit) * unit


def vector_granule(config: NpuConfig) -> int:
    """Words of the vector memory in a granule."""
    return GRANULE_BYTES // (2 * config.vector_width)


def _place_routine(
    plan: Plan, routine: Routine, places: _Places, regions: dict, previous: dict, rings: dict[str, int]
) -> None:
    for given in routine.inputs:
        for part in given.parts:
            if part.format is Format.LABEL:
                continue
            if part.format is Format.ACTIVATION:
                places.take(f"{routine.name}/{part.name}", ACTIVATION, padded_bytes(part, True))
            else:
                places.take(f"{routine.name}/{part.name}", VECTOR, -(-part.count // plan.config.vector_width))
        places.align()
    steps = dict.fromkeys(rings, 0)
    for op, at in _stepped(routine.ops, steps):
        if isinstance(op, Lstm):
            ring = rings[op.state]
            places.regions[f"{routine.name}/{op.output.name}"] = regions[f"hidden/{op.state}/{at % ring}"]
            previous[f"{routine.name}/{op.name}"] = regions[f"hidden/{op.state}/{(at - 1) % ring}"]
        else:
            _place_output(plan, routine, op, places)
    for state, count in steps.items():
        if count % rings[state]:
            raise CompileError(f"{routine.name}: {state} steps {count} times, no multiple of {rings[state]}")


def _stepped(ops: Iterable[Op], steps: dict[str, int]) -> Iterator[tuple[Op, int]]:
    """Each op, and how often its state has stepped before it; both sides of a branch step from the same."""
    for op in ops:
        if isinstance(op, Branch):
            yield from _stepped(op.above, dict(steps))
            yield from _stepped(op.below, steps)
        elif isinstance(op, Lstm):
            yield op, steps[op.state]
            steps[op.state] += 1
        else:
            yield op, 0


def _place_output(plan: Plan, routine: Routine, op: Op, places: _Places) -> None:
    name = f"{routine.name}/{op.output.name}"
    if name in places.regions:
        return  # the other side of a branch makes it too
    if op.output.format is Format.ACTIVATION:
        places.take(name, ACTIVATION, padded_bytes(op.output, isinstance(op, Embedding)))
    else:
        places.take(name, VECTOR, -(-op.output.count // plan.config.vector_width))
    places.align()


def _fit(memory: str, user: str, needed: int, there: int) -> None:
    if needed > there:
        name = "accumulators" if memory == ACCUMULATOR else f"{memory}_words"
        raise CompileError(f"{memory} memory: {user} needs {name} = {needed}, there are {there}")
