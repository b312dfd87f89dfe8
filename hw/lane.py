"""One MAC lane: fetches words, keeps the useful products, issues one a cycle.

        weight bank --+                 +-----------+            +---+
                      +-> tags and tags |  window   | lowest bit | * |-> accumulate -> accumulator bank
    activation copy --+    (w != 0 and  | lookahead |----------->+---+
                            x != 0)     +-----------+

A word is fetched while the window has room; a word with no useful product is dropped unless it ends
a row. The lane's time is therefore its count of useful products, as long as the words that hold
them can be fetched at one a cycle (after SparTen, MICRO'19, and the account of the AZ processors).

Cycles: the first word is fetched in the cycle after `begin`; a word fetched in cycle c is masked in c + 1,
at the head of the window from c + 2 on; a product issued in cycle c is added in c + 1, which also writes
the accumulator of a row that ends; `finished` rises in the cycle after the last row's write.
"""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2
from ossicle.hw.config import WEIGHTS_PER_WORD, NpuConfig
from ossicle.hw.signatures import MemoryWrite

ENTRY = data.StructLayout({"w": 128, "x": 128, "mask": 16, "last": 1})
"""A word on its way to the window. Its parts lie in memories of their own, as do weights, activations and
their tags: no field is ever cut out of a wider word, which simulators do slowly."""


class Job(wiring.Signature):
    """Operands of a MAC instruction, there from `check` on; `begin` comes with it if they are possible."""

    def __init__(self):
        super().__init__(
            {
                "check": Out(1),
                "begin": Out(1),
                "weights": Out(16),
                "rows": Out(10),
                "words": Out(8),
                "activation": Out(12),
                "split": Out(8),
                "activation2": Out(12),
                "accumulator": Out(12),
                "accumulate": Out(1),
            }
        )


