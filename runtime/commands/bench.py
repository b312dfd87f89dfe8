"""ossicle bench: how fast the simulators are, and how well the processor uses its lanes."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from statistics import median
from typing import Annotated

import typer
from ossicle.compiler.importer import import_checkpoint
from ossicle.compiler.program import Program
from ossicle.hw.config import NpuConfig
from ossicle.runtime.audio import Audio, read_audio
from ossicle.runtime.commands.bench_endpoint import EndpointBench, bench_endpoint
from ossicle.runtime.commands.bench_gemv import GemvBench, bench_gemv
from ossicle.runtime.commands.bench_lattice import LatticeBench, bench_lattice
from ossicle.runtime.commands.bench_scaling import ScalingBench, bench_scaling
from ossicle.runtime.commands.bench_schedule import MUSIC, ScheduleBench, bench_schedule
from ossicle.runtime.commands.bench_stack import StackBench, bench_stack
from ossicle.runtime.commands.running import starting
from ossicle.runtime.console import (
    ENGINES,
    Bar,
    EngineOption,
    Failure,
    JsonOption,
    ModelOption,
    NpuOption,
    check_engine,
    print_json,
    print_table,
    progress_bar,
)
from ossicle.runtime.programs import DEFAULT_NPU, default_model, load_program, sample_files
from ossicle.runtime.scaling import with_lanes
from ossicle.runtime.speed import recorded_calls, replay_speed
from ossicle.sim.device import Device, DeviceError, open_device

SUBJECTS = ("rtl", "fast", "gemv", "codec", "endpoint", "scaling", "schedule", "lattice", "stack")
TAKEN = {
    "recording": ("fast", "endpoint", "scaling", "schedule", "lattice", "stack"),
    "model": ("fast", "codec", "endpoint", "scaling", "schedule", "lattice", "stack"),
    "--limit": ("endpoint", "lattice", "stack"),
    "--plot": ("endpoint", "scaling", "schedule", "lattice"),
    "--clock": ("schedule",),
    "--music": ("schedule", "stack"),
    "--beam": ("lattice",),
    "--lattice-beam": ("lattice",),
    "--upload": ("lattice",),
    "--posterior": ("lattice",),
    "--language-model": ("lattice",),
    "--workers": ("lattice", "stack"),
    "--scalesim": ("gemv",),
}
"""What not all benchmarks take, and which do."""
SEVERAL = ("schedule", "lattice", "stack")
"""Those that take any number of files."""
AGAINST = ("rtl", "none")
ROUNDS = 5
"""Of the fast device, before the RTL and after it."""
COUNTED = (
    "The jobs of one transcription, made again on each device, which is open and has the program loaded;\n"
    "what happens between them is in neither figure. fast: the median round; fast_first: the first one on a\n"
    "new device, which decodes the weight streams; the kernels are compiled before. rtl: one round."
)


def bench(
    subject: Annotated[str, typer.Argument(metavar="{" + ",".join(SUBJECTS) + "}", help="What to measure.")],
    files: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[FILE...]",
            help="fast, scaling: a recording, schedule: some, by default shipped ones; endpoint: a "
            "manifest; lattice, stack: manifests.",
        ),
    ] = None,
    against: Annotated[
        str, typer.Option(metavar="rtl|none", help="fast: what runs the same recording beside it.")
    ] = "rtl",
    engine: EngineOption = "fast",
    npu: NpuOption = None,
    model: ModelOption = None,
    lanes: Annotated[int | None, typer.Option(help="rtl, gemv: lanes in place of the processor's.")] = None,
    rows: Annotated[int, typer.Option(help="gemv, codec: rows of the matrix.")] = 2048,
    cols: Annotated[int, typer.Option(help="gemv, codec: columns of the matrix.")] = 1024,
    scalesim: Annotated[
        str | None,
        typer.Option(
            help="gemv: the Python of an environment with SCALE-Sim, to run it beside; default: "
            "$OSSICLE_SCALESIM.",
            metavar="PYTHON",
        ),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(help="endpoint, lattice, stack: so many of the recordings.")
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(help="endpoint, scaling, schedule: draw the curve, or the jobs, here (PNG)."),
    ] = None,
    clock: Annotated[
        float | None, typer.Option(help="schedule: MHz, by default the processor's.", metavar="MHZ")
    ] = None,
    music: Annotated[
        str | None,
        typer.Option(
            help=f"schedule, stack: percents of other traffic on the memory; default {MUSIC}, and 0.",
            metavar="P,P",
        ),
    ] = None,
    beam: Annotated[
        int | None, typer.Option(help="lattice: states that the search keeps; default 8.")
    ] = None,
    lattice_beam: Annotated[
        float | None, typer.Option(help="lattice: how much worse than the best it keeps (log); default 8.")
    ] = None,
    posterior: Annotated[
        float | None, typer.Option(help="lattice: prune edges below this posterior; default 0.")
    ] = None,
    upload: Annotated[
        float | None, typer.Option(help="lattice: prune to this percent of the audio's bytes; default: none.")
    ] = None,
    language_model: Annotated[
        Path | None, typer.Option(help="lattice: rescore with this one; default: the one shipped.")
    ] = None,
    workers: Annotated[int | None, typer.Option(help="lattice, stack: processes; default 1.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Measure simulated cycles a second (rtl, fast), a sparse product against the ideal and, where it is
    named, SCALE-Sim (gemv), the weight code against the entropy and, if ethos-u-vela is installed, the
    Ethos-U's code (codec), how early and how often wrong the end-pointers are over a manifest of recordings
    (endpoint), cycles by lanes (scaling), all networks on one processor with their deadlines, beside other
    traffic on its memory (schedule), how good and how large the lattices of manifests are, before and after
    rescoring (lattice), or how right and how soon the whole stack is over manifests (stack).
    """
    if subject not in SUBJECTS:
        raise Failure(f"there is no benchmark {subject!r}; use {', '.join(SUBJECTS)}")
    if against not in AGAINST:
        raise Failure(f"--against {against} is not possible; use {' or '.join(AGAINST)}")
    if subject == "fast" and lanes is not None:
        raise Failure("bench fast runs a program on its own processor: use --npu in place of --lanes")
    if subject in ("codec", "scaling") and lanes is not None:
        raise Failure(
            f"bench {subject} compiles a model for its own processors: use --npu in place of --lanes"
        )
    given = {"recording": files, "model": model, "--limit": limit, "--plot": plot}
    searched = {"beam": beam, "lattice_beam": lattice_beam, "posterior": posterior,
                "upload": upload, "language_model": language_model, "workers": workers}  # fmt: skip
    given |= {f"--{name.replace('_', '-')}": value for name, value in searched.items()}
    _check_taken(subject, {**given, "--clock": clock, "--music": music, "--scalesim": scalesim})
    if min(rows, cols) < 1:
        raise Failure(f"a matrix of {rows} x {cols} is not possible; use 1 or more rows and columns")
    recording = _at_most_one(subject, files) if subject not in SEVERAL else None
    check_engine(engine, ENGINES if subject == "endpoint" else ("fast", "rtl"))
    if subject == "endpoint":
        found = bench_endpoint(recording, EndpointBench(engine, npu, model, limit, plot), as_json)
    elif subject == "scaling":
        path, audio = _recording(recording, "scaling")
        found = bench_scaling(path, audio, ScalingBench(engine, npu, model, plot), as_json)
    elif subject == "schedule":
        wanted = ScheduleBench(engine, npu, model, clock, MUSIC if music is None else music, plot)
        found = bench_schedule(files, wanted, as_json)
    elif subject == "lattice":
        chosen = {name: value for name, value in searched.items() if value is not None}
        found = bench_lattice(files, LatticeBench(model=model, limit=limit, plot=plot, **chosen), as_json)
    elif subject == "stack":
        asked = {"music": music, "workers": workers, "limit": limit}
        chosen = {name: value for name, value in asked.items() if value is not None}
        run = StackBench(engine=engine, npu=npu, model=model, **chosen)
        found = bench_stack(files, run, as_json)
    elif subject == "fast":
        found = _bench_recording(recording, against == "rtl", model, npu, as_json)
    elif subject == "codec":
        found = _bench_code(engine, model or default_model(), npu, (rows, cols), as_json)
    elif subject == "gemv":
        found = bench_gemv(GemvBench(engine, _processor(npu, lanes), rows, cols, scalesim), as_json)
    else:
        found = _bench_rtl(_processor(npu, lanes), as_json)
    if as_json:
        print_json(found)


