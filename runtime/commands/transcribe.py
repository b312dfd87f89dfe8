"""ossicle transcribe: recordings to text, on a simulated processor."""

from __future__ import annotations

import math
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import typer
from ossicle.compiler.optimize import LATENCY
from ossicle.compiler.program import Program
from ossicle.hw.config import NpuConfig
from ossicle.runtime.audio import Audio, read_audio
from ossicle.runtime.commands.context import (
    AliasesOption,
    AttentionOption,
    BiasingOption,
    BoostOption,
    BoostWeightOption,
    ContextBias,
    ContextOption,
    sounds_of,
)
from ossicle.runtime.commands.options import (
    LmBestOption,
    LmBonusOption,
    LmNbestOption,
    LmWeightOption,
    rescoring_options,
)
from ossicle.runtime.commands.rescorer import (
    RESCORED_BEAM,
    Cloud,
    DeadlineOption,
    RescorerOption,
    UploadOption,
)
from ossicle.runtime.commands.running import (
    device_options,
    lattice_json,
    nbest_json,
    starting,
    words_json,
)
from ossicle.runtime.commands.scheduling import (
    AUTO_CHUNK,
    ChunkOption,
    OptimizeOption,
    schedule_of,
    wanted,
)
from ossicle.runtime.commands.stream import (
    ChunkMsOption,
    EndpointOption,
    LiveOption,
    Setup,
    Streaming,
    StreamOption,
    stream_all,
)
from ossicle.runtime.commands.telling import print_result
from ossicle.runtime.console import (
    Bar,
    EngineOption,
    Failure,
    JsonOption,
    ModelOption,
    NpuOption,
    check_engine,
    check_output,
    note,
    print_json,
    progress_bar,
    write_whole,
)
from ossicle.runtime.lattice import LatticeOptions
from ossicle.runtime.lattice_files import write_lattice
from ossicle.runtime.profile import Profile
from ossicle.runtime.programs import load_program
from ossicle.runtime.recognizer import Recognizer, Result
from ossicle.runtime.report import Utterance, html_report
from ossicle.runtime.second_pass import SecondPass
from ossicle.runtime.spoken import AUTO, Spoken
from ossicle.runtime.transducer import SearchOptions
from ossicle.sim.device import Device, open_device

BEAM = 4

@dataclass(frozen=True)
class Outputs:
    """Where the results of one recording go."""

    lattice: Path | None
    report: Path | None


