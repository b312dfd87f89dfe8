"""Integer arithmetic of `hw.numerics` as hardware: expressions, and pipelines with a `latency` in cycles."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out
from ossicle.hw import numerics
from ossicle.hw.isa import Function


def round_half_even(value: Value, shift: int) -> Value:
    """value / 2**shift of a signed value, `shift` constant and positive: `numerics.round_shift`."""
    floor = value[shift:].as_signed()
    return floor + _rounds_up(floor, value[shift - 1], value[: shift - 1].any())


def saturate(value: Value, bits: int) -> Value:
    """A signed value clamped to `bits` bits: `numerics.saturate`."""
    above = value[bits - 1 :]
    fits = above.all() | ~above.any()
    limit = Cat((~value[-1]).replicate(bits - 1), value[-1])
    return Mux(fits, value[:bits], limit).as_signed()


def _rounds_up(floor: Value, half: Value, more: Value) -> Value:
    return half & (more | floor[0])


def delay(m: Module, value: Value, cycles: int) -> Value:
    """`value` as it was `cycles` cycles ago."""
    for _ in range(cycles):
        later = Signal(value.shape())
        m.d.sync += later.eq(value)
        value = later
    return value


class Requantize(wiring.Component):
    """o = saturate16(round((accumulator + bias) * multiplier / 2**shift)), a value a cycle.

    Equal to `numerics.requantize` for every 32-bit accumulator and bias and every shift of 0..63.
    """

    latency = 7

    accumulator: In(signed(32))
    bias: In(signed(32))
    multiplier: In(16)
    shift: In(6)
    o: Out(signed(16))

    def elaborate(self, platform):
        m = Module()
        accumulator, bias = delay(m, self.accumulator, 1), delay(m, self.bias, 1)
        total = Signal(signed(33))
        m.d.sync += total.eq(accumulator + bias)
        product = self._multiply(m, total, delay(m, self.multiplier, 2))
        value, half, more = self._shift(m, product, delay(m, self.shift, 4))
        m.d.sync += self.o.eq(saturate(value + _rounds_up(value, half, more), 16))
        return m

    def _multiply(self, m: Module, total: Value, multiplier: Value) -> Value:
        """Two cycles: the halves fit an 18-bit multiplier each, then their sum."""
        low, high = Signal(unsigned(33)), Signal(signed(32))
        product = Signal(signed(49))
        m.d.sync += low.eq(total[:17] * multiplier)
        m.d.sync += high.eq(total[17:].as_signed() * multiplier)
        m.d.sync += product.eq(low + (high << 17))
        return product

    def _shift(self, m: Module, product: Value, shift: Value) -> tuple[Value, Value, Value]:
        """Two cycles: floor(product / 2**shift), the bit below it, whether any lower bit was set."""
        shift_fine = delay(m, shift, 1)
        value, more = Cat(0, product).as_signed(), 0
        for bit in reversed(range(6)):
            chosen = shift[bit] if bit >= 3 else shift_fine[bit]
            more = more | (value[: 1 << bit].any() & chosen)
            value = Mux(chosen, value >> (1 << bit), value).as_signed()
            if bit in (3, 0):
                value_next, more_next = Signal(signed(50)), Signal()
                m.d.sync += value_next.eq(value), more_next.eq(more)
                value, more = value_next, more_next
        return value[1:].as_signed(), value[0], more


SEGMENT = data.StructLayout({"value": 15, "delta": 11})
"""A segment of an interpolation table: both tables fit, their deltas are never negative."""


def _segments(*tables: tuple[numerics.Int, numerics.Int]) -> list[dict[str, int]]:
    rows = [row for table in tables for row in zip(*table, strict=True)]
    return [{"value": int(value), "delta": int(delta)} for value, delta in rows]


class Curve(wiring.Component):
    """y = function(x): `isa.Function` by `numerics`, a value a cycle. Q4.11 in; sigmoid, tanh Q0.15 out.

    `function` must hold still while values are under way. With `only_tanh` there is no choice.
    """

    latency = 3

    def __init__(self, *, only_tanh: bool = False):
        self.only_tanh = only_tanh
        super().__init__({"x": In(signed(16)), "function": In(Function), "y": Out(signed(16))})

    def elaborate(self, platform):
        m = Module()
        fraction = self._look_up(m)
        segment, negative = self._segment, delay(m, self.x[-1], 2)
        scaled, value = Signal(17), Signal(15)
        m.d.sync += scaled.eq(segment.delta * delay(m, fraction, 1)), value.eq(segment.value)
        magnitude = Signal(16)
        m.d.comb += magnitude.eq(value + scaled[numerics.TABLE_STEP_BITS :])
        self._finish(m, magnitude, negative)
        return m

    def _look_up(self, m: Module) -> Value:
        """Present the segment of |x| to the table, give the fraction within it."""
        tanh = (numerics.TANH_VALUE, numerics.TANH_DELTA)
        sigmoid = (numerics.SIGMOID_VALUE, numerics.SIGMOID_DELTA)
        segments = _segments(tanh) if self.only_tanh else _segments(sigmoid, tanh)
        m.submodules.table = table = memory.Memory(shape=SEGMENT, depth=len(segments), init=segments)
        port = table.read_port()
        self._segment = port.data
        magnitude, clamped = Signal(16), Signal(14)
        m.d.comb += magnitude.eq(Mux(self.x < 0, -self.x, self.x))
        m.d.comb += clamped.eq(magnitude[:14] | magnitude[14:].any().replicate(14))
        which = () if self.only_tanh else (self.function == Function.TANH,)
        m.d.comb += port.addr.eq(Cat(clamped[numerics.TABLE_STEP_BITS :], *which))
        return clamped[: numerics.TABLE_STEP_BITS]

    def _finish(self, m: Module, magnitude: Value, negative: Value) -> None:
        """sigmoid(-x) = 1 - sigmoid(x); tanh(-x) = -tanh(x)."""
        if self.only_tanh:
            m.d.sync += self.y.eq(Mux(negative, -magnitude, magnitude))
            return
        x = delay(m, self.x, 2)
        with m.Switch(self.function):
            with m.Case(Function.IDENTITY):
                m.d.sync += self.y.eq(x)
            with m.Case(Function.RELU):
                m.d.sync += self.y.eq(Mux(negative, 0, x))
            with m.Default():
                one = (self.function == Function.SIGMOID) << numerics.GATE_FRACTION
                m.d.sync += self.y.eq(Mux(negative, one - magnitude, magnitude))


class CellUpdate(wiring.Component):
    """cell', hidden = `numerics.lstm_cell` from gates after their functions (Q0.15), a unit a cycle.

    `i`, `f`, `o` (sigmoid), `g` (tanh) and `cell` belong to one cycle, `cell_next` and `hidden` to another.
    """

    latency = 8

    i: In(signed(16))
    f: In(signed(16))
    g: In(signed(16))
    o: In(signed(16))
    cell: In(signed(16))
    cell_next: Out(signed(16))
    hidden: Out(signed(8))

    def elaborate(self, platform):
        m = Module()
        align = numerics.GATE_FRACTION - numerics.PREACTIVATION_FRACTION
        kept, written, total = Signal(signed(32)), Signal(signed(32)), Signal(signed(37))
        m.d.sync += kept.eq(self.f * self.cell), written.eq(self.i * self.g)
        m.d.sync += total.eq((kept << align) + written)
        cell = Signal(signed(16))
        drop = 2 * numerics.GATE_FRACTION - numerics.PREACTIVATION_FRACTION
        m.d.sync += cell.eq(saturate(round_half_even(total, drop), 16))

        m.submodules.tanh = tanh = Curve(only_tanh=True)
        m.d.comb += tanh.x.eq(cell)
        product = Signal(signed(32))
        m.d.sync += product.eq(delay(m, self.o, 6) * tanh.y)
        drop = 2 * numerics.GATE_FRACTION - numerics.ACTIVATION_FRACTION
        m.d.sync += self.hidden.eq(saturate(round_half_even(product, drop), 8))
        m.d.comb += self.cell_next.eq(delay(m, cell, 5))
        return m
