"""The fast device: the Program image on a numba model equal to the RTL in values and in cycles."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from ossicle.compiler import codec
from ossicle.compiler.program import Entry
from ossicle.hw.config import GRANULE_BYTES, INSTRUCTION_BYTES, WEIGHTS_PER_WORD, NpuConfig
from ossicle.hw.isa import Engine, Fault, Opcode
from ossicle.hw.registers import COUNTERS
from ossicle.sim.cycle import decode as outcomes
from ossicle.sim.cycle import loop, setup
from ossicle.sim.cycle import state as S
from ossicle.sim.cycle.lanes import tag_words
from ossicle.sim.device import DeviceError, DramDevice, RunResult
from ossicle.sim.functional_chip import ChipState
from ossicle.sim.trace import EVENT

WATCHDOG_CYCLES = 50_000_000


class Chip(NamedTuple):
    """The memories of the chip as the kernels see them; `words*` are bytes of LOAD's targets,
    `weight_pairs` the weights as two int64 a word."""

    weights: np.ndarray
    weight_pairs: np.ndarray
    tags: np.ndarray
    activations: np.ndarray
    vectors: np.ndarray
    parameters: np.ndarray
    accumulators: np.ndarray
    words0: np.ndarray
    words1: np.ndarray
    words2: np.ndarray
    x: np.ndarray
    x_tags: np.ndarray


class Pool(NamedTuple):
    """All streams decoded so far: int64[n, 4] of (first step, steps, outcome, first bank word or -1);
    their steps' bits; their words, each as two int64, and tags."""

    index: np.ndarray
    steps: np.ndarray
    banks: np.ndarray
    tags: np.ndarray


class FastDevice(DramDevice):
    """A processor as a numba model. See `ossicle.sim.device.Device`.

    Args:
        config: the processor and its memory.
        music_percent: share of the memory's cycles that a competitor owns, 0 to 99.
        watchdog: cycles after which a job is stopped, 0 for never; may be set between jobs.
    """

    def __init__(self, config: NpuConfig, *, music_percent: int = 0, watchdog: int = WATCHDOG_CYCLES):
        if not 0 <= music_percent <= 99:
            raise DeviceError(f"music_percent = {music_percent} is not possible; use 0 to 99")
        super().__init__(config)
        self.music_percent = music_percent
        self.watchdog = watchdog
        self._setup = setup.config_of(config, music_percent)
        self._state = np.zeros(S.SIZE, np.int64)
        self._log = np.zeros((1 << 12, 5), np.int64)
        self._streams = Streams(config)
        self._clear()

    def write(self, where, data, slot: int = 0) -> None:
        """See `Device.write`."""
        super().write(where, data, slot)
        if not isinstance(where, str):
            self._forget()

    def events(self) -> np.ndarray:
        """See `Device.events`."""
        rows = self._log[: self._state[S.EVENTS]]
        rows = rows[np.lexsort((rows[:, 2], rows[:, 1], rows[:, 0]))]
        made = np.zeros(len(rows), EVENT)
        for n, name in enumerate(("cycle", "engine", "kind", "index", "value")):
            made[name] = rows[:, n]
        return made

    def _clear(self) -> None:
        self._state[:] = 0
        self.chip = state = ChipState.cleared(self.config)
        tags = np.zeros(state.weights.shape[:2], np.uint16)
        self._kernel_chip = Chip(
            weights=state.weights,
            weight_pairs=state.weights.view(np.int64),
            tags=tags,
            activations=state.activations,
            vectors=state.vectors,
            parameters=state.parameters.view(np.int32).reshape(*state.parameters.shape, 2),
            accumulators=state.accumulators,
            words0=state.words_of(0).reshape(-1),
            words1=state.words_of(1).reshape(-1),
            words2=state.words_of(2).reshape(-1),
            x=np.zeros((256, WEIGHTS_PER_WORD), np.int8),
            x_tags=np.zeros(256, np.uint16),
        )
        self._forget()

    def _forget(self) -> None:
        """The image may have changed: drop what was derived from it."""
        self._programs: dict[Entry, np.ndarray] = {}
        self._held: dict[Entry, tuple[codec.TableSet | None, ...]] = {}
        """The tables that an entry's streams were looked up with."""
        self._streams.clear()

    def _run(self, entry: Entry, arguments: list[int]) -> RunResult:
        program = self._program_table(entry)
        windows = np.array(self.program.windows, np.int64).reshape(3, 2)
        values = np.array(arguments, np.int64)
        state = self._state
        loop.begin(state, self._setup, entry.address, entry.count, windows)
        while True:
            outcome = loop.run(
                state,
                self._setup,
                program,
                values,
                windows,
                self._kernel_chip,
                self.dram,
                self._streams.pool,
                self._log,
                self.watchdog or -1,
            )
            if outcome == loop.JOB_ENDED:
                break
            if outcome == loop.EVENTS_FULL:
                self._log = np.concatenate([self._log, np.zeros_like(self._log)])
            else:
                self._keep_tables()
                made = program[state[S.VALUE + Engine.DECODE]]
                made[setup.HANDLE] = self._streams.handle(made, self.dram, self.chip.tables)
        self._keep_tables()
        self._counters = {name: int(state[S.COUNTER + n]) for n, name in enumerate(COUNTERS)}
        return RunResult(
            int(state[S.COUNTER]),
            Fault(int(state[S.FAULT])),
            Engine(int(state[S.FAULT_ENGINE])),
            int(state[S.FAULT_INDEX]),
        )

    def _program_table(self, entry: Entry) -> np.ndarray:
        if entry not in self._programs:
            words = self.dram[entry.address : entry.address + entry.count * INSTRUCTION_BYTES]
            self._programs[entry] = setup.instruction_table(words.reshape(-1, INSTRUCTION_BYTES))
        program, held = self._programs[entry], tuple(self.chip.tables)
        if self._held.get(entry) != held or (program[:, setup.OPCODE] == Opcode.TABLE).any():
            program[:, setup.HANDLE] = -1
        self._held[entry] = held
        return program

    def _keep_tables(self) -> None:
        """Tables are the chip's from the end of their TABLE on: one refused, or cut short, leaves none."""
        built = self._state[S.BUILT :][: self.config.table_sets]
        for number in np.flatnonzero(built):
            self.chip.tables[number] = self._streams.tables[int(built[number]) - 1]
        built[:] = 0


