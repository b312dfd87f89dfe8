"""The MAC engine: one instruction drives every lane through its rows.

Cycles: start t, `begin` t + 1; a lane whose words never keep it waiting and that has n useful products
issues them in t + 4 .. t + 3 + n and is finished in t + 5 + n; `done` is the cycle in which the last lane is
finished. An operand outside a memory faults MEMORY_RANGE in t + 1.
"""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.data import ArrayLayout
from amaranth.lib.wiring import In, Out
from ossicle.hw.config import WEIGHTS_PER_WORD, NpuConfig
from ossicle.hw.isa import Fault, Opcode
from ossicle.hw.lane import Job, Lane
from ossicle.hw.shared import Shared
from ossicle.hw.signatures import VALUE_BITS, MemoryWrite, WeightWrite, engine_members, operand

OPERANDS = ("weights", "rows", "words", "activation", "split", "activation2", "accumulator", "accumulate")


class Mac(wiring.Component):
    """All lanes and what they share.

    Ports:
        engine ports; `value` is the instruction's count of products.
        weight: one write port a decoder stream. activation: write port of every lane's copy.
        clear: reset of the lanes.
        begin_read, base, take, accumulators: the vector unit's read port.
        products: lanes that issue in this cycle. idle_lanes: lanes finished while the engine runs.
        skipped: with `done`, products not issued because a factor was zero.
    """

    def __init__(self, *, config: NpuConfig):
        self._config = config
        lane_count = range(config.lanes + 1)
        super().__init__(
            engine_members()
            | {
                "weight": In(WeightWrite(config)).array(config.decoder_streams),
                "activation": In(MemoryWrite(12, 128, 8)),
                "clear": In(1),
                "begin_read": In(1),
                "base": In(12),
                "take": In(config.lanes),
                "accumulators": Out(ArrayLayout(signed(32), config.lanes)),
                "products": Out(lane_count),
                "idle_lanes": Out(lane_count),
                "skipped": Out(VALUE_BITS),
            }
        )

    def elaborate(self, platform):
        m = Module()
        job = Job().create(path=("job",))
        lane = Lane(config=self._config)
        lanes = [Shared(lane, module="npu_lane") for _ in range(self._config.lanes)]
        for n, lane in enumerate(lanes):
            m.submodules[f"lane{n}"] = lane
            self._wire(m, n, lane, job)
        finished = Signal()
        m.d.comb += finished.eq(Cat(lane.finished for lane in lanes).all())
        dense = self._control(m, job, finished)
        self._count(m, lanes, dense)
        return m

    def _control(self, m: Module, job, finished) -> Signal:
        """Latch the operands, check them, run; return the products that a dense run would issue."""
        config = self._config
        self._running = running = Signal()
        checking = Signal()
        inside, dense_words = Signal(), Signal(18)
        first = Mux(job.split < job.words, job.split, job.words)
        m.d.comb += [
            self.i.ready.eq(~self.busy),
            self.busy.eq(running | checking),
            inside.eq(
                (dense_words != 0)
                & (job.weights + dense_words <= config.weight_words)
                & (job.activation + first <= config.activation_words)
                & (
                    (first == job.words)
                    | (job.activation2 + (job.words - job.split)[:8] <= config.activation_words)
                )
                & (job.accumulator + job.rows <= config.accumulators)
            ),
            job.check.eq(checking),
            job.begin.eq(checking & inside),
            self.done.eq(running & finished),
        ]
        m.d.sync += checking.eq(0)
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += checking.eq(1)
            given = {n: operand(self.i.payload.word, Opcode.MAC, n) for n in OPERANDS}
            m.d.sync += [getattr(job, n).eq(value) for n, value in given.items()]
            m.d.sync += dense_words.eq(given["rows"] * given["words"])
        with m.If(checking):
            m.d.sync += running.eq(inside)
            m.d.comb += self.fault.eq(Mux(inside, Fault.NONE, Fault.MEMORY_RANGE))
        with m.If(self.done):
            m.d.sync += running.eq(0)
        return dense_words

    def _wire(self, m: Module, n: int, lane: Lane, job) -> None:
        streams = self._config.decoder_streams
        write = self.weight[n % streams]
        m.d.comb += [getattr(lane.job, name).eq(getattr(job, name)) for name in ("check", "begin", *OPERANDS)]
        m.d.comb += [
            lane.weight.valid.eq(write.valid & (write.lane == n // streams)),
            lane.weight.address.eq(write.address),
            lane.weight.enable.eq(1),
            lane.weight.data.eq(Cat(write.data, write.tags)),
            lane.halves.eq(write.halves),
            lane.activation.valid.eq(self.activation.valid),
            lane.activation.address.eq(self.activation.address),
            lane.activation.enable.eq(self.activation.enable),
            lane.activation.data.eq(self.activation.data),
            lane.begin_read.eq(self.begin_read),
            lane.base.eq(self.base),
            lane.take.eq(self.take[n]),
            lane.clear.eq(self.clear),
            self.accumulators[n].eq(lane.accumulator),
        ]

    def _count(self, m: Module, lanes: list[Lane], dense_words) -> None:
        """Products and idle lanes; `value` is complete with `done`, two cycles after the last product."""
        total = Signal(VALUE_BITS)
        m.d.comb += [
            self.products.eq(_population(m, [lane.issued for lane in lanes])),
            self.idle_lanes.eq(Mux(self._running, _population(m, [lane.finished for lane in lanes]), 0)),
            self.value.eq(total),
            self.skipped.eq(dense_words * (WEIGHTS_PER_WORD * len(lanes)) - total),
        ]
        m.d.sync += total.eq(Mux(self._running, total + self.products, 0))


def _population(m: Module, bits: list) -> Value:
    """Number of bits set: neighbouring fields of one word added in parallel, 1, 2, 4 .. bits wide.

    Wide words instead of a tree of small adders: a few operations a cycle in a simulator.
    """
    size = len(bits)
    fields = Signal(size, name="population_bits")
    m.d.comb += fields.eq(Cat(bits))
    width = 1
    while width < size:
        mask = sum(((1 << width) - 1) << start for start in range(0, size, 2 * width))
        added = Signal(size + 1, name=f"population_{2 * width}")
        m.d.comb += added.eq((fields & mask) + ((fields >> width) & mask))
        fields, width = added, 2 * width
    return fields
