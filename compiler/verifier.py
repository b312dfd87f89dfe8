"""What must hold between the passes; a failure is a defect of the compiler, not of the model."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import product

import numpy as np
from ossicle.compiler.graph import part_of
from ossicle.compiler.passes.allocate import ACTIVATION, PARAMETER, TABLE, VECTOR, WEIGHT
from ossicle.compiler.plan import Layer, Plan, Region, Step, memory_sizes
from ossicle.hw.config import NpuConfig
from ossicle.hw.isa import TOKEN_MAX, Engine, Opcode, instruction

PREPARE = "prepare"
STATES = (ACTIVATION, VECTOR)
"""Memories that jobs write what lasts to."""
Pair = tuple[Engine, Engine]
"""Giver and taker of tokens."""


class VerifyError(AssertionError):
    """A plan that breaks a rule."""


def verify(plan: Plan) -> None:
    """Raises VerifyError at the first broken rule; rules of what is not decided yet are left out."""
    for layer in plan.layers.values():
        _verify_layer(plan, layer)
    for name, steps in plan.routines.items():
        for index, step in enumerate(steps):
            _verify_step(plan.config, f"{name} {index}", step)
        if any(step.wait or step.signal for step in steps):
            for path in paths(steps):
                verify_tokens(name, path)
        _verify_kept(plan, name, steps)


def _verify_kept(plan: Plan, name: str, steps: tuple[Step, ...]) -> None:
    """A job writes nothing that lasts from job to job but its own part's states, `prepare` all of its part's.

    A barrier counts as writing, but does not.
    """
    part = part_of(name)
    prepares = name == f"{part}{PREPARE}"
    for owner, region in _kept(plan):
        own = owner == part and (prepares or region.memory in STATES)
        for step in () if own or (prepares and region.memory == TABLE) else steps:
            if step.opcode is not Opcode.SKIP and any(region.overlaps(written) for written in step.writes):
                raise VerifyError(f"{name} ({step}) writes {region}, which {owner or 'the model'} keeps")


def _kept(plan: Plan) -> Iterator[tuple[str, Region]]:
    """What lasts on the chip, and the part that it is of; tables that last are those of all."""
    for name, layer in plan.layers.items():
        for tile, word in zip(layer.tiles, layer.bank_words, strict=True):
            if tile.resident:
                yield part_of(name), Region(WEIGHT, word, tile.slots * layer.words)
        if layer.parameters_resident and layer.steps:
            yield part_of(name), Region(PARAMETER, layer.parameter_word, layer.steps)
    for group in plan.tables:
        if group.lasting:
            yield "", Region(TABLE, group.set, 1)
    for part in plan.graph.parts:
        for region in (plan.regions[f"{part}hidden"], plan.regions[f"{part}cell"]):
            if region.size and part not in plan.away:
                yield part, region


def paths(steps: tuple[Step, ...]) -> Iterator[tuple[Step, ...]]:
    """What a job executes, for each outcome of its COMPAREs."""
    compares = sum(step.opcode is Opcode.COMPARE for step in steps)
    for outcomes in product((False, True), repeat=compares):
        yield tuple(_path(steps, iter(outcomes)))


def _path(steps: tuple[Step, ...], outcomes: Iterator[bool]) -> Iterator[Step]:
    predicates: dict[int, bool] = defaultdict(bool)
    index = 0
    while index < len(steps):
        step = steps[index]
        yield step
        if step.opcode is Opcode.COMPARE:
            predicates[step.operands["predicate"]] = next(outcomes)
        elif step.opcode is Opcode.SKIP and predicates[step.operands["predicate"]] == step.operands["sense"]:
            index += step.operands["count"]
        index += 1


def _verify_layer(plan: Plan, layer: Layer) -> None:
    lanes = plan.config.lanes
    if len(layer.weight) != layer.slots * lanes:
        raise VerifyError(f"{layer.name}: {len(layer.weight)} rows, not {layer.slots} slots of {lanes}")
    if np.count_nonzero(layer.weight) != np.count_nonzero(plan.graph.matrices[layer.name].weight):
        raise VerifyError(f"{layer.name}: the layout lost or gained weights")
    covered = [slot for tile in layer.tiles for slot in range(tile.first, tile.first + tile.slots)]
    if layer.tiles and covered != list(range(layer.slots)):
        raise VerifyError(f"{layer.name}: tiles cover slots {covered}, not each of {layer.slots} once")
    if layer.lane is not None:
        by_slot = np.sort(layer.lane.reshape(layer.slots, lanes), axis=1)
        if not (by_slot == np.arange(lanes)).all():
            raise VerifyError(f"{layer.name}: a lane has two rows of one slot")


def _verify_step(config: NpuConfig, where: str, step: Step) -> None:
    instruction(step.opcode, **step.operands)
    sizes = memory_sizes(config)
    for region in (*step.reads, *step.writes):
        if not 0 <= region.start < region.start + region.size <= sizes[region.memory]:
            raise VerifyError(f"{where} ({step}): {region} is outside, of {sizes[region.memory]}")


def _bits(mask: int) -> Iterator[int]:
    """Positions of the bits that are set, low first."""
    while mask:
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low


def verify_tokens(name: str, steps: tuple[Step, ...]) -> None:
    """Tokens, against a model of their own: every conflict is ordered, none is left, none overflows.

    The n-th token of a giver and a taker goes from the giver's n-th signal to the taker's n-th wait.
    `ended[i]`: instructions known to have ended when instruction i ends, a bit each. The sequencer hands
    nothing out before its own instruction has ended.

    Args:
        steps: all that is executed, in order.
    Raises:
        VerifyError: at the first instruction that breaks a rule.
    """
    given: dict[Pair, list[int]] = defaultdict(list)
    takes: dict[Pair, int] = defaultdict(int)
    taken: Counter[Pair] = Counter()
    ended: list[int] = []
    last: dict[Engine, int] = {}
    for index, step in enumerate(steps):
        known = 0
        for engine in {step.engine, Engine.CONTROL} & set(last):
            known |= ended[last[engine]]
        for giver in step.wait:
            pair = (giver, step.engine)
            if taken[pair] == len(given[pair]):
                raise VerifyError(f"{name} {index} ({step}): waits for a token that comes later")
            known |= ended[given[pair][taken[pair]]]
            taken[pair] += 1
            takes[pair] |= 1 << index
        for before in _bits(((1 << index) - 1) & ~known):
            if steps[before].conflicts(step):
                raise VerifyError(f"{name}: {index} ({step}) may overtake {before} ({steps[before]})")
        for taker in step.signal:
            pair = (step.engine, taker)
            given[pair].append(index)
            most = len(given[pair]) - (takes[pair] & known).bit_count()
            if most > TOKEN_MAX:
                raise VerifyError(f"{name} {index} ({step}): up to {most} tokens, {TOKEN_MAX} at most")
        ended.append(known | 1 << index)
        last[step.engine] = index
    for pair, signals in given.items():
        if taken[pair] != len(signals):
            raise VerifyError(f"{name}: {len(signals) - taken[pair]} tokens of {pair} are left over")