def _check_taken(subject: str, given: dict[str, object]) -> None:
    """Raise Failure on what a benchmark does not take; it names those that do."""
    for name, value in given.items():
        if value not in (None, []) and subject not in TAKEN[name]:
            others = " and ".join(f"bench {other}" for other in TAKEN[name])
            raise Failure(f"bench {subject} takes no {name}; {others} {'do' if TAKEN[name][1:] else 'does'}")


def _at_most_one(subject: str, files: list[Path] | None) -> Path | None:
    if files and len(files) > 1:
        raise Failure(f"bench {subject} takes one file, not {len(files)}")
    return files[0] if files else None


def _processor(npu: str | None, lanes: int | None) -> NpuConfig:
    config = NpuConfig.load(npu or DEFAULT_NPU)
    return config if lanes is None else with_lanes(config, lanes)


def _bench_rtl(config: NpuConfig, as_json: bool) -> dict:
    """Speed of the RTL, and where its time goes; printed as tables unless `as_json`."""
    from ossicle.sim import benchmarks

    with progress_bar(as_json) as bar:
        bar.task(f"measuring rtl on {config.name}")
        found = benchmarks.rtl(config=config)
    if not as_json:
        print_table(f"rtl on {config.name}", [{k: v for k, v in found.items() if k != "parts"}])
        print_table("where the time goes, from the start of the simulator to its last job", found["parts"])
    return found


