"""A choice whose condition is known last.

Yosys takes the outputs of carry chains for as early as registers when it orders gates, and so puts a
condition that comes out of one in front of all that it meets. A module of its own keeps it behind.
"""

from __future__ import annotations

from amaranth.hdl import Module, Mux
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out


class LateChoice(wiring.Component):
    """o = yes where `late`, else no."""

    def __init__(self, bits: int = 1):
        super().__init__({"late": In(1), "yes": In(bits), "no": In(bits), "o": Out(bits)})

    def elaborate(self, platform):
        m = Module()
        m.d.comb += self.o.eq(Mux(self.late, self.yes, self.no))
        return m