def transcribe(
    recordings: Annotated[
        list[Path] | None, typer.Argument(metavar="FILE...", help="Recordings: WAV, FLAC, …")
    ] = None,
    engine: EngineOption = "rtl",
    npu: NpuOption = None,
    model: ModelOption = None,
    beam: Annotated[
        int | None,
        typer.Option(help=f"States the search keeps; default {BEAM}, with --rescorer {RESCORED_BEAM}."),
    ] = None,
    nbest: Annotated[int, typer.Option(help="Sentences to print.")] = 1,
    lattice: Annotated[
        Path | None,
        typer.Option(help="Write the lattice here: .slf, .kaldi, .fst, .dot, .svg, or .olat, the network's."),
    ] = None,
    lattice_beam: Annotated[
        float, typer.Option(help="How much worse than the best the lattice keeps (log).")
    ] = 8.0,
    report: Annotated[Path | None, typer.Option(help="Write a page about the run here (HTML).")] = None,
    music: Annotated[int, typer.Option(help="Percent of the memory's cycles taken by other traffic.")] = 0,
    optimize: OptimizeOption = LATENCY,
    chunk: ChunkOption = AUTO_CHUNK,
    rescore: Annotated[
        bool,
        typer.Option(
            "--rescore", help="Choose among the lattice's sentences with the shipped language model."
        ),
    ] = False,
    language_model: Annotated[
        Path | None, typer.Option(help="Rescore with this one: a checkpoint, or a program.")
    ] = None,
    lm_weight: LmWeightOption = None,
    lm_bonus: LmBonusOption = None,
    lm_nbest: LmNbestOption = None,
    lm_best: LmBestOption = None,
    rescorer: RescorerOption = None,
    deadline: DeadlineOption = None,
    upload: UploadOption = None,
    context: ContextOption = None,
    biasing: BiasingOption = None,
    attention: AttentionOption = None,
    boost: BoostOption = None,
    boost_weight: BoostWeightOption = None,
    aliases: AliasesOption = True,
    context_audio: Annotated[
        float,
        typer.Option(
            help="The first so many seconds, a wake word, move the encoder's state and have no text; times "
            "count from there.",
            metavar="SECONDS",
        ),
    ] = 0.0,
    language: Annotated[
        str, typer.Option(help="auto: say which language is spoken; or the code of the one that is.")
    ] = AUTO,
    stream: StreamOption = False,
    chunk_ms: ChunkMsOption = None,
    endpoint: EndpointOption = False,
    live: LiveOption = False,
    as_json: JsonOption = False,
) -> None:
    """Transcribe recordings on the simulated processor: text, word lattice, cycles."""
    check_engine(engine)
    if beam is None:
        beam = RESCORED_BEAM if rescorer else BEAM
    search = SearchOptions(beam=beam)
    if nbest < 1:
        raise Failure(f"--nbest {nbest} is not possible; use 1 or more")
    if not lattice_beam > 0:
        raise Failure(f"--lattice-beam {lattice_beam} is not possible; use more than 0")
    streaming = Streaming.read(stream, chunk_ms, endpoint, live, {
        "--report": report, "--rescore": rescore or language_model, "--attention-map": attention,
        "--language": language != AUTO, "--rescorer": rescorer,
    }, context_audio)  # fmt: skip
    recordings = _checked(recordings, live)
    outputs = _outputs(recordings, lattice, report)
    bias = ContextBias.read(biasing, context, attention, len(recordings), boost, boost_weight)
    audio = [read_audio(path) for path in recordings]
    _check_context(context_audio, recordings, audio, attention)
    program, config = load_program(model, npu, bias.adapter if bias else None, wanted(optimize, chunk))
    if bias:
        bias.check(program)
    graph = LatticeOptions(beam=lattice_beam, sounds=sounds_of(model, program, bool(aliases and boost)))
    if streaming:
        setup = Setup(engine, program, config, music, search, graph, nbest, bias)
        files = [o.lattice for o in outputs]
        stream_all(streaming, setup, list(zip(recordings, audio, files, strict=True)), as_json)
        return
    used = rescore or language_model is not None
    rescoring = rescoring_options(lm_weight, lm_bonus, lm_nbest, lm_best, used)
    second = SecondPass.load(language_model, program, config, rescoring) if rescoring else None
    spoken = Spoken.load(language, config)
    rows = []
    with progress_bar(as_json) as bar, ExitStack() as stack:
        cloud = Cloud.open(rescorer, deadline, upload, stack)
        bar.task(starting(engine, config))
        options = device_options(engine, music)
        if second:
            second.start(stack.enter_context(closing(open_device(engine, config, **options))))
        if spoken and spoken.program:
            spoken.start(stack.enter_context(closing(open_device(engine, config, **options))))
        with closing(open_device(engine, config, **options)) as device:
            bar.task("loading the program")
            profile = Profile(device, program, config) if report else None
            recognizer = Recognizer(device, program, search, graph, max(nbest, 1), profile)
            said = bias.start(recognizer, bar, as_json) if bias else {}
            for path, sound, output in zip(recordings, audio, outputs, strict=True):
                run = Run(
                    recognizer, profile, engine, config, program, device, second, bias, said, spoken, cloud,
                    context_audio,
                )
                rows.append(_one(run, path, sound, output, bar, as_json))
    if as_json:
        print_json(rows[0] if len(rows) == 1 else rows)


@dataclass(frozen=True)
class Run:
    """What the recordings of one command share."""

    recognizer: Recognizer
    profile: Profile | None
    engine: str
    config: NpuConfig
    program: Program
    device: Device
    second: SecondPass | None = None
    bias: ContextBias | None = None
    context: dict = field(default_factory=dict)
    """What is said of the context phrases and the boosts."""
    spoken: Spoken | None = None
    cloud: Cloud | None = None
    context_s: float = 0.0


