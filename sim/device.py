"""The Device protocol: a processor with its DRAM, and a program loaded; functional, fast or RTL.

    with open_device("functional", config) as device:
        device.load(program)
        device.write("features", frame)
        device.run("encoder", {1: slot})
        logits = device.read("logits")
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol

import numpy as np
from ossicle.compiler.program import Entry, Program, Symbol
from ossicle.hw.config import GRANULE_BYTES, NpuConfig
from ossicle.hw.isa import ARGUMENTS, Engine, Fault

ENGINES = {
    "functional": ("ossicle.sim.functional", "FunctionalDevice"),
    "fast": ("ossicle.sim.fast", "FastDevice"),
    "rtl": ("ossicle.sim.rtl", "RtlDevice"),
}
"""Where each kind of device lives; imported when it is opened."""


class DeviceError(RuntimeError):
    """The device cannot do what was asked; the message says why."""


@dataclass(frozen=True)
class RunResult:
    """How a job ended."""

    cycles: int | None
    """From start to end; None where the device does not count."""
    fault: Fault = Fault.NONE
    fault_engine: Engine = Engine.CONTROL
    """The engine that met the fault, and below the instruction's index in its job; the watchdog names neither
    (CONTROL, 0)."""
    fault_instruction: int | None = 0
    """None where the device cannot know it."""


class DeviceFault(RuntimeError):
    """A job stopped with a fault; `result` says which, where."""

    def __init__(self, entry: str, result: RunResult):
        self.entry = entry
        self.result = result
        index = result.fault_instruction
        culprit = "an instruction" if index is None else f"instruction {index}"
        if result.fault == Fault.WATCHDOG:
            culprit = "the watchdog"
        super().__init__(
            f"{entry}: {culprit} stopped the job with {result.fault.name} "
            f"({result.fault_engine.name.lower()} engine)"
        )


class Device(Protocol):
    """What every device does. Opened by `open_device`, closed by `close` or the end of a `with`."""

    config: NpuConfig

    def load(self, program: Program) -> None:
        """Put a program's image into DRAM; clear the data, the memories of the chip, counters and events.

        What a job computes thus depends on the program and on what was written since, not on what the device
        ran before. From job to job the chip keeps its memories; what an instruction was writing when a fault
        stopped the job may be anything.

        Raises:
            ProgramError: it was compiled for another configuration.
        """
        ...

    def write(self, where: str | int, data: np.ndarray | bytes, slot: int = 0) -> None:
        """Write an array to a symbol's slot (all of it, or its beginning), or bytes to an address."""
        ...

    def read(self, where: str | int, slot: int = 0, count: int | None = None) -> np.ndarray:
        """Elements of a symbol's slot (all, or the first `count`), or `count` bytes from an address."""
        ...

    def run(
        self, entry: str | tuple[int, int], arguments: Mapping[int, int] | None = None, *, check: bool = True
    ) -> RunResult:
        """Run a job: an entry by name, or (address, count of instructions); argument registers by number.

        Raises:
            DeviceFault: the job ended with a fault, unless `check` is False.
            ValueError: an address or a count that no job can have.
        """
        ...

    def counters(self) -> dict[str, int]:
        """Of the last job since `load`, by the names of `registers.COUNTERS`: those that the device keeps."""
        ...

    def events(self) -> np.ndarray:
        """Of the last job since `load`: `sim.trace.EVENT`; empty where the device keeps no time."""
        ...

    def close(self) -> None:
        """Give back what the device holds."""
        ...


def open_device(engine: str, config: NpuConfig, **options: Any) -> Device:
    """A device: "functional", "fast" or "rtl". Options are those of its class.

    Raises:
        DeviceError: no such engine.
    """
    if engine not in ENGINES:
        raise DeviceError(f"there is no engine {engine!r}; use {', '.join(ENGINES)}")
    module, name = ENGINES[engine]
    return getattr(import_module(module), name)(config, **options)


