"""Components written to Verilog once and instantiated many times.

Amaranth writes a module for each instance. The lanes are most of the processor and all alike: written
once, they make elaboration, Verilator and Yosys faster by an order of magnitude.
"""

from __future__ import annotations

from amaranth.hdl import ClockSignal, Instance, Module, ResetSignal
from amaranth.lib import wiring
from amaranth.lib.wiring import In

_collected: dict[str, wiring.Component] = {}


def collected() -> dict[str, wiring.Component]:
    """Components met by the elaborations since the last call, by module name."""
    found = dict(_collected)
    _collected.clear()
    return found


class Shared(wiring.Component):
    """One instance of a component whose module is shared: the component's ports, and `clear`, a reset.

    Args:
        component: any instance of the component; instances of one name must have equal parameters.
        module: name of the Verilog module.
    """

    def __init__(self, component: wiring.Component, *, module: str):
        self._component, self._module = component, module
        super().__init__(dict(component.signature.members) | {"clear": In(1)})

    def elaborate(self, platform):
        m = Module()
        _collected[self._module] = self._component
        ports = {}
        for path, member, value in self._component.signature.flatten(self):
            ports["{}_{}".format("i" if member.flow == In else "o", "__".join(map(str, path)))] = value
        m.submodules.instance = Instance(
            self._module, i_clk=ClockSignal(), i_rst=ResetSignal(allow_reset_less=True) | self.clear, **ports
        )
        return m
