"""Move LOAD and STREAM instructions up to where their memory becomes free, so that the bus works ahead."""

from __future__ import annotations

from ossicle.compiler.plan import Plan, Step
from ossicle.hw.isa import Engine

FETCHING = (Engine.LOAD, Engine.DECODE)


def prefetch(plan: Plan) -> Plan:
    """Each engine keeps its own order; no instruction passes one it conflicts with, nor into or out of a
    branch."""
    return plan.update(routines={name: _hoist(steps) for name, steps in plan.routines.items()})


def _hoist(steps: tuple[Step, ...]) -> tuple[Step, ...]:
    made: list[Step] = []
    for step in steps:
        at = len(made)
        if step.engine in FETCHING:
            stays = (step.engine, Engine.CONTROL)
            while at and made[at - 1].engine not in stays and not made[at - 1].conflicts(step):
                at -= 1
        made.insert(at, step)
    return tuple(made)
