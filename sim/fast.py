"""The fast device: the Program image on a numba model equal to the RTL in values and in cycles."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from ossicle.compiler import codec
from ossicle.compiler.program import Entry, Program
from ossicle.hw.config import GRANULE_BYTES, INSTRUCTION_BYTES, WEIGHTS_PER_WORD, NpuConfig
from ossicle.hw.isa import ARGUMENTS, Engine, Fault, Opcode
from ossicle.hw.registers import COUNTERS
from ossicle.sim.cycle import decode as outcomes
from ossicle.sim.cycle import loop, setup
from ossicle.sim.cycle import state as S
from ossicle.sim.cycle.jit import bound
from ossicle.sim.cycle.lanes import LANE_STATE, WINDOW, tag_words
from ossicle.sim.cycle.packed import PACKS, WIDE, pack
from ossicle.sim.cycle.paths import Paths, paths_for
from ossicle.sim.cycle.queues import SIDE
from ossicle.sim.cycle.strides import COLUMNS, strides_of
from ossicle.sim.cycle.weights import collected
from ossicle.sim.device import DeviceError, DramDevice, RunResult
from ossicle.sim.functional_chip import ChipState
from ossicle.sim.trace import EVENT

WATCHDOG_CYCLES = 50_000_000
NO_STEPS, NO_STRIDES = np.zeros(0, np.int32), np.zeros((0, COLUMNS), np.int16)
NO_BANKS = np.zeros((0, WEIGHTS_PER_WORD), np.int8)
NO_PATHS = paths_for(0)
MOST_WORDS_KEPT = 1 << 22
"""Decoded weight words that outlive a program: 64 MiB."""


class Chip(NamedTuple):
    """The memories of the chip as the kernels see them; `words*` are bytes of LOAD's targets, `homes` the
    weight memory (`sim.cycle.weights`), the last nine scratch."""

    homes: np.ndarray
    activations: np.ndarray
    vectors: np.ndarray
    parameters: np.ndarray
    accumulators: np.ndarray
    words0: np.ndarray
    words1: np.ndarray
    words2: np.ndarray
    x: np.ndarray
    wide: np.ndarray
    x_tags: np.ndarray
    lanes: np.ndarray
    values: np.ndarray
    pointers: np.ndarray
    pops: np.ndarray
    words: np.ndarray
    tags: np.ndarray


class Pool(NamedTuple):
    """All streams decoded so far: int64[n, 5] of (first step, steps, outcome, first bank word or -1, first
    stride); their steps' bits; their strides, a row a beat, as `sim.cycle.strides` has them; their words,
    int8[n, 16], lane after lane; of each stream the words' tags, those of all lanes side by side, as
    `sim.cycle.lanes.engine_cycles` takes them; the words once more, as `sim.cycle.packed` has them, and where
    each begins there, if it is of use."""

    index: np.ndarray
    steps: np.ndarray
    strides: np.ndarray
    banks: np.ndarray
    tags: np.ndarray
    packed: np.ndarray
    starts: np.ndarray


@dataclass
class Job:
    """An entry's instructions as the kernels see them."""

    table: np.ndarray
    builds: bool
    """Whether it has a TABLE."""
    changing: np.ndarray
    """Rows of its TABLEs and STREAMs whose bytes lie in the data: they may be others in the next job."""
    held: tuple[codec.TableSet | None, ...] | None = None
    """The tables that its streams were looked up with."""
    runs: int = 0
    paths: Paths = NO_PATHS
    """What `sim.cycle.paths` keeps of it, from the second run on."""


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
        self._arguments, self._windows = np.zeros(ARGUMENTS, np.int64), np.zeros((3, 2), np.int64)
        self._streams = Streams(config)
        self._jobs: dict[Entry, Job] = {}
        self._kernel: Callable | None = None
        """`loop.run` for this device's arrays."""
        self._altered = False
        """Whether bytes were written that may be the image's."""
        self._clear()

    def load(self, program: Program) -> None:
        """See `Device.load`."""
        if self._altered or program is not self._program:
            self._jobs.clear()
            if self._streams.large:
                self._streams.clear()
        self._altered = False
        super().load(program)
        self._windows[:] = np.reshape(program.windows, (3, 2))

    def write(self, where, data, slot: int = 0) -> None:
        """See `Device.write`."""
        super().write(where, data, slot)
        if not isinstance(where, str):
            self._jobs.clear()
            self._altered = True

    def counters(self) -> dict[str, int]:
        """See `Device.counters`: all of them."""
        if self._state[S.PHASE] != S.ENDED:
            return {}
        counters = self._state[S.COUNTER : S.COUNTER + len(COUNTERS)].tolist()
        return dict(zip(COUNTERS, counters, strict=True))

    def events(self) -> np.ndarray:
        """See `Device.events`."""
        rows = self._log[: self._state[S.EVENTS]]
        rows = rows[np.lexsort((rows[:, 2], rows[:, 1], rows[:, 0]))]
        made = np.zeros(len(rows), EVENT)
        for n, name in enumerate(("cycle", "engine", "kind", "index", "value")):
            made[name] = rows[:, n]
        return made

    def weights(self) -> np.ndarray:
        """The weight memory, int8[lanes, weight_words, 16], a copy."""
        config, pool, chip = self.config, self._streams.pool, self._kernel_chip
        collected(chip.homes, 0, config.weight_words, pool.banks, pool.tags, chip.words, chip.tags)
        return chip.words.reshape(config.lanes, config.weight_words, WEIGHTS_PER_WORD).copy()

    def _clear(self) -> None:
        self._state[:] = 0
        self.chip = state = ChipState.cleared(self.config)
        state.weights = state.weights[:, :0]  # they are in the pool
        # Lanes side by side: a power of 2 apart, they would fight for the same lines of a cache.
        state.accumulators = np.zeros((self.config.accumulators, self.config.lanes), np.int32).T
        words = self.config.lanes * self.config.weight_words
        self._kernel_chip = Chip(
            homes=np.zeros((self.config.weight_words, 3), np.int64),
            activations=state.activations,
            vectors=state.vectors,
            parameters=state.parameters.view(np.int32).reshape(*state.parameters.shape, 2),
            accumulators=state.accumulators.T,
            words0=state.words_of(0).reshape(-1),
            words1=state.words_of(1).reshape(-1),
            words2=state.words_of(2).reshape(-1),
            x=np.zeros(256 * WEIGHTS_PER_WORD, np.int8),
            wide=np.zeros(256 * WEIGHTS_PER_WORD, np.int16),
            x_tags=np.zeros(256, np.uint16),
            lanes=np.zeros(LANE_STATE, np.int32),
            values=np.zeros(state.parameters.size, np.int64),
            pointers=np.zeros(self.config.lanes, np.int64),
            pops=np.zeros(WINDOW, np.int64),
            words=np.zeros((words, WEIGHTS_PER_WORD), np.int8),
            tags=np.zeros(words + SIDE, np.uint16),
        )

    def _run(self, entry: Entry, arguments: list[int]) -> RunResult:
        job = self._job(entry)
        state, table, windows = self._state, job.table, self._windows
        self._arguments[:] = arguments
        loop.begin(state, self._setup, entry.address, entry.count, windows)
        while True:
            given = (
                state,
                self._setup,
                table,
                self._arguments,
                windows,
                self._kernel_chip,
                self.dram,
                self._streams.pool,
                self._log,
                job.paths,
                self.watchdog or -1,
            )
            if self._kernel is None:
                self._kernel = bound(loop.run, *given)
            outcome = self._kernel(*given)
            if job.builds:
                self._keep_tables()
            if outcome == loop.JOB_ENDED:
                break
            if outcome == loop.EVENTS_FULL:
                self._log = np.concatenate([self._log, np.zeros_like(self._log)])
            else:
                made = table[state[S.VALUE + Engine.DECODE]]
                made[setup.HANDLE] = self._streams.handle(made, self.dram, self.chip.tables)
        cycles = int(state[loop.CYCLES])
        if not state[S.FAULT]:
            return RunResult(cycles)
        fault, engine, index = state[S.FAULT : S.FAULT_INDEX + 1].tolist()
        return RunResult(cycles, Fault(fault), Engine(engine), index)

    def _job(self, entry: Entry) -> Job:
        job = self._jobs.get(entry)
        if job is None:
            job = self._job_of(entry)
        job.runs += 1
        held = tuple(self.chip.tables)
        if job.held != held or job.builds:
            job.table[:, setup.HANDLE] = -1
            job.runs, job.paths = 1, NO_PATHS
        elif job.runs == 2 and not self.music_percent and not len(job.changing):
            job.paths = paths_for(len(job.table))
        elif len(job.changing):
            job.table[job.changing, setup.HANDLE] = -1
        job.held = held
        return job

    def _job_of(self, entry: Entry) -> Job:
        """The job of an entry, kept if it lies in the image, which no job can change."""
        end = entry.address + entry.count * INSTRUCTION_BYTES
        words = self.dram[entry.address : end]
        table = setup.instruction_table(words.reshape(-1, INSTRUCTION_BYTES))
        constant = len(self.program.image)
        decodes = table[:, setup.ENGINE] == Engine.DECODE
        ends = table[:, setup.OPERAND["address"]] + table[:, setup.OPERAND["length"]] * GRANULE_BYTES
        builds = bool((table[:, setup.OPCODE] == Opcode.TABLE).any())
        job = Job(table, builds, np.flatnonzero(decodes & (ends > constant)))
        if end <= constant:
            self._jobs[entry] = job
        return job

    def _keep_tables(self) -> None:
        """Tables are the chip's from the end of their TABLE on: one refused, or cut short, leaves none."""
        built = self._state[S.BUILT :][: self.config.table_sets]
        for number in np.flatnonzero(built):
            self.chip.tables[number] = self._streams.tables[int(built[number]) - 1]
        built[:] = 0


