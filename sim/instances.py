"""Instances of a module as Verilator compiles them once: what each has of its own is assigned from outside.

Verilator writes a function for each instance where they differ, and they differ where an input is some
other signal for each: it reads that signal in the input's place, or assigns the input among what belongs
to the instance. Assigned by the module around it, by a value that Verilator's data-flow graphs leave alone
(`$c`), such an input is a variable of the instance, and the functions are one and the same. What the
simulator runs in a cycle is then no longer many times what the processor's instruction cache holds.
"""

from __future__ import annotations

import re

OWN = {"npu_lane": ("halves", "take", "weight__address", "weight__data", "weight__valid")}
"""Inputs by module that are each instance's own; the others are the same for all."""

INSTANCE = re.compile(
    r"^  (?P<module>\w+) (?P<name>\\\S+ |\w+) *\(\n(?P<ports>(?:    \.\w+\(.*\),?\n)+)  \);\n", re.MULTILINE
)
PORT = re.compile(r"^    \.(?P<port>\w+)\((?P<value>.*)\),?\n", re.MULTILINE)


def compiled_once(verilog: str) -> str:
    """The same Verilog, for Verilator alone: each input in `OWN` is assigned, not connected."""
    return INSTANCE.sub(_assigned_from_outside, verilog)


def _assigned_from_outside(found: re.Match) -> str:
    own = OWN.get(found["module"], ())
    ports = {port["port"]: port["value"] for port in PORT.finditer(found["ports"])}
    if not own or set(own) - set(ports):
        return found[0]
    connected = ",\n".join(f"    .{port}({value})" for port, value in ports.items() if port not in own)
    assigned = "".join(
        f"  assign {found['name']}.{port} = $c1(\"1\") ? {ports[port]} : 1'd0;\n" for port in own
    )
    return f"  {found['module']} {found['name']}(\n{connected}\n  );\n{assigned}"
