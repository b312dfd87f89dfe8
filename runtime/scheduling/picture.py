"""A schedule as a picture: the processor's time by task over the audio, and the jobs where it is hardest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from ossicle.runtime.console import plotting
from ossicle.runtime.scheduling.music import Trial
from ossicle.runtime.scheduling.scheduler import SAMPLE_RATE
from ossicle.runtime.scheduling.tasks import Execution

BIN_S = 0.1
WINDOW_S = 0.4
COLORS = ("#0b6bcb", "#e08e0b", "#1e8449", "#7d3c98", "#c0392b", "#117a8b", "#b7950b", "#566573")


def draw(trial: Trial, path: Path) -> None:
    """Above, percent of each 100 ms that jobs of each task take; below, jobs around the one that was nearest
    to its deadline, a row a task: a line from the release, a bar of the run, a mark at the deadline.

    Raises:
        Failure: matplotlib is not installed.
    """
    pyplot = plotting()
    names = [task.name for task in trial.tasks if any(job.task == task.name for job in trial.jobs)]
    figure, (shares, jobs) = pyplot.subplots(2, 1, figsize=(11, 6.5), height_ratios=(1, 1.4))
    _draw_shares(shares, trial, names)
    _draw_jobs(jobs, trial, names)
    shares.set_title(f"music {trial.music} %, {trial.clock_hz / 1e6:g} MHz, {trial.misses} deadlines missed")
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def shares(trial: Trial, name: str) -> NDArray[np.float64]:
    """Percent of each BIN_S of the audio, the last in part, in which jobs of a task run."""
    edges = np.arange(0, trial.samples / SAMPLE_RATE + BIN_S, BIN_S)
    own = [one for one in trial.executions if one.job.task == name]
    starts = np.array([one.start for one in own]) / trial.clock_hz
    ends = np.array([one.end for one in own]) / trial.clock_hz
    inside = np.minimum(ends, edges[1:, None]) - np.maximum(starts, edges[:-1, None])
    return 100 * np.maximum(inside, 0).sum(axis=1) / BIN_S


def hardest(trial: Trial) -> Execution:
    """The job that ended nearest to its deadline, or longest after it; the longest, if none has one."""

    def left(one: Execution) -> tuple[bool, int]:
        return (one.deadline is None, -one.response if one.deadline is None else one.deadline - one.end)

    return min(trial.executions, key=left)


def _draw_shares(axis: Any, trial: Trial, names: list[str]) -> None:
    bottom = np.zeros(1)
    for name, color in zip(names, COLORS, strict=False):
        height = shares(trial, name)
        left = np.arange(len(height)) * BIN_S
        axis.bar(left, height, BIN_S, bottom=bottom, align="edge", color=color, label=name)
        bottom = bottom + height
    axis.set(xlabel="s", ylabel="% of the time", xlim=(0, trial.samples / SAMPLE_RATE))
    axis.legend(ncols=len(names), fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.22), frameon=False)


def _draw_jobs(axis: Any, trial: Trial, names: list[str]) -> None:
    scale = 1000 / trial.clock_hz
    middle = hardest(trial).end * scale
    low, high = middle - 700 * WINDOW_S, middle + 300 * WINDOW_S
    for row, (name, color) in enumerate(zip(names, COLORS, strict=False)):
        own = [one for one in trial.executions if one.job.task == name and one.end * scale >= low]
        own = [one for one in own if one.release * scale <= high]
        waits = [one.release * scale for one in own], [one.start * scale for one in own]
        axis.hlines([row] * len(own), *waits, color=color, lw=0.8)
        spans = [(one.start * scale, max((one.end - one.start) * scale, 0.05)) for one in own]
        axis.broken_barh(spans, (row - 0.35, 0.7), color=color)
        for missed, mark in ((False, "#566573"), (True, "#c0392b")):
            due = {one.deadline * scale for one in own if one.deadline is not None and one.missed == missed}
            axis.vlines(sorted(due), row - 0.45, row + 0.45, color=mark, lw=1.0 + missed)
    axis.set(xlabel="ms", xlim=(low, high), ylim=(len(names) - 0.5, -0.5))
    axis.set_yticks(range(len(names)), names)
