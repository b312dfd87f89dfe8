"""Which job has the processor when: by priority, then by deadline, and never cut short.

A job that has begun runs to its end (non-preemptive). Whenever the processor is free, of the jobs that are
released, and whose predecessors have ended, the one of the smallest priority number begins; of equal ones
that with the earliest deadline (Jackson 1955; Liu and Layland 1973, JACM 20(1)); of equal ones the first in
the list. The processor does not wait for a job that is not released yet, however urgent.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from heapq import heapify, heappop, heappush

from ossicle.runtime.scheduling.tasks import Execution, Job, Task

SAMPLE_RATE = 16000
Urgency = tuple[int, bool, int, int]
"""Priority, whether without deadline, deadline, index."""


def schedule(
    jobs: Sequence[Job], tasks: Iterable[Task], clock_hz: int, sample_rate: int = SAMPLE_RATE
) -> list[Execution]:
    """When each job runs, on a processor of this clock; in the order of time.

    A release is rounded up to a cycle, a deadline down.

    Raises:
        ValueError: a job of a task that is none of `tasks`, one after a job that does not come before it in
            the list, or no clock.
    """
    if clock_hz < 1:
        raise ValueError(f"a clock of {clock_hz} Hz is not possible; use 1 or more")
    known = {task.name: task for task in tasks}
    successors, waiting = _order(jobs, known)
    releases = [-(-job.release * clock_hz // sample_rate) for job in jobs]
    deadlines = _deadlines(jobs, clock_hz, sample_rate)

    def urgency(index: int) -> Urgency:
        deadline = deadlines[index]
        return known[jobs[index].task].priority, deadline is None, deadline or 0, index

    coming = [(releases[index], index) for index, count in enumerate(waiting) if not count]
    heapify(coming)
    ready: list[Urgency] = []
    done: list[Execution] = []
    now = 0
    while coming or ready:
        now = now if ready else max(now, coming[0][0])
        while coming and coming[0][0] <= now:
            heappush(ready, urgency(heappop(coming)[1]))
        index = heappop(ready)[-1]
        start, now = now, now + jobs[index].cycles
        done.append(Execution(index, jobs[index], releases[index], deadlines[index], start, now))
        for follower in successors[index]:
            waiting[follower] -= 1
            if not waiting[follower]:
                heappush(coming, (releases[follower], follower))
    return done


def first_come(
    jobs: Sequence[Job], tasks: Iterable[Task], clock_hz: int, sample_rate: int = SAMPLE_RATE
) -> list[Execution]:
    """As `schedule`, but for the rule: of the jobs that are ready the first in the list begins."""
    equal = [Task(task.name) for task in tasks]
    made = schedule([replace(job, deadline=None) for job in jobs], equal, clock_hz, sample_rate)
    deadlines = _deadlines(jobs, clock_hz, sample_rate)
    return [replace(one, job=jobs[one.index], deadline=deadlines[one.index]) for one in made]


def _deadlines(jobs: Sequence[Job], clock_hz: int, sample_rate: int) -> list[int | None]:
    return [None if job.deadline is None else job.deadline * clock_hz // sample_rate for job in jobs]


def _order(jobs: Sequence[Job], known: dict[str, Task]) -> tuple[list[list[int]], list[int]]:
    """Of each job: those that wait for it, and for how many it waits."""
    successors: list[list[int]] = [[] for _ in jobs]
    waiting: list[int] = []
    last: dict[str, int] = {}
    for index, job in enumerate(jobs):
        if job.task not in known:
            raise ValueError(f"job {index} is of task {job.task!r}; there are {', '.join(known)}")
        wrong = [before for before in job.after if not 0 <= before < index]
        if wrong:
            raise ValueError(f"job {index} comes after job {wrong[0]}, which does not come before it")
        before = {*job.after, *([last[job.network]] if job.network in last else [])}
        for one in before:
            successors[one].append(index)
        waiting.append(len(before))
        last[job.network] = index
    return successors, waiting
