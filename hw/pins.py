"""A component between registers in place of pins: what is placed and routed to learn its speed.

    i -> shift register -> inputs | component | outputs -> exclusive or into a shift register -> o

The processor's buses have more signals than a package has pins. Between registers its own paths set the
clock, no pad's; every input can take any value, every output is seen at `o`: synthesis removes nothing.
"""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out


class SerialPins(wiring.Component):
    """Args: component: any component with an input and an output; it becomes the submodule `inside`.

    Ports:
        i: next bit of the inputs. o: a mixture of all outputs so far.
    """

    def __init__(self, component: wiring.Component):
        self._component = component
        super().__init__({"i": In(1), "o": Out(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.inside = component = self._component
        ports = [(member.flow, value) for _, member, value in component.signature.flatten(component)]
        inputs = Cat(value for flow, value in ports if flow == In)
        outputs = Cat(value for flow, value in ports if flow == Out)
        shifted, mixed = Signal(len(inputs)), Signal(len(outputs))
        m.d.comb += [inputs.eq(shifted), self.o.eq(mixed[-1])]
        m.d.sync += [
            shifted.eq(Cat(self.i, shifted[:-1])),
            mixed.eq(outputs ^ Cat(Const(0, 1), mixed[:-1])),
        ]
        return m
