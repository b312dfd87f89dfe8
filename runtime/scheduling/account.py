"""What a schedule amounts to: by task its share of the processor, how long responses took, deadlines missed.

response = the jobs of a task that were released at one moment; missed if its last job ends late
occupancy = cycles of jobs / cycles of the audio, percent
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from ossicle.runtime.driver import RESET
from ossicle.runtime.scheduling.scheduler import SAMPLE_RATE, schedule
from ossicle.runtime.scheduling.tasks import Execution, Job, Task

STEP_HZ = 10_000


@dataclass(frozen=True)
class Response:
    """All jobs of a task that were released at one moment: one frame, one rescoring."""

    task: str
    time: int
    """Cycles from the release to the end of the last job."""
    missed: bool


def responses(executions: Iterable[Execution]) -> list[Response]:
    """Those of a schedule, but for clearing a state, which nobody waits for."""
    found: dict[tuple[str, int], list[Execution]] = {}
    for one in executions:
        found.setdefault((one.job.task, one.job.release), []).append(one)
    return [
        Response(task, max(one.response for one in jobs), any(one.missed for one in jobs))
        for (task, _), jobs in found.items()
        if any(one.job.entry != RESET for one in jobs)
    ]


def by_task(
    executions: Sequence[Execution], tasks: Iterable[Task], clock_hz: int, samples: int
) -> list[dict]:
    """A row for each task that ran, by priority: its deadline and response times in ms (median, 99th
    percentile, longest), its jobs, occupancy of the time that `samples` of audio take."""
    found, rows = responses(executions), []
    for task in sorted(tasks, key=lambda task: task.priority):
        own = [one for one in found if one.task == task.name]
        if not own:
            continue
        jobs = [one.job.cycles for one in executions if one.job.task == task.name]
        rows.append({
            "task": task.name,
            "priority": task.priority,
            "deadline ms": None if task.within is None else round(1000 * task.within / SAMPLE_RATE, 1),
            "responses": len(own),
            "jobs": len(jobs),
            "occupancy %": occupancy(jobs, clock_hz, samples),
            **quantiles([one.time for one in own], clock_hz),
            "misses": sum(one.missed for one in own),
        })  # fmt: skip
    return rows


def occupancy(cycles: Iterable[int], clock_hz: int, samples: int) -> float:
    """Percent of the processor's time while so many samples are heard."""
    return round(100 * sum(cycles) * SAMPLE_RATE / (clock_hz * samples), 3)


def quantiles(cycles: Sequence[int], clock_hz: int) -> dict[str, float]:
    """Median, 99th percentile and longest, ms; each a time that was taken."""
    found = np.percentile(cycles, [50, 99, 100], method="higher") * 1000 / clock_hz
    return dict(zip(("P50 ms", "P99 ms", "longest ms"), found.round(3).tolist(), strict=True))


def least_clock(jobs: Sequence[Job], tasks: Sequence[Task], clock_hz: int) -> int | None:
    """The lowest clock, in Hz, up to `clock_hz`, at which no deadline is missed, to STEP_HZ, by bisection;
    None if one is missed at `clock_hz`.

    Cycles of a job do not depend on the clock here, as the memory's latency is counted in cycles.
    """

    def keeps(hertz: int) -> bool:
        return not any(one.missed for one in schedule(jobs, tasks, hertz))

    if not keeps(clock_hz):
        return None
    low, high = 0, -(-clock_hz // STEP_HZ)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if keeps(middle * STEP_HZ) else (middle, high)
    return min(high * STEP_HZ, clock_hz)
