"""ossicle bench endpoint: latencies and errors of the end-pointers over a manifest."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ossicle.runtime.commands.stream import Setup
from ossicle.runtime.console import Failure, check_output, print_table, progress_bar
from ossicle.runtime.endpoint_clips import read_clip, read_rows
from ossicle.runtime.endpoint_curve import curves, draw, measure, summary
from ossicle.runtime.programs import load_program

TITLES = {"rule": "the rule, its patience stretched", "timer": "a timer"}


@dataclass(frozen=True)
class EndpointBench:
    """What runs, over how many recordings of the manifest, and where a curve is drawn, if one is."""

    engine: str
    npu: str | None
    model: Path | None
    limit: int | None = None
    plot: Path | None = None


def bench_endpoint(manifest: Path | None, wanted: EndpointBench, as_json: bool) -> dict:
    """Measures and the curve; printed as tables unless `as_json`.

    Raises:
        Failure: no manifest, or one that holds no recordings, or no place for the curve.
    """
    if manifest is None:
        raise Failure("bench endpoint needs a manifest of recordings: ossicle bench endpoint MANIFEST")
    if wanted.limit is not None and wanted.limit < 1:
        raise Failure(f"--limit {wanted.limit} is not possible; use 1 or more")
    check_output(wanted.plot)
    rows = read_rows(manifest, wanted.limit)
    program, config = load_program(wanted.model, wanted.npu)
    with ExitStack() as stack:
        session = Setup(wanted.engine, program, config).session(stack, True, as_json)
        assert session.endpointing is not None
        rule, by_text = session.endpointing.pointer.rule, session.endpointing.end_of_text is not None
        with progress_bar(as_json) as bar:
            bar.task(f"{manifest.name}: {len(rows)} recordings on {wanted.engine}")
            clips = [partial(read_clip, row) for row in rows]
            heard = measure(session, clips, wanted.plot is not None, bar.step)
    found = summary(heard, config.clock_mhz)
    points = {}
    if wanted.plot:
        points = curves([one.trace for one in heard if one.trace], rule)
        draw(points, found, wanted.plot)
    if not as_json:
        _print(manifest, found, points)
    about = {
        "manifest": str(manifest),
        "engine": wanted.engine,
        "npu": config.name,
        "model": program.meta["name"],
    }
    return about | found | {"rule": vars(rule), "by_text": by_text, "curve": points, "plot": wanted.plot}


def _print(manifest: Path, found: dict, points: dict) -> None:
    flat = {key: value for key, value in found.items() if not isinstance(value, dict)}
    print_table(f"end-pointers on {manifest.name}", [flat])
    latencies = {key: value for key, value in found.items() if isinstance(value, dict)}
    print_table(
        "latencies, ms", [{"of": key.removesuffix("_ms"), **value} for key, value in latencies.items()]
    )
    for kind, rows in points.items():
        print_table(TITLES[kind], rows)
