"""Give every instruction the tokens that keep its engine in step with the others.

An instruction depends on an earlier one of another engine if they share a region that one of them writes.
Of all that it depends on, only those need a token that no other token, and no engine's own order, implies:
each instruction carries a clock, the last instruction of every engine that is known to have ended before it
starts. The instructions that an engine waits for on another are thus in strictly ascending order, so that
the n-th token is always the one meant. As all tokens come from earlier instructions, no order of the queues
can lock. The sequencer's own instructions (SKIP) end before anything after them begins: nothing waits for a
token of theirs. A barrier, which conflicts with everything, parts what may be skipped from all else.
"""

from __future__ import annotations

from dataclasses import replace

from ossicle.compiler.plan import Plan, Step
from ossicle.hw.isa import TOKEN_MAX, Engine

Clock = dict[Engine, int]
"""Index of the last instruction of each engine that has ended; -1: none."""


def synchronize(plan: Plan) -> Plan:
    """Tokens of every job. Where a giver could run TOKEN_MAX tokens ahead of a taker, it is held back."""
    return plan.update(routines={name: _bounded(steps) for name, steps in plan.routines.items()})


def _bounded(steps: tuple[Step, ...]) -> tuple[Step, ...]:
    held: set[tuple[int, int]] = set()
    while True:
        made, ended = _tokens(steps, held)
        extra = _overflow(made, ended)
        if extra is None or extra in held:
            return made
        held.add(extra)


def _tokens(steps: tuple[Step, ...], held: set[tuple[int, int]]) -> tuple[tuple[Step, ...], list[Clock]]:
    """Instructions with tokens, and each one's clock at its end. `held`: (earlier, later) also in order."""
    made: list[Step] = []
    ended: list[Clock] = []
    last: Clock = dict.fromkeys(Engine, -1)
    for index, step in enumerate(steps):
        clock = dict.fromkeys(Engine, -1)
        for engine in (step.engine, Engine.CONTROL):
            if last[engine] >= 0:
                clock = _later(clock, ended[last[engine]])
        wait = set()
        others = [engine for engine in Engine if engine != step.engine and last[engine] >= 0]
        for before in range(index - 1, -1, -1):
            giver = made[before].engine
            if all(before <= clock[engine] for engine in others):
                break
            if before <= clock[giver] or giver == step.engine:
                continue
            if (before, index) in held or made[before].conflicts(step):
                wait.add(giver)
                made[before] = replace(made[before], signal=made[before].signal | {step.engine})
                clock = _later(clock, ended[before])
        made.append(replace(step, wait=frozenset(wait)))
        clock[step.engine] = last[step.engine] = index
        ended.append(clock)
    return tuple(made), ended


def _later(first: Clock, second: Clock) -> Clock:
    return {engine: max(first[engine], second[engine]) for engine in Engine}


def _overflow(steps: tuple[Step, ...], ended: list[Clock]) -> tuple[int, int] | None:
    """The first signal that may find TOKEN_MAX tokens, and an instruction whose end makes room for it."""
    for giver in Engine:
        for taker in Engine:
            signals = [i for i, s in enumerate(steps) if s.engine is giver and taker in s.signal]
            takes = [i for i, s in enumerate(steps) if s.engine is taker and giver in s.wait]
            for count, index in enumerate(signals, 1):
                if count - sum(take <= ended[index][taker] for take in takes) > TOKEN_MAX:
                    room = max((take for take in takes[: count - TOKEN_MAX // 2] if take < index), default=0)
                    return room, index
    return None
