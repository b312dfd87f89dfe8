"""The vector engine: LSTM, LINEAR, ADD and COMPARE, a step a cycle.

One pipeline; an opcode enters it where its first operand is read, and leaves it where it writes:

    stage   0 parameters read    2 accumulators taken    3 requantize          10 pre-activation, curve
            8 ADD's vectors read   9 their sum                                 13 gates, or the result
           12 LSTM's cells, COMPARE's vector read    13 cell update            14 write, but LSTM: 21

A step leaves `VECTOR_LATENCY[opcode]` cycles after it enters, both memories of an LSTM in the same cycle.
"""

from __future__ import annotations

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2
from ossicle.hw import isa
from ossicle.hw.arithmetic import CellUpdate, Curve, Requantize, saturate
from ossicle.hw.arithmetic import round_half_even as rounded
from ossicle.hw.config import ROW_PARAMETER_BYTES, WEIGHTS_PER_WORD, NpuConfig
from ossicle.hw.isa import Fault, Function, Opcode, Target
from ossicle.hw.numerics import ACTIVATION_FRACTION, GATE_FRACTION, PREACTIVATION_FRACTION
from ossicle.hw.signatures import MemoryRead, MemoryWrite, engine_members, operand
from ossicle.hw.timing import VECTOR_LATENCY

OPCODES = (Opcode.LSTM, Opcode.LINEAR, Opcode.ADD, Opcode.COMPARE)

TAKE, ADD_READ, PREACTIVATION, CELL_READ, RESULT, WRITE = 2, 8, 10, 12, 13, 14
LSTM_WRITE = RESULT + CellUpdate.latency
assert TAKE + 1 + Requantize.latency == PREACTIVATION and PREACTIVATION + Curve.latency == RESULT
ENTRY = {Opcode.LSTM: 0, Opcode.LINEAR: 0, Opcode.ADD: ADD_READ, Opcode.COMPARE: CELL_READ}
LEAVE = {op: LSTM_WRITE if op == Opcode.LSTM else WRITE for op in OPCODES}
assert {op: 1 + LEAVE[op] - ENTRY[op] for op in OPCODES} == VECTOR_LATENCY

ROW = data.StructLayout({"bias": signed(32), "multiplier": 16, "shift": 6, "_": 2, "lane": 8})
assert ROW.size == 8 * ROW_PARAMETER_BYTES

JOB = data.StructLayout({
    "opcode": Opcode, "steps": 12, "accumulator": 12, "parameter": 14, "source": 16, "source2": 16,
    "function": Function, "target": 2, "destination": 16, "threshold": signed(16), "predicate": 3,
})  # fmt: skip


