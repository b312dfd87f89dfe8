"""Options of the commands that compile: what the schedule is for, and what a person is told of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import typer
from ossicle.compiler.optimize import ENERGY, OBJECTIVES, Request
from ossicle.compiler.program import Program
from ossicle.runtime.console import Failure, print_table
from ossicle.sim.energy import EnergyTable

AUTO_CHUNK = "auto"

OptimizeOption = Annotated[
    str,
    typer.Option(
        "--optimize",
        metavar="|".join(OBJECTIVES),
        help="latency: a step of the encoder at a time; traffic, energy: several on the same weights.",
    ),
]
ChunkOption = Annotated[str, typer.Option("--chunk", metavar="N|auto", help="Steps of the encoder in a job.")]


def schedule_request(optimize: str, chunk: str) -> Request:
    """What was asked for.

    Raises:
        Failure, CompileError: an objective or a chunk that there is not.
    """
    if chunk != AUTO_CHUNK and not (chunk.isascii() and chunk.isdigit()):
        raise Failure(f"--chunk {chunk} is not possible; use a number of steps, or {AUTO_CHUNK}")
    price = EnergyTable.load().estimate if optimize == ENERGY else None
    return Request(optimize, None if chunk == AUTO_CHUNK else int(chunk), price)


def wanted(optimize: str, chunk: str) -> Request | None:
    """As `schedule_request`; None for the schedule that every program has unless another is asked for."""
    request = schedule_request(optimize, chunk)
    return None if request == Request() else request


def schedule_of(program: Program) -> dict | None:
    """The compiler's account of its choice: see `ossicle.compiler.optimize.describe`."""
    return program.meta.get("report", {}).get("schedule")


def schedule_lines(schedule: dict | None) -> Iterator[str]:
    """One line on what was chosen and why."""
    if schedule is None:
        return
    steps, waits = schedule["chunk"], schedule["added_latency_ms"]
    size = "1 step" if steps == 1 else f"{steps} steps"
    added = "" if waits is None else f", added latency {waits:.1f} ms"
    yield f"schedule for {schedule['objective']}: {size} a job{added}: {schedule['why']}"


def print_schedule(schedule: dict) -> None:
    """Candidates, layers of the encoder's job, and the choice."""
    rows = [
        {
            "chunk": row["chunk"],
            "weight bytes/s": row["bytes_per_second"],
            "cycles/step": row["cycles_per_step"],
            "uJ/s": row["uj_per_second"],
            "added ms": row["added_latency_ms"],
            "": row["refused"] or ("chosen" if row["chunk"] == schedule["chunk"] else ""),
        }
        for row in schedule["candidates"]
    ]
    print_table("schedules, estimated", rows)
    print_table("the encoder's job, by layer", schedule["layers"])
    print("\n".join(schedule_lines(schedule)))
