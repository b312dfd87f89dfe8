"""The functional device: a Program's instructions one after another, no cycles.

Slow and obvious: the meaning that the fast model and the RTL must match. Program order is one of the orders
that tokens allow; tokens are counted, and a missing one, for which the processor would wait for ever, is
WATCHDOG. Which of an engine's tokens is one too many depends on when others are taken: a TOKEN_OVERFLOW names
the engine that gave it, and no instruction.
"""

from __future__ import annotations

import numpy as np
from ossicle.compiler.program import Entry
from ossicle.hw.config import GRANULE_BYTES, INSTRUCTION_BYTES, NpuConfig
from ossicle.hw.isa import OPCODES, TOKEN_MAX, Engine, Fault, Instruction, Opcode, decode
from ossicle.sim.device import DramDevice, RunResult
from ossicle.sim.functional_chip import EXECUTE, ChipState, Job, Stop, require

__all__ = ["ChipState", "FunctionalDevice"]


class FunctionalDevice(DramDevice):
    """A processor that executes instructions in program order. See `ossicle.sim.device.Device`.

    A fault stops the job before its instruction changes anything. Counters: instructions, lane_products and
    macs_skipped; no events, no cycles. `chip` holds the memories of the chip, kept from job to job.
    """

    def __init__(self, config: NpuConfig):
        super().__init__(config)
        self.chip = ChipState.cleared(config)

    def _clear(self) -> None:
        self.chip = ChipState.cleared(self.config)

    def _run(self, entry: Entry, arguments: list[int]) -> RunResult:
        windows = self.program.windows
        job = Job(self.dram, arguments, (windows.read0, windows.read1), windows.write)
        self.chip.predicates[:] = False
        self.chip.products = self.chip.skipped = 0
        run = Interpreter(self.chip, job)
        result = run.to_end(entry)
        self._counters = {
            "instructions": run.instructions,
            "lane_products": self.chip.products,
            "macs_skipped": self.chip.skipped,
        }
        return result


class Interpreter:
    """One job: the sequencer's part, and the tokens."""

    def __init__(self, chip: ChipState, job: Job):
        self.chip = chip
        self.job = job
        self.tokens = np.zeros((len(Engine), len(Engine)), int)
        """By giver and taker."""
        self.instructions = 0

    def to_end(self, entry: Entry) -> RunResult:
        """Run until END or a fault."""
        index, engine = 0, Engine.CONTROL
        try:
            words = self.fetch(entry)
            while True:
                engine = Engine.CONTROL
                require(index < len(words), Fault.NO_END)
                require(words[index] & 15 in tuple(Opcode), Fault.OPCODE)
                made = decode_operands(words[index])
                engine = made.engine
                self.instructions += 1
                self.take(made)
                if made.opcode == Opcode.END:
                    return RunResult(cycles=None)
                if made.opcode == Opcode.SKIP:
                    skips = self.chip.predicates[made["predicate"]] == made["sense"]
                    index += made["count"] if skips else 0
                else:
                    EXECUTE[made.opcode](self.chip, made, self.job)
                self.give(made)
                index += 1
        except Stop as stop:
            if stop.fault == Fault.WATCHDOG:
                return RunResult(None, stop.fault)
            where = None if stop.fault == Fault.TOKEN_OVERFLOW else min(index, entry.count)
            return RunResult(None, stop.fault, engine, where)

    def fetch(self, entry: Entry) -> list[int]:
        """The job's 128-bit instructions."""
        content = self.job.read(entry.address, -(-entry.count * INSTRUCTION_BYTES // GRANULE_BYTES)).tobytes()
        starts = range(0, entry.count * INSTRUCTION_BYTES, INSTRUCTION_BYTES)
        return [int.from_bytes(content[n : n + INSTRUCTION_BYTES], "little") for n in starts]

    def take(self, made: Instruction) -> None:
        """Take the tokens that an instruction waits for."""
        for giver in made.wait:
            require(self.tokens[giver, made.engine] > 0, Fault.WATCHDOG)
            self.tokens[giver, made.engine] -= 1

    def give(self, made: Instruction) -> None:
        """Give the tokens that an instruction signals."""
        for taker in made.signal:
            require(self.tokens[made.engine, taker] < TOKEN_MAX, Fault.TOKEN_OVERFLOW)
            self.tokens[made.engine, taker] += 1


def decode_operands(word: int) -> Instruction:
    """`isa.decode` of an instruction, of which the processor ignores the bits beyond its operands."""
    form = OPCODES[Opcode(word & 15)]
    used = form.offset(form.operands[-1].name) + form.operands[-1].width if form.operands else 16
    return decode(word & ((1 << used) - 1))