def _bench_code(engine: str, model: Path, npu: str | None, shape: tuple[int, int], as_json: bool) -> dict:
    """Bits of a checkpoint's and of synthetic weights; printed as tables unless `as_json`."""
    from ossicle.sim import code_contexts, code_sizes

    config = NpuConfig.load(npu or DEFAULT_NPU)
    with progress_bar(as_json) as bar:
        bar.task(f"coding {model.name} for {config.name}")
        graph = import_checkpoint(model)
        layers = code_sizes.layers(graph, config)
        contexts = [
            {"layer": row["layer"]} | code_contexts.ratios(graph.matrices[row["layer"]].weight)
            for row in layers
        ]
        bar.task(starting(engine, config))
        with closing(open_device(engine, config)) as device:
            bar.task(f"coding synthetic weights, decoding them on {engine}")
            synthetic = code_sizes.synthetic(device, shape=shape, progress=bar.step)
    whole = code_sizes.summary(layers)
    if not as_json:
        print_table(f"layers of {model.name} on {config.name}", layers)
        print_table("the whole model", [whole])
        print_table("its symbols' entropy, had they a context", contexts)
        print_table(f"synthetic weights on {config.name}", synthetic)
    about = {"model": str(model), "npu": config.name, "engine": engine}
    return about | whole | {"layers": layers, "contexts": contexts, "synthetic": synthetic}


def _bench_recording(
    recording: Path | None, rtl: bool, model: Path | None, npu: str | None, as_json: bool
) -> dict:
    """Speed of the fast device, and of the RTL beside it; printed as a table unless `as_json`."""
    path, audio = _recording(recording, "fast")
    program, config = load_program(model, npu)
    about = {"recording": path.name, "npu": config.name}
    with progress_bar(as_json) as bar:
        found = about | _speeds(program, config, audio, rtl, bar)
    if not as_json:
        print_table(f"fast on {config.name}", [found])
        print(COUNTED)
    return found


def _recording(path: Path | None, subject: str) -> tuple[Path, Audio]:
    """The one named, or else a shipped one."""
    path = path or next(iter(sample_files()), None)
    if path is None:
        raise Failure(
            f"no recording is shipped with this installation; name one: ossicle bench {subject} FILE.wav"
        )
    return path, read_audio(path)


def _speeds(program: Program, config: NpuConfig, audio: Audio, rtl: bool, bar: Bar) -> dict:
    def rounds(device: Device, count: int = ROUNDS) -> list[tuple[int, float]]:
        return [replay_speed(device, program, calls) for _ in range(count)]

    bar.task(starting("fast", config))
    with closing(open_device("fast", config)) as device:
        calls = recorded_calls(device, program, audio.samples)  # compiles the kernels
    with closing(open_device("fast", config)) as device:
        bar.task(f"{audio.seconds:.2f} s of audio on fast")
        first = rounds(device, 1)[0]
        quick = rounds(device)
        slow = []
        if rtl:
            bar.task(starting("rtl", config))
            with closing(open_device("rtl", config)) as simulator:
                bar.task(f"{audio.seconds:.2f} s of audio on rtl")
                slow = rounds(simulator, 1)
            quick += rounds(device)  # before and after, as the machine's speed drifts
    if slow and slow[0][0] != quick[0][0]:
        raise DeviceError(f"the recording took {quick[0][0]} cycles on fast and {slow[0][0]} on rtl")
    return _row(quick, slow) | {"fast_first_seconds": first[1]}


def _row(quick: list[tuple[int, float]], slow: list[tuple[int, float]]) -> dict:
    """Speeds from the rounds, cycles and seconds, on fast and rtl: the median round counts."""
    cycles, seconds = quick[0][0], median(seconds for _, seconds in quick)
    row = {"cycles": cycles, "fast_seconds": seconds, "fast_cycles_per_second": cycles / seconds}
    for _, took in slow:
        row |= {"rtl_seconds": took, "rtl_cycles_per_second": cycles / took, "ratio": took / seconds}
    return row
