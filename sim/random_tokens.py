"""Tokens for a list of instructions, from what each reads and writes: as few as its dependencies need."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from ossicle.hw.isa import OPCODES, TOKEN_MAX, Engine, Instruction, Opcode, instruction


class Access(NamedTuple):
    """Elements first .. first + count - 1 of a memory, in the unit that the caller uses for that memory."""

    memory: str
    first: int
    count: int

    def overlaps(self, other: Access) -> bool:
        return (
            self.memory == other.memory
            and self.first < other.first + other.count
            and other.first < self.first + self.count
        )


class Draft(NamedTuple):
    """An instruction before it has tokens."""

    opcode: Opcode
    operands: Mapping[str, int]
    reads: Sequence[Access]
    writes: Sequence[Access]

    @property
    def engine(self) -> Engine:
        return OPCODES[self.opcode].engine


@dataclass
class _Placed:
    """An instruction in its place. `ends_after[e]`: instructions of engine e that have ended when it ends."""

    draft: Draft
    ends_after: np.ndarray
    wait: set[Engine] = field(default_factory=set)
    signal: set[Engine] = field(default_factory=set)


class _Past(NamedTuple):
    access: Access
    is_write: bool
    engine: Engine
    number: int


class TokenPlacer:
    """Places drafts in program order, and tokens between them.

    Every engine has a vector clock: of each engine, how many instructions have surely ended when its next one
    starts. A token is placed only where a dependency is not in the clock. Tokens flow from earlier to later
    instructions alone, so that no queue depth can deadlock, and each pair's counter stays below TOKEN_MAX.
    """

    def __init__(self) -> None:
        self._program: list[_Placed] = []
        self._own: dict[Engine, list[_Placed]] = {e: [] for e in Engine}
        self._known = np.zeros((len(Engine), len(Engine)), int)
        self._given = np.zeros((len(Engine), len(Engine)), int)
        """Number, within its engine, of the last instruction that signals a taker."""
        self._in_flight = np.zeros((len(Engine), len(Engine)), int)
        self._past: list[_Past] = []

    def __len__(self) -> int:
        return len(self._program)

    def instructions(self) -> list[Instruction]:
        """The program as placed."""
        return [
            instruction(p.draft.opcode, wait=p.wait, signal=p.signal, **p.draft.operands)
            for p in self._program
        ]

    def place(self, draft: Draft, extra: Sequence[Engine] = ()) -> None:
        """Append an instruction; it waits for what it depends on, and for the last of each in `extra`."""
        if self._in_flight.max() >= TOKEN_MAX - 2:
            self.barrier()
        self._place(draft, _conflicts(self._past, draft.reads, draft.writes), extra)

    def skip(self, draft: Draft, block: Sequence[Draft], follower: Draft) -> None:
        """Append a SKIP, what it may skip, and one instruction behind that; block and follower of one engine.

        A block's instruction may not run, and so can neither wait nor signal: SKIP waits for all of them, and
        what depends on them waits for the follower.
        """
        reads = [access for d in block for access in d.reads]
        writes = [access for d in block for access in d.writes]
        need = _conflicts(self._past, reads, writes)
        # The engine of the block keeps its own order.
        need.pop(follower.engine, None)
        for engine, number in _conflicts(self._past, draft.reads, draft.writes).items():
            need[engine] = max(need.get(engine, 0), number)
        if self._in_flight.max() >= TOKEN_MAX - 2:
            self.barrier()
        self._place(draft, need, ())
        for d in block:
            self._program.append(_Placed(d, self._known[d.engine]))
        self.place(follower._replace(reads=[*follower.reads, *reads], writes=[*follower.writes, *writes]))

    def barrier(self) -> None:
        """Append a SKIP of nothing that waits for all that came before."""
        draft = Draft(Opcode.SKIP, {}, (), ())
        self._place(draft, {e: len(own) for e, own in self._own.items() if own and e != Engine.CONTROL}, ())
        self._in_flight[:] = 0
        self._past.clear()

    def _place(self, draft: Draft, need: Mapping[Engine, int], extra: Sequence[Engine]) -> None:
        engine = draft.engine
        own, known = self._own[engine], self._known[engine]
        # Dispatch is in order: whatever CONTROL has waited for has ended.
        np.maximum(known, self._known[Engine.CONTROL], out=known)
        placed = _Placed(draft, known)
        for giver in sorted((e for e in need if e != engine), key=lambda e: -self._position(e, need[e])):
            if need[giver] > known[giver]:
                self._token(placed, giver, need[giver])
        for giver in extra:
            number = len(self._own[giver])
            if giver not in placed.wait and giver != engine and number > self._given[giver, engine]:
                self._token(placed, giver, number)
        own.append(placed)
        known[engine] = len(own)
        placed.ends_after = known.copy()
        self._program.append(placed)
        self._past += [_Past(access, False, engine, len(own)) for access in draft.reads]
        self._past += [_Past(access, True, engine, len(own)) for access in draft.writes]

    def _token(self, taker: _Placed, giver: Engine, number: int) -> None:
        source = self._own[giver][number - 1]
        engine = taker.draft.engine
        source.signal.add(engine)
        taker.wait.add(giver)
        self._given[giver, engine] = number
        self._in_flight[giver, engine] += 1
        np.maximum(self._known[engine], source.ends_after, out=self._known[engine])

    def _position(self, engine: Engine, number: int) -> int:
        placed = self._own[engine][number - 1]
        return int(placed.ends_after.sum())


def _conflicts(past: Sequence[_Past], reads: Sequence[Access], writes: Sequence[Access]) -> dict[Engine, int]:
    """Of each engine, the last instruction that must have ended before one with these accesses starts."""
    need: dict[Engine, int] = {}
    for p in past:
        others = [*reads, *writes] if p.is_write else writes
        if any(p.access.overlaps(other) for other in others):
            need[p.engine] = max(need.get(p.engine, 0), p.number)
    return need
