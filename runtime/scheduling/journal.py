"""A record of the jobs that networks ran, with the audio time in which each was released.

`Journal.watch` is a `sim.shared.Watcher`; who hands audio to the networks sets `now`, the samples heard so
far, before each hand-over. `schedule(journal.jobs, journal.tasks.values(), clock_hz)` then says when each
would run.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from ossicle.runtime.scheduling.networks import ENDPOINT, LANGUAGE, LM, NLU, RECOGNIZER, SPEAKER, WHISPER
from ossicle.runtime.scheduling.tasks import Job, Task
from ossicle.sim.device import DeviceError, RunResult

END_OF_TEXT, RESCORING = "end of text", "rescoring"
STEP, FRAME = 480, 960
"""Samples of 30 and of 60 ms: a step of the features, and one of the encoder."""
LEAD = 3360
"""Samples that a speculative end-point comes before the final one."""
STACK_TASKS = (
    Task(RECOGNIZER, 0, FRAME),
    Task(ENDPOINT, 0, STEP),
    Task(END_OF_TEXT, 0, STEP, follows=(RECOGNIZER, ENDPOINT)),
    Task(RESCORING, 1, LEAD, follows=(RECOGNIZER,)),
    Task(NLU, 1, LEAD, follows=(RECOGNIZER, LM)),
    Task(WHISPER, 2, 2 * FRAME),
    Task(SPEAKER, 2, 2 * FRAME),
    Task(LANGUAGE, 2, 2 * FRAME),
)
"""A frame, and whether the speaker has ended, before the next is heard; what begins at a speculative
end-point, before the final one; then what the response alone waits for, two frames late at most."""
STACK_PURPOSES = {LM: END_OF_TEXT}
"""Tasks of networks that have another name than their task."""


class Journal:
    """Jobs as they are run, in their order.

    Args:
        tasks: all that there are.
        purposes: the task of a network's jobs, where it is not named as the network.
    """

    def __init__(
        self, tasks: Iterable[Task] = STACK_TASKS, purposes: Mapping[str, str] = STACK_PURPOSES
    ) -> None:
        self.tasks = {task.name: task for task in tasks}
        self.jobs: list[Job] = []
        self.now = 0
        """Samples heard so far."""
        self._purposes = dict(purposes)
        self._last: dict[str, int] = {}

    def clear(self) -> None:
        """Forget all jobs; audio begins at 0."""
        self.jobs, self._last, self.now = [], {}, 0

    @contextmanager
    def purpose(self, network: str, task: str) -> Iterator[None]:
        """Within it a network's jobs are for another task."""
        before = self._purposes.get(network, network)
        self._purposes[network] = task
        try:
            yield
        finally:
            self._purposes[network] = before

    def watch(self, network: str, entry: str, result: RunResult) -> None:
        """Note a job that has run; a `sim.shared.Watcher`.

        Raises:
            DeviceError: the device counts no cycles, or the network has no task.
        """
        name = self._purposes.get(network, network)
        if name not in self.tasks:
            raise DeviceError(f"jobs of {network} are for no task; there are {', '.join(self.tasks)}")
        if result.cycles is None:
            raise DeviceError("a schedule needs cycles: use a device that counts them, fast or rtl")
        task = self.tasks[name]
        after = tuple(sorted(self._last[one] for one in task.follows if one in self._last and one != network))
        self._last[network] = len(self.jobs)
        deadline = task.deadline(self.now)
        self.jobs.append(Job(name, network, entry, self.now, deadline, result.cycles, after))
