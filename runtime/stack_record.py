"""What the networks of a stack ran for an utterance, and when each job was done.

Jobs wait for the audio, for those that they follow, and for those before them on their processor: each
network has one of its own, or all share one, which takes jobs in the order in which they come.
`runtime.scheduling` puts the same jobs in another order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ossicle.runtime.scheduling.journal import Journal
from ossicle.runtime.scheduling.tasks import Job
from ossicle.sim.device import Device, RunResult
from ossicle.sim.wrapped import WrappedDevice


class Record:
    """The jobs of one utterance.

    Args:
        shared: whether all networks have one processor.
    """

    def __init__(self, shared: bool) -> None:
        self.shared, self._journal = shared, Journal()
        self.start(0.0, lambda: 0)

    def start(self, cycles_per_sample: float, heard: Callable[[], int]) -> None:
        """Forget what loading took; from now on audio comes.

        Args:
            cycles_per_sample: of the processor's clock.
            heard: says how many samples of the utterance are heard.
        """
        self._per_sample, self._heard = cycles_per_sample, heard
        self.clear()

    def clear(self) -> None:
        """Begin an utterance."""
        self._journal.clear()
        self.counted = True
        """Whether the devices count cycles; where they do not, nothing is kept."""
        self.cycles = 0
        """Of all jobs so far."""
        self._ends: list[int] = []
        self._free: dict[str, int] = {}

    @property
    def jobs(self) -> list[Job]:
        """In the order in which they ran."""
        return self._journal.jobs

    @property
    def done(self) -> int:
        """The cycle, from the first sample on, by which all is heard and every job done."""
        return max([int(self._heard() * self._per_sample), *self._free.values()])

    def watch(self, network: str, device: Device) -> Device:
        """The device of a network, its jobs noted from now on."""
        return _Watched(device, lambda entry, result: self._note(network, entry, result))

    def _note(self, network: str, entry: str, result: RunResult) -> None:
        if result.cycles is None:
            self.counted = False
            return
        self._journal.now = self._heard()
        self._journal.watch(network, entry, result)
        job, processor = self.jobs[-1], "" if self.shared else network
        before = [self._free.get(processor, 0), *(self._ends[index] for index in job.after)]
        self._free[processor] = max(int(job.release * self._per_sample), *before) + result.cycles
        self._ends.append(self._free[processor])
        self.cycles += result.cycles


class _Watched(WrappedDevice):
    """Tells of each job: its entry, and how it ended."""

    def __init__(self, device: Device, told: Callable[[str, RunResult], None]) -> None:
        super().__init__(device)
        self._told = told

    def run(
        self, entry: str | tuple[int, int], arguments: Mapping[int, int] | None = None, *, check: bool = True
    ) -> RunResult:
        """See `Device.run`."""
        result = super().run(entry, arguments, check=check)
        self._told(str(entry), result)
        return result
