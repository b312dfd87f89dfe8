"""One device for several networks: each has a view of it that is a Device of its own.

    program = link({"recognizer": Network(...), "nlu": Network(...)}, config)
    with open_device("fast", config) as device:
        shared = SharedDevice(device, program)
        recognizer = Recognizer(shared.view("recognizer"), shared.programs["recognizer"])
        nlu = Nlu(shared.view("nlu"), shared.programs["nlu"])

Jobs of all run one after another, in the order in which they are asked for, and none changes what another
network has on the chip or in DRAM.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from ossicle.compiler.link import members
from ossicle.compiler.program import Program, ProgramError
from ossicle.hw.config import NpuConfig
from ossicle.sim.device import Device, DeviceError, RunResult

Watcher = Callable[[str, str, RunResult], None]
"""Told after each job: the network, its entry, and how it ended; the device still has counters and events."""


class SharedDevice:
    """Several networks on one device, which is loaded here and stays open.

    Args:
        device: loaded by nobody else from now on.
        program: a link.
        watcher: see `Watcher`.
    Raises:
        ProgramError: the program is no link, or is for another configuration.
    """

    def __init__(self, device: Device, program: Program, watcher: Watcher | None = None) -> None:
        self.config: NpuConfig = device.config
        self.programs = members(program)
        """Of each network, for its session."""
        self.device, self.watcher = device, watcher
        device.load(program)
        self._views = {name: NetworkView(self, name) for name in self.programs}
        self._last: str | None = None

    def view(self, network: str) -> NetworkView:
        """The device as one network sees it; the same view each time.

        Raises:
            DeviceError: there is no such network.
        """
        if network not in self._views:
            raise DeviceError(f"no network {network!r} is linked; there are {', '.join(self._views)}")
        return self._views[network]

    def open(self, network: str, program: Program) -> NetworkView:
        """As `view`, for a program that is about to be loaded.

        Raises:
            DeviceError: there is no such network.
            ProgramError: the program is not that network's in the link.
        """
        view = self.view(network)
        view.check(program)
        return view

    def run(
        self, network: str, entry: str | tuple[int, int], arguments: Mapping[int, int] | None, check: bool
    ) -> RunResult:
        """Run a job of a network: see `Device.run`."""
        self._last = network
        full = f"{network}/{entry}" if isinstance(entry, str) else entry
        result = self.device.run(full, arguments, check=check)
        if self.watcher is not None:
            self.watcher(network, str(entry), result)
        return result

    def check_last(self, network: str) -> None:
        """Raise DeviceError unless the last job was this network's."""
        if self._last not in (network, None):
            raise DeviceError(
                f"counters and events of {network} are gone: a job of {self._last} has run since; "
                "ask for them after each job"
            )


class NetworkView:
    """What one network sees of a `SharedDevice`. See `ossicle.sim.device.Device`.

    Closing it leaves the device open. Addresses in place of symbols are those of the shared DRAM.
    """

    def __init__(self, shared: SharedDevice, network: str) -> None:
        self.config: NpuConfig = shared.config
        self.program = shared.programs[network]
        self.network = network
        self._shared = shared
        self._loaded = False

    def __enter__(self) -> NetworkView:
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def check(self, program: Program) -> None:
        """Raise ProgramError unless the program is this network's in the link."""
        program.check_config(self.config)
        own = self.program
        if program is not own and (program.image, program.entries) != (own.image, own.entries):
            name = program.meta.get("name", "the program")
            raise ProgramError(
                f"{name} is not the program of {self.network} in this link; "
                f"load SharedDevice.programs[{self.network!r}]"
            )

    def load(self, program: Program) -> None:
        """The network's symbols to zero; its part of the chip is what its job `prepare` makes of it.

        Raises:
            ProgramError: the program is not this network's in the link.
        """
        self.check(program)
        for symbol in self.program.symbols.values() if self._loaded else ():
            for slot in range(symbol.slots):
                self.write(symbol.name, np.zeros(symbol.count, symbol.dtype), slot)
        self._loaded = True

    def write(self, where: str | int, data: np.ndarray | bytes, slot: int = 0) -> None:
        """See `Device.write`."""
        self._shared.device.write(self._full(where), data, slot)

    def read(self, where: str | int, slot: int = 0, count: int | None = None) -> np.ndarray:
        """See `Device.read`."""
        return self._shared.device.read(self._full(where), slot, count)

    def run(
        self, entry: str | tuple[int, int], arguments: Mapping[int, int] | None = None, *, check: bool = True
    ) -> RunResult:
        """See `Device.run`."""
        return self._shared.run(self.network, entry, arguments, check)

    def counters(self) -> dict[str, int]:
        """See `Device.counters`. Raises DeviceError if another network's job has run since."""
        self._shared.check_last(self.network)
        return self._shared.device.counters()

    def events(self) -> np.ndarray:
        """See `Device.events`. Raises DeviceError if another network's job has run since."""
        self._shared.check_last(self.network)
        return self._shared.device.events()

    def close(self) -> None:
        """Nothing: the device is the others' too."""

    def _full(self, where: str | int) -> str | int:
        return f"{self.network}/{where}" if isinstance(where, str) else where