class Lane(wiring.Component):
    """A lane with its banks of weights, activations and accumulators.

    Ports:
        job: operands of the instruction that runs.
        weight, halves: write port of the weight bank: data 128 bits and 16 tags; which halves are written.
        activation: write port of the activation copy (enable: bytes).
        begin_read, base, take, accumulator: the vector unit's read port, see docs/hardware.md.
        issued: a product is issued in this cycle.
        finished: all rows are written.
    """

    def __init__(self, *, config: NpuConfig):
        self._config = config
        super().__init__(
            {
                "job": In(Job()),
                "weight": In(MemoryWrite(16, 144)),
                "halves": In(2),
                "activation": In(MemoryWrite(12, 128, 8)),
                "begin_read": In(1),
                "base": In(12),
                "take": In(1),
                "accumulator": Out(signed(32)),
                "issued": Out(1),
                "finished": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        fetched = self._fetch(m)
        product, end = self._multiply(m, *self._window(m, fetched))
        self._accumulate(m, product, end)
        return m

    def _fetch(self, m: Module) -> data.View:
        """Walk the words of all rows; return the masked word and whether it enters the window."""
        config, job = self._config, self.job
        w_data, w_tags = self._bank(m, "weight", config.weight_words, (64, 8))
        x_data, x_tags = self._bank(m, "activation", config.activation_words, (8, 1))
        weight, activation = self.weight, self.activation
        halves = Mux(weight.valid, self.halves, 0)
        enable = Mux(activation.valid, activation.enable, 0)
        nonzero = Cat(activation.data.word_select(i, 8).any() for i in range(WEIGHTS_PER_WORD))
        for (write, _), address, value, parts in (
            (w_data, weight.address, weight.data[:128], halves),
            (w_tags, weight.address, weight.data[128:], halves),
            (x_data, activation.address, activation.data, enable),
            (x_tags, activation.address, nonzero, enable),
        ):
            m.d.comb += [write.addr.eq(address), write.data.eq(value), write.en.eq(parts)]

        fetching = Signal()
        w_address, x_address = Signal(16), Signal(12)
        word, row = Signal(8), Signal(10)
        go = Signal()
        row_ends = word == job.words - 1
        self._room = Signal()
        m.d.comb += go.eq(fetching & self._room)
        for (_, read), address in (
            (w_data, w_address),
            (w_tags, w_address),
            (x_data, x_address),
            (x_tags, x_address),
        ):
            m.d.comb += [read.addr.eq(address), read.en.eq(go)]
        start = Mux(job.split == 0, job.activation2, job.activation)
        with m.If(job.begin):
            m.d.sync += fetching.eq(1)
        with m.If(job.check):  # a lane that does not begin may have these as well, and sooner
            m.d.sync += [
                word.eq(0),
                row.eq(0),
                w_address.eq(job.weights),
                x_address.eq(start),
            ]
        with m.Elif(go):
            m.d.sync += [
                w_address.eq(w_address + 1),
                word.eq(Mux(row_ends, 0, word + 1)),
                row.eq(row + row_ends),
                fetching.eq(~(row_ends & (row == job.rows - 1))),
                x_address.eq(
                    Mux(
                        row_ends,
                        start,
                        Mux(word + 1 == job.split, job.activation2, x_address + 1),
                    )
                ),
            ]

        arrived, last = Signal(), Signal()
        m.d.sync += [arrived.eq(go), last.eq(row_ends)]
        self._arrived = arrived
        entry = Signal(ENTRY)
        m.d.comb += [
            entry.w.eq(w_data[1].data),
            entry.x.eq(x_data[1].data),
            entry.mask.eq(w_tags[1].data & x_tags[1].data),
            entry.last.eq(last),
        ]
        self._push = Signal()
        m.d.comb += self._push.eq(arrived & (entry.mask.any() | last))
        return entry

    @staticmethod
    def _bank(m: Module, name: str, words: int, granularity: tuple[int, int]) -> list[tuple]:
        """(write port, read port) of a memory of 16 bytes a word, and of one of their tags."""
        ports = []
        for part, width, grain in zip(("data", "tags"), (8, 1), granularity, strict=True):
            memory = Memory(shape=width * WEIGHTS_PER_WORD, depth=words, init=[])
            m.submodules[f"{name}_{part}"] = memory
            ports.append((memory.write_port(granularity=grain), memory.read_port()))
        return ports

    def _window(self, m: Module, entry) -> tuple[dict, Signal]:
        """A queue of `lookahead` words: the parts of its head, there in the cycle after the push, without the
        mask; and the mask of the word that is to be the head next, should there be one."""
        depth = self._config.lookahead
        head, level = {}, Signal(range(depth + 1))
        put, get, second = Signal(range(depth)), Signal(range(depth)), Signal(range(depth))
        self._valid, self._pop = Signal(), Signal()
        m.d.comb += [
            self._valid.eq(level != 0),
            self._room.eq(level + self._arrived < depth),
            second.eq(Mux(get == depth - 1, 0, get + 1)),
        ]
        for name in ("w", "x", "mask", "last"):
            storage = Memory(shape=len(entry[name]), depth=depth, init=[])
            m.submodules[f"window_{name}"] = storage
            write, read = storage.write_port(), storage.read_port(domain="comb")
            m.d.comb += [
                write.addr.eq(put),
                write.data.eq(entry[name]),
                write.en.eq(self._push),
                read.addr.eq(second if name == "mask" else get),
            ]
            head[name] = read.data
        m.d.sync += level.eq(level + self._push - self._pop)
        with m.If(self._push):
            m.d.sync += put.eq(Mux(put == depth - 1, 0, put + 1))
        with m.If(self._pop):
            m.d.sync += get.eq(second)
        following = Signal(16)
        m.d.comb += following.eq(Mux(level > 1, head.pop("mask"), entry.mask))
        return head, following

    def _multiply(self, m: Module, head: dict, following: Signal) -> tuple[Signal, Signal]:
        """Issue the lowest useful product of the head; return the registered (product, row end).

        Which product that is, and whether it is the word's last, was found in the cycle before: beside the
        multiplier there is no time for it.
        """
        rest, upcoming, lowest = Signal(16), Signal(16), Signal(16)
        index, useful, ends = Signal(4), Signal(), Signal()
        m.d.comb += [
            upcoming.eq(Mux(self._valid & ~ends, rest, following)),
            lowest.eq(upcoming & (~upcoming + 1)),
            self.issued.eq(self._valid & useful),
            self._pop.eq(self._valid & ends),
        ]
        with m.If(self._valid | self._arrived):  # else there is no word, and a simulator has less to do
            m.d.sync += [
                rest.eq(upcoming ^ lowest), useful.eq(upcoming.any()), ends.eq(upcoming == lowest),
                index.eq(Cat(Cat(lowest[i] for i in range(16) if i >> b & 1).any() for b in range(4))),
            ]
        w, x = Signal(signed(8)), Signal(signed(8))
        m.d.comb += [w.eq(byte_at(m, head["w"], index)), x.eq(byte_at(m, head["x"], index))]
        product, end = Signal(signed(16)), Signal()
        m.d.sync += [
            end.eq(self._pop & head["last"]),
            product.eq(Mux(self._valid, w * x, 0)),  # of no useful product: byte 0, where one is zero
        ]
        return product, end

    def _accumulate(self, m: Module, product, end) -> None:
        """Sum a row's products; the sum starts from the accumulator or from zero."""
        config, job = self._config, self.job
        m.submodules.accumulators = bank = Memory(shape=signed(32), depth=config.accumulators, init=[])
        write, initial, vector = bank.write_port(), bank.read_port(), bank.read_port()
        row, next_row = Signal(10), Signal(10)
        fresh, total, running = Signal(), Signal(signed(32)), Signal(signed(32))
        address_bits = ceil_log2(config.accumulators)
        m.d.comb += [
            next_row.eq(Mux(job.check, 0, Mux(end, row + 1, row))),
            initial.addr.eq((job.accumulator + next_row)[:address_bits]),
            initial.en.eq(Const(1)),
            total.eq(Mux(fresh, Mux(job.accumulate, initial.data, 0), running) + product),
            write.addr.eq((job.accumulator + row)[:address_bits]),
            write.data.eq(total),
            write.en.eq(end),
        ]
        m.d.sync += [row.eq(next_row), running.eq(total), fresh.eq(end | (fresh & (product == 0)))]
        with m.If(job.begin):
            m.d.sync += [fresh.eq(1), self.finished.eq(0)]
        with m.Elif(end & (row == job.rows - 1)):
            m.d.sync += self.finished.eq(1)

        pointer = Signal(12)
        m.d.comb += [
            vector.addr.eq(pointer[:address_bits]),
            vector.en.eq(Const(1)),
            self.accumulator.eq(vector.data),
        ]
        with m.If(self.begin_read):
            m.d.sync += pointer.eq(self.base)
        with m.Elif(self.take):
            m.d.sync += pointer.eq(pointer + 1)


def byte_at(m: Module, word, index: Signal):
    """A byte of 16, by way of 32 bits: Verilator shifts words of more than 64 bits slowly."""
    near = Signal(32)
    with m.Switch(index[2:]):
        for n in range(4):
            with m.Case(n):
                m.d.comb += near.eq(word[32 * n : 32 * n + 32])
    return near.word_select(index[:2], 8)
