"""Random programs with a fault: one instruction of a legal program, or its end, made wrong.

Every cause but BUS, which no program has on the simulated memory: its windows end where its memory does.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from ossicle.hw.code import TABLE_GRANULES
from ossicle.hw.config import GRANULE_BYTES, INSTRUCTION_BYTES
from ossicle.hw.isa import Engine, Fault, Instruction, Opcode, Target, encode, instruction
from ossicle.sim.random_programs import ENTRY, RandomProgram

CAUSES = tuple(fault for fault in Fault if fault not in (Fault.NONE, Fault.BUS))
FAR = 1 << 31
"""No window reaches as far; no argument leads back."""
LAST, LAST_ACCUMULATOR = 0xFFFF, 0xFFF
"""The largest operands: few memories are so large that anything behind them lies inside."""

Operands = dict[str, int]


def spoiled(made: RandomProgram, fault: Fault, rng: np.random.Generator) -> RandomProgram:
    """The program with one thing wrong that ends it with `fault`, unless a SKIP passes over it.

    A WATCHDOG needs a device with a watchdog: the program does not end.
    """
    program = made.program
    words = _spoil(program.instructions(ENTRY), fault, rng)
    code = b"".join(word.to_bytes(INSTRUCTION_BYTES, "little") for word in words)
    at = program.entries[ENTRY].address
    image = program.image[:at] + code + program.image[at + len(code) :]
    return dataclasses.replace(made, program=dataclasses.replace(program, image=image))


def _spoil(code: list[Instruction], fault: Fault, rng: np.random.Generator) -> list[int]:
    """Encoded instructions, one of them wrong."""
    if fault == Fault.OPCODE:
        n = int(rng.integers(len(code) - 2))
        none = [number for number in range(16) if number not in tuple(Opcode)]
        return [encode(i) & ~15 | int(rng.choice(none)) if k == n else encode(i) for k, i in enumerate(code)]
    if fault == Fault.NO_END:
        code = [instruction(Opcode.SKIP) if made.opcode == Opcode.END else made for made in code]
    elif fault == Fault.TOKEN_OVERFLOW:
        # Its own tokens, which it never takes: which one is too many does not depend on the time.
        code = [_signalling(made, _busiest(code)) for made in code]
    elif fault == Fault.WATCHDOG:
        n = int(rng.integers(len(code)))
        code = [_waiting(i) if k == n or i.opcode == Opcode.END else i for k, i in enumerate(code)]
    else:
        choices = [
            (n, dataclasses.replace(made, operands=made.operands | wrong))
            for n, made in enumerate(code)
            for wrong in _wrong(made, fault, rng)
        ]
        choices += _untabled(code) if fault == Fault.DECODER else []
        n, wrong = choices[int(rng.integers(len(choices)))]
        code[n] = wrong
    return [encode(made) for made in code]


def _busiest(code: Sequence[Instruction]) -> Engine:
    """The engine with the most instructions."""
    return max(Engine, key=lambda engine: sum(made.engine == engine for made in code))


def _signalling(made: Instruction, engine: Engine) -> Instruction:
    return dataclasses.replace(made, signal=made.signal | {engine}) if made.engine == engine else made


def _waiting(made: Instruction) -> Instruction:
    """Waits for a token that nobody gives: its engine's own."""
    return dataclasses.replace(made, wait=made.wait | {made.engine})


def _wrong(made: Instruction, fault: Fault, rng: np.random.Generator) -> list[Operands]:
    """Operands that make an instruction end in a fault of this cause; none if it has no such end."""
    if fault == Fault.MEMORY_RANGE:
        return _beyond(made)
    if fault == Fault.DECODER:
        return _undecodable(made)
    mine = Fault.WRITE_WINDOW if made.opcode == Opcode.STORE else Fault.READ_WINDOW
    if fault != mine or "address" not in made.operands:
        return []
    inside = made["address"] + int(rng.integers(1, GRANULE_BYTES))
    return [{"address": FAR}, {"address": inside}, *([{"address": 0}] if mine == Fault.WRITE_WINDOW else [])]


def _undecodable(made: Instruction) -> list[Operands]:
    if made.opcode == Opcode.TABLE:
        longer = [{"length": made["length"] + 1}, {"length": TABLE_GRANULES + 1}]
        return [*longer, {"address": made["address"] + GRANULE_BYTES}]
    if made.opcode == Opcode.STREAM:
        return [{"length": 1}, {"address": made["address"] + GRANULE_BYTES}]
    return []


def _untabled(code: Sequence[Instruction]) -> list[tuple[int, Instruction]]:
    """In place of each set's first TABLE, a STREAM of tables that are not there."""
    streams = [made for made in code if made.opcode == Opcode.STREAM]
    first: dict[int, int] = {}
    for n, made in enumerate(code):
        if made.opcode == Opcode.TABLE:
            first.setdefault(made["set"], n)
    return [
        (n, dataclasses.replace(code[n], opcode=Opcode.STREAM, operands=made.operands | {"set": number}))
        for number, n in first.items()
        for made in streams
    ]


def _beyond(made: Instruction) -> list[Operands]:
    """Operands that name no memory, nothing, or what lies beyond a memory's end."""
    return {
        Opcode.LOAD: [{"target": 3}, {"length": 0}, {"destination": LAST}],
        Opcode.STORE: [{"target": Target.PARAMETER}, {"length": 0}, {"source": LAST}],
        Opcode.TABLE: [{"length": 0}],
        Opcode.STREAM: [{"length": 0}, {"groups": 0}, {"groups": 3}, {"destination": LAST}],
        Opcode.MAC: [{"rows": 0}, {"words": 0}, {"weights": LAST}, {"accumulator": LAST_ACCUMULATOR}],
        Opcode.LSTM: [{"steps": 0}, {"source": LAST}, {"destination": LAST}],
        Opcode.LINEAR: [{"steps": 0}, {"target": Target.PARAMETER}, {"destination": LAST}],
        Opcode.ADD: [{"steps": 0}, {"target": 3}, {"source2": LAST}],
        Opcode.COMPARE: [{"source": LAST}],
    }.get(made.opcode, [])
