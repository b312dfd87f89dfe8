"""ossicle compile: a checkpoint to a program."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from ossicle.compiler.importer import import_checkpoint
from ossicle.compiler.optimize import LATENCY, compile_for
from ossicle.compiler.report import format_report
from ossicle.hw.config import NpuConfig
from ossicle.runtime.commands.scheduling import (
    AUTO_CHUNK,
    ChunkOption,
    OptimizeOption,
    print_schedule,
    schedule_request,
)
from ossicle.runtime.console import JsonOption, check_output, print_json, progress_bar, write_whole
from ossicle.runtime.programs import DEFAULT_NPU


def compile(
    checkpoint: Annotated[Path, typer.Argument(metavar="CHECKPOINT", help="A .safetensors checkpoint.")],
    npu: Annotated[
        str, typer.Option(metavar="NAME|FILE", help="small, base, large, or a TOML file.")
    ] = DEFAULT_NPU,
    output: Annotated[Path, typer.Option("--output", "-o", help="The program to write.")] = Path(
        "program.npu"
    ),
    optimize: OptimizeOption = LATENCY,
    chunk: ChunkOption = AUTO_CHUNK,
    as_json: JsonOption = False,
) -> None:
    """Compile a checkpoint into a program for one processor."""
    check_output(output)
    request = schedule_request(optimize, chunk)
    config = NpuConfig.load(npu)
    with progress_bar(as_json) as bar:
        bar.task(f"compiling {checkpoint} for {config.name}")
        program = compile_for(import_checkpoint(checkpoint), config, request)
    content = program.to_bytes()
    write_whole(output, content)
    layers, schedule = program.meta["report"]["layers"], program.meta["report"]["schedule"]
    if as_json:
        print_json(
            {
                "program": output,
                "bytes": len(content),
                "npu": config.name,
                "layers": layers,
                "schedule": schedule,
            }
        )
        return
    print(format_report(layers))
    print_schedule(schedule)
    print(f"{output}: {len(content):,} bytes for {config.name}")
