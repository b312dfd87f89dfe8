"""Verilog of a processor: `python -m ossicle.hw.verilog base > npu.v`."""

from __future__ import annotations

import sys

from amaranth.back import verilog

from ossicle.hw.config import ConfigError, NpuConfig
from ossicle.hw.core import Npu


def generate(config: NpuConfig) -> str:
    """Verilog text of `Npu(config)`, top module `npu`."""
    return verilog.convert(Npu(config=config), name="npu", strip_internal_attrs=True, emit_src=False)


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