class DramDevice(ABC):
    """The part of `Device` that is the same for every device whose DRAM is a numpy array.

    A subclass gives `_clear` and `_run`, and may count in `self._counters`.
    """

    def __init__(self, config: NpuConfig):
        self.config = config
        self.dram = np.zeros(0, np.uint8)
        """What the chip sees at address 0 and up."""
        self._program: Program | None = None
        self._counters: dict[str, int] = {}

    def __enter__(self):
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        """Forget the program."""
        self.dram = np.zeros(0, np.uint8)
        self._program = None

    def load(self, program: Program) -> None:
        """See `Device.load`."""
        program.check_config(self.config)
        self.dram = np.zeros(program.dram_bytes, np.uint8)
        self.dram[: len(program.image)] = np.frombuffer(program.image, np.uint8)
        self._program = program
        self._counters = {}
        self._clear()

    def write(self, where: str | int, data: np.ndarray | bytes, slot: int = 0) -> None:
        """See `Device.write`."""
        if isinstance(where, str):
            symbol = self._symbol(where)
            values = np.ascontiguousarray(data, dtype=symbol.dtype).reshape(-1)
            if len(values) > symbol.count:
                raise DeviceError(f"{where} holds {symbol.count} elements a slot, not {len(values)}")
            where, data = symbol.at(slot), values
        content = data if isinstance(data, bytes) else np.ascontiguousarray(data).tobytes()
        self._span(where, len(content))[:] = np.frombuffer(content, np.uint8)

    def read(self, where: str | int, slot: int = 0, count: int | None = None) -> np.ndarray:
        """See `Device.read`."""
        if isinstance(where, str):
            symbol = self._symbol(where)
            kind = np.dtype(symbol.dtype)
            count = symbol.count if count is None else count
            return self._span(symbol.at(slot), count * kind.itemsize).view(kind).copy()
        if count is None:
            raise DeviceError("reading from an address needs the count of bytes")
        return self._span(where, count).copy()

    def run(
        self, entry: str | tuple[int, int], arguments: Mapping[int, int] | None = None, *, check: bool = True
    ) -> RunResult:
        """See `Device.run`."""
        result = self._run(self._entry(entry), argument_values(arguments))
        if check and result.fault:
            raise DeviceFault(str(entry), result)
        return result

    def counters(self) -> dict[str, int]:
        """See `Device.counters`."""
        return dict(self._counters)

    def events(self) -> np.ndarray:
        """See `Device.events`."""
        from ossicle.sim.trace import EVENT

        return np.zeros(0, EVENT)

    @property
    def program(self) -> Program:
        """The program loaded.

        Raises:
            DeviceError: there is none.
        """
        if self._program is None:
            raise DeviceError("no program is loaded")
        return self._program

    @abstractmethod
    def _clear(self) -> None:
        """Clear the memories of the chip."""

    @abstractmethod
    def _run(self, entry: Entry, arguments: list[int]) -> RunResult:
        """Run a job to its end or its fault."""

    def _entry(self, entry: str | tuple[int, int]) -> Entry:
        if not isinstance(entry, str):
            address, count = entry
            if address % GRANULE_BYTES or count < 2 or count % 2:
                raise ValueError(
                    "a job is an even count of instructions, 2 or more, from a multiple of "
                    f"{GRANULE_BYTES} bytes, not {count} from {address:#x}"
                )
            return Entry(address, count)
        entries = self.program.entries
        if entry not in entries:
            raise DeviceError(f"the program has no entry {entry!r}; there are {', '.join(entries)}")
        return entries[entry]

    def _symbol(self, name: str) -> Symbol:
        symbols = self.program.symbols
        if name not in symbols:
            raise DeviceError(f"the program has no symbol {name!r}; there are {', '.join(symbols)}")
        return symbols[name]

    def _span(self, address: int, count: int) -> np.ndarray:
        if not 0 <= address <= address + count <= len(self.dram):
            raise DeviceError(f"{count} bytes at {address:#x} lie outside the {len(self.dram)} bytes of DRAM")
        return self.dram[address : address + count]


def argument_values(arguments: Mapping[int, int] | None) -> list[int]:
    """All argument registers; those not given are 0.

    Raises:
        DeviceError: a register that is none (0 is always 0), or a value of more than 16 bits.
    """
    values = [0] * ARGUMENTS
    for index, value in (arguments or {}).items():
        if not 1 <= index < ARGUMENTS:
            raise DeviceError(f"there is no argument {index}; use 1 to {ARGUMENTS - 1}")
        if not 0 <= value < 1 << 16:
            raise DeviceError(f"argument {index} = {value} must fit 16 bits")
        values[index] = int(value)
    return values