class Streams:
    """TABLE and STREAM instructions carried out once, by address and tables."""

    def __init__(self, config: NpuConfig):
        self._config = config
        self.clear()

    def clear(self) -> None:
        self._handles: dict[tuple, int] = {}
        self.tables: dict[int, codec.TableSet] = {}
        """What a TABLE builds, by its handle."""
        self._index: list[tuple[int, int, int, int]] = []
        self.pool = Pool(
            np.zeros((0, 4), np.int64),
            np.zeros(0, np.int32),
            np.zeros((0, 2), np.int64),
            np.zeros(0, np.uint16),
        )

    def handle(self, made: np.ndarray, dram: np.ndarray, tables: list) -> int:
        """Number of an instruction's entry in the pool."""
        address, length, table_set = (int(made[setup.OPERAND[n]]) for n in ("address", "length", "set"))
        data = dram[address : address + length * GRANULE_BYTES]
        is_table = made[setup.OPCODE] == Opcode.TABLE
        groups = 0 if is_table else int(made[setup.OPERAND["groups"]])
        held = None if is_table or table_set >= len(tables) else tables[table_set]
        key = (is_table, address, length, groups, held)
        if key not in self._handles:
            content = data.tobytes()
            self._handles[key] = self._table(content) if is_table else self._stream(content, groups, held)
        return self._handles[key]

    def _table(self, data: bytes) -> int:
        try:
            made = codec.TableSet.from_bytes(data, self._config.table_log)
        except codec.CodecError:
            return self._add(outcomes.WRONG)
        handle = self._add(outcomes.GOOD)
        self.tables[handle] = made
        return handle

    def _stream(self, data: bytes, groups: int, tables: codec.TableSet | None) -> int:
        if tables is None or groups == 0 or groups % 2 or not data:
            return self._add(outcomes.WRONG)
        try:
            decoded = codec.decode(data, groups, tables, self._config)
        except codec.CodecError as error:
            steps = np.zeros(0, np.int32) if error.step_bits is None else error.step_bits
            return self._add(outcomes.SHORT if error.short else outcomes.WRONG, steps)
        return self._add(outcomes.GOOD, decoded.step_bits, decoded.banks.reshape(-1, WEIGHTS_PER_WORD))

    def _add(self, outcome: int, steps: np.ndarray | None = None, banks: np.ndarray | None = None) -> int:
        pool = self.pool
        steps = np.zeros(0, np.int32) if steps is None else steps
        self._index.append((len(pool.steps), len(steps), outcome, -1 if banks is None else len(pool.banks)))
        if banks is None:
            banks = np.zeros((0, WEIGHTS_PER_WORD), np.int8)
        tags = np.zeros(len(banks), np.uint16)
        tag_words(banks, tags)
        self.pool = Pool(
            np.array(self._index, np.int64),
            np.concatenate([pool.steps, steps]),
            np.concatenate([pool.banks, banks.view(np.int64)]),
            np.concatenate([pool.tags, tags]),
        )
        return len(self._index) - 1