class VectorUnit(wiring.Component):
    """The engine and its ports.

    Ports:
        engine ports; `value` is COMPARE's predicate, else the steps.
        parameter, read_a, read_b: memory reads; a LINEAR or LSTM reads parameters, an ADD both vectors.
        accumulator: read port into the lanes. A row's lane counts modulo the lanes; two rows of a step that
            name one lane get the same accumulator.
        activation_write, vector_write, predicate_write: in the cycle that `VECTOR_LATENCY` says.
    Faults: MEMORY_RANGE in the cycle after the start, for an operand beyond its memory (of the accumulators:
    the first alone), no steps, a destination that is not aligned, a target other than ACTIVATION and VECTOR.
    """

    def __init__(self, *, config: NpuConfig):
        self._config = config
        width = config.vector_width
        self._read_accumulators = wiring.Signature({
            "begin": Out(1), "base": Out(12), "take": Out(config.lanes),
            "data": In(data.ArrayLayout(signed(32), config.lanes)),
        })  # fmt: skip
        super().__init__(engine_members() | {
            "parameter": Out(MemoryRead(14, ROW.size * width)),
            "accumulator": Out(self._read_accumulators),
            "read_a": Out(MemoryRead(16, 16 * width)),
            "read_b": Out(MemoryRead(16, 16 * width)),
            "activation_write": Out(MemoryWrite(12, 8 * WEIGHTS_PER_WORD, 8)),
            "vector_write": Out(MemoryWrite(16, 16 * width)),
            "predicate_write": Out(wiring.Signature({"valid": Out(1), "index": Out(3), "value": Out(1)})),
        })

    def elaborate(self, platform):
        m = Module()
        self._job = Signal(JOB)
        self._is = {op: Signal(name=f"is_{op.name.lower()}") for op in OPCODES}
        m.d.comb += [self._is[op].eq(self._job.opcode == op) for op in OPCODES]
        self._lstm = self._is[Opcode.LSTM]
        self._valid = [Signal(name=f"valid_{n}") for n in range(LSTM_WRITE + 1)]
        self._last = [Signal(name=f"last_{n}") for n in range(LSTM_WRITE + 1)]
        legal = self._range_check(m)
        self._control(m, legal)
        self._stages(m)
        self._addresses(m)
        vector_a = data.View(data.ArrayLayout(signed(16), self._config.vector_width), self.read_a.data)
        vector_b = data.View(data.ArrayLayout(signed(16), self._config.vector_width), self.read_b.data)
        values = self._preactivations(m, vector_a, vector_b)
        results = self._curves(m, values)
        hidden, cells = self._cells(m, results, vector_a)
        self._write_vector(m, results, cells)
        self._write_activation(m, results, hidden)
        self._compare(m, vector_a)
        return m

    def _range_check(self, m: Module) -> Signal:
        """Whether the latched operands are possible."""
        config, job, legal = self._config, self._job, Signal()
        accumulates = self._lstm | self._is[Opcode.LINEAR]
        to_vector, to_activation = job.target == Target.VECTOR, job.target == Target.ACTIVATION
        # Shifts in place of a product: yosys would take a multiplier for it, the slowest path of the unit.
        few, many = exact_log2(config.units_per_step), exact_log2(config.vector_width)
        size = Mux(self._lstm, job.steps << few, job.steps << many)
        misaligned = Mux(self._lstm, job.destination[:few], job.destination[:many])
        m.d.comb += legal.eq(
            (job.steps != 0)
            & (~accumulates | (job.parameter + job.steps <= config.parameter_words))
            & (~accumulates | (job.accumulator < config.accumulators))
            & (self._is[Opcode.LINEAR] | (job.source + job.steps <= config.vector_words))
            & (~self._is[Opcode.ADD] | (job.source2 + job.steps <= config.vector_words))
            & (to_vector | to_activation)
            & (~to_vector | (job.destination + job.steps <= config.vector_words))
            & (~to_activation | (misaligned == 0))
            & (~to_activation | (job.destination + size <= config.activation_words * WEIGHTS_PER_WORD))
        )
        return legal

    def _control(self, m: Module, legal: Signal) -> None:
        """Take an instruction, check it in the next cycle, let its steps enter from then on."""
        job, checking, entering, left = self._job, Signal(), Signal(), Signal(12)
        m.d.comb += self.i.ready.eq(~self.busy)
        m.d.sync += checking.eq(0)
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [self.busy.eq(1), checking.eq(1), entering.eq(1)]
            self._latch(m)
        enters = Signal()
        steps = Mux(checking, job.steps, left)
        m.d.comb += enters.eq(entering & ~self.fault.any())
        m.d.sync += left.eq(steps - 1)
        with m.If(entering & (steps == 1)):
            m.d.sync += entering.eq(0)
        with m.If(checking & ~legal):
            m.d.comb += self.fault.eq(Fault.MEMORY_RANGE)
            m.d.sync += [self.busy.eq(0), entering.eq(0)]
        with m.If(self.done):
            m.d.sync += self.busy.eq(0)
        self._checking, self._enters, self._enters_last = checking, enters, enters & (steps == 1)

    def _latch(self, m: Module) -> None:
        """The operands of whichever opcode it is; what an opcode has not is chosen so that no check minds."""
        word, job = self.i.payload.word, self._job
        with m.Switch(word[:4]):
            for op in OPCODES:
                with m.Case(op):
                    values = {"opcode": op, "steps": 1, "target": Target.VECTOR, "destination": 0}
                    if op == Opcode.LSTM:
                        values["target"] = Target.ACTIVATION
                    values |= {f.name: operand(word, op, f.name) for f in isa.OPCODES[op].operands}
                    m.d.sync += [job[name].eq(value) for name, value in values.items()]

    def _stages(self, m: Module) -> None:
        """A valid and a last bit for each stage; an LSTM's alone go beyond the first write."""
        for bits, enters in ((self._valid, self._enters), (self._last, self._enters_last)):
            for n, bit in enumerate(bits):
                here = Cat(self._is[op] for op in OPCODES if ENTRY[op] == n).any() & enters
                before = Signal(name=f"{bit.name}_before")
                if n:
                    m.d.sync += before.eq(bits[n - 1] & (self._lstm if n > WRITE else 1))
                m.d.comb += bit.eq(here | before)
        written = Mux(self._lstm, self._valid[LSTM_WRITE], self._valid[WRITE])
        self._writes = Signal()
        m.d.comb += self._writes.eq(written)
        m.d.comb += self.done.eq(Mux(self._lstm, self._last[LSTM_WRITE], self._last[WRITE]))

    def _addresses(self, m: Module) -> None:
        """A counter for each memory; it moves on with each step that passes the stage where it is used."""
        job, config = self._job, self._config
        reads = Mux(self._is[Opcode.ADD], self._valid[ADD_READ], self._valid[CELL_READ])
        byte, word = Signal(16), Signal(16)
        bytes_a_step = Mux(self._lstm, config.units_per_step, config.vector_width)
        for address, first, moves, step in (
            (self.parameter.address, job.parameter, self._valid[0], 1),
            (self.read_a.address, job.source, reads, 1),
            (self.read_b.address, job.source2, reads, 1),
            (byte, job.destination, self._writes, bytes_a_step),
            (word, Mux(self._lstm, job.source, job.destination), self._writes, 1),
        ):
            count = Signal(len(first))
            m.d.comb += address.eq(Mux(self._checking, first, count))
            m.d.sync += count.eq(address + Mux(moves, step, 0))
        m.d.comb += self.vector_write.address.eq(word)
        m.d.comb += self.activation_write.address.eq(byte[4:])
        self._byte = byte[:4]

    def _preactivations(self, m: Module, vector_a, vector_b) -> list[Signal]:
        """Requantized accumulators, or an ADD's sums, at stage PREACTIVATION."""
        config, port = self._config, self.accumulator
        rows = [Signal(ROW, name=f"row_{n}") for n in range(config.vector_width)]
        taken_rows = [Signal(ROW, name=f"taken_row_{n}") for n in range(config.vector_width)]
        m.d.comb += port.begin.eq(self._checking & ~self._is[Opcode.ADD] & ~self._is[Opcode.COMPARE])
        m.d.comb += port.base.eq(self._job.accumulator)
        m.d.sync += Cat(rows).eq(self.parameter.data)
        m.d.sync += [taken.eq(row) for taken, row in zip(taken_rows, rows, strict=True)]
        lane_bits = (config.lanes - 1).bit_length()
        named = [data.View(ROW, word).lane[:lane_bits] for word in _split(self.parameter.data, ROW.size)]
        for n in range(config.lanes):
            m.d.sync += port.take[n].eq(Cat(lane == n for lane in named).any() & self._valid[TAKE - 1])

        lanes = Array(port.data[n] for n in range(config.lanes))  # cases: Verilator shifts wide words slowly
        values = []
        for n, row in enumerate(taken_rows):
            m.submodules[f"requantize_{n}"] = unit = Requantize()
            m.d.comb += [
                unit.accumulator.eq(lanes[row.lane[:lane_bits]]),
                unit.bias.eq(row.bias), unit.multiplier.eq(row.multiplier), unit.shift.eq(row.shift),
            ]  # fmt: skip
            total, value = Signal(signed(16)), Signal(signed(16))
            m.d.sync += total.eq(saturate(vector_a[n] + vector_b[n], 16))
            m.d.comb += value.eq(Mux(self._is[Opcode.ADD], total, unit.o))
            values.append(value)
        return values

    def _curves(self, m: Module, values: list[Signal]) -> list[Signal]:
        """The function of each element, at stage RESULT: an LSTM's rows are gates i, f, g, o of a unit."""
        results = []
        for n, value in enumerate(values):
            m.submodules[f"curve_{n}"] = curve = Curve()
            gate = Function.TANH if n % 4 == 2 else Function.SIGMOID
            m.d.comb += curve.x.eq(value)
            m.d.comb += curve.function.eq(Mux(self._lstm, Const(gate, 2), self._job.function))
            results.append(curve.y)
        return results

    def _cells(self, m: Module, gates: list[Signal], vector) -> tuple[list[Signal], list[Signal]]:
        """h and the new cell states of a step's units, at stage LSTM_WRITE."""
        hidden, cells = [], []
        for n in range(self._config.units_per_step):
            m.submodules[f"cell_{n}"] = unit = CellUpdate()
            ports = (unit.i, unit.f, unit.g, unit.o)
            m.d.comb += [port.eq(gate) for port, gate in zip(ports, gates[4 * n :], strict=False)]
            m.d.comb += unit.cell.eq(vector[n])
            hidden.append(unit.hidden)
            cells.append(unit.cell_next)
        return hidden, cells

    def _write_vector(self, m: Module, results: list[Signal], cells: list[Signal]) -> None:
        write, values = self.vector_write, Signal(len(self.vector_write.data))
        m.d.sync += values.eq(Cat(results))
        m.d.comb += [
            write.valid.eq(self._writes & (self._lstm | (self._job.target == Target.VECTOR))
                           & ~self._is[Opcode.COMPARE]),
            write.enable.eq(1),
            write.data.eq(Mux(self._lstm, Cat(cells), values)),
        ]  # fmt: skip

    def _write_activation(self, m: Module, results: list[Signal], hidden: list[Signal]) -> None:
        """A step's bytes, repeated over the word: `enable` chooses where they go."""
        write, job = self.activation_write, self._job
        is_gate = (job.function == Function.SIGMOID) | (job.function == Function.TANH)
        values = []
        for result in results:
            value = Signal(signed(8))
            gate = rounded(result, GATE_FRACTION - ACTIVATION_FRACTION)
            plain = rounded(result, PREACTIVATION_FRACTION - ACTIVATION_FRACTION)
            m.d.sync += value.eq(saturate(Mux(is_gate, gate, plain), 8))
            values.append(value)
        enables = Mux(self._lstm, (1 << len(hidden)) - 1, (1 << len(values)) - 1)
        m.d.comb += [
            write.valid.eq(self._writes & (job.target == Target.ACTIVATION)),
            write.enable.eq(enables << self._byte),
            write.data.eq(Mux(self._lstm, _repeat(hidden), _repeat(values))),
        ]

    def _compare(self, m: Module, vector) -> None:
        job, write = self._job, self.predicate_write
        above = Signal()
        m.d.sync += above.eq(vector[0] > job.threshold)
        m.d.comb += [
            write.valid.eq(self._writes & self._is[Opcode.COMPARE]),
            write.index.eq(job.predicate),
            write.value.eq(above),
            self.value.eq(Mux(self._is[Opcode.COMPARE], above, job.steps)),
        ]


def _split(word, size: int) -> list:
    return [word[n : n + size] for n in range(0, len(word), size)]


def _repeat(values: list[Signal]):
    return Cat(values).replicate(WEIGHTS_PER_WORD // len(values))
