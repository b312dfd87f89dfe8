"""How fast a device simulates a recording: the time in its jobs alone, without search and frontend.

To set two devices against each other the calls of one run are recorded and made again on both: a search
between the jobs leaves its own data in the caches, and its threads on the cores.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray
from ossicle.compiler.program import Program
from ossicle.runtime.driver import PREPARE
from ossicle.runtime.recognizer import Recognizer
from ossicle.sim.device import Device, RunResult
from ossicle.sim.wrapped import WrappedDevice


class TimedDevice(WrappedDevice):
    """A `Device` that counts cycles and seconds of its jobs, but for `prepare`, which a program runs once."""

    def __init__(self, device: Device) -> None:
        super().__init__(device)
        self.cycles, self.seconds = 0, 0.0

    def run(
        self, entry: str | tuple[int, int], arguments: Mapping[int, int] | None = None, *, check: bool = True
    ) -> RunResult:
        """See `Device.run`."""
        begin = time.perf_counter()
        result = super().run(entry, arguments, check=check)
        if entry != PREPARE:
            self.seconds += time.perf_counter() - begin
            self.cycles += result.cycles or 0
        return result


Call = Callable[[Device], object]
"""A write or a job, to be made on any device with the program."""


class RecordedDevice(WrappedDevice):
    """A `Device` that keeps what was written to it and which jobs were run, in order, in `calls`."""

    def __init__(self, device: Device) -> None:
        super().__init__(device)
        self.calls: list[Call] = []

    def write(self, where: str | int, data: np.ndarray | bytes, slot: int = 0) -> None:
        """See `Device.write`."""
        kept = data if isinstance(data, bytes) else data.copy()
        self.calls.append(lambda device: device.write(where, kept, slot))
        super().write(where, data, slot)

    def run(
        self, entry: str | tuple[int, int], arguments: Mapping[int, int] | None = None, *, check: bool = True
    ) -> RunResult:
        """See `Device.run`."""
        given = dict(arguments or {})
        self.calls.append(lambda device: device.run(entry, given, check=check))
        return super().run(entry, arguments, check=check)


def recorded_calls(device: Device, program: Program, samples: NDArray[np.int16]) -> list[Call]:
    """Load a program and transcribe a recording: what that did on the device."""
    recorded = RecordedDevice(device)
    Recognizer(recorded, program).recognize(samples)
    return recorded.calls


def replay_speed(device: Device, program: Program, calls: list[Call]) -> tuple[int, float]:
    """Load a program and make calls on it again: cycles and seconds of its jobs."""
    timed = TimedDevice(device)
    timed.load(program)
    for call in calls:
        call(timed)
    return timed.cycles, timed.seconds


def recording_speed(device: Device, program: Program, samples: NDArray[np.int16]) -> tuple[int, float]:
    """Load a program and transcribe a recording: cycles and seconds of its jobs."""
    timed = TimedDevice(device)
    Recognizer(timed, program).recognize(samples)
    return timed.cycles, timed.seconds
