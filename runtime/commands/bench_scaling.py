"""ossicle bench scaling: cycles against MAC lanes, and the fast model's time against what it runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ossicle.compiler.api import compile_checkpoint
from ossicle.hw.config import NpuConfig
from ossicle.runtime.audio import Audio
from ossicle.runtime.console import Failure, check_output, print_table, progress_bar
from ossicle.runtime.programs import DEFAULT_NPU, default_model
from ossicle.runtime.scaling import draw, lengths, scaling, where_it_stops


@dataclass(frozen=True)
class ScalingBench:
    """What is scaled, on which engine, and where it is drawn."""

    engine: str
    npu: str | None
    model: Path | None
    plot: Path | None = None


def bench_scaling(recording: Path, audio: Audio, wanted: ScalingBench, as_json: bool) -> dict:
    """Both tables; printed unless `as_json`. Raises Failure on a program in place of a checkpoint."""
    check_output(wanted.plot)
    model, config = wanted.model or default_model(), NpuConfig.load(wanted.npu or DEFAULT_NPU)
    if model.suffix == ".npu":
        raise Failure(f"{model} is compiled for one number of lanes; bench scaling takes its checkpoint")
    with progress_bar(as_json) as bar:
        bar.task(f"{recording.name}: {audio.seconds:.2f} s, by lanes, on {wanted.engine}")
        rows = scaling(model, config, audio.samples, wanted.engine, progress=bar.step)
        bar.task(f"{recording.name}, over and over, on fast")
        times = lengths(compile_checkpoint(model, config), config, audio.samples)
    if wanted.plot:
        draw(rows, wanted.plot)
    said = where_it_stops(rows)
    if not as_json:
        print_table(f"{recording.name} on processors like {config.name} ({wanted.engine})", rows)
        print("\n".join(said))
        print_table(f"the fast model's time on {config.name}", times)
        if wanted.plot:
            print(f"curves drawn in {wanted.plot}")
    about = {"recording": recording.name, "npu": config.name, "engine": wanted.engine, "model": str(model)}
    return about | {"lanes": rows, "stops": said, "lengths": times, "plot": wanted.plot}
