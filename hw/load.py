"""The load engine: copies from DRAM to the activation, vector and parameter memories.

Cycles: start t; operands checked in t + 1 (MEMORY_RANGE); the request is made in t + 2 (READ_WINDOW); from
t + 3 on, a beat is taken in each cycle in which one is there and a word may be written (words wider than a
beat are written with their last beat, a beat wider than a word takes a cycle a word). A write to the
activation or vector memory waits while the vector unit writes there. `done` is the cycle of the last write.
"""

from __future__ import annotations

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2
from ossicle.hw.config import GRANULE_BYTES, NpuConfig
from ossicle.hw.isa import ARGUMENTS, Fault, Opcode, Target
from ossicle.hw.signatures import REQUEST, MemoryWrite, engine_members, operand


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


class Load(wiring.Component):
    """Ports: engine ports; request and data of the reader; arguments; a write port a target; `blocked`, a
    bit a target, holds a write up."""

    def __init__(self, *, config: NpuConfig):
        self._config = config
        bits = target_bits(config)
        super().__init__(
            engine_members()
            | {
                "request": Out(stream.Signature(REQUEST)),
                "refused": In(1),
                "data": In(stream.Signature(config.bus_bits)),
                "arguments": In(16).array(ARGUMENTS),
                "activation": Out(MemoryWrite(16, bits[Target.ACTIVATION])),
                "vector": Out(MemoryWrite(16, bits[Target.VECTOR])),
                "parameter": Out(MemoryWrite(16, bits[Target.PARAMETER])),
                "blocked": In(3),
            }
        )

    def elaborate(self, platform):
        m = Module()
        field = {
            n: Signal(w, name=n)
            for n, w in (("target", 2), ("address", 32), ("length", 16), ("destination", 16))
        }
        offset = Signal(32)
        left = Signal(24)
        inside, words = self._check(m, field)
        write, last = self._move(m, field, left)
        with m.FSM() as fsm:
            with m.State("IDLE"):
                m.d.comb += self.i.ready.eq(1)
                with m.If(self.i.valid):
                    word = self.i.payload.word
                    m.d.sync += [s.eq(operand(word, Opcode.LOAD, n)) for n, s in field.items()]
                    argument = Array(self.arguments)[operand(word, Opcode.LOAD, "argument")]
                    m.d.sync += offset.eq((argument * operand(word, Opcode.LOAD, "stride"))[:27] << 5)
                    m.next = "CHECK"
            with m.State("CHECK"):
                m.d.sync += [field["address"].eq(field["address"] + offset), left.eq(words)]
                m.next = "REQUEST"
                with m.If(~inside):
                    m.d.comb += self.fault.eq(Fault.MEMORY_RANGE)
                    m.next = "IDLE"
            with m.State("REQUEST"):
                m.d.comb += self.request.valid.eq(~self.refused)
                with m.If(self.refused):
                    m.d.comb += self.fault.eq(Fault.READ_WINDOW)
                    m.next = "IDLE"
                with m.Elif(self.request.ready):
                    m.next = "MOVE"
            with m.State("MOVE"), m.If(write):
                m.d.sync += [left.eq(left - 1), field["destination"].eq(field["destination"] + 1)]
                with m.If(last):
                    m.d.comb += self.done.eq(1)
                    m.next = "IDLE"
        m.d.comb += [
            self._enable.eq(fsm.ongoing("MOVE")),
            self.busy.eq(~fsm.ongoing("IDLE")),
            self.value.eq(field["length"]),
            self.request.payload.address.eq(field["address"]),
            self.request.payload.beats.eq(field["length"] << exact_log2(self._config.beats_per_granule)),
        ]
        return m

    def _check(self, m: Module, field) -> tuple[Signal, Signal]:
        """Words that the length makes in the target, and whether they are whole and fit."""
        inside, words, whole = Signal(), Signal(24), Signal()
        capacity = Signal(17)
        with m.Switch(field["target"]):
            for target, bits in target_bits(self._config).items():
                with m.Case(target):
                    m.d.comb += capacity.eq(target_words(self._config)[target])
                    per_word = bits // (8 * GRANULE_BYTES)
                    if per_word > 1:
                        m.d.comb += words.eq(field["length"] >> exact_log2(per_word))
                        m.d.comb += whole.eq(field["length"][: exact_log2(per_word)] == 0)
                    else:
                        m.d.comb += words.eq(field["length"] * (8 * GRANULE_BYTES // bits))
                        m.d.comb += whole.eq(1)
        m.d.comb += inside.eq(whole & (words != 0) & (field["destination"] + words <= capacity))
        return inside, words

    def _move(self, m: Module, field, left) -> tuple[Signal, Signal]:
        """Gather beats into words, or cut beats into words; a word is written when `write`."""
        bus = self._config.bus_bits
        widest = max(*target_bits(self._config).values(), bus)
        held = Signal(max(widest - bus, 1))
        phase = Signal(6)
        self._enable = Signal()
        write, last, taken = Signal(), Signal(), Signal()
        full = Cat(held, self.data.payload) if widest > bus else self.data.payload
        ports = {
            Target.ACTIVATION: self.activation,
            Target.VECTOR: self.vector,
            Target.PARAMETER: self.parameter,
        }
        available = Signal()
        m.d.comb += [available.eq(self._enable & self.data.valid), last.eq(left == 1)]
        m.d.comb += self.data.ready.eq(taken)
        with m.Switch(field["target"]):
            for target, bits in target_bits(self._config).items():
                port = ports[target]
                m.d.comb += [port.address.eq(field["destination"]), port.enable.eq(Const(1))]
                with m.Case(target):
                    m.d.comb += port.valid.eq(write)
                    if bits >= bus:
                        complete = phase == bits // bus - 1
                        m.d.comb += [
                            port.data.eq(full[len(full) - bits :]),
                            write.eq(available & complete & ~self.blocked[target]),
                            taken.eq(available & (~complete | ~self.blocked[target])),
                        ]
                    else:
                        complete = (phase == bus // bits - 1) | last
                        m.d.comb += [
                            port.data.eq(
                                self.data.payload.word_select(phase[: exact_log2(bus // bits)], bits)
                            ),
                            write.eq(available & ~self.blocked[target]),
                            taken.eq(write & complete),
                        ]
                    with m.If(taken | write):
                        m.d.sync += phase.eq(Mux(complete, 0, phase + 1))
        with m.If(taken):
            m.d.sync += held.eq(full[bus:] if widest > bus else 0)
        with m.If(~self._enable):
            m.d.sync += phase.eq(0)
        return write, last
