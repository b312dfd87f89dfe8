"""The sequencer: assembles instructions, hands them to the engines' queues, keeps the tokens.

Cycles: a beat in the fetch queue is taken in the cycle in which it is there; an instruction complete in c
stands for dispatch in c + 1, one a cycle at best; dispatched in c it is at the head of an empty queue in c
+ 1. END waits until every queue is empty and every engine idle. A token given in c can be taken from c + 1
on.
"""

from __future__ import annotations

from amaranth.hdl import Array, Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2
from ossicle.hw.config import NpuConfig
from ossicle.hw.isa import INSTRUCTION_BITS, OPCODES, PREDICATES, TOKEN_MAX, Engine, Opcode
from ossicle.hw.signatures import INDEX_BITS, INSTRUCTION, REQUEST, operand

WORKERS = tuple(e for e in Engine if e != Engine.CONTROL)


class Sequencer(wiring.Component):
    """Ports:
    beats: instructions as fetched. limit: instructions of the job (COUNT).
    i: one stream an engine, valid only with its tokens there (index: Engine - 1).
    done: ends of the engines, index Engine - 1. idle: every engine is idle.
    request: what the decoder will read, sent ahead at dispatch.
    ahead_address, ahead_granules, refused: the window check of that.
    predicates: as the vector unit left them.
    stop: dispatch and start nothing more.
    ended, bad_opcode, overflow, no_end: for one cycle; index: instruction at the head.
    instructions: one was dispatched. waits: tokens that the MAC engine's head instruction lacks.
    """

    def __init__(self, *, config: NpuConfig):
        self._config = config
        super().__init__(
            {
                "beats": In(stream.Signature(config.bus_bits)),
                "limit": In(INDEX_BITS),
                "i": Out(stream.Signature(INSTRUCTION)).array(len(WORKERS)),
                "done": In(len(WORKERS)),
                "idle": In(1),
                "request": Out(stream.Signature(REQUEST)),
                "ahead_address": Out(32),
                "ahead_granules": Out(20),
                "refused": In(1),
                "predicates": In(PREDICATES),
                "stop": In(1),
                "ended": Out(1),
                "bad_opcode": Out(1),
                "overflow": Out(1),
                "overflow_engine": Out(3),
                "no_end": Out(1),
                "skipped": Out(1),
                "index": Out(INDEX_BITS),
                "dispatched": Out(1),
                "mac_waiting": Out(1),
                "mac_lacks": Out(len(Engine)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        self._assemble(m)
        queues = self._queues(m)
        tokens = self._tokens(m, queues)
        self._dispatch(m, queues, tokens)
        return m

    def _assemble(self, m: Module) -> None:
        """Beats to 128-bit instructions, first bits first."""
        bus = self._config.bus_bits
        self._word, self._there, self._next = Signal(INSTRUCTION_BITS), Signal(), Signal()
        room = Signal()
        m.d.comb += room.eq((~self._there | self._next) & ~self.stop)
        with m.If(self._next):
            m.d.sync += [self._there.eq(0), self.index.eq(self.index + 1)]
        if bus < INSTRUCTION_BITS:
            parts = INSTRUCTION_BITS // bus
            phase = Signal(range(parts))
            final = phase == parts - 1
            # Earlier parts may be taken while an instruction stands: they go to a register of their own.
            early = Signal(INSTRUCTION_BITS - bus)
            m.d.comb += self.beats.ready.eq(Mux(final, room, ~self.stop))
            with m.If(self.beats.valid & self.beats.ready):
                full = Cat(early, self.beats.payload)
                m.d.sync += [early.eq(full[bus:]), phase.eq(phase + 1)]
                with m.If(final):
                    m.d.sync += [self._word.eq(full), self._there.eq(1), phase.eq(0)]
        else:
            parts = bus // INSTRUCTION_BITS
            phase = Signal(range(max(parts, 2)))
            m.d.comb += self.beats.ready.eq(room & (phase == parts - 1))
            with m.If(self.beats.valid & room):
                m.d.sync += [
                    self._word.eq(
                        self.beats.payload.word_select(
                            phase[: max(exact_log2(parts), 1)] if parts > 1 else 0, INSTRUCTION_BITS
                        )
                    ),
                    self._there.eq(1),
                    phase.eq(Mux(phase == parts - 1, 0, phase + 1)),
                ]

    def _queues(self, m: Module) -> list[SyncFIFO]:
        width = INSTRUCTION.size
        queues = []
        for engine in WORKERS:
            queue = SyncFIFO(width=width, depth=self._config.queue_depth)
            m.submodules[f"queue_{engine.name.lower()}"] = queue
            queues.append(queue)
        return queues

    def _tokens(self, m: Module, queues: list[SyncFIFO]) -> list[list[Signal]]:
        """Counters by giver and taker; start engines whose tokens are there."""
        count = [
            [Signal(range(TOKEN_MAX + 1), name=f"token_{g.name}_{t.name}".lower()) for t in Engine]
            for g in Engine
        ]
        self._give = [[Signal(name=f"give_{g}_{t}") for t in range(len(Engine))] for g in range(len(Engine))]
        self._take = [[Signal(name=f"take_{g}_{t}") for t in range(len(Engine))] for g in range(len(Engine))]
        for n, engine in enumerate(WORKERS):
            queue, port = queues[n], self.i[n]
            wait, signal = Signal(len(Engine), name=f"wait_{n}"), Signal(len(Engine), name=f"signal_{n}")
            lacks = Signal(len(Engine), name=f"lacks_{n}")
            m.d.comb += [
                port.payload.word.eq(queue.r_data[:INSTRUCTION_BITS]),
                port.payload.index.eq(queue.r_data[INSTRUCTION_BITS:]),
                wait.eq(queue.r_data[4:10]),
                lacks.eq(wait & Cat(count[g][engine] == 0 for g in Engine)),
                port.valid.eq(queue.r_rdy & ~lacks.any() & ~self.stop),
                queue.r_en.eq(port.valid & port.ready),
            ]
            with m.If(queue.r_en):
                m.d.sync += signal.eq(queue.r_data[10:16])
            for other in Engine:
                m.d.comb += self._take[other][engine].eq(queue.r_en & wait[other])
                m.d.comb += self._give[engine][other].eq(self.done[n] & signal[other])
            if engine == Engine.MAC:
                m.d.comb += [self.mac_waiting.eq(queue.r_rdy), self.mac_lacks.eq(lacks)]
        for g in Engine:
            for t in Engine:
                m.d.sync += count[g][t].eq(count[g][t] + self._give[g][t] - self._take[g][t])
                with m.If(self._give[g][t] & ~self._take[g][t] & (count[g][t] == TOKEN_MAX)):
                    m.d.comb += [self.overflow.eq(1), self.overflow_engine.eq(int(g))]
        return count

    def _dispatch(self, m: Module, queues: list[SyncFIFO], tokens) -> None:
        """One instruction a cycle: to its queue, or carried out here (SKIP, END), or skipped."""
        word = self._word
        opcode = word[:4]
        to_skip = Signal(8)
        wait, signal = word[4:10], word[10:16]
        active, control_ready = Signal(), Signal()
        lacks = Cat(tokens[g][Engine.CONTROL] == 0 for g in Engine) & wait
        m.d.comb += [
            active.eq(self._there & ~self.stop),
            control_ready.eq(~lacks.any()),
            self.no_end.eq((self.index == self.limit) & ~self.stop),
        ]
        acted = Signal()
        with m.If(active & (to_skip != 0)):
            m.d.comb += self._next.eq(1)
            m.d.sync += to_skip.eq(to_skip - 1)
        with m.Elif(active), m.Switch(opcode):
            for form in OPCODES.values():
                with m.Case(form.opcode):
                    if form.opcode == Opcode.SKIP:
                        predicate = Array(self.predicates)[operand(word, Opcode.SKIP, "predicate")]
                        with m.If(control_ready):
                            m.d.comb += [self._next.eq(1), acted.eq(1), self.skipped.eq(1)]
                            with m.If(predicate == operand(word, Opcode.SKIP, "sense")):
                                m.d.sync += to_skip.eq(operand(word, Opcode.SKIP, "count"))
                    elif form.opcode == Opcode.END:
                        empty = Cat(~q.r_rdy for q in queues).all() & self.idle
                        with m.If(control_ready & empty):
                            m.d.comb += [self.ended.eq(1), acted.eq(1)]
                    else:
                        queue = queues[form.engine - 1]
                        m.d.comb += [queue.w_en.eq(queue.w_rdy), self._next.eq(queue.w_rdy)]
            with m.Default():
                m.d.comb += self.bad_opcode.eq(1)
        for queue in queues:
            m.d.comb += queue.w_data.eq(Cat(word, self.index))
        for g in Engine:
            m.d.comb += self._take[g][Engine.CONTROL].eq(acted & wait[g])
            m.d.comb += self._give[Engine.CONTROL][g].eq(acted & signal[g])
        m.d.comb += self.dispatched.eq((self._next & (to_skip == 0)) | self.ended)
        self._read_ahead(m, queues[Engine.DECODE - 1].w_en)

    def _read_ahead(self, m: Module, decoder_gets) -> None:
        """Ask for the decoder's data at dispatch: they wait in the reader's queue for its start."""
        m.submodules.requests = queue = SyncFIFO(width=REQUEST.size, depth=self._config.queue_depth + 2)
        table = self._word[:4] == Opcode.TABLE
        address = operand(self._word, Opcode.STREAM, "address")
        granules = Mux(
            table, operand(self._word, Opcode.TABLE, "length"), operand(self._word, Opcode.STREAM, "length")
        )
        beats = (granules << exact_log2(self._config.beats_per_granule))[:24]
        m.d.comb += [
            self.ahead_address.eq(address),
            self.ahead_granules.eq(granules),
            queue.w_en.eq(decoder_gets & ~self.refused & (granules != 0)),
            queue.w_data.eq(Cat(address, beats)),
            self.request.valid.eq(queue.r_rdy & ~self.stop),
            self.request.payload.eq(queue.r_data),
            queue.r_en.eq(self.request.valid & self.request.ready),
        ]
