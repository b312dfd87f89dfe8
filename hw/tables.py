"""Builds a decoding table of the weight code from its 256 frequencies.

    frequencies --walk--> symbol of each state --scan--> (symbol, bits to read, base) of each state, in order

The walk hands out states in steps of 5/8 L + 3, symbols in ascending order (FiniteStateEntropy's spread).
The scan counts each symbol's states: the k-th of a symbol of frequency f has y = f + k, reads n = table_log
- floor(log2 y) bits, and its base is y * 2^n - L. `ossicle.compiler.codec` describes the code.
"""

from __future__ import annotations

from amaranth.hdl import Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from ossicle.hw.code import SYMBOLS, spread_step


def entry_layout(table_log: int) -> data.StructLayout:
    """One state of one table: its symbol, how many bits follow, the next state when they are zero."""
    return data.StructLayout({"symbol": 8, "count": 4, "base": table_log})


class TableBuilder(wiring.Component):
    """One table.

    Ports:
        store, symbol, frequency: keep one frequency.
        begin: build; only when the frequencies make 2^table_log.
        valid, state, entry: one entry of the table, states in ascending order. last: with the last.

    Cycles: begin in b; states 0, 1, ... are given in b + 261 + L, b + 262 + L, ..., `last` in b + 260 + 2 L.
    """

    def __init__(self, *, table_log: int):
        if table_log not in range(9, 13):
            raise ValueError(f"table_log = {table_log} is not possible; use 9 to 12")
        self._log = table_log
        super().__init__({
            "store": In(1), "symbol": In(8), "frequency": In(table_log + 1), "begin": In(1),
            "valid": Out(1), "state": Out(table_log), "entry": Out(entry_layout(table_log)), "last": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.frequencies = frequencies = Memory(shape=self._log + 1, depth=SYMBOLS, init=[])
        m.submodules.spread = spread = Memory(shape=8, depth=1 << self._log, init=[])
        self._write = frequencies.write_port()
        self._read = frequencies.read_port(transparent_for=(self._write,))
        self._keep(m)
        walking, scanning = Signal(), Signal()
        walked = self._walk(m, walking, spread.write_port())
        self._scan(m, scanning, spread.read_port())
        with m.If(self.begin):
            m.d.sync += walking.eq(1)
        with m.If(walked):
            m.d.sync += [walking.eq(0), scanning.eq(1)]
        with m.If(self.last):
            m.d.sync += scanning.eq(0)
        return m

    def _keep(self, m: Module) -> None:
        with m.If(self.store):
            m.d.comb += [self._write.addr.eq(self.symbol), self._write.data.eq(self.frequency)]
            m.d.comb += self._write.en.eq(1)

    def _walk(self, m: Module, walking: Signal, place) -> Signal:
        """A cycle to load each symbol and one for each of its states, one more to see the end."""
        upcoming, symbol = Signal(9), Signal(8)
        left, position = Signal(self._log + 1), Signal(self._log)
        loading, walked = Signal(), Signal()
        m.d.comb += [
            loading.eq(walking & (left == 0)),
            walked.eq(loading & upcoming[8]),
            place.addr.eq(position), place.data.eq(symbol), place.en.eq(walking & ~loading),
        ]
        with m.If(loading):
            m.d.comb += self._read.addr.eq(upcoming + 1)
            m.d.sync += [symbol.eq(upcoming), upcoming.eq(upcoming + 1), left.eq(self._read.data)]
        with m.Elif(walking):
            m.d.comb += self._read.addr.eq(upcoming)
            m.d.sync += [left.eq(left - 1), position.eq(position + spread_step(self._log))]
        with m.If(self.begin | walked):
            m.d.sync += [upcoming.eq(0), left.eq(0), position.eq(0)]
        return walked

    def _scan(self, m: Module, scanning: Signal, look) -> None:
        """State by state: its symbol, then its y (kept in place of the frequency), then its entry."""
        state, state_y, state_entry = (Signal(self._log) for _ in range(3))
        ahead, at_symbol, at_y, ended = Signal(self._log), Signal(), Signal(), Signal()
        symbol_y = Signal(8)
        m.d.comb += [look.addr.eq(ahead), self.state.eq(state_entry)]
        m.d.comb += self.last.eq(self.valid & state_entry.all())
        m.d.sync += [
            at_symbol.eq(scanning & ~ended), at_y.eq(at_symbol), self.valid.eq(at_y),
            state.eq(ahead), state_y.eq(state), state_entry.eq(state_y), symbol_y.eq(look.data),
        ]
        with m.If(scanning):
            m.d.comb += self._read.addr.eq(look.data)
            m.d.sync += [ahead.eq(ahead + 1), ended.eq(ended | ahead.all())]
        with m.Else():
            m.d.sync += [ahead.eq(0), ended.eq(0)]
        y = self._read.data
        with m.If(at_y):
            m.d.comb += [self._write.en.eq(1), self._write.addr.eq(symbol_y), self._write.data.eq(y + 1)]
        m.d.sync += self.entry.symbol.eq(symbol_y)
        with m.Switch(y):
            for count in range(self._log + 1):
                with m.Case("0" * count + "1" + "-" * (self._log - count)):
                    m.d.sync += [self.entry.count.eq(count), self.entry.base.eq((y << count)[: self._log])]


def prefix_sums(m: Module, terms: list, name: str = "sum") -> tuple[list, object]:
    """Sums of the terms before each, and of all, in log2(n) levels of adders (Sklansky 1960)."""
    if len(terms) == 1:
        return [0], terms[0]
    half = len(terms) // 2
    low, low_total = prefix_sums(m, terms[:half], f"{name}l")
    high, high_total = prefix_sums(m, terms[half:], f"{name}h")
    high = [_sum(m, low_total, term, f"{name}_{i}") for i, term in enumerate(high)]
    return low + high, _sum(m, low_total, high_total, name)


def _sum(m: Module, a, b, name: str):
    if isinstance(b, int):
        return a
    made = Signal((a + b).shape(), name=name)
    m.d.comb += made.eq(a + b)
    return made
