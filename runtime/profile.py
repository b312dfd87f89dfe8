"""Where the cycles went: jobs, their counters, and a row a layer, all from what the device logged.

Every cycle of a job belongs to one layer: those in which the MAC lanes work, to the layer of their
instruction; the idle ones before it, to the same layer, with the cause that the tokens of that instruction
show (what it still lacked, in the order of `registers.COUNTERS`); those after the last, to the last one's.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from ossicle.compiler.program import Program
from ossicle.hw.config import GRANULE_BYTES, WEIGHTS_PER_WORD, NpuConfig
from ossicle.hw.isa import Engine, Instruction, Opcode
from ossicle.sim.device import Device, RunResult
from ossicle.sim.energy import EnergyTable
from ossicle.sim.trace import spans

CAUSES = ("mac", "bus", "decode", "load", "vector", "store", "control")
"""What a cycle went to: useful MAC time, or what the MAC lanes waited for. They sum to all cycles."""
ORDER = (Engine.DECODE, Engine.LOAD, Engine.VECTOR, Engine.STORE)
FETCH = "instructions"
"""Row of the bytes that no instruction asked for: the instructions."""
READERS = (Opcode.LOAD, Opcode.TABLE, Opcode.STREAM)


@dataclass
class LayerRow:
    """One layer over all jobs; `causes` in cycles."""

    layer: str
    causes: dict[str, int] = field(default_factory=lambda: dict.fromkeys(CAUSES, 0))
    macs_done: int = 0
    macs_skipped: int = 0
    bytes_read: int = 0
    bytes_written: int = 0
    vector_busy: int = 0
    bits_per_weight: float | None = None

    @property
    def cycles(self) -> int:
        return sum(self.causes.values())

    def counted(self, bus_bytes: int) -> dict[str, int]:
        """Its share of the counters that energy is a sum of (`energy.COUNTERS_USED`)."""
        return {
            "lane_products": self.macs_done, "macs_skipped": self.macs_skipped,
            "vector_busy": self.vector_busy, "read_beats": self.bytes_read // bus_bytes,
            "write_beats": self.bytes_written // bus_bytes,
        }  # fmt: skip


@dataclass(frozen=True)
class Job:
    """A job as the device logged it; `start` is the sum of the cycles of those before it."""

    entry: str
    start: int
    cycles: int
    events: NDArray


@dataclass
class _Instructions:
    """An entry decoded once, with what the accounting asks of each instruction."""

    made: list[Instruction]
    layers: list[str]


class Profile:
    """An observer for a `Driver`: call it after each job, then read `jobs`, `counters` and `layers`."""

    def __init__(self, device: Device, program: Program, config: NpuConfig) -> None:
        self._device, self._program, self._config = device, program, config
        self._entries: dict[str, _Instructions] = {}
        self.clear()

    def clear(self) -> None:
        """Forget the jobs so far."""
        self.jobs: list[Job] = []
        self.counters: dict[str, int] = defaultdict(int)
        self._rows: dict[str, LayerRow] = {}

    def __call__(self, entry: str, result: RunResult) -> None:
        start = self.jobs[-1].start + self.jobs[-1].cycles if self.jobs else 0
        job = Job(entry, start, result.cycles or 0, self._device.events())
        self.jobs.append(job)
        for name, value in self._device.counters().items():
            self.counters[name] += int(value)
        if len(job.events):
            self._account(job)

    def layers(self) -> list[LayerRow]:
        """A row a layer, in the order in which they first ran, and one of what else was read."""
        compiled = compiled_rows(self._program)
        for row in self._rows.values():
            row.bits_per_weight = compiled.get(row.layer, {}).get("bits_per_weight")
        known = sum(row.bytes_read for row in self._rows.values())
        fetched = self.counters["read_beats"] * self._config.bus_bytes - known
        return [*self._rows.values(), LayerRow(FETCH, bytes_read=fetched)]

    def _row(self, layer: str) -> LayerRow:
        return self._rows.setdefault(layer, LayerRow(layer))

    def _instructions(self, entry: str) -> _Instructions:
        if entry not in self._entries:
            made = self._program.instructions(entry)
            layers = [origin.layer or origin.op or "control" for origin in self._program.debug[entry]]
            self._entries[entry] = _Instructions(made, layers)
        return self._entries[entry]

    def _account(self, job: Job) -> None:
        code, rows = self._instructions(job.entry), spans(job.events)
        for engine, index, start, end, _ in rows.tolist():
            one, row = code.made[index], self._row(code.layers[index])
            if engine == Engine.VECTOR:
                row.vector_busy += end - start
            if one.opcode in READERS:
                row.bytes_read += one["length"] * GRANULE_BYTES
            elif one.opcode is Opcode.STORE:
                row.bytes_written += one["length"] * GRANULE_BYTES
        self._account_cycles(job, code, rows)

    def _account_cycles(self, job: Job, code: _Instructions, rows: NDArray) -> None:
        given = _tokens(code, rows, Engine.MAC)
        taken: dict[Engine, int] = defaultdict(int)
        now, layer = 0, _last_layer(code, rows)
        for _, index, start, end, products in rows[rows["engine"] == Engine.MAC].tolist():
            made, layer = code.made[index], code.layers[index]
            row, lacks = self._row(layer), []
            for engine in made.wait:
                end_of, starved = given[engine][taken[engine]]
                taken[engine] += 1
                lacks.append((engine, end_of, starved))
            _share_gap(row.causes, now, start, lacks)
            row.causes["mac"] += end + 1 - start
            dense = made["rows"] * made["words"] * WEIGHTS_PER_WORD * self._config.lanes
            row.macs_done += products
            row.macs_skipped += dense - products
            now = end + 1
        self._account_tail(job, rows, now, layer)

    def _account_tail(self, job: Job, rows: NDArray, now: int, layer: str) -> None:
        """After the last MAC instruction: by the engine at work, the cycles after all of them to control."""
        causes = self._row(layer).causes
        names = {Engine.DECODE: "decode", Engine.LOAD: "load", Engine.VECTOR: "vector", Engine.STORE: "store"}
        for engine in ORDER:
            ends = rows["end"][rows["engine"] == engine]
            until = min(job.cycles, int(ends.max()) + 1) if len(ends) else 0
            if until > now:
                causes[names[engine]] += until - now
                now = until
        causes["control"] += max(0, job.cycles - now)


def _last_layer(code: _Instructions, rows: NDArray) -> str:
    """Layer of the last instruction that did something: where the time of a job without MACs goes."""
    at_work = rows["index"][rows["engine"] != Engine.CONTROL]
    return code.layers[int(at_work[-1])] if len(at_work) else "control"


def _tokens(code: _Instructions, rows: NDArray, taker: Engine) -> dict[Engine, list[tuple[int, float]]]:
    """By giver: (end, starved share) of each instruction that gave the taker a token, in order."""
    given: dict[Engine, list[tuple[int, float]]] = defaultdict(list)
    for engine, index, start, end, value in rows.tolist():
        made = code.made[index]
        if taker in made.signal:
            starved = value / (end + 1 - start) if made.opcode is Opcode.STREAM else 0.0
            given[Engine(engine)].append((end, starved))
    return given


def _share_gap(causes: dict[str, int], now: int, start: int, lacks: list[tuple[Engine, int, float]]):
    """Idle cycles [now, start) to what the instruction that starts then lacked."""
    for engine in ORDER:
        for giver, end, starved in lacks:
            until = min(end + 1, start)
            if giver != engine or until <= now:
                continue
            bus = round((until - now) * starved) if engine == Engine.DECODE else 0
            causes["bus"] += bus
            causes[engine.name.lower()] += until - now - bus
            now = until
    causes["control"] += max(0, start - now)


def compiled_rows(program: Program) -> dict[str, dict]:
    """The compiler's report by layer: see `ossicle.compiler.report.report`."""
    return {row["layer"]: row for row in program.meta.get("report", {}).get("layers", [])}


