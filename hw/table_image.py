"""Reads a table image: frequencies of the mask and the value symbols, run by run.

    words, 16 bits -> memory -> look (32 bits) -> number: size, then bits -> change, run -> a symbol a cycle

`ossicle.compiler.codec` describes the image; `read_image` there counts the same cycles.
"""

from __future__ import annotations

from amaranth.hdl import Array, Cat, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2
from ossicle.hw.code import (
    HEADER_BITS,
    MASK_ORDER,
    PART_ORDER,
    PREFIX_BITS,
    SYMBOLS,
    TABLE_GRANULES,
    VALUE_ORDER,
    Kind,
)
from ossicle.hw.config import GRANULE_BYTES

WORD_BITS = 16
WORDS = TABLE_GRANULES * GRANULE_BYTES * 8 // WORD_BITS


class ImageReader(wiring.Component):
    """Both tables' frequencies.

    Ports:
        clear: forget the words. store, word: keep one more.
        begin, granules: read so many granules, once their words are there (the last may come with `begin`).
        write, table, symbol, frequency: one frequency; table 0: masks, 1: values. kind: of `Kind`, from the
        header on until the next image.
        done: all have been given. wrong: the image is none; in place of `done`.

    Cycles: begin in b; b + 1, b + 2: the first words; b + 3: the header; then for each run two cycles for
    the change, two for its symbols' number, one a symbol; a cycle for the last symbol of each table, and one
    for the end. What is wrong with a field or a frequency is said in the cycle after it.
    """

    def __init__(self, *, table_log: int):
        self._log = table_log
        super().__init__({
            "clear": In(1), "store": In(1), "word": In(WORD_BITS),
            "begin": In(1), "granules": In(range(TABLE_GRANULES + 1)),
            "write": Out(1), "table": Out(1), "symbol": Out(8), "frequency": Out(table_log + 1),
            "kind": Out(2), "done": Out(1), "wrong": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.words = words = Memory(shape=WORD_BITS, depth=WORDS, init=[])
        self._keep(m, words.write_port())
        self._take, self._short, self._shift = Signal(range(PREFIX_BITS + 1)), Signal(), Signal()
        self._bad = Signal()
        self._left, self._ahead = Signal((WORDS * WORD_BITS).bit_length()), Signal(range(WORDS))
        port = words.read_port()
        view = self._look(m, port)
        self._states(m, port, view, *self._number(m, view))
        return m

    def _keep(self, m: Module, port) -> None:
        place = Signal(range(WORDS))
        m.d.comb += [port.addr.eq(place), port.data.eq(self.word), port.en.eq(self.store)]
        with m.If(self.store):
            m.d.sync += place.eq(place + 1)
        with m.If(self.clear):
            m.d.sync += place.eq(0)

    def _look(self, m: Module, port) -> Signal:
        """The next bits; `_take` of them are gone in the next cycle. The port reads the word behind them."""
        look, place = Signal(2 * WORD_BITS), Signal(range(WORD_BITS))
        view, end = Signal(PREFIX_BITS), Signal(range(2 * WORD_BITS))
        m.d.comb += [
            view.eq(look.bit_select(place, PREFIX_BITS)), end.eq(place + self._take),
            self._short.eq(self._take > self._left), port.addr.eq(self._ahead + end[-1]),
        ]
        m.d.sync += [place.eq(end), self._left.eq(self._left - self._take), self._ahead.eq(port.addr)]
        with m.If(self._shift | end[-1]):
            m.d.sync += look.eq(Cat(look[WORD_BITS:], port.data))
        with m.If(self.begin):
            m.d.sync += [place.eq(0), self._left.eq(self.granules << exact_log2(8 * GRANULE_BYTES))]
        return view

    def _number(self, m: Module, view) -> tuple[Signal, Signal]:
        """Size of a number that begins here, 0 if none does; 2 + the number of the size seen a cycle ago."""
        size, known = Signal(range(PREFIX_BITS + 1)), Signal(range(PREFIX_BITS + 1))
        prefixed = Signal(PREFIX_BITS + 1, init=2)
        for n in reversed(range(PREFIX_BITS)):
            with m.If(view[n]):
                m.d.comb += size.eq(n + 1)
        m.d.sync += known.eq(size)
        self._known = known
        with m.Switch(known):
            for n in range(1, PREFIX_BITS + 1):
                with m.Case(n):
                    m.d.comb += prefixed.eq(Cat(view[:n], 1))
        return size, prefixed

    def _states(self, m: Module, port, view, size, prefixed) -> None:
        """A field or a symbol a cycle."""
        states = 1 << self._log
        frequency, run, last = Signal(self._log + 1), Signal(8), Signal(8)
        total, impossible, failed = Signal(range(SYMBOLS * states + 1)), Signal(), Signal()
        number, changed = Signal(PREFIX_BITS + 1), Signal(signed(PREFIX_BITS + 2))
        falls, half = prefixed[0], Cat(prefixed[1:], 0).as_signed()
        leftover = self._left >= 8 * GRANULE_BYTES
        above, below = changed[self._log + 1 :].any(), changed[: self._log].any()  # above: or below zero
        masks, parts = Array(MASK_ORDER)[last], Array(PART_ORDER)[last]
        quads = Cat(Cat(last[4 + i], last[i]) for i in range(4))  # QUAD_ORDER[last]
        first = Mux(self.kind == Kind.WORDS, parts, Mux(self.kind == Kind.QUADS, quads, masks))
        m.d.comb += [
            number.eq(prefixed - 2),
            self.wrong.eq(failed | impossible),
            # The frequency + h, or + ~h where it falls, h = half - 1: one adder behind `prefixed`.
            changed.eq(Mux(falls, frequency + 1, frequency - 1) + Mux(falls, ~half, half)),
            self.symbol.eq(Mux(self.table, Array(VALUE_ORDER)[last], first)),
            self.frequency.eq(Mux(last == 0, states - total, frequency)),
        ]
        m.d.sync += [failed.eq(self._bad), impossible.eq(0)]
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += port.addr.eq(0)
                m.d.sync += [self.table.eq(0), frequency.eq(0), total.eq(0), last.eq(SYMBOLS - 1)]
                with m.If(self.begin):
                    m.next = "FIRST"
            with m.State("FIRST"):
                m.d.comb += [self._shift.eq(1), port.addr.eq(1)]
                m.next = "SECOND"
            with m.State("SECOND"):
                m.d.comb += [self._shift.eq(1), port.addr.eq(2)]
                m.next = "HEADER"
            with m.State("HEADER"):
                m.d.comb += [self._take.eq(HEADER_BITS), self._bad.eq(view[:HEADER_BITS] > max(Kind))]
                m.d.sync += self.kind.eq(view)
                self._go_on(m, "CHANGE SIZE")
            for name, field in (("CHANGE SIZE", "CHANGE"), ("RUN SIZE", "RUN")):
                with m.State(name):
                    m.d.comb += [self._take.eq(size), self._bad.eq((size == 0) | self._short)]
                    self._go_on(m, field)
                    with m.If(impossible):
                        m.next = "IDLE"
            with m.State("CHANGE"):
                m.d.comb += self._take.eq(self._known)
                m.d.comb += self._bad.eq(self._short)
                m.d.sync += [frequency.eq(changed), impossible.eq(above | (changed[self._log] & below))]
                self._go_on(m, "RUN SIZE")
            with m.State("RUN"):
                m.d.comb += [self._take.eq(self._known), self._bad.eq(self._short | (number >= last))]
                m.d.sync += run.eq(number)
                self._go_on(m, "SYMBOLS")
            with m.State("SYMBOLS"):
                m.d.comb += self.write.eq(1)
                m.d.sync += [run.eq(run - 1), last.eq(last - 1), total.eq(total + frequency)]
                with m.If(last == 1):
                    m.next = "REST"
                with m.Elif(run == 0):
                    m.next = "CHANGE SIZE"
            with m.State("REST"):
                m.d.comb += [self.write.eq(1), self._bad.eq(total > states)]
                m.d.sync += [self.table.eq(1), frequency.eq(0), total.eq(0), last.eq(SYMBOLS - 1)]
                with m.If(self.table):
                    self._go_on(m, "END")
                with m.Else():
                    self._go_on(m, "CHANGE SIZE")
            with m.State("END"):
                m.d.comb += [self._bad.eq(leftover), self.done.eq(~leftover)]
                m.next = "IDLE"

    def _go_on(self, m: Module, state: str) -> None:
        m.next = state
        with m.If(self._bad):
            m.next = "IDLE"
