"""The RTL device: the processor's Verilog under Verilator and cocotb, alive behind the Device protocol."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ossicle.compiler.program import Entry, Program
from ossicle.hw.config import NpuConfig
from ossicle.hw.isa import Engine, Fault
from ossicle.hw.registers import IDENTITY, Register
from ossicle.sim import build, trace
from ossicle.sim.bench import mailbox
from ossicle.sim.bench.mailbox import Operation, Result, register_of, request
from ossicle.sim.bench.process import Simulator
from ossicle.sim.device import DeviceError, DramDevice, RunResult

WATCHDOG_CYCLES = 50_000_000
SLACK_CYCLES = 100_000
"""What the bench waits beyond the watchdog before it gives up on the processor."""
FOREVER = (1 << 32) - 1

Registers = Sequence[tuple[int, int]]
"""Registers of a job and their values, in the order of writing."""


class RtlDevice(DramDevice):
    """A processor in a simulator process of its own, until `close` or the end of the `with`.

    The memory is the simulator's, not `DramDevice.dram`. Nothing but power clears the memories of the chip: a
    `load` after the first one is a power cycle.

    Args:
        config: the processor; its simulator is built on first use, and cached.
        music_percent: share of the memory's cycles that a competitor owns, 0 to 99; may be set between jobs.
        waves: a path ending in .vcd or .fst to write the waveforms of the jobs since the last `load` to; they
            are whole after `close`.
        window: first and last job cycle of the waveforms, in every job; None for all.
        watchdog: cycles after which the processor stops a job, 0 for never; may be set between jobs.
        memory_bytes: size of the simulated DRAM.
        verilog: text with a module `npu` to simulate instead of the configuration's.

    Raises:
        ToolMissing, BuildError: as `ossicle.sim.build.build`.
        DeviceError: the Verilog is not of this configuration.
    """

    def __init__(
        self,
        config: NpuConfig,
        *,
        music_percent: int = 0,
        waves: str | Path | None = None,
        window: tuple[int, int] | None = None,
        watchdog: int = WATCHDOG_CYCLES,
        memory_bytes: int = build.MEMORY_BYTES,
        verilog: str | None = None,
    ) -> None:
        if not 0 <= music_percent <= 99:
            raise DeviceError(f"music_percent = {music_percent} is not possible; use 0 to 99")
        super().__init__(config)
        self.music_percent = music_percent
        self.memory_bytes = memory_bytes
        self.watchdog = watchdog
        self._window = window or (0, FOREVER)
        self._words: np.ndarray | None = None
        self._used = False
        """Whether the simulator has done anything since it started."""
        kind = _wave_kind(waves)
        self.verilog = build.verilog_of(config) if verilog is None else verilog
        self._binary = build.build(
            self.verilog, bus_bits=config.bus_bits, memory_bytes=memory_bytes, waves=kind
        )
        self._arguments = () if waves is None else (f"+waves={Path(waves).resolve()}",)
        self._simulator = self._started()

    def close(self) -> None:
        """End the simulator."""
        self._simulator.close()
        super().close()

    def power_cycle(self) -> None:
        """A fresh simulator: every memory is zero, no program is loaded.

        One that writes waveforms is started again, which takes about a second.
        """
        super().close()
        self._words, self._used = None, False
        if self._simulator.alive and not self._arguments:
            self._simulator.ask(request(Operation.CLEAR))
        else:
            self._simulator.close()
            self._simulator = self._started()

    def load(self, program: Program) -> None:
        """See `Device.load`.

        Raises:
            ProgramError: it was compiled for another configuration.
            DeviceError: it needs more memory.
        """
        program.check_config(self.config)
        if program.dram_bytes > self.memory_bytes:
            raise DeviceError(
                f"the program needs {program.dram_bytes} bytes of DRAM, the device has {self.memory_bytes}; "
                f"open it with memory_bytes={program.dram_bytes} or more"
            )
        if self._used:
            self.power_cycle()
        self._store(0, program.image)
        self._program = program

    def write(self, where: str | int, data: np.ndarray | bytes, slot: int = 0) -> None:
        """See `Device.write`."""
        if isinstance(where, str):
            symbol = self._symbol(where)
            data = np.ascontiguousarray(data, dtype=symbol.dtype).reshape(-1)
            if len(data) > symbol.count:
                raise DeviceError(f"{where} holds {symbol.count} elements a slot, not {len(data)}")
            where = symbol.at(slot)
        self._store(where, data if isinstance(data, bytes) else np.ascontiguousarray(data).tobytes())

    def counters(self) -> dict[str, int]:
        """See `Device.counters`: all of them."""
        return {} if self._words is None else mailbox.counters_of(self._words)

    def events(self) -> np.ndarray:
        """See `Device.events`."""
        if self._words is None:
            return super().events()
        count = int(self._words[Result.EVENTS])
        with (self._simulator.folder / mailbox.EVENT_FILE).open("rb") as file:
            return trace.from_records(file.read(count * trace.RECORD.itemsize), count)

    @property
    def last_cycle(self) -> int:
        """Job cycle in which the bench saw the last job's interrupt.

        Raises:
            DeviceError: no job has run since the last `load`.
        """
        if self._words is None:
            raise DeviceError("no job has run on this device yet")
        return int(self._words[Result.CYCLE])

    @property
    def pid(self) -> int:
        """The simulator's process."""
        return self._simulator.pid

    def job_registers(self, entry: Entry, arguments: Sequence[int]) -> Registers:
        """Registers of a job of the loaded program, all arguments given; without those that start it."""
        windows = [bound for window in self.program.windows for bound in window]
        return [
            (Register.ENTRY, entry.address),
            (Register.COUNT, entry.count),
            (Register.WATCHDOG, self.watchdog),
            *zip(range(Register.READ0_BASE, Register.WRITE_LIMIT + 1), windows, strict=True),
            *((Register.ARGUMENT + index, value) for index, value in enumerate(arguments) if index),
        ]

    def run_request(self, registers: Registers) -> bytes:
        """The request that writes registers, starts the job and waits for its end."""
        start = [(Register.INTERRUPT_ENABLE, 1), (Register.CONTROL, 1)]
        return request(
            Operation.RUN,
            [*registers, *start],
            latency=self.config.dram_latency,
            music=self.music_percent,
            limit=min(self.watchdog + SLACK_CYCLES, FOREVER) if self.watchdog else FOREVER,
            wave_first=self._window[0],
            wave_last=self._window[1],
        )

    def run_registers(self, registers: Registers) -> RunResult:
        """Run the job that registers describe, whatever program is loaded.

        Raises:
            DeviceError: the processor gave no interrupt; it was reset.
        """
        self._used = True
        words = self._words = self._simulator.ask(self.run_request(registers))
        if words[Result.FLAGS] & 1:
            raise DeviceError(f"no interrupt in {int(words[Result.CYCLE])} cycles; the processor was reset")
        fault = register_of(words, Register.FAULT)
        cycles = mailbox.counters_of(words)["cycles"]
        return RunResult(cycles, Fault(fault & 15), Engine(fault >> 4 & 7), fault >> 8)

    def probe(self) -> np.ndarray:
        """Words of the result of a request that runs no job and only reads the registers."""
        return self._simulator.ask(request(Operation.PROBE))

    def _run(self, entry: Entry, arguments: list[int]) -> RunResult:
        return self.run_registers(self.job_registers(entry, arguments))

    def _clear(self) -> None:
        """Nothing: see `load`."""

    def _started(self) -> Simulator:
        simulator = Simulator(self._binary, self._arguments)
        words = simulator.ask(request(Operation.PROBE))
        identity, digest = register_of(words, Register.ID), register_of(words, Register.DIGEST)
        if identity != IDENTITY or digest != self.config.digest():
            simulator.close()
            raise DeviceError(
                f"the Verilog is not of this configuration: ID {identity:#x}, digest {digest:#010x} "
                f"instead of {self.config.digest():#010x}"
            )
        return simulator

    def _store(self, address: int, content: bytes) -> None:
        self._check_range(address, len(content))
        self._used = True
        before = address % self.config.bus_bytes
        after = -(before + len(content)) % self.config.bus_bytes
        path = self._simulator.folder / mailbox.LOAD_FILE
        path.write_bytes(bytes(before) + content + bytes(after))
        self._simulator.ask(request(Operation.LOAD, address=address, bytes=len(content)))

    def _span(self, address: int, count: int) -> np.ndarray:
        """A copy of the memory's bytes."""
        self._check_range(address, count)
        self._simulator.ask(request(Operation.DUMP, address=address, bytes=count))
        content = (self._simulator.folder / mailbox.DUMP_FILE).read_bytes()
        before = address % self.config.bus_bytes
        return np.frombuffer(content, np.uint8, count, before)

    def _check_range(self, address: int, count: int) -> None:
        if not 0 <= address <= address + count <= self.memory_bytes:
            raise DeviceError(
                f"{count} bytes at {address:#x} lie outside the {self.memory_bytes} bytes of DRAM"
            )


def _wave_kind(waves: str | Path | None) -> str | None:
    if waves is None:
        return None
    kind = Path(waves).suffix.lstrip(".")
    if kind not in ("vcd", "fst"):
        raise DeviceError(f"waves = {str(waves)!r}: a waveform file ends in .vcd or .fst")
    return kind