def job_cycles(profile: Profile, entry: str) -> NDArray[np.int64]:
    """Cycles of each job of an entry."""
    return np.array([job.cycles for job in profile.jobs if job.entry == entry], np.int64)


def layer_table(layers: Sequence[LayerRow]) -> list[dict]:
    """A row a layer and one for all: cycles, each cause in percent of them, MACs, bytes, bits per weight."""
    total = LayerRow("all")
    for row in layers:
        for cause in CAUSES:
            total.causes[cause] += row.causes[cause]
        total.macs_done += row.macs_done
        total.macs_skipped += row.macs_skipped
        total.bytes_read += row.bytes_read
        total.bytes_written += row.bytes_written
        total.vector_busy += row.vector_busy
    return [_shown_row(row) for row in (*layers, total)]


def energy_column(
    rows: list[dict], layers: Sequence[LayerRow], table: EnergyTable, config: NpuConfig
) -> None:
    """Give the rows of `layer_table` their energy, in microjoules."""
    for row, layer in zip(rows, layers, strict=False):
        row["uJ"] = sum(table.estimate(layer.counted(config.bus_bytes), config).values()) / 1e6
    rows[-1]["uJ"] = sum(row["uJ"] for row in rows[:-1])


def _shown_row(row: LayerRow) -> dict:
    whole = max(1, row.cycles)
    causes = {f"{cause} %": round(100 * count / whole, 1) for cause, count in row.causes.items()}
    return {
        "layer": row.layer, "cycles": row.cycles, **causes, "MACs done": row.macs_done,
        "MACs skipped": row.macs_skipped, "bytes read": row.bytes_read, "bytes written": row.bytes_written,
        "bits/weight": row.bits_per_weight,
    }  # fmt: skip
