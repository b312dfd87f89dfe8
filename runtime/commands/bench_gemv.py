"""ossicle bench gemv: a sparse matrix-vector product against the ideal, and against SCALE-Sim's arrays."""

from __future__ import annotations

import os
from dataclasses import dataclass

from ossicle.hw.config import NpuConfig
from ossicle.runtime.commands.running import starting
from ossicle.runtime.commands.synth import Follow
from ossicle.runtime.console import print_table, progress_bar
from ossicle.sim import benchmarks, scalesim

SCALESIM_VARIABLE = "OSSICLE_SCALESIM"


@dataclass(frozen=True)
class GemvBench:
    """The product, and on what it runs; `scalesim`: a Python that has it, else that of OSSICLE_SCALESIM."""

    engine: str
    config: NpuConfig
    rows: int
    cols: int
    scalesim: str | None


def bench_gemv(wanted: GemvBench, as_json: bool) -> dict:
    """A row for each share of zeros, and SCALE-Sim's where it is named; printed unless `as_json`."""
    config, shape = wanted.config, {"rows": wanted.rows, "cols": wanted.cols}
    python = wanted.scalesim or os.environ.get(SCALESIM_VARIABLE)
    peer = scalesim.find(python) if python else None
    theirs: list[dict] = []
    with progress_bar(as_json) as bar:
        bar.task(starting(wanted.engine, config))
        found = benchmarks.gemv(engine=wanted.engine, config=config, **shape)
        if peer:
            zeros = benchmarks.ZEROS
            theirs = scalesim.gemv(peer, lanes=config.lanes, zeros=zeros, progress=Follow(bar), **shape)
            found = scalesim.beside(found, theirs)
    if not as_json:
        print_table(f"gemv on {config.name}", found)
        print_table(f"SCALE-Sim {scalesim.VERSION}, {config.lanes} multipliers", theirs)
        if peer:
            print(scalesim.NOTE)
    about = {"engine": wanted.engine, "npu": config.name, "lanes": config.lanes, "rows": found}
    if not peer:
        return about
    note = scalesim.NOTE.replace("\n", " ")
    return about | {"scalesim": {"version": peer.version, "note": note, "rows": theirs}}
