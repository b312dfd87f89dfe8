"""The store engine: copies from the activation or vector memory to DRAM.

Cycles: start t; operands checked in t + 1 (MEMORY_RANGE), window in t + 2 (WRITE_WINDOW). From t + 3 on a
word is read in each cycle in which fewer than STORE_QUEUE_WORDS are held or on their way; a word read in c
can go out from c + 2 on. Each burst has an address cycle, its beats, and its response, one burst at a time.
`done` is the cycle after the last response.
"""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2
from ossicle.hw.config import NpuConfig
from ossicle.hw.isa import ARGUMENTS, Fault, Opcode, Target
from ossicle.hw.signatures import AxiWrite, MemoryRead, engine_members
from ossicle.hw.timing import STORE_QUEUE_WORDS
from ossicle.hw.transfer import Operands, target_bits

SOURCES = (Target.ACTIVATION, Target.VECTOR)
MAX_BURST_BEATS = 256


class Store(wiring.Component):
    """Ports: engine ports; AXI write channels; arguments; `address`, `granules` for the window check and
    its answer `refused`; a read port a source; `error` and `beat` for one cycle each."""

    def __init__(self, *, config: NpuConfig):
        self._config = config
        bits = target_bits(config)
        super().__init__(
            engine_members()
            | {
                "axi": Out(AxiWrite(config.bus_bits)),
                "arguments": In(16).array(ARGUMENTS),
                "address": Out(32),
                "granules": Out(16),
                "refused": In(1),
                "activation": Out(MemoryRead(16, bits[Target.ACTIVATION])),
                "vector": Out(MemoryRead(16, bits[Target.VECTOR])),
                "error": Out(1),
                "beat": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        made = Operands(m, self._config, targets=SOURCES)
        beats, words_left = Signal(21), Signal.like(made.words)
        self._sending = Signal()
        m.submodules.words = queue = SyncFIFO(
            width=max(target_bits(self._config)[t] for t in SOURCES), depth=STORE_QUEUE_WORDS
        )
        self._read(m, made, words_left, queue)
        beat_ready, beat = self._gear(m, made, queue)
        responded = self._write(m, beats, made, beat_ready, beat)
        with m.FSM() as fsm:
            made.states(m, self, Opcode.STORE, "source", "WINDOW")
            with m.State("WINDOW"):
                m.d.sync += [
                    words_left.eq(made.words),
                    beats.eq(made.length << exact_log2(self._config.beats_per_granule)),
                ]
                m.next = "SEND"
                with m.If(self.refused):
                    m.d.comb += self.fault.eq(Fault.WRITE_WINDOW)
                    m.next = "IDLE"
            with m.State("SEND"):
                m.d.comb += self._sending.eq(1)
                with m.If((beats == 0) & responded):
                    m.d.comb += self.done.eq(1)
                    m.next = "IDLE"
        m.d.comb += [
            self.busy.eq(~fsm.ongoing("IDLE")),
            self.value.eq(made.length),
            self.address.eq(made.address),
            self.granules.eq(made.length),
        ]
        return m

    def _read(self, m: Module, made: Operands, words_left, queue) -> None:
        """Read words ahead into the queue."""
        bits = target_bits(self._config)
        reading, arriving = Signal(), Signal()
        m.d.comb += [
            reading.eq(self._sending & (words_left != 0) & (queue.level + arriving < STORE_QUEUE_WORDS)),
            self.activation.address.eq(made.place),
            self.vector.address.eq(made.place),
            queue.w_en.eq(arriving),
            queue.w_data.eq(Mux(made.target == Target.VECTOR, self.vector.data, self.activation.data)),
        ]
        assert all(bits[t] <= len(queue.w_data) for t in SOURCES)
        m.d.sync += arriving.eq(reading)
        with m.If(reading):
            m.d.sync += [words_left.eq(words_left - 1), made.place.eq(made.place + 1)]

    def _gear(self, m: Module, made: Operands, queue) -> tuple[Signal, Signal]:
        """Cut words into beats, or gather words into a beat; return (beat is there, beat)."""
        bus = self._config.bus_bits
        phase, beat, ready = Signal(4), Signal(bus), Signal()
        narrowest = min(target_bits(self._config)[t] for t in SOURCES)
        held = Signal(max(bus - narrowest, 1))
        self._beat_taken = Signal()
        with m.Switch(made.target):
            for target in SOURCES:
                bits = target_bits(self._config)[target]
                with m.Case(target):
                    if bits >= bus:
                        m.d.comb += [
                            ready.eq(queue.r_rdy),
                            beat.eq(queue.r_data.word_select(phase, bus)),
                            queue.r_en.eq(self._beat_taken & (phase == bits // bus - 1)),
                        ]
                        with m.If(self._beat_taken):
                            m.d.sync += phase.eq(Mux(phase == bits // bus - 1, 0, phase + 1))
                    else:
                        full = Cat(held, queue.r_data[:bits])
                        final = phase == bus // bits - 1
                        m.d.comb += [
                            ready.eq(queue.r_rdy & final),
                            beat.eq(full[len(full) - bus :]),
                            queue.r_en.eq(queue.r_rdy & (~final | self._beat_taken)),
                        ]
                        with m.If(queue.r_en):
                            m.d.sync += [phase.eq(Mux(final, 0, phase + 1)), held.eq(full[bits:])]
        return ready, beat

    def _write(self, m: Module, beats, made: Operands, beat_ready, beat) -> Signal:
        """Bursts on the write channels; return whether no response is missing."""
        axi, config = self.axi, self._config
        address = Signal(32)
        burst, missing = Signal(range(MAX_BURST_BEATS + 1)), Signal()
        page_beats = 4096 // config.bus_bytes
        to_boundary = page_beats - (address >> exact_log2(config.bus_bytes))[: exact_log2(page_beats)]
        limit, length = Signal(range(MAX_BURST_BEATS + 1)), Signal(range(MAX_BURST_BEATS + 1))
        m.d.comb += [
            limit.eq(Mux(to_boundary < MAX_BURST_BEATS, to_boundary, MAX_BURST_BEATS)),
            length.eq(Mux(beats < limit, beats, limit)),
            axi.awvalid.eq(self._sending & (beats != 0) & (burst == 0) & ~missing),
            axi.awaddr.eq(address),
            axi.awlen.eq(length - 1),
            axi.awsize.eq(exact_log2(config.bus_bytes)),
            axi.awburst.eq(1),
            axi.wvalid.eq((burst != 0) & beat_ready),
            axi.wdata.eq(beat),
            axi.wstrb.eq(~0),
            axi.wlast.eq(burst == 1),
            axi.bready.eq(1),
            self._beat_taken.eq(axi.wvalid & axi.wready),
            self.beat.eq(self._beat_taken),
            self.error.eq(axi.bvalid & (axi.bresp != 0)),
        ]
        with m.If(~self._sending):
            m.d.sync += address.eq(made.address)
        with m.If(axi.awvalid & axi.awready):
            m.d.sync += [burst.eq(length), missing.eq(1)]
        with m.If(self._beat_taken):
            m.d.sync += [burst.eq(burst - 1), beats.eq(beats - 1), address.eq(address + config.bus_bytes)]
        with m.If(axi.bvalid):
            m.d.sync += missing.eq(0)
        return ~missing