def _one(run: Run, path: Path, audio: Audio, output: Outputs, bar: Bar, as_json: bool) -> dict:
    if run.profile:
        run.profile.clear()
    bar.task(f"{path}: {audio.seconds:.2f} s of audio")
    context = round(run.context_s * run.recognizer.frontend.sample_rate)
    result = run.recognizer.recognize(audio.samples, path.stem, bar.step, context)
    cycles = run.recognizer.driver.cycles.total
    more = {}
    if run.bias:
        run.bias.draw(run.recognizer, result)
        more = run.context | ({"attention_map": run.bias.picture} if run.bias.adapter else {})
    chosen = False
    if run.cloud:
        bar.task(f"{path}: asking {run.cloud.client.url}")
        result, scores, chosen = run.cloud.rescore(result, run.recognizer.nbest, audio)
        more |= scores
    if run.second and not chosen:
        bar.task(f"{path}: rescoring")
        result, scores = run.second.rescore(result, run.recognizer.nbest, bar.step)
        more |= scores
        if run.second.lattice:
            more["rescored"]["lattice"] = lattice_json(run.second.lattice)
    if run.spoken:
        more |= run.spoken.describe(audio.samples)
    row = _row(run, path, audio, result, cycles) | more
    if result.lattice:
        row["words"] = words_json(result.lattice, result.nbest[0])
    if output.lattice and result.lattice:
        write_lattice(output.lattice, result.lattice)
    if output.report and run.profile and result.lattice:
        utterance = Utterance(path.name, result, audio.seconds, cycles, run.engine)
        write_whole(output.report, html_report(utterance, run.profile, run.program, run.config))
    if not as_json:
        for text in audio.notes:
            note(f"{path}: {text}")
        print_result(row, result, vars(output))
    return row | {"lattice_file": output.lattice, "report": output.report}


def _row(run: Run, path: Path, audio: Audio, result: Result, cycles: int | None) -> dict:
    seconds = cycles / (run.config.clock_mhz * 1e6) if cycles is not None else None
    return {
        "file": str(path),
        "text": result.text,
        "cycles": cycles,
        "rtf": None if seconds is None else round(seconds / audio.seconds, 6),
        "nbest": nbest_json(result.nbest),
        "lattice": lattice_json(result.lattice) if result.lattice else None,
        "seconds": round(audio.seconds, 4),
        "context_audio_s": run.context_s,
        "frames": result.frames,
        "engine": run.engine,
        "npu": run.config.name,
        "clock_mhz": run.config.clock_mhz,
        "jobs": run.recognizer.driver.cycles.jobs,
        "job_cycles": run.recognizer.driver.cycles.cycles if cycles is not None else None,
        "frame_cycles": run.recognizer.driver.frame_cycles if cycles is not None else None,
        "notes": list(audio.notes),
        "schedule": schedule_of(run.program),
    }


def _checked(recordings: list[Path] | None, live: bool) -> list[Path]:
    """The recordings that were named. Raises Failure on none, or on some beside the microphone."""
    if live and recordings:
        raise Failure("--live takes the microphone; transcribe recordings apart")
    if not live and not recordings:
        raise Failure("name a recording to transcribe, or use --live for the microphone")
    return recordings or []


def _check_context(
    seconds: float, recordings: list[Path], audio: list[Audio], attention: Path | None
) -> None:
    """Raises Failure on seconds of context that cannot be, or beside a picture of a whole clip's frames."""
    if not 0 <= seconds < math.inf:
        raise Failure(f"--context-audio {seconds:g} is not possible; use 0 or more seconds")
    if seconds and attention:
        raise Failure("--attention-map does not go with --context-audio; leave one of them out")
    for path, sound in zip(recordings, audio, strict=True):
        if seconds and seconds >= sound.seconds:
            raise Failure(
                f"--context-audio {seconds:g}: {path} has {sound.seconds:.2f} s, and nothing after them; "
                "use fewer seconds"
            )


def _outputs(recordings: list[Path], lattice: Path | None, report: Path | None) -> list[Outputs]:
    """Of several recordings each gets files of its own: out.slf becomes out.NAME.slf."""

    def named(path: Path | None, recording: Path) -> Path | None:
        if path is None or len(recordings) == 1:
            return path
        return path.with_name(f"{path.stem}.{recording.stem}{path.suffix}")

    made = [Outputs(named(lattice, r), named(report, r)) for r in recordings]
    for output in made:
        check_output(output.lattice)
        check_output(output.report)
    names = [r.stem for r in recordings]
    if (lattice or report) and len(set(names)) < len(names):
        raise Failure(
            "two recordings have the same name, and their output files would too; transcribe them apart"
        )
    return made
