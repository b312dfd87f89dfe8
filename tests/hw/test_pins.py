"""SerialPins: bits shifted in arrive at the inputs in order, and every output bit changes what comes out."""

from __future__ import annotations

import numpy as np
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.sim import Simulator
from ossicle.hw.arithmetic import Requantize
from ossicle.hw.pins import SerialPins
from ossicle.hw.verilog import generate_component

SIZES = {"a": 3, "b": 5}
CYCLES = 60


class Mixer(wiring.Component):
    """Outputs of its inputs; `flipped` inverts one bit of one output."""

    def __init__(self, flipped: int | None = None):
        self._flipped = flipped
        super().__init__({"a": In(3), "b": In(5), "sum": Out(6), "all": Out(8)})

    def elaborate(self, platform):
        m = Module()
        flip = 0 if self._flipped is None else 1 << self._flipped
        m.d.comb += [self.sum.eq((self.a + self.b) ^ flip), self.all.eq(self.a * self.b ^ flip >> 6)]
        return m


def run(component: wiring.Component, bits: list[int], look) -> list:
    """What `look` reads in each cycle while the bits go in."""
    pins, found = SerialPins(component), []
    simulator = Simulator(pins)
    simulator.add_clock(1e-6)

    async def drive(context):
        for bit in bits:
            context.set(pins.i, bit)
            await context.tick()
            found.append(look(context, pins))

    simulator.add_testbench(drive)
    simulator.run()
    return found


def test_inputs_are_the_last_bits():
    bits = np.random.default_rng(1).integers(0, 2, CYCLES).tolist()
    mixer = Mixer()
    seen = run(mixer, bits, lambda context, pins: (context.get(mixer.a), context.get(mixer.b)))
    for n, (a, b) in list(enumerate(seen))[8:]:
        newest_first = bits[n - 7 : n + 1][::-1]
        word = sum(bit << i for i, bit in enumerate(newest_first))
        assert (a, b) == (word & 7, word >> 3)


def test_every_output_bit_is_seen():
    bits = np.random.default_rng(2).integers(0, 2, CYCLES).tolist()
    outputs = [run(Mixer(n), bits, lambda context, pins: context.get(pins.o)) for n in (None, *range(14))]
    assert len({tuple(o) for o in outputs}) == len(outputs)


def test_four_pins_are_left():
    text = generate_component(SerialPins(Requantize()), "pins")
    header = next(line for line in text.splitlines() if line.startswith("module pins("))
    assert sorted(header.partition("(")[2].rstrip(");").split(", ")) == ["clk", "i", "o", "rst"]
