"""What the load and the store engine share: the memories they reach, and an instruction's operands."""

from __future__ import annotations

from collections.abc import Iterable

from amaranth.hdl import Array, Module, Signal
from amaranth.lib import wiring
from amaranth.utils import exact_log2
from ossicle.hw.config import GRANULE_BYTES, NpuConfig
from ossicle.hw.isa import Fault, Opcode, Target
from ossicle.hw.signatures import operand

GRANULE_BITS = 8 * GRANULE_BYTES


def target_bits(config: NpuConfig) -> dict[Target, int]:
    """Word width of each memory that LOAD writes, in bits."""
    return {
        Target.ACTIVATION: 128,
        Target.VECTOR: 16 * config.vector_width,
        Target.PARAMETER: 64 * config.vector_width,
    }


def target_words(config: NpuConfig) -> dict[Target, int]:
    """Words of each memory that LOAD writes."""
    return {
        Target.ACTIVATION: config.activation_words,
        Target.VECTOR: config.vector_words,
        Target.PARAMETER: config.parameter_words,
    }


class Operands:
    """Operands of the LOAD or STORE that runs: kept at its start t, checked in t + 1 (MEMORY_RANGE).

    Attributes:
        target, length: as in the instruction.
        place: word of the target; from t + 2 on the engine's, to count with.
        address: from t + 2 on, the argument added.
        words: that the length makes in the target.
    """

    def __init__(self, m: Module, config: NpuConfig, *, targets: Iterable[Target]):
        self.target, self.length = Signal(2), Signal(16)
        self.place, self.address = Signal(16), Signal(32)
        self.words = Signal(20)
        self._offset, self._fits = Signal(32), Signal()
        whole, capacity = Signal(), Signal(17)
        with m.Switch(self.target):
            for target in targets:
                bits = target_bits(config)[target]
                skipped = exact_log2(max(1, bits // GRANULE_BITS))
                with m.Case(target):
                    m.d.comb += [
                        capacity.eq(target_words(config)[target]),
                        whole.eq(self.length[:skipped] == 0),
                        self.words.eq((self.length >> skipped) * max(1, GRANULE_BITS // bits)),
                    ]
        m.d.comb += self._fits.eq(whole & (self.words != 0) & (self.place + self.words <= capacity))

    def states(self, m: Module, engine: wiring.Component, opcode: Opcode, place: str, following: str) -> None:
        """The engine's states IDLE (t and before) and CHECK (t + 1); the state `following` is that of t + 2.

        Args:
            place: the operand that names the word of the target.
        """
        kept = {"target": self.target, "address": self.address, "length": self.length, place: self.place}
        word = engine.i.payload.word
        with m.State("IDLE"):
            m.d.comb += engine.i.ready.eq(1)
            with m.If(engine.i.valid):
                m.d.sync += [signal.eq(operand(word, opcode, name)) for name, signal in kept.items()]
                argument = Array(engine.arguments)[operand(word, opcode, "argument")]
                granules = argument * operand(word, opcode, "stride")
                m.d.sync += self._offset.eq(granules[:27] << exact_log2(GRANULE_BYTES))
                m.next = "CHECK"
        with m.State("CHECK"):
            m.d.sync += self.address.eq(self.address + self._offset)
            m.next = following
            with m.If(~self._fits):
                m.d.comb += engine.fault.eq(Fault.MEMORY_RANGE)
                m.next = "IDLE"
