"""ossicle disasm: a program as text."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from ossicle.compiler.program import Program
from ossicle.runtime.console import JsonOption, print_json


def disasm(
    program: Annotated[Path, typer.Argument(metavar="PROGRAM", help="A .npu program.")],
    as_json: JsonOption = False,
) -> None:
    """Print a program's sections, symbols and instructions."""
    loaded = Program.load(program)
    if not as_json:
        print(loaded)
        return
    entries = {
        name: [
            {"text": str(made), "op": origin.op, "layer": origin.layer}
            for made, origin in zip(loaded.instructions(name), loaded.debug[name], strict=True)
        ]
        for name in loaded.entries
    }
    symbols = {
        s.name: {"address": s.address, "dtype": s.dtype, "slots": s.slots} for s in loaded.symbols.values()
    }
    print_json({"program": program, "npu": loaded.config.name, "symbols": symbols, "entries": entries})
