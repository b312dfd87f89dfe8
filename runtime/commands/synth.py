"""ossicle synth: what the processor takes of an FPGA, and the clock it reaches there."""

from __future__ import annotations

from typing import Annotated

import typer
from ossicle.hw.config import NpuConfig
from ossicle.runtime.console import Bar, Failure, JsonOption, print_json, print_table, progress_bar
from ossicle.sim import synthesis, yowasp
from ossicle.sim.timing_report import Timing
from ossicle.sim.utilization import COLUMNS, MemoryUse, Part

DEFAULT_NPU = "small"
FINDING = 1


def synth(
    npu: Annotated[
        str, typer.Option("--npu", "--config", help="A preset, or a TOML file.", metavar="NAME|FILE")
    ] = DEFAULT_NPU,
    device: Annotated[
        str, typer.Option(help=f"ECP5: {', '.join(synthesis.DEVICES)}.", metavar="NAME")
    ] = "85k",
    grade: Annotated[
        int, typer.Option(help="Speed grade of the device: 6 (the slowest), 7 or 8.")
    ] = synthesis.GRADES[0],
    place: Annotated[bool, typer.Option(help="Place and route it too, which gives the clock.")] = True,
    flat: Annotated[
        bool,
        typer.Option("--flat", help="Place a netlist optimized across the parts' borders: more minutes."),
    ] = False,
    seed: Annotated[int, typer.Option(help="Of the placement; another finds another clock.")] = 1,
    minutes: Annotated[
        float | None, typer.Option("--timeout", help="Minutes that each of the two tools may take.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Synthesize the processor's Verilog for an ECP5: LUTs, DSPs, memories and clock, by part.

    Takes minutes; what is done is kept, and a run that was stopped goes on from there. Exit status 1: it does
    not fit the device, or does not reach its clock, or a large memory is in no block RAM.
    """
    if device not in synthesis.DEVICES:
        raise Failure(f"there is no device {device!r}; use {', '.join(synthesis.DEVICES)}")
    if grade not in synthesis.GRADES:
        raise Failure(f"--grade {grade} is not sold; use {', '.join(map(str, synthesis.GRADES))}")
    if minutes is not None and minutes <= 0:
        raise Failure(f"--timeout {minutes:g} is not possible; use minutes above 0")
    config, seconds = NpuConfig.load(npu), None if minutes is None else 60 * minutes
    if flat and not place:
        raise Failure("--flat is a way to place and route; leave --no-place out")
    synthesis.check_tools(place)
    timing = None
    with progress_bar(as_json) as bar:
        follow = Follow(bar)
        bar.task(f"Verilog of {config.name}, {config.lanes} lanes")
        made = synthesis.synthesize(config, seconds=seconds, progress=follow)
        short = made.short(synthesis.DEVICES[device])
        if place and not short:
            timing = synthesis.place(
                made,
                device,
                clock_mhz=config.clock_mhz,
                grade=grade,
                flat=flat,
                seed=seed,
                seconds=seconds,
                progress=follow,
            )
    row = _row(config, device, made, timing) | {"grade": grade, "flat": flat, "seed": seed}
    if as_json:
        print_json(row)
    else:
        _print(row)
    if row["findings"]:
        raise typer.Exit(FINDING)


class Follow:
    """Progress of the stages on a `Bar`: a task whenever what is done changes."""

    def __init__(self, bar: Bar) -> None:
        self._bar, self._doing = bar, ""

    def __call__(self, doing: str, done: int, total: int) -> None:
        if doing != self._doing:
            self._bar.task(doing)
            self._doing = doing
        if total:
            self._bar.step(done, total)


def _row(config: NpuConfig, device: str, made: synthesis.Synthesis, timing: Timing | None) -> dict:
    """All that was found, as --json prints it."""
    has = synthesis.DEVICES[device]
    row = {
        "npu": config.name, "device": has.part, "tools": {tool: yowasp.version(tool) for tool in
        (yowasp.TOOLS if timing else ("yosys",))}, "parts": _parts(made.parts, timing),
        "memories": [_memory(m) for m in made.memories], "total": made.whole, "around": made.pins,
        "device_has": has.has, "clock_mhz": config.clock_mhz, "fmax_mhz": None, "critical_path": None,
    }  # fmt: skip
    if timing:
        row |= {
            "fmax_mhz": timing.fmax_mhz, "critical_path": [vars(s) for s in timing.critical],
            "placed": {name: {"used": used, "there": there} for name, (used, there) in timing.used.items()},
        }  # fmt: skip
    return row | {"findings": _findings(config, has, made, timing)}


def _findings(
    config: NpuConfig, device: synthesis.Device, made: synthesis.Synthesis, timing: Timing | None
) -> list[str]:
    found = [
        f"does not fit {device.part}: {needed:,} {name}, there are {there:,}"
        for name, (needed, there) in made.short(device).items()
    ]
    found += [
        f"{memory.path}, {memory.width * memory.words:,} bits, went into {memory.kind}"
        for memory in made.memories
        if memory.misplaced
    ]
    if timing and timing.fmax_mhz < config.clock_mhz:
        found.append(f"{timing.fmax_mhz:.1f} MHz is below the {config.clock_mhz} MHz of {config.name}")
    return found


def _parts(parts: list[Part], timing: Timing | None) -> list[dict]:
    """Rows of the table: what lies between the parts is what the processor has beyond them."""
    whole, *inner = sorted(parts, key=lambda part: part.path)
    rest = whole.row()
    for part in inner:
        if "." not in part.path:
            rest = {name: rest[name] - count for name, count in part.row().items()}
    rows = [(part.path, part.count, part.row()) for part in inner] + [("between them", 1, rest)]
    worst = timing.worst_ns if timing else {}
    return [
        {"part": path, "instances": count, **cells,
         "longest ns": worst.get("" if path == "between them" else path)}
        for path, count, cells in rows
    ]  # fmt: skip


def _memory(memory: MemoryUse) -> dict:
    return {
        "memory": memory.path, "instances": memory.count, "words": memory.words, "width": memory.width,
        "in": memory.kind, "cells": memory.cells, "bits a cell": round(memory.bits / memory.cells),
    }  # fmt: skip


def _print(row: dict) -> None:
    shown = [p for p in row["parts"] if "." not in p["part"] or p["instances"] > 1]
    total = {"part": "all", "instances": 1, **row["total"], "longest ns": None}
    there = {"part": row["device"], "instances": 1, **{n: row["device_has"].get(n) for n in COLUMNS}}
    print_table(f"{row['npu']} on {row['device']}, by part", [*shown, total, there | {"longest ns": None}])
    print_table("memories", row["memories"])
    if row["fmax_mhz"]:
        _print_path(row)
    for finding in row["findings"]:
        print(finding)


def _print_path(row: dict) -> None:
    path = row["critical_path"]
    kinds: dict[str, float] = {}
    for segment in path:
        kinds[segment["kind"]] = kinds.get(segment["kind"], 0) + segment["ns"]
    print(
        f"{row['fmax_mhz']:.1f} MHz placed and routed, speed grade {row['grade']}; "
        f"the clock of {row['npu']} is {row['clock_mhz']} MHz"
    )
    print(f"  longest path: {path[0]['begin']} -> {path[-1]['end']}")
    print("  " + ", ".join(f"{kind} {ns:.2f} ns" for kind, ns in kinds.items()))
