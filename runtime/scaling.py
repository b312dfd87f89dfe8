"""Cycles of one recording against the number of MAC lanes: where more stop helping, and what is in the way.

The bus, the decoder's rate a stream and the words of the vector unit stay those of the processor. Its weight
memory is cut anew among the lanes, its size the same ("held"), or every lane keeps its bank ("grown").
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from ossicle.compiler.api import compile_checkpoint
from ossicle.compiler.plan import CompileError
from ossicle.compiler.program import Program
from ossicle.hw.config import ALLOWED, ConfigError, NpuConfig
from ossicle.runtime.console import Failure, plotting
from ossicle.runtime.limits import limits
from ossicle.runtime.profile import CAUSES, Profile
from ossicle.runtime.recognizer import Recognizer
from ossicle.runtime.speed import recording_speed
from ossicle.sim.device import open_device

LANES = (8, 16, 32, 64, 128, 256)
MEMORIES = ("held", "grown")
ENOUGH = 1.25
"""Twice the lanes that make less than this of the speed have stopped scaling."""
LENGTHS = (1, 2, 4, 8)
Progress = Callable[[int, int], None]


def with_lanes(config: NpuConfig, lanes: int) -> NpuConfig:
    """The processor with another number of lanes; what may not exceed it follows.

    Raises:
        ConfigError: no such number of lanes.
    """
    return config.replace(
        name=f"{config.name}-{lanes}",
        lanes=lanes,
        decoder_streams=min(config.decoder_streams, max(lanes, 1)),
        vector_width=min(config.vector_width, max(lanes, 4)),
    )


def scaled(config: NpuConfig, lanes: int, memory: str) -> NpuConfig:
    """The processor with so many lanes, each with a decoder stream where that is possible.

    Raises:
        ConfigError: no such number of lanes, or banks of a size that is not possible.
    """
    streams = min(lanes, max(ALLOWED["decoder_streams"]))
    words = config.weight_words if memory == "grown" else config.weight_words * config.lanes // lanes
    return with_lanes(config, lanes).replace(decoder_streams=streams, weight_words=words)


def scaling(
    model: Path, config: NpuConfig, samples: NDArray[np.int16], engine: str = "fast",
    lanes: Sequence[int] = LANES, progress: Progress | None = None,
) -> list[dict]:  # fmt: skip
    """A row for each memory and number of lanes; processors that cannot hold the model have none.

    Columns: memory, lanes, cycles, speedup over the fewest lanes, lane_use in percent, bus and MAC cycles
    (see limits.py), waits (the largest cause of idle lanes) and its percent of all cycles.
    """
    rows, wanted = [], [(memory, n) for memory in MEMORIES for n in lanes]
    for i, (memory, n) in enumerate(wanted):
        try:
            own = scaled(config, n, memory)
            rows.append(
                {"memory": memory, "lanes": n} | _run(compile_checkpoint(model, own), own, samples, engine)
            )
        except (ConfigError, CompileError):
            pass
        if progress:
            progress(i + 1, len(wanted))
    if not rows:
        raise Failure(f"no processor like {config.name} with {lanes[0]} to {lanes[-1]} lanes holds {model}")
    for row in rows:
        first = next(r for r in rows if r["memory"] == row["memory"])
        row["speedup"] = round(first["cycles"] / row["cycles"], 2)
    return rows


def _run(program: Program, config: NpuConfig, samples: NDArray[np.int16], engine: str) -> dict:
    with closing(open_device(engine, config)) as device:
        found = Profile(device, program, config)
        recognizer = Recognizer(device, program, observer=found)
        found.clear()
        recognizer.recognize(samples)
    layers = found.layers()
    every = limits(layers, config)[-1]
    causes = {cause: sum(layer.causes[cause] for layer in layers) for cause in CAUSES if cause != "mac"}
    waits = max(causes, key=lambda cause: causes[cause])
    cycles = every["cycles"]
    return {
        "cycles": cycles, "lane_use": round(100 * every["MAC cycles"] / cycles, 1),
        "bus cycles": every["bus cycles"], "MAC cycles": every["MAC cycles"],
        "waits": waits, "waits %": round(100 * causes[waits] / cycles, 1),
    }  # fmt: skip


def where_it_stops(rows: Sequence[dict]) -> list[str]:
    """A sentence for each memory: the lanes beyond which more are of little use, and what they wait for."""
    said = []
    for memory in dict.fromkeys(row["memory"] for row in rows):
        own = [row for row in rows if row["memory"] == memory]
        stop = next((pair for pair in pairwise(own) if pair[0]["cycles"] < ENOUGH * pair[1]["cycles"]), None)
        if stop is None:
            said.append(f"weight memory {memory}: it scales to {own[-1]['lanes']} lanes")
            continue
        few, more = stop
        gain = few["cycles"] / more["cycles"]
        said.append(
            f"weight memory {memory}: it stops at {few['lanes']} lanes; {more['lanes']} are {gain:.2f} times "
            f"as fast, and wait for {more['waits']} in {more['waits %']:.0f} % of the cycles"
        )
    return said


def lengths(
    program: Program, config: NpuConfig, samples: NDArray[np.int16], times: Sequence[int] = LENGTHS
) -> list[dict]:
    """Seconds of the fast model by the length of what it runs: a recording 1, 2, ... times in a row."""
    rows = []
    with closing(open_device("fast", config)) as device:
        recording_speed(device, program, samples)  # compiles the kernels
        for count in times:
            cycles, seconds = recording_speed(device, program, np.tile(samples, count))
            rows.append(
                {"recordings": count, "cycles": cycles, "seconds": round(seconds, 4),
                 "ns a cycle": round(1e9 * seconds / cycles, 3)}
            )  # fmt: skip
    return rows


def draw(rows: Sequence[dict], path: Path) -> None:
    """Cycles against lanes, with the two limits, as a picture.

    Raises:
        Failure: matplotlib is not installed.
    """
    pyplot = plotting()
    figure, axes = pyplot.subplots(1, 2, figsize=(11, 4.2), sharey=True)
    for axis, memory in zip(axes, MEMORIES, strict=True):
        own = [row for row in rows if row["memory"] == memory]
        if not own:
            continue
        lanes = [row["lanes"] for row in own]
        axis.plot(lanes, [row["cycles"] for row in own], "o-", label="cycles")
        axis.plot(lanes, [row["MAC cycles"] for row in own], "--", label="useful products / lanes")
        axis.plot(lanes, [row["bus cycles"] for row in own], ":", label="bytes / bus")
        for row in own:
            axis.annotate(row["waits"], (row["lanes"], row["cycles"]), (0, 6), textcoords="offset points",
                          ha="center", fontsize=8)  # fmt: skip
        axis.set(xscale="log", yscale="log", xlabel="MAC lanes", title=f"weight memory {memory}")
        axis.set_xticks(lanes, [str(n) for n in lanes], minor=False)
        axis.minorticks_off()
        axis.margins(0.08, 0.12)
        axis.grid(alpha=0.3)
    axes[0].set(ylabel="cycles of the recording")
    axes[0].legend()
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