class Streams:
    """TABLE and STREAM instructions carried out once, by content and tables, whatever program they are of."""

    def __init__(self, config: NpuConfig):
        self._config = config
        self.clear()

    def clear(self) -> None:
        """Forget all; every handle is void."""
        self._handles: dict[tuple, int] = {}
        self.tables: dict[int, codec.TableSet] = {}
        """What a TABLE builds, by its handle."""
        self.pool = Pool(
            np.zeros((256, 5), np.int64),
            np.zeros(1 << 12, np.int32),
            np.zeros((1 << 12, COLUMNS), np.int16),
            np.zeros((1 << 12, WEIGHTS_PER_WORD), np.int8),
            np.zeros(1 << 12, np.uint16),
            np.zeros(1 << 12, np.uint8),
            np.zeros(1 << 12, np.int32),
        )
        self._entries = self._steps = self._beats = self._words = self._packed = 0
        self._add(outcomes.WRONG)  # outcomes.UNBUILT

    @property
    def large(self) -> bool:
        """Whether more was decoded than is worth keeping for another program."""
        return self._words > MOST_WORDS_KEPT

    def handle(self, made: np.ndarray, dram: np.ndarray, tables: list) -> int:
        """Number of an instruction's entry in the pool."""
        address, length, table_set = (int(made[setup.OPERAND[n]]) for n in ("address", "length", "set"))
        content = dram[address : address + length * GRANULE_BYTES].tobytes()
        if made[setup.OPCODE] == Opcode.TABLE:
            key = (content,)
            if key not in self._handles:
                self._handles[key] = self._table(content)
            return self._handles[key]
        held = tables[table_set] if table_set < len(tables) else None
        if held is None:
            return outcomes.UNBUILT
        key = (content, int(made[setup.OPERAND["groups"]]), held)
        if key not in self._handles:
            self._handles[key] = self._stream(*key)
        return self._handles[key]

    def _table(self, data: bytes) -> int:
        table_log = self._config.table_log
        try:
            image = codec.read_image(data, table_log)
        except codec.CodecError as error:
            return self._add(outcomes.WRONG, cycles=error.cycles)
        handle = self._add(outcomes.GOOD, cycles=image.cycles)
        self.tables[handle] = codec.TableSet(image.mask, image.value, table_log, image.kind)
        return handle

    def _stream(self, data: bytes, groups: int, tables: codec.TableSet) -> int:
        if groups == 0 or groups % 2 or not data:
            return self._add(outcomes.WRONG)
        try:
            decoded = codec.decode(data, groups, tables, self._config)
        except codec.CodecError as error:
            outcome = outcomes.SHORT if error.short else outcomes.WRONG
            steps = NO_STEPS if error.step_bits is None else error.step_bits
            return self._add(outcome, steps, self._strides(steps, data))
        strides = self._strides(decoded.step_bits, data)
        banks = decoded.banks.reshape(-1, WEIGHTS_PER_WORD)
        return self._add(outcomes.GOOD, decoded.step_bits, strides, banks)

    def _strides(self, step_bits: np.ndarray, data: bytes) -> np.ndarray:
        config = self._config
        beats = len(data) * 8 // config.bus_bits
        return strides_of(step_bits, beats, config.bus_bits, config.window_bits)

    def _add(
        self,
        outcome: int,
        steps: np.ndarray = NO_STEPS,
        strides: np.ndarray = NO_STRIDES,
        banks: np.ndarray = NO_BANKS,
        cycles: int = 0,
    ) -> int:
        """Append an entry to the pool, which grows by doubling; a TABLE's has cycles in place of steps."""
        ends = self._steps + len(steps), self._beats + len(strides), self._words + len(banks)
        packs = PACKS and self._config.lanes % SIDE == 0
        size = np.count_nonzero(banks) if packs else 0
        old = self.pool
        self.pool = pool = Pool(
            _at_least(old.index, self._entries + 1),
            _at_least(old.steps, ends[0]),
            _at_least(old.strides, ends[1]),
            _at_least(old.banks, ends[2]),
            _at_least(old.tags, ends[2] + SIDE),
            _at_least(old.packed, self._packed + size + WIDE),
            _at_least(old.starts, ends[2] // SIDE if packs else 0),
        )
        first_word = self._words if len(banks) else -1
        pool.index[self._entries] = self._steps, cycles or len(steps), outcome, first_word, self._beats
        pool.steps[self._steps : ends[0]] = steps
        pool.strides[self._beats : ends[1]] = strides
        pool.banks[self._words : ends[2]] = banks
        tags = np.zeros(len(banks), np.uint16)
        tag_words(banks, tags)
        pool.tags[self._words : ends[2]] = tags.reshape(self._config.lanes, -1).T.reshape(-1)
        if packs:
            starts = pool.starts[self._words // SIDE : ends[2] // SIDE]
            pack(banks.reshape(-1), self._config.lanes, pool.packed[self._packed :], starts)
            starts += self._packed
        self._entries += 1
        self._packed += size
        self._steps, self._beats, self._words = ends
        return self._entries - 1


def _at_least(array: np.ndarray, rows: int) -> np.ndarray:
    """The array, or a copy of twice its rows, or more, that has so many."""
    if len(array) >= rows:
        return array
    longer = np.zeros((max(rows, 2 * len(array)), *array.shape[1:]), array.dtype)
    longer[: len(array)] = array
    return longer
