"""What a device did, job by job: kept while it works, to be set against another device's."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import IO

import numpy as np
from ossicle.compiler.program import Program
from ossicle.hw.config import GRANULE_BYTES
from ossicle.hw.isa import Opcode
from ossicle.sim.device import Device, DeviceFault, RunResult
from ossicle.sim.wrapped import WrappedDevice


@dataclass(frozen=True)
class Job:
    """A job that ended, and all that it left behind."""

    entry: str
    arguments: Mapping[int, int]
    result: RunResult
    outputs: tuple[tuple[int, np.ndarray], ...]
    """Address and bytes of what each STORE of the entry wrote, in the program's order."""
    counters: Mapping[str, int]
    events: np.ndarray


@dataclass(frozen=True)
class _Store:
    """Where a STORE writes: `address + arguments[argument] * stride`, all in bytes."""

    address: int
    count: int
    argument: int
    stride: int


class RecordingDevice(WrappedDevice):
    """A `Device` that hands each job to `sink` as it ends, a faulty one too.

    Args:
        device: does the work; it stays open.
        sink: called after each job that is run by the name of its entry.
    """

    def __init__(self, device: Device, sink: Callable[[Job], None]) -> None:
        super().__init__(device)
        self._sink = sink
        self._stores: dict[str, list[_Store]] = {}

    def load(self, program: Program) -> None:
        """See `Device.load`."""
        self._stores = {entry: _stores(program, entry) for entry in program.entries}
        super().load(program)

    def run(
        self, entry: str | tuple[int, int], arguments: Mapping[int, int] | None = None, *, check: bool = True
    ) -> RunResult:
        """See `Device.run`."""
        result = super().run(entry, arguments, check=False)
        if isinstance(entry, str):
            self._sink(self._job(entry, dict(arguments or {}), result))
        if check and result.fault:
            raise DeviceFault(str(entry), result)
        return result

    def _job(self, entry: str, arguments: dict[int, int], result: RunResult) -> Job:
        outputs = []
        for store in self._stores[entry]:
            address = store.address + arguments.get(store.argument, 0) * store.stride
            outputs.append((address, self.read(address, count=store.count)))
        return Job(entry, arguments, result, tuple(outputs), self.counters(), self.events())


class JobFile:
    """Jobs in a file, in order: a recording of any length takes the memory of its longest job.

    Args:
        file: open to write and read, and empty.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def add(self, job: Job) -> None:
        """Append a job."""
        pickle.dump(job, self._file)

    def __iter__(self) -> Iterator[Job]:
        """All jobs from the first, which must all have been added by then."""
        self._file.seek(0)
        while True:
            try:
                yield pickle.load(self._file)
            except EOFError:
                return


def _stores(program: Program, entry: str) -> list[_Store]:
    return [
        _Store(
            made["address"],
            made["length"] * GRANULE_BYTES,
            made["argument"],
            made["stride"] * GRANULE_BYTES,
        )
        for made in program.instructions(entry)
        if made.opcode is Opcode.STORE
    ]
