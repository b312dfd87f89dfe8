"""The processor: engines, memories, sequencer, reader, registers.

              +--------+     +-----------+
AXI read ---->| reader |---->| sequencer |--> queues --> load, decoder, MAC, vector, store
              +--------+     +-----------+
                |    |
          load -+    +- decoder -> weight banks -> lanes -> accumulators
            |                                       ^          |
            +-> activation, vector, parameter memories <- vector unit
                            |
                          store -> AXI write
"""

from __future__ import annotations

from amaranth.hdl import Array, Cat, Const, Module, Mux, ResetInserter, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.utils import exact_log2
from ossicle.hw.config import GRANULE_BYTES, NpuConfig
from ossicle.hw.control import Control, CsrBus
from ossicle.hw.counters import Counters
from ossicle.hw.decoder import Decoder
from ossicle.hw.isa import PREDICATES, Engine, Fault, Target
from ossicle.hw.late import LateChoice
from ossicle.hw.load import Load
from ossicle.hw.mac import Mac
from ossicle.hw.reader import Client, Reader
from ossicle.hw.sequencer import Sequencer
from ossicle.hw.signatures import INDEX_BITS, VALUE_BITS, AxiRead, AxiWrite
from ossicle.hw.store import Store
from ossicle.hw.vector import VectorUnit


