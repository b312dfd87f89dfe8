"""Verilog of a processor: `python -m ossicle.hw.verilog base > npu.v`."""

from __future__ import annotations

import re
import sys

from amaranth.back import verilog
from amaranth.lib import wiring
from ossicle.hw.config import ConfigError, NpuConfig
from ossicle.hw.core import Npu
from ossicle.hw.pins import SerialPins
from ossicle.hw.shared import collected

# Memories start undefined on silicon; their zeros would be most of the text.
ZERO_WORD = re.compile(r"^ +\S+\[\d+\] = \d+'(?:h0+|d0);\n", re.MULTILINE)
EMPTY_INITIAL = re.compile(r"^ +initial begin\n +end\n", re.MULTILINE)


def generate(config: NpuConfig) -> str:
    """Verilog text of `Npu(config)`, top module `npu`."""
    return generate_component(Npu(config=config), "npu")


def generate_between_registers(config: NpuConfig) -> str:
    """Verilog text of the processor between shift registers in place of pins, top module `pins`."""
    return generate_component(SerialPins(Npu(config=config)), "pins")


def generate_component(component: wiring.Component, name: str) -> str:
    """Verilog text of any component and of the modules it shares, top module `name`."""
    collected()
    texts, waiting, written = [], {name: component}, set()
    while waiting:
        module, part = waiting.popitem()
        written.add(module)
        texts.append(verilog.convert(part, name=module, strip_internal_attrs=True, emit_src=False))
        waiting |= {n: c for n, c in collected().items() if n not in written}
    return EMPTY_INITIAL.sub("", ZERO_WORD.sub("", "\n".join(texts)))


def main() -> int:
    if len(sys.argv) != 2:
        print("usage: python -m ossicle.hw.verilog PRESET|FILE.toml", file=sys.stderr)
        return 2
    try:
        print(generate(NpuConfig.load(sys.argv[1])))
    except ConfigError as error:
        print(f"ossicle: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
