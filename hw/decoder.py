"""The decode engine: builds decoding tables (TABLE), rebuilds weights in the lanes' banks (STREAM).

             +-> 16 bits a cycle -> ImageReader -> TableBuilder mask, TableBuilder value -> tables
    beats ->-+                                                                    | a read port a stream
             +-> window -> slices at prefix sums of counts -> next states --------+-> symbols -> banks

The code is `ossicle.compiler.codec`'s: tANS (Duda 2013) with Collet's spread, streams interleaved in lock
step (Giesen 2014). Every stream takes one symbol a step, one step a cycle while the window holds its bits.

Cycles, t the start, r >= t + 1 the transfer of the request, n = bus_bits / 16, L = 2^table_log:

    t + 1          fault: MEMORY_RANGE (set beyond table_sets, length 0; STREAM: groups 0 or odd,
                   destination + groups / 2 > weight_words), else DECODER (TABLE of a length above 32),
                   else READ_WINDOW (refused), else DECODER (STREAM from a set never built); else the request
                   is raised, and held until its transfer
    TABLE
    r + 1 ...      a beat is taken if there and n cycles after the one before, or later
    a              the last beat is taken
    a + n + p      the image is read (p: `read_image` of the codec), or fault DECODER: a field is wrong
    a + n + p + 261 + 2 L    done, value 0 (timing.table_build_cycles)

    STREAM         fill (bits in the window) and left (beats not yet taken) as they stand when a cycle
                   begins, at r + 1 none and all; need: the bits that the next step takes, the first one
                   decoder_streams * table_log; of a stream's last symbol none, if a value or a quad
    r + 1 ... e    step: if fill >= need
                   beat: taken if there and fill + bus_bits <= window_bits, step or not
                   fill' = fill - (step ? need : 0) + (beat ? bus_bits : 0)
                   starved: if no step (t + 1 ... r as well)
                   short: if no step and left = 0: fault DECODER in the next cycle
    e              the last step; a group or word is written in the cycle after its last symbol's step
    e + 1          beat as before; wrong: if an end state is not 0, or fill + left * bus_bits >= 256
    e + 2 ...      a beat is taken if there
    max(e + 2, x + 1)    done, or if wrong, fault DECODER; x the cycle in which the last beat is taken

A fault DECODER later than t + 1 thus comes when no beat of the request is outstanding.
"""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2
from ossicle.hw.code import NARROW, SPLIT_ONES, TABLE_GRANULES, WORD_QUADS, WORD_ZERO, Kind
from ossicle.hw.config import GRANULE_BYTES, NpuConfig
from ossicle.hw.isa import Fault, Opcode
from ossicle.hw.late import LateChoice
from ossicle.hw.signatures import REQUEST, VALUE_BITS, WeightWrite, engine_members, operand
from ossicle.hw.table_image import ImageReader
from ossicle.hw.tables import TableBuilder, entry_layout, prefix_sums

FIELDS = {"address": 32, "length": 20, "set": 2, "destination": 16, "groups": 20}


