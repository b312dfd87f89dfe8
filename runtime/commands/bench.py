"""ossicle bench: how fast the simulators are, and how well the processor uses its lanes."""

from __future__ import annotations

from typing import Annotated

import typer
from ossicle.hw.config import NpuConfig
from ossicle.runtime.console import (
    EngineOption,
    Failure,
    JsonOption,
    NpuOption,
    check_engine,
    print_json,
    print_table,
    progress_bar,
)
from ossicle.runtime.programs import DEFAULT_NPU

SUBJECTS = ("rtl", "fast", "gemv")


def bench(
    subject: Annotated[str, typer.Argument(metavar="{rtl,fast,gemv}", help="What to measure.")],
    engine: EngineOption = "fast",
    npu: NpuOption = None,
    lanes: Annotated[int | None, typer.Option(help="gemv: lanes in place of the processor's.")] = None,
    rows: Annotated[int, typer.Option(help="gemv: rows of the matrix.")] = 2048,
    cols: Annotated[int, typer.Option(help="gemv: columns of the matrix.")] = 1024,
    as_json: JsonOption = False,
) -> None:
    """Measure simulated cycles a second (rtl, fast), or a sparse product against the ideal (gemv)."""
    if subject not in SUBJECTS:
        raise Failure(f"there is no benchmark {subject!r}; use {', '.join(SUBJECTS)}")
    check_engine(engine, ("fast", "rtl"))
    if min(rows, cols) < 1:
        raise Failure(f"a matrix of {rows} x {cols} is not possible; use 1 or more rows and columns")
    from ossicle.sim import benchmarks

    config = NpuConfig.load(npu or DEFAULT_NPU)
    if lanes is not None:
        config = with_lanes(config, lanes)
    with progress_bar(as_json) as bar:
        bar.task(f"measuring {subject} on {config.name}")
        if subject == "gemv":
            found = benchmarks.gemv(engine=engine, config=config, rows=rows, cols=cols)
        else:
            found = getattr(benchmarks, subject)(config=config)
    if as_json:
        about = {"engine": engine, "npu": config.name, "lanes": config.lanes}
        print_json(about | {"rows": found} if subject == "gemv" else found[0])
    else:
        print_table(f"{subject} on {config.name}", found)


def with_lanes(config: NpuConfig, lanes: int) -> NpuConfig:
    """The processor with another number of lanes; what may not exceed it follows.

    Raises:
        ConfigError: no such number of lanes.
    """
    return config.replace(
        name=f"{config.name}-{lanes}",
        lanes=lanes,
        decoder_streams=min(config.decoder_streams, max(lanes, 1)),
        vector_width=min(config.vector_width, max(lanes, 4)),
    )
