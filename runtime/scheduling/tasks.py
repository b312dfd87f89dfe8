"""What a processor that several networks share is asked to do, and when it did it.

    Task       why jobs are run, and how urgent that is: a frame of speech, a rescoring
    Job        one run of one entry: when it may begin, by when it has to end, how many cycles it takes
    Execution  a job, and the cycles from which and to which it had the processor

Audio time is counted in samples, the processor's in cycles. Jobs of a task that were released at one moment
are one response of it (a frame is an encoder step and the joints after it); its time ends with its last job.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Task:
    """Jobs of one purpose.

    Args:
        priority: of two jobs that are ready, the one with the smaller number goes first; of equal ones, that
            with the earlier deadline.
        within: samples from a job's release to its deadline; None: it has none.
        follows: networks whose jobs so far it needs the results of.
    Raises:
        ValueError: a priority below 0, or no time.
    """

    name: str
    priority: int = 0
    within: int | None = None
    follows: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.priority < 0:
            raise ValueError(f"task {self.name}: priority {self.priority} is not possible; use 0 or more")
        if self.within is not None and self.within < 1:
            raise ValueError(f"task {self.name}: {self.within} samples are no time; use 1 or more, or None")

    def deadline(self, release: int) -> int | None:
        """Of a job released at this sample."""
        return None if self.within is None else release + self.within


@dataclass(frozen=True)
class Job:
    """One run of one entry of a program.

    Jobs of one network run in the order in which they are listed, as each finds the states that the one
    before it left.

    Args:
        task: name of the task that it is for.
        network: name of the network that it is a job of; two tasks may use one.
        release: sample of audio that must have been heard before it.
        deadline: sample by which it has to end; None: it may end whenever it does.
        cycles: as the device counted.
        after: indices, in the list of jobs, of earlier ones that must have ended before it.
    Raises:
        ValueError: a release or cycles below 0.
    """

    task: str
    network: str
    entry: str
    release: int
    deadline: int | None
    cycles: int
    after: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.release < 0 or self.cycles < 0:
            raise ValueError(
                f"job {self.network}/{self.entry}: released at {self.release}, {self.cycles} cycles; "
                "neither can be below 0"
            )


@dataclass(frozen=True)
class Execution:
    """When a job had the processor, in cycles from the first sample on."""

    index: int
    """Of the job in the list of jobs."""
    job: Job
    release: int
    """First cycle in which it could have begun, but for what it comes after."""
    deadline: int | None
    """Last cycle in which it may end."""
    start: int
    end: int
    """First cycle after it."""

    @property
    def missed(self) -> bool:
        """Whether it ended after its deadline."""
        return self.deadline is not None and self.end > self.deadline

    @property
    def response(self) -> int:
        """Cycles from its release to its end."""
        return self.end - self.release
