"""Write every job as instructions in an order that is right when executed one after another."""

from __future__ import annotations

from collections.abc import Iterator

from ossicle.compiler.chunk import CHUNK, ENCODE
from ossicle.compiler.graph import (
    Add,
    Branch,
    Embedding,
    Format,
    Linear,
    Lstm,
    Op,
    Routine,
    Tensor,
    part_of,
)
from ossicle.compiler.passes.allocate import ACTIVATION, TABLE, VECTOR
from ossicle.compiler.passes.batch import Batch
from ossicle.compiler.passes.branch import branch
from ossicle.compiler.passes.product import Product, parameter_load, tile_stream
from ossicle.compiler.passes.scratch import groups
from ossicle.compiler.passes.states import (
    clear_states,
    fetch_states,
    keep_states,
    recall_states,
    return_states,
)
from ossicle.compiler.plan import Place, Plan, Region, Step, SymbolPlan
from ossicle.hw.config import GRANULE_BYTES, WEIGHTS_PER_WORD
from ossicle.hw.isa import Opcode, Target

PREPARE, RESET, KEEP, RECALL = "prepare", "reset", "keep", "recall"


def schedule(plan: Plan) -> Plan:
    """Jobs: `prepare` once after loading, `reset` for a new utterance, one for each routine; and of a graph
    that keeps states, `keep` and `recall`: all of them to, and from, the slot in argument register 1. Of a
    link, each part has these jobs of its own, and none changes what another part keeps on the chip.

    Argument registers of a routine's job: 1.. its inputs in order (a slot, or a label), then its output's
    slot.
    """
    routines: dict[str, tuple[Step, ...]] = {}
    for part, graph in plan.graph.parts.items():
        routines[part + PREPARE] = _prepare(plan, part)
        if graph.states:
            routines[part + RESET] = clear_states(plan, part)
        if graph.kept:
            routines[part + KEEP] = keep_states(plan, part)
            routines[part + RECALL] = recall_states(plan, part)
    for routine in plan.graph.routines.values():
        routines[routine.name] = _routine(plan, routine)
    end = Step(Opcode.END, {}, op="end")
    return plan.update(routines={name: (*steps, end) for name, steps in routines.items()})


