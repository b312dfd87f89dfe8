"""The same utterances beside more and more other traffic on the memory ("music", percent of its cycles)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from ossicle.compiler.program import Program
from ossicle.hw.config import NpuConfig
from ossicle.runtime.scheduling.account import by_task, least_clock, occupancy, quantiles, responses
from ossicle.runtime.scheduling.networks import RECOGNIZER
from ossicle.runtime.scheduling.scheduler import first_come, schedule
from ossicle.runtime.scheduling.tasks import Execution, Job, Task
from ossicle.runtime.scheduling.workload import Workload
from ossicle.sim.device import DeviceError, open_device

Progress = Callable[[int, int], None]
MOST = 99
"""Percent of the memory's cycles that a competitor can own."""


@dataclass(frozen=True)
class Trial:
    """What all utterances took beside so much music."""

    music: int
    jobs: list[Job]
    tasks: list[Task]
    executions: list[Execution]
    clock_hz: int
    samples: int
    texts: list[str]

    @property
    def misses(self) -> int:
        """Responses that came late."""
        return sum(one.missed for one in responses(self.executions))

    def row(self) -> dict:
        """Columns: music in percent, occupancy of the processor, response of a frame in ms, responses that
        are late (also if jobs ran in the order in which they came), and the clock in MHz that would do."""
        found = responses(self.executions)
        frames = [one.time for one in found if one.task == RECOGNIZER]
        in_order = responses(first_come(self.jobs, self.tasks, self.clock_hz))
        least = least_clock(self.jobs, self.tasks, self.clock_hz)
        return {
            "music %": self.music,
            "occupancy %": occupancy((job.cycles for job in self.jobs), self.clock_hz, self.samples),
            **{f"frame {name}": value for name, value in quantiles(frames, self.clock_hz).items()},
            "misses": self.misses,
            "in order of arrival": sum(one.missed for one in in_order),
            "of": len(found),
            "clock that does, MHz": None if least is None else round(least / 1e6, 2),
        }

    def by_task(self) -> list[dict]:
        """See `account.by_task`."""
        return by_task(self.executions, self.tasks, self.clock_hz, self.samples)


@dataclass
class Trials:
    """Runs the utterances once for each amount of music, and keeps what it found.

    Args:
        engine: fast or rtl.
    Raises, from `at`:
        DeviceError: a device without cycles, or utterances that took other jobs than beside other music.
    """

    engine: str
    config: NpuConfig
    program: Program
    clips: Sequence[NDArray[np.int16]]
    clock_hz: int
    _found: dict[int, Trial] = field(default_factory=dict)

    def at(self, music: int, progress: Progress | None = None) -> Trial:
        """Beside so much music, 0 to 99 percent."""
        if music not in self._found:
            trial = self._run(music, progress)
            assert trial is not None, "only a run that gives up has no trial"
            self._found[music] = trial
        return self._found[music]

    def highest(self, told: Callable[[int], None] = lambda music: None) -> int | None:
        """The most music beside which no deadline is missed, by bisection; None if one is missed without any.

        `told` is called with each amount tried.
        """
        low, high = -1, MOST + 1
        while high - low > 1:
            middle = 0 if low < 0 else (low + high) // 2
            told(middle)
            low, high = (middle, high) if self._keeps(middle) else (low, middle)
        return None if low < 0 else low

    def _keeps(self, music: int) -> bool:
        """Whether no deadline is missed; a run ends with the first utterance in which one is."""
        if music not in self._found:
            trial = self._run(music, None, gives_up=True)
            if trial is None:
                return False
            self._found[music] = trial
        return not self._found[music].misses

    def _run(self, music: int, progress: Progress | None, gives_up: bool = False) -> Trial | None:
        """All utterances, checked against those before; None, if it gives up."""
        options = {"music_percent": music} if music else {}
        with closing(open_device(self.engine, self.config, **options)) as device:
            work = Workload(device, self.program)
            jobs, tasks = work.journal.jobs, list(work.journal.tasks.values())
            executions: list[Execution] = []
            for index, clip in enumerate(self.clips):
                work.run(clip)
                executions = schedule(jobs, tasks, self.clock_hz)
                if gives_up and any(one.missed for one in executions):
                    return None
                if progress:
                    progress(index + 1, len(self.clips))
        for other in self._found.values():
            if list(map(_what, jobs)) != list(map(_what, other.jobs)):
                raise DeviceError(f"beside {music} % music the utterances took other jobs than without")
        return Trial(music, jobs, tasks, executions, self.clock_hz, sum(map(len, self.clips)), work.texts)


def _what(job: Job) -> tuple[str, str, str, int]:
    return job.task, job.network, job.entry, job.release
