"""ossicle verify: the simulators and the Verilog against one another."""

from __future__ import annotations

import json
from itertools import count
from pathlib import Path
from typing import Annotated

import typer
from ossicle.compiler.program import Program
from ossicle.hw.config import NpuConfig
from ossicle.runtime.console import Failure, JsonOption, NpuOption, print_json, progress_bar

RANDOM_CONFIGS = ("small", "base")


def verify(
    program: Annotated[Path | None, typer.Argument(metavar="[PROGRAM]", help="A .npu program.")] = None,
    random: Annotated[int, typer.Option(metavar="N", help="N random programs in place of one of yours.")] = 0,
    seed: Annotated[int, typer.Option(help="Of the random programs.")] = 0,
    npu: NpuOption = None,
    rtl: Annotated[bool, typer.Option(help="Compare with the Verilog too.")] = True,
    as_json: JsonOption = False,
) -> None:
    """Check that functional, fast and RTL agree: every output word, every cycle, every counter."""
    from ossicle.sim.verify import verify_program, verify_random

    if random < 0 or (random == 0) == (program is None):
        raise Failure("give a program, or --random N with N of 1 or more")
    with progress_bar(as_json) as bar:
        if program is not None:
            loaded = Program.load(program, NpuConfig.load(npu) if npu else None)
            bar.task(f"verifying {program}")
            found = verify_program(loaded, loaded.config, seed=seed, rtl=rtl)
        else:
            configs = [NpuConfig.load(name) for name in ([npu] if npu else RANDOM_CONFIGS)]
            bar.task(f"verifying {random} random programs")
            done = count(1)
            found = verify_random(
                random, seed, configs, rtl=rtl, progress=lambda: bar.step(next(done), random)
            )
    if as_json:
        print_json(found)
    else:
        for name, value in found.items():
            print(
                f"{name}: {value if isinstance(value, str | int | float) else json.dumps(value, default=str)}"
            )
    if found.get("value_differences") or found.get("cycle_differences"):
        raise typer.Exit(1)