def _prepare(plan: Plan, part: str) -> tuple[Step, ...]:
    """Tables and tiles of resident layers, group by group; lasting tables; row parameters; zero states.

    Lasting tables of all parts: a table that does not last may have taken the place of any of them.
    """
    steps: list[Step] = []
    for group in plan.tables:
        layers = [plan.layers[name] for name in group.layers if part_of(name) == part]
        resident = [(layer, i) for layer in layers for i, tile in enumerate(layer.tiles) if tile.resident]
        if resident or group.lasting:
            operands = {"length": len(group.content) // GRANULE_BYTES, "set": group.set}
            place = Place("weights", group.offset)
            steps.append(Step(Opcode.TABLE, operands, (), (Region(TABLE, group.set, 1),), place, "tables"))
        steps += [tile_stream(plan, layer, i, layer.bank_words[i]) for layer, i in resident]
    for layer in plan.layers.values():
        if layer.parameters_resident and layer.steps and part_of(layer.name) == part:
            steps.append(parameter_load(plan, layer, 0, layer.steps, layer.parameter_word))
    return (*steps, *clear_states(plan, part))


def _routine(plan: Plan, routine: Routine) -> tuple[Step, ...]:
    steps = _own_steps(plan, routine)
    part = part_of(routine.name)
    if part in plan.away and routine.recurrent:
        return (*fetch_states(plan, part), *steps, *return_states(plan, part))
    return steps


def _own_steps(plan: Plan, routine: Routine) -> tuple[Step, ...]:
    if CHUNK in plan.graph.routines and routine.name in (ENCODE, CHUNK):
        return _batches(plan, routine)
    steps, product = [], Product(plan, routine)
    for index, given in enumerate(routine.inputs):
        if given.parts[0].format is not Format.LABEL:
            steps.append(_load_input(plan, routine, index))
    for op in routine.ops:
        steps += _steps(plan, routine, product, op)
    return (*steps, *_stores(plan, routine))


def _batches(plan: Plan, routine: Routine) -> tuple[Step, ...]:
    """A job of a plan with chunks: matrix by matrix."""
    batch = Batch(plan, routine)
    loads = [_load_input(plan, routine, index) for index in range(len(routine.inputs))]
    products = [step for ops in groups(routine) for step in batch.group(ops)]
    return (*loads, *products, *_stores(plan, routine))


def _steps(plan: Plan, routine: Routine, product: Product, op: Op) -> list[Step]:
    match op:
        case Embedding():
            return [_load_embedding(plan, routine, op)]
        case Add():
            return [_add(plan, routine, op)]
        case Linear() | Lstm():
            return product.steps(op)
        case Branch():
            return _branch(plan, routine, product, op)
    raise NotImplementedError(f"{op.name}: no instructions for {type(op).__name__}")


def _branch(plan: Plan, routine: Routine, product: Product, op: Branch) -> list[Step]:
    above, below = (
        [step for each in side for step in _steps(plan, routine, product, each)]
        for side in (op.above, op.below)
    )
    score = op.inputs[0]
    maker = next((each for each in routine.ops if each.output == score), op)
    layer = maker.matrix if isinstance(maker, Linear) else ""
    return branch(plan, plan.regions[f"{routine.name}/{score.name}"], above, below, op.name, layer)


def _load_input(plan: Plan, routine: Routine, index: int) -> Step:
    given, symbol = routine.inputs[index], plan.symbols[routine.inputs[index].name]
    first = plan.regions[f"{routine.name}/{given.parts[0].name}"]
    size = routine.steps * symbol.stride
    return _load(plan, routine, given.name, first, Place(symbol.name), index, size, symbol.stride)


def _load_embedding(plan: Plan, routine: Routine, op: Embedding) -> Step:
    region = plan.regions[f"{routine.name}/{op.output.name}"]
    names = [given.parts[0].name for given in routine.inputs]
    place = Place("constants", plan.constant_offsets[op.table])
    argument = names.index(op.inputs[0].name)
    return _load(plan, routine, op.name, region, place, argument, region.size, region.size)


def _load(
    plan: Plan, routine: Routine, op: str, region: Region, place: Place, argument: int, size: int, stride: int
) -> Step:
    """LOAD of `size` bytes, whole granules, to where `region` begins."""
    vector = region.memory == VECTOR
    unit = 2 * plan.config.vector_width if vector else 1
    operands = {
        "target": Target.VECTOR if vector else Target.ACTIVATION,
        "length": size // GRANULE_BYTES,
        "destination": region.start if vector else region.start // WEIGHTS_PER_WORD,
        "argument": argument + 1,
        "stride": stride // GRANULE_BYTES,
    }
    return Step(Opcode.LOAD, operands, (), (Region(region.memory, region.start, size // unit),), place, op)


def _add(plan: Plan, routine: Routine, op: Add) -> Step:
    first, second = (plan.regions[f"{routine.name}/{tensor.name}"] for tensor in op.inputs)
    made = plan.regions[f"{routine.name}/{op.output.name}"]
    operands = {
        "steps": -(-op.output.count // plan.config.vector_width),
        "source": first.start,
        "source2": second.start,
        "function": op.function,
        "target": Target.ACTIVATION if made.memory == ACTIVATION else Target.VECTOR,
        "destination": made.start,
    }
    return Step(Opcode.ADD, operands, (first, second), (made,), op=op.name)


def _stores(plan: Plan, routine: Routine) -> Iterator[Step]:
    """Outputs to successive slots, the first in the last argument register."""
    symbol = plan.symbols[routine.output.name]
    for k, output in enumerate(routine.outputs):
        yield _store(plan, routine, output, symbol, Place(symbol.name, k * symbol.stride))


def _store(plan: Plan, routine: Routine, output: Tensor, symbol: SymbolPlan, place: Place) -> Step:
    region = plan.regions[f"{routine.name}/{output.name}"]
    vector = region.memory == VECTOR
    operands = {
        "target": Target.VECTOR if vector else Target.ACTIVATION,
        "length": symbol.stride // GRANULE_BYTES,
        "source": region.start if vector else region.start // WEIGHTS_PER_WORD,
        "argument": len(routine.inputs) + 1,
        "stride": symbol.stride // GRANULE_BYTES,
    }
    return Step(Opcode.STORE, operands, (region,), (), place, routine.output.name)
