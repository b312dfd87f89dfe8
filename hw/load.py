"""The load engine: copies from DRAM to the activation, vector and parameter memories.

Cycles: start t; operands checked in t + 1 (MEMORY_RANGE); the request is made in t + 2 (READ_WINDOW); from
t + 3 on, a beat is taken in each cycle in which one is there and a word may be written (words wider than a
beat are written with their last beat, a beat wider than a word takes a cycle a word). A write to the
activation or vector memory waits while the vector unit writes there. `done` is the cycle of the last write.
"""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2
from ossicle.hw.config import NpuConfig
from ossicle.hw.isa import ARGUMENTS, Fault, Opcode, Target
from ossicle.hw.signatures import REQUEST, MemoryWrite, engine_members
from ossicle.hw.transfer import Operands, target_bits


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
        made = Operands(m, self._config, targets=Target)
        left = Signal.like(made.words)
        write, last = self._move(m, made, left)
        with m.FSM() as fsm:
            made.states(m, self, Opcode.LOAD, "destination", "REQUEST")
            with m.State("REQUEST"):
                m.d.comb += self.request.valid.eq(~self.refused)
                m.d.sync += left.eq(made.words)
                with m.If(self.refused):
                    m.d.comb += self.fault.eq(Fault.READ_WINDOW)
                    m.next = "IDLE"
                with m.Elif(self.request.ready):
                    m.next = "MOVE"
            with m.State("MOVE"), m.If(write):
                m.d.sync += [left.eq(left - 1), made.place.eq(made.place + 1)]
                with m.If(last):
                    m.d.comb += self.done.eq(1)
                    m.next = "IDLE"
        m.d.comb += [
            self._enable.eq(fsm.ongoing("MOVE")),
            self.busy.eq(~fsm.ongoing("IDLE")),
            self.value.eq(made.length),
            self.request.payload.address.eq(made.address),
            self.request.payload.beats.eq(made.length << exact_log2(self._config.beats_per_granule)),
        ]
        return m

    def _move(self, m: Module, made: Operands, left) -> tuple[Signal, Signal]:
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
        with m.Switch(made.target):
            for target, bits in target_bits(self._config).items():
                port = ports[target]
                m.d.comb += [port.address.eq(made.place), port.enable.eq(Const(1))]
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