class Npu(wiring.Component):
    """The whole processor.

    Ports:
        csr, interrupt: registers (hw/registers.py) and the end of a job.
        axi_read, axi_write: the memory.
        trace: for the event log: a bit an engine at the start and the end of an instruction, its index and
        value.
    """

    def __init__(self, *, config: NpuConfig):
        self.config = config
        engines = len(Engine)
        super().__init__(
            {
                "csr": In(CsrBus()),
                "interrupt": Out(1),
                "axi_read": Out(AxiRead(config.bus_bits)),
                "axi_write": Out(AxiWrite(config.bus_bits)),
                "trace": Out(
                    wiring.Signature(
                        {
                            "start": Out(engines),
                            "done": Out(engines),
                            "index": Out(engines * INDEX_BITS),
                            "value": Out(engines * VALUE_BITS),
                        }
                    )
                ),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self.config
        m.submodules.control = control = Control(config=config)
        m.submodules.counters = counters = Counters(config=config)
        self._predicates = Signal(PREDICATES)
        clearable = {
            "reader": Reader(config=config),
            "sequencer": Sequencer(config=config),
            "load": Load(config=config),
            "decoder": Decoder(config=config),
            "mac": Mac(config=config),
            "vector": VectorUnit(config=config),
            "store": Store(config=config),
        }
        for name, part in clearable.items():
            m.submodules[name] = ResetInserter(control.clear)(part)
        reader, sequencer, load, decoder, mac, vector, store = clearable.values()
        connect(m, flipped(self.csr), control.csr)
        m.d.comb += self.interrupt.eq(control.interrupt)
        connect(m, reader.axi, flipped(self.axi_read))
        connect(m, store.axi, flipped(self.axi_write))
        self._reads(m, control, reader, sequencer, load, decoder)
        self._memories(m, load, vector, store, mac)
        self._weights(m, decoder, mac)
        m.d.comb += [store.refused.eq(self._outside(control.windows[4:6], store.address, store.granules))]
        m.d.comb += [
            mac.clear.eq(control.clear),
            mac.begin_read.eq(vector.accumulator.begin),
            mac.base.eq(vector.accumulator.base),
            mac.take.eq(vector.accumulator.take),
            vector.accumulator.data.eq(mac.accumulators),
        ]
        for n in range(8):
            m.d.comb += [
                load.arguments[n].eq(control.arguments[n]),
                store.arguments[n].eq(control.arguments[n]),
            ]
        engines = (load, decoder, mac, vector, store)
        indices = self._sequence(m, control, sequencer, engines, vector)
        self._faults(m, control, sequencer, reader, store, engines, indices)
        m.d.comb += control.quiet.eq(reader.quiet & ~store.busy)
        self._count(m, control, counters, sequencer, reader, decoder, mac, store, engines)
        return m

    @staticmethod
    def _outside(windows, address, granules):
        """Whether a transfer leaves every window given as (base, limit) pairs, or begins inside a granule."""
        granule_log = exact_log2(GRANULE_BYTES)
        last = address + (granules << granule_log)
        fits = Const(0)
        for base, limit in zip(windows[0::2], windows[1::2], strict=True):
            fits = fits | ((address >= base) & (last <= limit))
        return ~fits | address[:granule_log].any()

    def _reads(self, m, control, reader, sequencer, load, decoder) -> None:
        """Requests of fetch, load and decoder, each checked against the read windows."""
        beats_per_granule = self.config.beats_per_granule
        beats_per_instruction = max(16 // self.config.bus_bytes, 1)
        read_windows = list(control.windows)[:4]
        fetch = reader.request[Client.FETCH]
        fetch_beats = (
            control.count * beats_per_instruction if self.config.bus_bytes <= 16 else (control.count + 1) >> 1
        )
        self._fetch_refused = Signal()
        m.d.comb += [
            self._fetch_refused.eq(self._outside(read_windows, control.entry, (control.count + 1) >> 1)),
            fetch.valid.eq(control.start & ~self._fetch_refused),
            fetch.payload.address.eq(control.entry),
            fetch.payload.beats.eq(fetch_beats),
        ]
        connect(m, reader.data[Client.FETCH], sequencer.beats)
        connect(m, load.request, reader.request[Client.LOAD])
        connect(m, reader.data[Client.LOAD], load.data)
        granules = load.request.payload.beats >> (beats_per_granule.bit_length() - 1)
        m.d.comb += load.refused.eq(self._outside(read_windows, load.request.payload.address, granules))
        connect(m, sequencer.request, reader.request[Client.DECODE])
        connect(m, reader.data[Client.DECODE], decoder.data)
        granules = decoder.request.payload.beats >> (beats_per_granule.bit_length() - 1)
        m.d.comb += [
            decoder.request.ready.eq(1),
            decoder.refused.eq(self._outside(read_windows, decoder.request.payload.address, granules)),
            sequencer.refused.eq(
                self._outside(read_windows, sequencer.ahead_address, sequencer.ahead_granules)
            ),
            reader.stop.eq(control.stop),
        ]

    def _memories(self, m, load, vector, store, mac) -> None:
        """Activation copies, vector and parameter memories; the vector unit writes before the loader."""
        config = self.config
        m.submodules.activations = copy = Memory(shape=128, depth=config.activation_words, init=[])
        m.submodules.vectors = vectors = Memory(
            shape=16 * config.vector_width, depth=config.vector_words, init=[]
        )
        m.submodules.parameters = parameters = Memory(
            shape=64 * config.vector_width, depth=config.parameter_words, init=[]
        )
        write = mac.activation
        first = vector.activation_write.valid
        m.d.comb += [
            write.valid.eq(first | load.activation.valid),
            write.address.eq(Mux(first, vector.activation_write.address, load.activation.address)),
            write.enable.eq(Mux(first, vector.activation_write.enable, ~0)),
            write.data.eq(Mux(first, vector.activation_write.data, load.activation.data)),
            load.blocked[Target.ACTIVATION].eq(first),
            load.blocked[Target.VECTOR].eq(vector.vector_write.valid),
        ]
        port, read = copy.write_port(granularity=8), copy.read_port()
        m.d.comb += [
            port.addr.eq(write.address),
            port.data.eq(write.data),
            port.en.eq(Mux(write.valid, write.enable, 0)),
            read.addr.eq(store.activation.address),
            read.en.eq(1),
            store.activation.data.eq(read.data),
        ]
        port, own = vectors.write_port(), vector.vector_write
        m.d.comb += [
            port.en.eq(own.valid | load.vector.valid),
            port.addr.eq(Mux(own.valid, own.address, load.vector.address)),
            port.data.eq(Mux(own.valid, own.data, load.vector.data)),
        ]
        for reader in (vector.read_a, vector.read_b, store.vector):
            read = vectors.read_port()
            m.d.comb += [read.addr.eq(reader.address), read.en.eq(1), reader.data.eq(read.data)]
        port, read = parameters.write_port(), parameters.read_port()
        m.d.comb += [
            port.addr.eq(load.parameter.address),
            port.data.eq(load.parameter.data),
            port.en.eq(load.parameter.valid),
            read.addr.eq(vector.parameter.address),
            read.en.eq(1),
            vector.parameter.data.eq(read.data),
        ]

    def _weights(self, m, decoder, mac) -> None:
        built = Signal(self.config.table_sets)
        m.d.comb += decoder.built.eq(built.bit_select(decoder.set, 1))
        with m.If(decoder.builds):
            m.d.sync += built.bit_select(decoder.set, 1).eq(1)
        for n in range(self.config.decoder_streams):
            for name in ("valid", "lane", "address", "halves", "data", "tags"):
                m.d.comb += getattr(mac.weight[n], name).eq(getattr(decoder.write[n], name))

    def _sequence(self, m, control, sequencer, engines, vector) -> list[Signal]:
        """Instructions to the engines, ends back; return the index that each engine was on a cycle ago."""
        m.d.comb += [
            sequencer.limit.eq(control.count),
            sequencer.stop.eq(control.stop),
            sequencer.done.eq(Cat(e.done for e in engines)),
            sequencer.idle.eq(~Cat(e.busy for e in engines).any()),
            sequencer.predicates.eq(self._predicates),
            control.ended.eq(sequencer.ended),
        ]
        with m.If(control.start):
            m.d.sync += self._predicates.eq(0)
        with m.Elif(vector.predicate_write.valid):
            m.d.sync += self._predicates.bit_select(vector.predicate_write.index, 1).eq(
                vector.predicate_write.value
            )
        indices, kept, starts = [], [], []
        for n, engine in enumerate(engines):
            source = sequencer.i[n]
            index = Signal(INDEX_BITS, name=f"index_{n}")
            start = source.valid & engine.i.ready
            m.d.comb += [
                engine.i.valid.eq(source.valid),
                source.ready.eq(engine.i.ready),
                engine.i.payload.word.eq(source.payload.word),
                engine.i.payload.index.eq(source.payload.index),
            ]
            with m.If(start):
                m.d.sync += index.eq(source.payload.index)
            indices.append(Mux(start, source.payload.index, index))
            kept.append(index)
            starts.append(start)
        control_acts = sequencer.ended | sequencer.skipped
        m.d.comb += [
            self.trace.start.eq(Cat(control_acts, *starts)),
            self.trace.done.eq(Cat(control_acts, *(e.done for e in engines))),
            self.trace.index.eq(Cat(sequencer.index, *indices)),
            self.trace.value.eq(Cat(Const(0, VALUE_BITS), *(e.value for e in engines))),
        ]
        return kept

    def _faults(self, m, control, sequencer, reader, store, engines, indices) -> None:
        """The first cause in the order of this list, should there be several in one cycle.

        That there is one stops the job at once; which one is looked up in the cycle after.
        """
        causes = [(e.fault != 0, e.fault, Engine(n + 1), indices[n]) for n, e in enumerate(engines)]
        refused, at = Signal(), Signal(INDEX_BITS)
        giver = self._then(m, sequencer.overflow_engine)
        m.d.sync += [refused.eq(control.start & self._fetch_refused), at.eq(sequencer.index)]
        causes += [
            (refused, Fault.READ_WINDOW, Engine.CONTROL, Const(0)),
            (sequencer.bad_opcode, Fault.OPCODE, Engine.CONTROL, at),
            (sequencer.no_end, Fault.NO_END, Engine.CONTROL, at),
            (sequencer.overflow, Fault.TOKEN_OVERFLOW, giver, Array([at, *indices])[giver]),
            (reader.error, Fault.BUS, Engine.LOAD, at),
            (store.error, Fault.BUS, Engine.STORE, indices[-1]),
        ]
        m.submodules.fails = fails = LateChoice()
        others = [happens for happens, _, engine, _ in causes if engine is not Engine.DECODE]
        m.d.comb += [
            fails.late.eq(engines[Engine.DECODE - 1].fault != 0), fails.yes.eq(1),
            fails.no.eq(Cat(others).any()), control.fails.eq(fails.o),
        ]
        causes = [(self._then(m, happens), self._then(m, cause), *whose) for happens, cause, *whose in causes]
        with m.If(0):
            pass
        for happens, cause, engine, index in causes:
            with m.Elif(happens):
                m.d.comb += [
                    control.fault.eq(cause),
                    control.fault_engine.eq(engine),
                    control.fault_index.eq(index),
                ]

    @staticmethod
    def _then(m, value):
        """The value in the cycle after."""
        if isinstance(value, int):
            return value
        later = Signal.like(Value.cast(value))
        m.d.sync += later.eq(value)
        return later

    def _count(self, m, control, counters, sequencer, reader, decoder, mac, store, engines) -> None:
        m.d.comb += [
            counters.clear.eq(control.start),
            counters.enable.eq(control.active),
            counters.dispatched.eq(sequencer.dispatched),
            counters.busy.eq(Cat(e.busy for e in engines)),
            counters.starved.eq(decoder.starved),
            counters.mac_waiting.eq(sequencer.mac_waiting),
            counters.mac_lacks.eq(sequencer.mac_lacks),
            counters.mac_done.eq(mac.done),
            counters.products.eq(mac.products),
            counters.idle_lanes.eq(mac.idle_lanes),
            counters.skipped.eq(mac.skipped),
            counters.read_beat.eq(reader.beat),
            counters.read_wait.eq(reader.waiting),
            counters.write_beat.eq(store.beat),
            control.counters.eq(counters.values),
        ]
