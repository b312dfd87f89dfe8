"""ossicle profile: where the cycles of an utterance go, layer by layer."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer
from ossicle.compiler.optimize import LATENCY
from ossicle.compiler.program import Program
from ossicle.hw.config import NpuConfig
from ossicle.runtime.audio import read_audio
from ossicle.runtime.commands.scheduling import (
    AUTO_CHUNK,
    ChunkOption,
    OptimizeOption,
    schedule_lines,
    schedule_of,
    wanted,
)
from ossicle.runtime.commands.transcribe import device_options, starting
from ossicle.runtime.console import (
    EngineOption,
    Failure,
    JsonOption,
    ModelOption,
    NpuOption,
    check_engine,
    check_output,
    print_json,
    print_table,
    progress_bar,
    write_whole,
)
from ossicle.runtime.limits import limits
from ossicle.runtime.profile import Profile, energy_column, layer_table
from ossicle.runtime.programs import load_program
from ossicle.runtime.recognizer import Recognizer
from ossicle.runtime.transducer import SearchOptions
from ossicle.sim.device import open_device
from ossicle.sim.energy import EnergyTable
from ossicle.sim.trace import to_perfetto

COUNTING = ("fast", "rtl")


def profile(
    recording: Annotated[Path, typer.Argument(metavar="FILE", help="A recording: WAV, FLAC, …")],
    engine: EngineOption = "fast",
    npu: NpuOption = None,
    model: ModelOption = None,
    beam: Annotated[int, typer.Option(help="States the search keeps.")] = 4,
    music: Annotated[int, typer.Option(help="Percent of the memory's cycles taken by other traffic.")] = 0,
    optimize: OptimizeOption = LATENCY,
    chunk: ChunkOption = AUTO_CHUNK,
    trace: Annotated[
        Path | None, typer.Option(help="Write a timeline here (JSON; open it in Perfetto).")
    ] = None,
    waves: Annotated[Path | None, typer.Option(help="Write waveforms here (.fst or .vcd; rtl only).")] = None,
    window: Annotated[
        str | None, typer.Option(help="Job cycles of the waveforms.", metavar="FIRST:LAST")
    ] = None,
    energy: Annotated[
        Path | None, typer.Option(help="A table of energies (TOML) in place of the one shipped.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show where the cycles of an utterance go: a row a layer, with causes, MACs, bytes and energy."""
    check_engine(engine, COUNTING)
    check_output(trace)
    check_output(waves)
    options = device_options(engine, music) | _wave_options(engine, waves, window)
    search, table, audio = SearchOptions(beam=beam), EnergyTable.load(energy), read_audio(recording)
    program, config = load_program(model, npu, request=wanted(optimize, chunk))
    with progress_bar(as_json) as bar:
        bar.task(starting(engine, config))
        with closing(open_device(engine, config, **options)) as device:
            found = Profile(device, program, config)
            recognizer = Recognizer(device, program, search, observer=found)
            found.clear()
            bar.task(f"{recording}: {audio.seconds:.2f} s of audio")
            result = recognizer.recognize(audio.samples, recording.stem, bar.step)
    if trace:
        write_whole(trace, json.dumps(perfetto_trace(found, program, config)))
    picojoules, layers = table.estimate(found.counters, config), found.layers()
    rows = layer_table(layers)
    energy_column(rows, layers, table, config)
    row = {
        "file": str(recording), "text": result.text, "seconds": audio.seconds, "engine": engine,
        "npu": config.name, "clock_mhz": config.clock_mhz, "cycles": recognizer.driver.cycles.total,
        "layers": rows,
        "counters": dict(found.counters), "energy_pj": picojoules, "energy_source": table.source,
        "jobs": recognizer.driver.cycles.jobs, "trace": trace, "waves": waves,
        "limits": limits(layers, config), "schedule": schedule_of(program),
        "dram_bytes": config.bus_bytes * (found.counters["read_beats"] + found.counters["write_beats"]),
    }  # fmt: skip
    if as_json:
        print_json(row)
    else:
        _print(row)


def _print(row: dict) -> None:
    print(row["text"])
    print_table(f"{row['cycles']:,} cycles on {row['npu']} ({row['engine']})", row["layers"])
    print_table("limits", row["limits"])
    every = row["limits"][-1]
    print(
        f"{every['bounded %']:.1f} % of the cycles are bounded by bus or MAC lanes; "
        f"{row['dram_bytes'] / row['seconds']:,.0f} DRAM bytes a second of audio"
    )
    print("".join(f"{line}\n" for line in schedule_lines(row["schedule"])), end="")
    total = sum(row["energy_pj"].values())
    shares = ", ".join(f"{name} {value / max(total, 1e-9):.0%}" for name, value in row["energy_pj"].items())
    print(
        f"energy, estimated: {total / 1e6:.1f} uJ, {total / 1e6 / row['seconds']:.1f} uJ a second of audio "
        f"({shares})"
    )
    print(f"  by {row['energy_source']}")
    for name in ("trace", "waves"):
        if row[name]:
            print(f"{name} written to {row[name]}")


def perfetto_trace(found: Profile, program: Program, config: NpuConfig) -> dict:
    """All jobs of an utterance one after another, a track an engine and one for the jobs."""
    whole: dict | None = None
    for job in found.jobs:
        part = to_perfetto(job.events, clock_mhz=config.clock_mhz, program=program, entry=job.entry)
        offset = job.start / config.clock_mhz
        slices = [s for s in part["traceEvents"] if s["ph"] == "X"]
        for one in slices:
            one["ts"] += offset
        if whole is None:
            whole = part | {"traceEvents": [s for s in part["traceEvents"] if s["ph"] != "X"]}
            whole["traceEvents"].append(
                {"ph": "M", "pid": 0, "tid": 99, "name": "thread_name", "args": {"name": "jobs"}}
            )
        named = {"ph": "X", "pid": 0, "tid": 99, "name": job.entry, "cat": "job", "ts": offset}
        whole["traceEvents"] += [named | {"dur": job.cycles / config.clock_mhz}, *slices]
    return whole or {"traceEvents": []}


def _wave_options(engine: str, waves: Path | None, window: str | None) -> dict:
    if window is not None and waves is None:
        raise Failure("--window needs --waves FILE")
    if waves is None:
        return {}
    if engine != "rtl":
        raise Failure(f"--waves needs --engine rtl; the {engine} device has no signals")
    if waves.suffix not in (".fst", ".vcd"):
        raise Failure(f"{waves}: waveforms end in .fst or .vcd")
    return {"waves": waves} | ({} if window is None else {"window": _window(window)})


def _window(text: str) -> tuple[int, int]:
    first, _, last = text.partition(":")
    if not (first.isdigit() and last.isdigit() and int(first) <= int(last)):
        raise Failure(f"--window {text} is not possible; use FIRST:LAST, two cycles such as 0:2000")
    return int(first), int(last)