class Decoder(wiring.Component):
    """The engine.

    Ports:
        engine ports; `value` is the instruction's count of starved cycles (0 of a TABLE).
        request, refused, data: the reader's.
        write: one port a stream; tags bit i: weight i of the group is not zero.
        starved: a STREAM runs and has no step in this cycle for want of bits.
        set, builds: the instruction's table set, and that its tables are whole (with `done` of a TABLE).
        built: whether that set's tables have been built since power came. Not the engine's to keep: it is
        cleared at the end of each job, the tables are not.
    """

    def __init__(self, *, config: NpuConfig):
        self._config = config
        super().__init__(engine_members() | {
            "request": Out(stream.Signature(REQUEST)),
            "refused": In(1),
            "data": In(stream.Signature(config.bus_bits)),
            "write": Out(WeightWrite(config)).array(config.decoder_streams),
            "starved": Out(1),
            "set": Out(2),
            "builds": Out(1),
            "built": In(1),
        })

    def elaborate(self, platform):
        m = Module()
        config = self._config
        self._field = {name: Signal(width, name=name) for name, width in FIELDS.items()}
        self._is_table, self._left = Signal(), Signal(24)
        self._accept, self._wrong = Signal(), Signal()
        self._begin, self._collecting, self._running = Signal(), Signal(), Signal()
        entry = entry_layout(config.table_log)
        pairs = data.StructLayout({"mask": entry, "value": entry})
        states = config.table_sets << config.table_log
        m.submodules.tables = tables = Memory(shape=pairs, depth=states, init=[])
        write = tables.write_port()
        self._build_tables(m, write)
        self._keep_kinds(m)
        # Never at once; said so that synthesis sees it and puts nothing beside the block RAMs for that case.
        self._decode(m, [tables.read_port() for _ in range(config.decoder_streams)], ~write.en)
        self._control(m)
        m.d.comb += self._accept.eq(self.data.valid & self.data.ready)
        with m.If(self._accept):
            m.d.sync += self._left.eq(self._left - 1)
        return m

    def _control(self, m: Module) -> None:
        field = self._field
        fault, short = self._check(m), Signal()
        m.submodules.lacks = lacks = LateChoice()
        m.d.comb += [
            lacks.late.eq(self._enough),
            lacks.no.eq(self._running & ~self._ended & ~short & (self._left == 0)),
        ]
        m.d.sync += short.eq(lacks.o)
        with m.FSM() as fsm:
            with m.State("IDLE"):
                m.d.comb += self.i.ready.eq(1)
                with m.If(self.i.valid):
                    self._take(m)
                    m.next = "REQUEST"
            with m.State("REQUEST"):
                m.d.comb += [
                    self._begin.eq(1), self.fault.eq(fault), self.request.valid.eq(fault == Fault.NONE),
                    self.starved.eq(~self._is_table),
                ]
                m.d.sync += self._left.eq(self.request.payload.beats)
                with m.If(fault != Fault.NONE):
                    m.next = "IDLE"
                with m.Elif(self.request.ready & self._is_table):
                    m.next = "COLLECT"
                with m.Elif(self.request.ready):
                    m.next = "RUN"
            with m.State("COLLECT"):
                m.d.comb += [self._collecting.eq(1), self.data.ready.eq(self._beat_done & (self._left != 0))]
                with m.If(self._collected):
                    m.next = "READ"
            with m.State("READ"):
                with m.If(self._image.wrong):
                    m.d.comb += self.fault.eq(Fault.DECODER)
                    m.next = "IDLE"
                with m.Elif(self._image.done):
                    m.next = "BUILD"
            with m.State("BUILD"), m.If(self._built):
                m.next = "DRAIN"
            with m.State("RUN"):
                m.d.comb += [self._running.eq(1), self.data.ready.eq(self._room & (self._left != 0))]
                m.d.comb += self.starved.eq(self._waits & ~short)
                with m.If(short):
                    m.d.comb += self.fault.eq(Fault.DECODER)
                    m.next = "IDLE"
                with m.Elif(self._ended):
                    m.d.sync += self._wrong.eq(self._ends_wrong)
                    m.next = "DRAIN"
            with m.State("DRAIN"):
                m.d.comb += self.data.ready.eq(self._left != 0)
                with m.If(self._left == 0):
                    m.d.comb += self.done.eq(~self._wrong)
                    m.d.comb += self.fault.eq(Mux(self._wrong, Fault.DECODER, 0))
                    m.next = "IDLE"
        starved_cycles = Signal(VALUE_BITS)
        with m.If(fsm.ongoing("IDLE")):
            m.d.sync += [starved_cycles.eq(0), self._wrong.eq(0)]
        with m.Elif(self.starved & ~starved_cycles.all()):
            m.d.sync += starved_cycles.eq(starved_cycles + 1)
        m.d.comb += [
            self.busy.eq(~fsm.ongoing("IDLE")),
            self.value.eq(starved_cycles),
            self.set.eq(field["set"]),
            self.builds.eq(self.done & self._is_table),
            self.request.payload.address.eq(field["address"]),
            self.request.payload.beats.eq(field["length"] << exact_log2(self._config.beats_per_granule)),
        ]

    def _take(self, m: Module) -> None:
        """Keep the operands of the instruction."""
        word, field = self.i.payload.word, self._field
        is_table = word[:4] == Opcode.TABLE
        m.d.sync += self._is_table.eq(is_table)
        for name, signal in field.items():
            m.d.sync += signal.eq(operand(word, Opcode.STREAM, name))
        with m.If(is_table):
            for name in ("address", "length", "set"):
                m.d.sync += field[name].eq(operand(word, Opcode.TABLE, name))

    def _check(self, m: Module) -> Signal:
        """Fault of the operands and of the request."""
        field, config = self._field, self._config
        fault = Signal(4)
        groups, end = field["groups"], Signal(21)
        m.d.comb += end.eq(field["destination"] + (groups >> 1))
        bad_range = (groups == 0) | groups[0] | (end > config.weight_words)
        bad_set = field["set"] >= config.table_sets
        with m.If((field["length"] == 0) | bad_set | (~self._is_table & bad_range)):
            m.d.comb += fault.eq(Fault.MEMORY_RANGE)
        with m.Elif(self._is_table & (field["length"] > TABLE_GRANULES)):
            m.d.comb += fault.eq(Fault.DECODER)
        with m.Elif(self.refused):
            m.d.comb += fault.eq(Fault.READ_WINDOW)
        with m.Elif(~self._is_table & ~self.built):
            m.d.comb += fault.eq(Fault.DECODER)
        return fault

    def _build_tables(self, m: Module, port) -> None:
        """Image, 16 bits a cycle, to its reader, frequencies to the builders, entries to the tables."""
        config = self._config
        builders = [TableBuilder(table_log=config.table_log) for _ in range(2)]
        m.submodules.mask_builder, m.submodules.value_builder = builders
        m.submodules.image = self._image = image = ImageReader(table_log=config.table_log)
        self._built, self._beat_done, self._collected = Signal(), Signal(), Signal()
        beat, held = Signal(config.bus_bits), Signal(range(config.bus_bits // 16 + 1))
        m.d.comb += [self._beat_done.eq(held <= 1), self._collected.eq((held == 1) & (self._left == 0))]
        with m.If(self._begin):
            m.d.sync += held.eq(0)
        with m.Elif(held != 0):
            m.d.sync += [beat.eq(beat >> 16), held.eq(held - 1)]
        with m.If(self._collecting & self._accept):
            m.d.sync += [beat.eq(self.data.payload), held.eq(config.bus_bits // 16)]
        m.d.comb += [
            image.clear.eq(self._begin), image.store.eq(held != 0), image.word.eq(beat),
            image.begin.eq(self._collecting & self._collected), image.granules.eq(self._field["length"]),
        ]
        writes, table = Signal(), Signal()
        symbol, frequency = Signal.like(image.symbol), Signal.like(image.frequency)
        m.d.sync += [
            writes.eq(image.write), table.eq(image.table), symbol.eq(image.symbol),
            frequency.eq(image.frequency),
        ]
        for n, builder in enumerate(builders):
            m.d.comb += [
                builder.begin.eq(image.done), builder.store.eq(writes & (table == n)),
                builder.symbol.eq(symbol), builder.frequency.eq(frequency),
            ]
        m.d.comb += [
            self._built.eq(builders[0].last),
            port.en.eq(builders[0].valid), port.addr.eq(Cat(builders[0].state, self._field["set"])),
            port.data.mask.eq(builders[0].entry), port.data.value.eq(builders[1].entry),
        ]

    def _keep_kinds(self, m: Module) -> None:
        """Of each set; like its tables they outlast the job, and so the engine's reset."""
        kinds = [Signal(2, reset_less=True, name=f"kind{n}") for n in range(self._config.table_sets)]
        self._kind = Signal(2)
        with m.Switch(self._field["set"]):
            for n, kind in enumerate(kinds):
                with m.Case(n):
                    m.d.comb += self._kind.eq(kind)
                    with m.If(self.builds):
                        m.d.sync += kind.eq(self._image.kind)

    def _decode(self, m: Module, ports: list, may_read) -> None:
        """The window, and a step of every unfinished stream."""
        config = self._config
        table_log, streams = config.table_log, config.decoder_streams
        window, fill = Signal(config.window_bits), Signal(range(config.window_bits + 1))
        self._first, self._step, self._enough = Signal(), Signal(), Signal()
        self._room, self._waits, self._ended, self._ends_wrong = Signal(), Signal(), Signal(), Signal()
        parts = [StreamState(m, config, n) for n in range(streams)]
        entries = [part.entry(m, port.data) for part, port in zip(parts, ports, strict=True)]
        counts = [
            part.count(m, entry, self._first, self._kind) for part, entry in zip(parts, entries, strict=True)
        ]
        offsets, total = prefix_sums(m, counts)
        need = Signal(range(streams * table_log + 1))
        m.d.comb += need.eq(total)
        states, last, enough = [], Signal(17), self._enough
        first = Cat(Const(0, 1), self._field["destination"])
        m.d.sync += last.eq(first + self._field["groups"] - 1)
        m.d.comb += enough.eq(self._covers(m, fill, counts))
        m.d.comb += self._ended.eq(~Cat(part.unfinished for part in parts).any())
        m.submodules.steps = steps = LateChoice()
        m.d.comb += [
            steps.late.eq(enough), steps.yes.eq(self._running & ~self._ended), self._step.eq(steps.o),
        ]
        for n, part in enumerate(parts):
            bits = slice_at(m, window[: (n + 1) * table_log], offsets[n], table_log)
            following = part.following(m, entries[n], counts[n], bits, self._first)
            m.d.comb += ports[n].addr.eq(Cat(following, self._field["set"]))
            m.d.comb += ports[n].en.eq(self._step & may_read)
            part.advance(m, entries[n], enough, self._running & ~self._first, self._kind, self.write[n])
            part.place(m, self._begin, enough, self._kind, (first, last), self.write[n])
            states.append(part.keep_end(m, following, enough & self._running))
        leftover = fill + (self._left << exact_log2(config.bus_bits))
        m.d.comb += [
            self._waits.eq(~self._ended & ~enough),
            self._room.eq(fill <= config.window_bits - config.bus_bits),
            self._ends_wrong.eq(Cat(states).any() | (leftover >= 8 * GRANULE_BYTES)),
        ]
        self._shift(m, window, fill, need)
        with m.If(self._begin):
            m.d.sync += [window.eq(0), fill.eq(0), self._first.eq(1)]
        with m.Elif(self._step):
            m.d.sync += self._first.eq(0)

    def _covers(self, m: Module, fill: Signal, counts: list):
        """Whether `fill` is the sum of the counts or more: one carry fewer than by way of their sum, and no
        gate behind it."""
        half = len(counts) // 2
        if not half:
            return fill >= counts[0]
        halves = (counts[:half], counts[half:])
        width = len(fill) + 1
        low, high = (Cat(prefix_sums(m, part, f"need{n}")[1], Const(0, width))[:width]
                     for n, part in enumerate(halves))  # fmt: skip
        held = ~Cat(fill, 0)  # -fill - 1: below zero where the sum is not above `fill`
        sums, carries = held ^ low ^ high, Cat(0, (held & low) | (held & high) | (low & high))[:width]
        lacking = Signal(width)
        m.d.comb += lacking.eq(sums + carries)
        return lacking[-1]

    def _shift(self, m: Module, window: Signal, fill: Signal, need: Signal) -> None:
        """Put a beat behind the bits held, take away those of a step. Bits beyond `fill` are zero."""
        config = self._config
        joined, held = Signal(config.window_bits), Signal(fill.shape())
        beat = Mux(self._accept, self.data.payload, 0)
        m.d.comb += joined.eq(window | (beat << fill)[: config.window_bits])
        m.d.comb += held.eq(fill + Mux(self._accept, config.bus_bits, 0))
        m.submodules.shift = shift = LateChoice(config.window_bits)
        m.d.comb += [shift.late.eq(self._step), shift.yes.eq(joined >> need), shift.no.eq(joined)]
        with m.If(self._running):
            m.d.sync += window.eq(shift.o)
            m.d.sync += fill.eq(Mux(self._step, held - need, held))


def slice_at(m: Module, word, offset, width: int):
    """`width` bits of a word from bit `offset`, by way of 64 bits: Verilator shifts wider words slowly."""
    if len(word) <= 64:
        return word.bit_select(offset, width)
    near = Signal(64)
    with m.Switch(offset[5:]):
        for n in range(-(-len(word) // 32)):
            with m.Case(n):
                m.d.comb += near.eq(word[32 * n : 32 * n + 64])
    return near.bit_select(offset[:5], width)


def has_ones(byte, count: int):
    """Whether so many bits of a byte are set, without adders: by its halves, a gate for each number."""
    def half(nibble, ones: int):
        return Const(sum(1 << n for n in range(16) if n.bit_count() == ones), 16).bit_select(nibble, 1)

    both = [half(byte[4:], n) & half(byte[:4], count - n) for n in range(5) if 0 <= count - n <= 4]
    return Cat(both).any()


class StreamState:
    """Registers and logic of one stream: its state in the code, its group or word, its place in the banks."""

    def __init__(self, m: Module, config: NpuConfig, n: int):
        self._config, self._n = config, n
        self.unfinished = Signal(name=f"unfinished{n}")
        self._in_mask, self._may_complete = Signal(name=f"in_mask{n}"), Signal(name=f"may_complete{n}")
        self._half_word, self._parts = Signal(17, name=f"half_word_now{n}"), Signal(3, name=f"parts{n}")
        self._one_left, self._in_last = Signal(name=f"one_left{n}"), Signal(name=f"in_last{n}")

    def entry(self, m: Module, word) -> data.View:
        """The entry of the table that the stream's next symbol is coded with."""
        entry = Signal(entry_layout(self._config.table_log), name=f"entry{self._n}")
        m.d.comb += entry.eq(Mux(self._in_mask, word.value.as_value(), word.mask.as_value()))
        return entry

    def count(self, m: Module, entry, first: Signal, kind: Signal) -> Signal:
        """Bits that the next step takes for this stream: none of a value or quad that is its last symbol."""
        count, takes = Signal(4, name=f"count{self._n}"), Signal(name=f"takes_bits{self._n}")
        last_quad = (kind == Kind.QUADS) & (self._parts == WORD_QUADS - 1)
        closes = self._in_last & Mux(self._in_mask, self._one_left, last_quad)
        m.d.comb += [
            takes.eq(self.unfinished & ~closes),
            count.eq(Mux(takes, Mux(first, self._config.table_log, entry.count), 0)),
        ]
        return count

    def following(self, m: Module, entry, count: Signal, bits, first: Signal) -> Signal:
        """State after the step; `bits` are table_log bits of the window from this stream's offset."""
        state = Signal(self._config.table_log, name=f"following{self._n}")
        kept = Signal(self._config.table_log, name=f"kept{self._n}")
        with m.Switch(count):
            for n in range(1, self._config.table_log + 1):
                with m.Case(n):
                    m.d.comb += kept.eq((1 << n) - 1)
        m.d.comb += state.eq((bits & kept) | Mux(first, 0, entry.base))
        return state

    def keep_end(self, m: Module, following: Signal, step: Signal) -> Signal:
        """State after the stream's latest symbol."""
        state = Signal(self._config.table_log, name=f"state{self._n}")
        with m.If(step & self.unfinished):
            m.d.sync += state.eq(following)
        return state

    def advance(self, m: Module, entry, enough: Signal, may_step, kind: Signal, write) -> None:
        """Take the symbol in a step: a mask says which weights come; the last of a unit writes it.

        `enough` is known last of all, and meets what follows from the symbol in one gate.
        """
        pending, parts, n = Signal(16, name=f"pending{self._n}"), self._parts, self._n
        others, lowest = Signal(16, name=f"others{n}"), Signal(16, name=f"lowest{n}")
        mask, parts_after, none = self._mask(m, entry.symbol, kind, parts)
        takes, following = Signal(name=f"takes{n}"), Signal(16, name=f"following_mask{n}")
        parts_left = Signal(3, name=f"parts_left{n}")
        may_take, more = Signal(name=f"may_take{n}"), (kind == Kind.QUADS) & (parts != WORD_QUADS - 1)
        m.d.comb += [
            others.eq(pending & (pending - 1)), lowest.eq(pending & ~others),
            following.eq(Mux(self._in_mask, others, mask)),
            parts_left.eq(Mux(self._in_mask, parts, parts_after)),
            may_take.eq(may_step & self.unfinished), takes.eq(enough & may_take),
            self._one_left.eq((others == 0) & (parts == 0)),
            self._may_complete.eq(may_take & Mux(self._in_mask, self._one_left, none & ~more)),
        ]
        m.d.sync += write.valid.eq(enough & self._may_complete)
        with m.If(takes):
            m.d.sync += [pending.eq(following), parts.eq(parts_left)]
            m.d.sync += self._in_mask.eq(Mux(self._in_mask, others != 0, ~none))
            with m.If(self._in_mask):
                self._put_weight(m, lowest, entry.symbol, write)
            with m.Else():
                with m.If(parts == 0):
                    m.d.sync += [write.data.eq(0), write.tags.eq(0)]
                with m.If(kind == Kind.QUADS):
                    self._put_quad(m, entry.symbol, parts, write)

    def _mask(self, m: Module, symbol, kind: Signal, parts: Signal) -> tuple[Signal, Signal, Signal]:
        """Weights of the word that come next; the parts that there were with this one, 0 if no more; whether
        no weight comes."""
        none = Signal(name=f"none{self._n}")
        mask, after = Signal(16, name=f"mask{self._n}"), Signal(3, name=f"parts_after{self._n}")
        first, second = symbol[4:], symbol[:4]
        split, held = Signal(name=f"split{self._n}"), Signal(8, name=f"held{self._n}")
        m.d.comb += [
            split.eq(kind[0] & has_ones(symbol, SPLIT_ONES)),
            held.eq(symbol ^ split.replicate(8)),
        ]
        with m.Switch(kind):
            with m.Case(*NARROW):
                m.d.comb += [mask.eq(Mux(self._half_word[0], held << 8, held)), none.eq(symbol == 0)]
                with m.If(split):
                    m.d.comb += after.eq(parts + 1)
            with m.Case(Kind.QUADS):
                m.d.comb += [after.eq((parts + 1)[:2]), none.eq(1)]
            with m.Default():
                m.d.comb += none.eq(symbol == WORD_ZERO)
                with m.If(~none):
                    m.d.comb += mask.eq(Const(1, 16) << first | Const(1, 16) << second)
                    with m.If(first > second):
                        m.d.comb += after.eq(parts + 1)
        return mask, after, none

    def _put_weight(self, m: Module, place: Signal, weight, write) -> None:
        """Put a weight at the one bit set of `place`; four bits at a time, which a simulator passes over."""
        m.d.sync += write.tags.eq(write.tags & ~place | Mux(weight.any(), place, 0))
        for begin in range(0, 16, 4):
            with m.If(place[begin : begin + 4].any()):
                for i in range(begin, begin + 4):
                    with m.If(place[i]):
                        m.d.sync += write.data[8 * i : 8 * i + 8].eq(weight)

    def _put_quad(self, m: Module, symbol, parts: Signal, write) -> None:
        weights = [symbol[2 * i : 2 * i + 2] for i in range(4)]
        bytes_ = Cat(Cat(weight, weight[1].replicate(6)) for weight in weights)
        with m.Switch(parts):
            for quad in range(WORD_QUADS):
                with m.Case(quad):
                    m.d.sync += write.data[32 * quad : 32 * quad + 32].eq(bytes_)
                    m.d.sync += write.tags[4 * quad : 4 * quad + 4].eq(Cat(w.any() for w in weights))

    def place(self, m: Module, begin: Signal, enough: Signal, kind: Signal, ends: tuple, write) -> None:
        """Where a complete group or word goes, and in the cycle after, where the next one will.

        ends: first and last half word that a bank is filled from and to.
        """
        lanes, (first, last) = self._config.lanes_per_stream, ends
        lane, lane_now = (Signal(range(max(2, lanes)), name=f"lane{name}{self._n}") for name in ("", "_now"))
        half_word, now, whole = Signal(17, name=f"half_word{self._n}"), self._half_word, kind[0] ^ kind[1]
        m.d.comb += [
            now.eq(half_word), lane_now.eq(lane),
            write.lane.eq(lane), write.address.eq(half_word[1:]),
            write.halves.eq(Cat(~half_word[0] | whole, half_word[0] | whole)),
        ]
        with m.If(write.valid):
            m.d.comb += now.eq(half_word + Mux(whole, 2, 1))
            with m.If((half_word[1:] == last[1:]) & (half_word[0] | whole)):
                m.d.comb += [now.eq(first), lane_now.eq(lane + 1)]
        m.d.sync += [half_word.eq(now), lane.eq(lane_now)]
        at_end = (now[1:] == last[1:]) & (now[0] | whole) & (lane_now == lanes - 1)
        # A cycle late: the last symbol of a unit, where it counts, is not the first.
        m.d.sync += self._in_last.eq(at_end)
        stays = self.unfinished | begin
        m.submodules[f"stays{self._n}"] = complete = LateChoice()
        m.submodules[f"ends{self._n}"] = ends = LateChoice()
        m.d.comb += [
            complete.late.eq(self._may_complete), ends.late.eq(enough), complete.no.eq(stays),
            complete.yes.eq(self.unfinished & ~at_end | begin), ends.yes.eq(complete.o), ends.no.eq(stays),
        ]
        m.d.sync += self.unfinished.eq(ends.o)
        with m.If(begin):
            m.d.sync += [lane.eq(0), half_word.eq(first)]
            m.d.sync += [self._in_mask.eq(0), self._parts.eq(0)]
