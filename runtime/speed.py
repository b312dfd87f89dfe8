"""How fast a device simulates a recording: the time in its jobs alone, without search and frontend."""

from __future__ import annotations

import time
from collections.abc import Mapping

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


def recording_speed(device: Device, program: Program, samples: NDArray[np.int16]) -> tuple[int, float]:
    """Load a program and transcribe a recording: cycles and seconds of its jobs."""
    timed = TimedDevice(device)
    Recognizer(timed, program).recognize(samples)
    return timed.cycles, timed.seconds
