"""The RTL device: the processor's Verilog under Verilator and cocotb, alive behind the Device protocol."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ossicle.compiler.program import Program, Symbol
from ossicle.hw.config import NpuConfig
from ossicle.hw.isa import ARGUMENTS, Engine, Fault
from ossicle.hw.registers import IDENTITY, Register
from ossicle.sim import build, trace
from ossicle.sim.bench.mailbox import (
    DUMP_FILE,
    EVENT_FILE,
    LOAD_FILE,
    Operation,
    Result,
    counters_of,
    register_of,
    request,
)
from ossicle.sim.bench.process import Simulator
from ossicle.sim.device import RunResult

WATCHDOG_CYCLES = 50_000_000
SLACK_CYCLES = 100_000
"""What the bench waits beyond the watchdog before it gives up on the processor."""
FOREVER = (1 << 32) - 1


class DeviceError(RuntimeError):
    """The device cannot do what was asked; the message says why."""


class RtlDevice:
    """A processor in a simulator process of its own, until `close` or the end of the `with`.

    Args:
        config: the processor; its simulator is built on first use, and cached.
        music_percent: share of the memory's cycles that a competitor owns, 0 to 99.
        waves: a path ending in .vcd or .fst to write waveforms to.
        window: first and last job cycle of the waveforms, in every job; None for all.
        watchdog: cycles after which the processor stops a job; 0 for never.
        memory_bytes: size of the simulated DRAM.
        verilog: text with a module `npu` to simulate instead of the configuration's.

    Raises:
        ToolMissing, BuildError: as `ossicle.sim.build.build`.
    """

    def __init__(
        self, config: NpuConfig, *, music_percent: int = 0, waves: str | Path | None = None,
        window: tuple[int, int] | None = None, watchdog: int = WATCHDOG_CYCLES,
        memory_bytes: int = build.MEMORY_BYTES, verilog: str | None = None,
    ) -> None:
        if not 0 <= music_percent <= 99:
            raise ValueError(f"music_percent = {music_percent} is not possible; use 0 to 99")
        self.config = config
        self.music_percent = music_percent
        self.memory_bytes = memory_bytes
        self._watchdog = watchdog
        self._window = window or (0, FOREVER)
        self._program: Program | None = None
        self._words: np.ndarray | None = None
        text = build.verilog_of(config) if verilog is None else verilog
        binary = build.build(text, bus_bits=config.bus_bits, memory_bytes=memory_bytes, waves=_wave_kind(waves))
        self._simulator = Simulator(binary, () if waves is None else (f"+waves={Path(waves).resolve()}",))
        try:
            self._check_identity()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> RtlDevice:
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        """End the simulator; waveforms are whole then."""
        self._simulator.close()

    def load(self, program: Program) -> None:
        """Put a program's image into the memory, its data cleared.

        Raises:
            ProgramError: compiled for another configuration.
            DeviceError: larger than the memory.
        """
        program.check_config(self.config)
        if program.dram_bytes > self.memory_bytes:
            raise DeviceError(
                f"the program needs {program.dram_bytes} bytes of DRAM and the device has {self.memory_bytes}; "
                f"open it with memory_bytes={program.dram_bytes} or more"
            )
        self._store(0, program.image + bytes(program.dram_bytes - len(program.image)))
        self._program = program

    def write(self, where: str | int, data: np.ndarray | bytes, slot: int = 0) -> None:
        """Write an array to a symbol's slot, converted to its type; or bytes to an address."""
        if isinstance(where, str):
            symbol = self._symbol(where)
            values = np.ascontiguousarray(data, dtype=symbol.dtype).reshape(-1)
            if len(values) > symbol.count:
                raise DeviceError(f"{where} holds {symbol.count} elements a slot, not {len(values)}")
            self._store(symbol.at(slot), values.tobytes())
        else:
            self._store(where, data if isinstance(data, bytes) else np.ascontiguousarray(data).tobytes())

    def read(self, where: str | int, slot: int = 0, count: int | None = None) -> np.ndarray:
        """Elements of a symbol's slot (all, or the first `count`); or `count` bytes from an address."""
        if isinstance(where, str):
            symbol = self._symbol(where)
            count = symbol.count if count is None else count
            kind = np.dtype(symbol.dtype)
            return np.frombuffer(self._fetch(symbol.at(slot), count * kind.itemsize), dtype=kind).copy()
        if count is None:
            raise DeviceError("reading from an address needs the count of bytes")
        return np.frombuffer(self._fetch(where, count), dtype=np.uint8).copy()

    def run(self, entry: str, arguments: Mapping[int, int] | None = None) -> RunResult:
        """Run a job of the loaded program to its end.

        Raises:
            DeviceError: no such entry, or the processor gave no interrupt.
        """
        return self.run_registers(self.job_registers(entry, arguments))

    def job_registers(self, entry: str, arguments: Mapping[int, int] | None = None) -> list[tuple[int, int]]:
        """Registers of a job and their values, the start of it not included."""
        program = self._loaded()
        if entry not in program.entries:
            raise DeviceError(f"the program has no entry {entry!r}; there are {', '.join(program.entries)}")
        place, windows = program.entries[entry], program.windows
        values = [0] * ARGUMENTS
        for index, value in (arguments or {}).items():
            if not 1 <= index < ARGUMENTS:
                raise DeviceError(f"there is no argument {index}; use 1 to {ARGUMENTS - 1}")
            values[index] = value
        return [
            (Register.ENTRY, place.address),
            (Register.COUNT, place.count),
            (Register.WATCHDOG, self._watchdog),
            *zip(range(Register.READ0_BASE, Register.WRITE_LIMIT + 1), (b for w in windows for b in w), strict=True),
            *((Register.ARGUMENT + index, value) for index, value in enumerate(values) if index),
        ]

    def run_request(self, registers: Sequence[tuple[int, int]]) -> bytes:
        """The request that starts a job with these registers and waits for its end."""
        limit = min(self._watchdog + SLACK_CYCLES, FOREVER) if self._watchdog else FOREVER
        start = [(Register.INTERRUPT_ENABLE, 1), (Register.CONTROL, 1)]
        return request(
            Operation.RUN, [*registers, *start], latency=self.config.dram_latency, music=self.music_percent,
            limit=limit, wave_first=self._window[0], wave_last=self._window[1],
        )

    def run_registers(self, registers: Sequence[tuple[int, int]]) -> RunResult:
        """Run a job given by its registers, the program's symbols aside."""
        words = self._words = self._simulator.ask(self.run_request(registers))
        if words[Result.FLAGS] & 1:
            raise DeviceError(f"no interrupt within {int(words[Result.CYCLE])} cycles; the processor was reset")
        fault = register_of(words, Register.FAULT)
        return RunResult(
            cycles=counters_of(words)["cycles"], fault=Fault(fault & 15), fault_engine=Engine(fault >> 4 & 7),
            fault_instruction=fault >> 8,
        )

    def counters(self) -> dict[str, int]:
        """Counters of the last job."""
        return counters_of(self._last())

    def events(self) -> np.ndarray:
        """Events of the last job: `ossicle.sim.trace.EVENT`."""
        count = int(self._last()[Result.EVENTS])
        with (self._simulator.folder / EVENT_FILE).open("rb") as file:
            return trace.from_records(file.read(count * trace.RECORD.itemsize), count)

    def _last(self) -> np.ndarray:
        if self._words is None:
            raise DeviceError("no job has run on this device yet")
        return self._words

    def _loaded(self) -> Program:
        if self._program is None:
            raise DeviceError("no program is loaded")
        return self._program

    def _symbol(self, name: str) -> Symbol:
        symbols = self._loaded().symbols
        if name not in symbols:
            raise DeviceError(f"the program has no symbol {name!r}; there are {', '.join(symbols)}")
        return symbols[name]

    def _store(self, address: int, content: bytes) -> None:
        self._check_range(address, len(content))
        before = address % self.config.bus_bytes
        after = -(before + len(content)) % self.config.bus_bytes
        (self._simulator.folder / LOAD_FILE).write_bytes(bytes(before) + content + bytes(after))
        self._simulator.ask(request(Operation.LOAD, address=address, bytes=len(content)))

    def _fetch(self, address: int, count: int) -> bytes:
        self._check_range(address, count)
        self._simulator.ask(request(Operation.DUMP, address=address, bytes=count))
        before = address % self.config.bus_bytes
        return (self._simulator.folder / DUMP_FILE).read_bytes()[before : before + count]

    def _check_range(self, address: int, count: int) -> None:
        if not 0 <= address <= address + count <= self.memory_bytes:
            raise DeviceError(f"{count} bytes at {address:#x} lie outside the {self.memory_bytes} bytes of memory")

    def _check_identity(self) -> None:
        words = self._simulator.ask(request(Operation.PROBE))
        identity, digest = register_of(words, Register.ID), register_of(words, Register.DIGEST)
        if identity != IDENTITY or digest != self.config.digest():
            raise DeviceError(
                f"the Verilog is not of this configuration: ID {identity:#x}, digest {digest:#010x} "
                f"instead of {self.config.digest():#010x}"
            )


def _wave_kind(waves: str | Path | None) -> str | None:
    if waves is None:
        return None
    kind = Path(waves).suffix.lstrip(".")
    if kind not in ("vcd", "fst"):
        raise ValueError(f"waves = {str(waves)!r}: a waveform file ends in .vcd or .fst")
    return kind
