"""What must hold between the passes; a failure is a defect of the compiler, not of the model."""

from __future__ import annotations

from collections import Counter

import numpy as np
from ossicle.compiler.plan import Plan, Region, Step
from ossicle.hw.config import NpuConfig
from ossicle.hw.isa import TOKEN_MAX, Engine, instruction


class VerifyError(AssertionError):
    """A plan that breaks a rule."""


def verify(plan: Plan) -> None:
    """Raises VerifyError at the first broken rule; rules of what is not decided yet are left out."""
    for layer in plan.layers.values():
        rows = len(layer.weight)
        _rule(rows == layer.slots * plan.config.lanes, f"{layer.name}: {rows} rows are not whole rounds of the lanes")
        original = plan.graph.matrices[layer.name].weight
        kept = np.count_nonzero(layer.weight) == np.count_nonzero(original)
        _rule(kept, f"{layer.name}: the layout lost or gained weights")
        covered = [slot for t in layer.tiles for slot in range(t.first, t.first + t.slots)]
        _rule(not layer.tiles or covered == list(range(layer.slots)), f"{layer.name}: tiles do not cover its slots")
        if layer.lane is not None:
            by_slot = np.sort(layer.lane.reshape(layer.slots, -1), axis=1)
            _rule(bool((by_slot == np.arange(plan.config.lanes)).all()), f"{layer.name}: a lane has two rows of a slot")
    for name, steps in plan.routines.items():
        for index, step in enumerate(steps):
            _verify_step(plan.config, f"{name} {index} ({step})", step)
        if any(step.wait or step.signal for step in steps):
            verify_tokens(name, steps)


def memory_sizes(config: NpuConfig) -> dict[str, int]:
    """Units of each memory that a Region names."""
    return {
        "weight": config.weight_words,
        "activation": config.activation_words * 16,
        "vector": config.vector_words,
        "parameter": config.parameter_words,
        "accumulator": config.accumulators,
        "table": config.table_sets,
    }


def _verify_step(config: NpuConfig, where: str, step: Step) -> None:
    instruction(step.opcode, **step.operands)
    sizes = memory_sizes(config)
    for region in (*step.reads, *step.writes):
        inside = 0 <= region.start < region.start + region.size <= sizes[region.memory]
        _rule(inside, f"{where}: {region} is not inside the {sizes[region.memory]} units of its memory")


def verify_tokens(name: str, steps: tuple[Step, ...]) -> None:
    """Tokens, against a model of their own: every conflict is ordered, none is left, none overflows.

    The n-th token of a giver and a taker goes from the giver's n-th signal to the taker's n-th wait. `ended[i]`:
    all instructions known to have ended when instruction i ends.
    """
    given: dict[tuple[Engine, Engine], list[int]] = {}
    taken: Counter[tuple[Engine, Engine]] = Counter()
    ended: list[set[int]] = []
    last: dict[Engine, int] = {}
    for index, step in enumerate(steps):
        known = set(ended[last[step.engine]]) if step.engine in last else set()
        for giver in step.wait:
            pair = (giver, step.engine)
            _rule(taken[pair] < len(given.get(pair, [])), f"{name} {index}: waits for a token that comes later")
            known |= ended[given[pair][taken[pair]]]
            taken[pair] += 1
        for before in range(index):
            ordered = before in known or not steps[before].conflicts(step)
            _rule(ordered, f"{name}: {index} ({step}) may overtake {before} ({steps[before]})")
        ended.append(known | {index})
        last[step.engine] = index
        for taker in step.signal:
            given.setdefault((step.engine, taker), []).append(index)
            _bound(name, steps, (step.engine, taker), given, known)
    for pair, signals in given.items():
        _rule(taken[pair] == len(signals), f"{name}: {len(signals) - taken[pair]} tokens {pair} are left over")


def _bound(name: str, steps: tuple[Step, ...], pair: tuple[Engine, Engine], given: dict, known: set[int]) -> None:
    """Most tokens that may be there at once: those given, less those that instructions known to have ended took."""
    giver, taker = pair
    took = sum(steps[i].engine is taker and giver in steps[i].wait for i in known)
    waiting = len(given[pair]) - took
    _rule(waiting <= TOKEN_MAX, f"{name}: {waiting} tokens from {giver.name} to {taker.name}, {TOKEN_MAX} at most")


def _rule(holds: bool, otherwise: str) -> None:
    if not holds:
        raise VerifyError(otherwise)


__all__ = ["Region", "VerifyError", "memory_sizes", "verify", "verify_tokens"]
