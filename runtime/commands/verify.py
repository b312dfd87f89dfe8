"""ossicle verify: the simulators and the Verilog against one another."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import ExitStack, closing
from functools import partial
from itertools import count
from pathlib import Path
from typing import Annotated

import typer
from ossicle.compiler.program import Program
from ossicle.hw.config import NpuConfig
from ossicle.runtime.audio import read_audio
from ossicle.runtime.commands.transcribe import starting
from ossicle.runtime.console import (
    Bar,
    Failure,
    JsonOption,
    ModelOption,
    NpuOption,
    check_engine,
    print_json,
    print_table,
    progress_bar,
)
from ossicle.runtime.programs import load_program
from ossicle.runtime.transducer import SearchOptions
from ossicle.runtime.verification import Progress, Utterance, verify_utterance
from ossicle.sim.device import Device, open_device

RANDOM_CONFIGS = ("small", "base")
ORDER = ("fast", "functional", "rtl")
"""Each is compared with the first: fast has values and times, and takes seconds."""


def verify(
    files: Annotated[
        list[Path] | None, typer.Argument(metavar="[FILE...]", help="Recordings, or one .npu program.")
    ] = None,
    random: Annotated[int, typer.Option(metavar="N", help="N random programs in place of files.")] = 0,
    configs: Annotated[int, typer.Option(metavar="M", help="Those on M random processors.")] = 0,
    seed: Annotated[int, typer.Option(help="Of random programs, and of a program's data.")] = 0,
    npu: NpuOption = None,
    model: ModelOption = None,
    engines: Annotated[str | None, typer.Option(help="Recordings: engines to compare, by comma.")] = None,
    beam: Annotated[int, typer.Option(help="Recordings: states the search keeps.")] = 4,
    rtl: Annotated[bool, typer.Option(help="Compare with the Verilog too.")] = True,
    as_json: JsonOption = False,
) -> None:
    """Check that functional, fast and RTL agree: every output word, every cycle, every counter.

    A recording is transcribed on each engine; text, n-best, lattice and all that the jobs did are compared.
    """
    files = files or []
    if random < 0 or (random == 0) == (not files):
        raise Failure("give recordings, or a program, or --random N with N of 1 or more")
    if configs and (configs < 0 or not random or npu):
        raise Failure("--configs M, 1 or more, goes with --random N, and takes the place of --npu")
    programs = [path for path in files if path.suffix == ".npu"]
    if programs and len(files) > 1:
        raise Failure(f"{programs[0]}: a program is verified alone; recordings on it: --model {programs[0]}")
    recorded = bool(files) and not programs
    if not recorded and (engines or model):
        raise Failure("--engines and --model are for recordings")
    with progress_bar(as_json) as bar:
        if recorded:
            names = _engines(engines, rtl)
            found = verify_recordings(files, names, SearchOptions(beam=beam), model, npu, bar)
        elif programs:
            found = _program(programs[0], npu, seed, rtl, bar)
        else:
            found = _random(random, _configs(npu, configs, seed), seed, rtl, bar)
    if as_json:
        print_json(found)
    elif recorded:
        _print(found)
    else:
        for name, value in found.items():
            text = value if isinstance(value, str | int | float) else json.dumps(value, default=str)
            print(f"{name}: {text}")
    if found["value_differences"] or found["cycle_differences"]:
        raise typer.Exit(1)


def verify_recordings(
    files: Sequence[Path],
    engines: Sequence[str],
    search: SearchOptions,
    model: Path | None,
    npu: str | None,
    bar: Bar,
) -> dict:
    """Each recording on each engine: a row a recording, the sums of the differences, the first of them."""
    sounds = [read_audio(path) for path in files]
    program, config = load_program(model, npu)
    rows = []
    with ExitStack() as stack:
        devices: dict[str, Device] = {}
        for engine in engines:
            bar.task(starting(engine, config))
            devices[engine] = stack.enter_context(closing(open_device(engine, config)))
        for path, sound in zip(files, sounds, strict=True):
            utterance = Utterance(path.stem, sound.samples, program, search)
            begin = partial(_begin, bar, f"{path}: {sound.seconds:.2f} s of audio")
            rows.append({"file": str(path)} | verify_utterance(devices, utterance, begin))
    return {"engines": list(engines), "npu": config.name, **_sums(rows), "recordings": rows}


def _begin(bar: Bar, what: str, engine: str) -> Progress:
    bar.task(f"{what} on {engine}")
    return bar.step


def _sums(rows: Sequence[dict]) -> dict:
    pairs = [(row["file"], one) for row in rows for one in row["comparisons"]]
    first = (f"{file}: {one['first_difference']}" for file, one in pairs if one["first_difference"])
    return {
        "value_differences": sum(one["value_differences"] for _, one in pairs),
        "cycle_differences": sum(one["cycle_differences"] for _, one in pairs),
        "first_difference": next(first, None),
    }


def _print(found: dict) -> None:
    for row in found["recordings"]:
        print(f"{row['file']}: {row['text']}")
    table = [
        {
            "recording": Path(row["file"]).name,
            "engines": ", ".join(one["engines"]),
            **{name: one[name] for name in ("jobs", "words", "instructions", "cycles")},
            "value differences": one["value_differences"],
            "cycle differences": one["cycle_differences"] if one["cycles"] is not None else None,
        }
        for row in found["recordings"]
        for one in row["comparisons"]
    ]
    print_table(f"compared on {found['npu']}", table)
    print(f"first difference: {found['first_difference'] or 'none'}")


def _engines(names: str | None, rtl: bool) -> list[str]:
    """Engines to compare, in the order of `ORDER`.

    Raises:
        Failure: one that there is not, or fewer than two.
    """
    wanted = set(names.split(",")) if names is not None else set(ORDER)
    for name in sorted(wanted):
        check_engine(name)
    if not rtl:
        wanted.discard("rtl")
    if len(wanted) < 2:
        raise Failure(f"comparing needs two engines or more, not {', '.join(sorted(wanted)) or 'none'}")
    return [name for name in ORDER if name in wanted]


def _program(path: Path, npu: str | None, seed: int, rtl: bool, bar: Bar) -> dict:
    from ossicle.sim.verify import verify_program

    loaded = Program.load(path, NpuConfig.load(npu) if npu else None)
    bar.task(f"verifying {path}")
    return verify_program(loaded, loaded.config, seed=seed, rtl=rtl)


def _configs(npu: str | None, number: int, seed: int) -> list[NpuConfig]:
    from ossicle.sim.random_configs import random_configs

    if number:
        return random_configs(number, seed)
    return [NpuConfig.load(name) for name in ([npu] if npu else RANDOM_CONFIGS)]


def _random(number: int, configs: Sequence[NpuConfig], seed: int, rtl: bool, bar: Bar) -> dict:
    from ossicle.sim.verify import verify_random

    bar.task(f"verifying {number} random programs")
    done = count(1)
    return verify_random(number, seed, configs, rtl=rtl, progress=lambda: bar.step(next(done), number))
