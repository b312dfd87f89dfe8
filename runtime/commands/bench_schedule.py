"""ossicle bench schedule: all networks on one processor, by how much other traffic there is on its memory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ossicle.compiler.program import Program
from ossicle.hw.config import NpuConfig
from ossicle.runtime.commands.running import device_options
from ossicle.runtime.console import Bar, Failure, check_output, print_table, progress_bar
from ossicle.runtime.endpoint_clips import read_clip
from ossicle.runtime.programs import DEFAULT_NPU, sample_files
from ossicle.runtime.scheduling.music import Trial, Trials
from ossicle.runtime.scheduling.networks import link_stack
from ossicle.runtime.scheduling.picture import draw

LEAST_MHZ, MOST_MHZ = 0.01, 5000
MUSIC = "0,25,50,75"


@dataclass(frozen=True)
class ScheduleBench:
    """What runs, at which clock in MHz (None: the processor's own), beside how much music, drawn where."""

    engine: str
    npu: str | None
    model: Path | None
    clock: float | None
    music: str
    plot: Path | None = None


def bench_schedule(recordings: list[Path] | None, wanted: ScheduleBench, as_json: bool) -> dict:
    """Tables by music and by task, and the most music without a miss; printed unless `as_json`.

    Raises:
        Failure: music, a clock, recordings or a place for the picture that are not possible.
    """
    check_output(wanted.plot)
    amounts, config = amounts_of(wanted.music, wanted.engine), NpuConfig.load(wanted.npu or DEFAULT_NPU)
    paths = recordings or sample_files()
    if not paths:
        raise Failure("no recordings are shipped with this installation; name some: bench schedule FILE.wav")
    clock_mhz = config.clock_mhz if wanted.clock is None else wanted.clock
    if not LEAST_MHZ <= clock_mhz <= MOST_MHZ:
        raise Failure(f"--clock {clock_mhz:g} is not possible; use {LEAST_MHZ:g} to {MOST_MHZ} (MHz)")
    clips = [read_clip({"path": str(path)}).samples for path in paths]
    program = link_stack(config, recognizer=wanted.model)
    trials = Trials(wanted.engine, config, program, clips, round(clock_mhz * 1e6))
    with progress_bar(as_json) as bar:
        found = [_trial(trials, music, bar) for music in amounts]
        highest = trials.highest(lambda music: bar.task(f"the most without a miss: {music} % music"))
    if wanted.plot:
        draw(found[-1], wanted.plot)
    networks = kept_by(program)
    if not as_json:
        _print(config, networks, found, highest, clock_mhz)
        if wanted.plot:
            print(f"jobs beside {found[-1].music} % music drawn in {wanted.plot}")
    return {
        "recordings": [str(path) for path in paths], "seconds": round(found[0].samples / 16000, 2),
        "engine": wanted.engine, "npu": config.name, "clock_mhz": clock_mhz, "networks": networks,
        "music": [trial.row() | {"tasks": trial.by_task()} for trial in found],
        "highest_music": highest, "texts": found[0].texts, "plot": wanted.plot,
    }  # fmt: skip


def amounts_of(music: str, engine: str) -> list[int]:
    """Percents of `--music`, least first, each once.

    Raises:
        Failure: other text, or percents that are not possible.
    """
    try:
        amounts = sorted({int(text) for text in music.split(",")})
    except ValueError:
        raise Failure(f"--music {music} is not possible; use percents, as in 0,25,50") from None
    for one in amounts:
        device_options(engine, one)
    return amounts


def _trial(trials: Trials, music: int, bar: Bar) -> Trial:
    bar.task(f"{len(trials.clips)} utterances beside {music} % music on {trials.engine}")
    return trials.at(music, bar.step)


def kept_by(program: Program) -> list[dict]:
    """Of each network of a link: weights, percent of them that stay on the chip, uses a second of its most
    used layer as the compiler took them, what it then streams, and where its states are between jobs."""
    rows = []
    for name, meta in program.meta["networks"].items():
        layers = meta["report"]["layers"]
        weights = sum(layer["weights"] for layer in layers)
        stays = sum(layer["weights"] * layer["resident"] for layer in layers)
        rows.append({
            "network": name,
            "weights": weights,
            "on the chip %": round(100 * stays / weights, 1),
            "uses/s": round(max(layer["uses"] for layer in layers), 1),
            "streams KB/s": round(sum(layer["streamed_bytes"] * layer["uses"] for layer in layers) / 1000),
            "states": "DRAM" if meta["away"] else "chip",
        })  # fmt: skip
    return rows


def _print(
    config: NpuConfig, networks: list[dict], found: list[Trial], highest: int | None, clock_mhz: float
) -> None:
    print_table(f"networks on one processor ({config.name})", networks)
    print_table(f"{clock_mhz:g} MHz, by music", [trial.row() for trial in found])
    for trial in dict.fromkeys((found[0].music, found[-1].music)):
        own = next(one for one in found if one.music == trial)
        print_table(f"by task, beside {trial} % music", own.by_task())
    most = "a deadline is missed without any music"
    print(most if highest is None else f"no deadline is missed up to {highest} % music")
