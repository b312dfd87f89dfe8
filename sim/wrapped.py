"""A device around another: hands every call on, for a subclass to watch some of them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from ossicle.compiler.program import Program
from ossicle.hw.config import NpuConfig
from ossicle.sim.device import Device, RunResult


class WrappedDevice:
    """A `Device` that does what the one inside does. Closing it leaves that one open."""

    def __init__(self, device: Device) -> None:
        self.config: NpuConfig = device.config
        self.device = device

    def load(self, program: Program) -> None:
        """See `Device.load`."""
        self.device.load(program)

    def write(self, where: str | int, data: np.ndarray | bytes, slot: int = 0) -> None:
        """See `Device.write`."""
        self.device.write(where, data, slot)

    def read(self, where: str | int, slot: int = 0, count: int | None = None) -> np.ndarray:
        """See `Device.read`."""
        return self.device.read(where, slot, count)

    def run(
        self, entry: str | tuple[int, int], arguments: Mapping[int, int] | None = None, *, check: bool = True
    ) -> RunResult:
        """See `Device.run`."""
        return self.device.run(entry, arguments, check=check)

    def counters(self) -> dict[str, int]:
        """See `Device.counters`."""
        return self.device.counters()

    def events(self) -> np.ndarray:
        """See `Device.events`."""
        return self.device.events()

    def close(self) -> None:
        """Nothing: the device inside was opened elsewhere."""
