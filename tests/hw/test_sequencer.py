"""The sequencer: every cycle of it against an obvious model, its tokens against what programs ask for."""

from __future__ import annotations

import json
from collections import deque
from dataclasses import dataclass, field

import cosim
import numpy as np
import pytest
from ossicle.hw import isa
from ossicle.hw.config import PRESETS, NpuConfig
from ossicle.hw.isa import TOKEN_MAX, Engine, Opcode
from ossicle.hw.sequencer import Sequencer
from ossicle.sim.random_programs import ENTRY, random_program

pytestmark = pytest.mark.rtl

SMALL = PRESETS["small"].replace(lanes=4, queue_depth=2)
CONFIGS = {
    "bus32": SMALL,
    "bus64": SMALL.replace(bus_bits=64, queue_depth=5),
    "bus256": SMALL.replace(bus_bits=256, queue_depth=3),
}


@dataclass
class Job:
    """Instructions as words, and the world around them."""

    words: list[int]
    durations: list[int]
    gaps: list[int] = field(default_factory=list)
    predicates: int = 0
    refuse: bool = False
    patience: float = 1.0
    cycles: int = 20_000
    limit: int | None = None

    def given(self, config: NpuConfig, seed: int) -> dict:
        content = b"".join(word.to_bytes(16, "little") for word in self.words)
        size = config.bus_bytes
        beats = [content[k : k + size][::-1].hex() for k in range(0, len(content), size)]
        return {
            "beats": beats, "gaps": self.gaps, "limit": self.limit or len(self.words), "seed": seed,
            "predicates": self.predicates, "durations": self.durations, "refuse": int(self.refuse),
            "patience": self.patience, "cycles": self.cycles,
        }  # fmt: skip


def run(config: NpuConfig, jobs: list[Job], tmp_path) -> list[list[dict]]:
    """The log of each job, checked against the model."""
    observed = tmp_path / "observed.json"
    given = [job.given(config, seed) for seed, job in enumerate(jobs)]
    cosim.run(
        Sequencer(config=config), "sequencer_cosim", {"jobs": given, "observed": str(observed)}, tmp_path
    )
    logs = json.loads(observed.read_text(encoding="utf-8"))
    for job, log in zip(jobs, logs, strict=True):
        model = Model(config, job)
        for cycle, row in enumerate(log):
            expected = model.cycle(row)
            got = {name: row[name] for name in expected}
            assert got == expected, f"cycle {cycle}"
    return logs


class Model:
    """hw/sequencer.py with a variable a register."""

    def __init__(self, config: NpuConfig, job: Job):
        self.depth, self.job = config.queue_depth, job
        self.parts = max(1, 128 // config.bus_bits)
        self.in_beat = max(1, config.bus_bits // 128)
        self.there, self.index, self.part, self.to_skip = False, 0, 0, 0
        self.queues: list[deque[int]] = [deque() for _ in range(5)]
        self.signal = [0] * 5
        self.tokens = np.zeros((len(Engine), len(Engine)), int)

    def lacks(self, taker: Engine, word: int) -> int:
        """Engines whose token an instruction waits for, as bits."""
        return sum(1 << g for g in Engine if word >> 4 + g & 1 and not self.tokens[g, taker])

    def cycle(self, row: dict) -> dict:
        """What the outputs are in this cycle; then the registers change."""
        shown: dict = dict.fromkeys(("ended", "bad_opcode", "overflow", "no_end", "skipped", "dispatched"), 0)
        shown |= {"index": self.index, "valid": 0, "took": 0, "starts": []}
        words, queues = self.job.words, self.queues
        heads = {n: words[q[0]] for n, q in enumerate(queues) if q}
        shown["mac_waiting"] = int(Engine.MAC - 1 in heads)
        if Engine.MAC - 1 in heads:
            shown["mac_lacks"] = self.lacks(Engine.MAC, heads[Engine.MAC - 1])
        before, changes = [len(q) for q in queues], np.zeros_like(self.tokens)
        if row["stop"]:
            return shown
        shown["no_end"] = int(self.index == (self.job.limit or len(words)))
        leaves = self.there and self.dispatch(row, shown, before, changes)
        self.assemble(row, shown, leaves)
        for n, head in heads.items():
            if self.lacks(Engine(n + 1), head):
                continue
            shown["valid"] |= 1 << n
            if any(start[0] == n for start in row["starts"]):
                shown["starts"].append([n, queues[n].popleft(), f"{head:x}"])
                for g in Engine:
                    changes[g, n + 1] -= head >> 4 + g & 1
        gives = np.zeros_like(self.tokens)
        for n in range(5):
            for t in Engine:
                gives[n + 1, t] += row["done"] >> n & 1 and self.signal[n] >> t & 1
        for n, head in heads.items():
            if any(start[0] == n for start in shown["starts"]):
                self.signal[n] = head >> 10 & 63
        over = (gives + changes > 0) & (self.tokens == TOKEN_MAX)
        shown["overflow"] = int(over.any())
        self.tokens += gives + changes
        return shown

    def dispatch(self, row: dict, shown: dict, before: list[int], changes: np.ndarray) -> bool:
        """Whether the head instruction leaves in this cycle."""
        if self.to_skip:
            self.to_skip -= 1
            return True
        word = self.job.words[self.index]
        opcode = word & 15
        if opcode in (Opcode.END, Opcode.SKIP):
            if self.lacks(Engine.CONTROL, word):
                return False
            if opcode == Opcode.END and (any(before) or not row["idle"]):
                return False
            for g in Engine:
                changes[g, Engine.CONTROL] -= word >> 4 + g & 1
                changes[Engine.CONTROL, g] += word >> 10 + g & 1
            shown["dispatched"] = 1
            if opcode == Opcode.END:
                shown["ended"] = 1
                return False
            shown["skipped"] = 1
            made = isa.decode(word)
            if self.job.predicates >> made["predicate"] & 1 == made["sense"]:
                self.to_skip = made["count"]
            return True
        if opcode not in isa.OPCODES:
            shown["bad_opcode"] = 1
            return False
        engine = isa.OPCODES[Opcode(opcode)].engine - 1
        if before[engine] == self.depth:
            return False
        self.queues[engine].append(self.index)
        shown["dispatched"] = 1
        return True

    def assemble(self, row: dict, shown: dict, leaves: bool) -> None:
        room = not self.there or leaves
        if leaves:
            self.there = False
            self.index += 1
        if not row["there"]:
            return
        if self.parts > 1:
            final = self.part == self.parts - 1
            if room or not final:
                shown["took"] = 1
                self.part = 0 if final else self.part + 1
                self.there = self.there or final
        elif room:
            last = self.part == self.in_beat - 1
            shown["took"] = int(last)
            self.part = 0 if last else self.part + 1
            self.there = True


def words_of(*code: isa.Instruction) -> list[int]:
    words = [isa.encode(made) for made in code]
    return words + [isa.encode(isa.instruction(Opcode.END))] * (len(words) % 2)


def ends(log: list[dict], name: str = "ended") -> int:
    """Cycle of the one end of a job."""
    found = [(cycle, key) for cycle, row in enumerate(log)
             for key in ("ended", "bad_opcode", "overflow", "no_end") if row[key]]  # fmt: skip
    assert [key for _, key in found] == [name], found
    return found[0][0]


def starts_of(log: list[dict]) -> dict[int, int]:
    """Cycle of the start of each instruction that started."""
    return {index: cycle for cycle, row in enumerate(log) for _, index, _ in row["starts"]}


@pytest.mark.parametrize("name", cosim.mostly_slow(CONFIGS, "bus64"))
def test_random_programs(name, tmp_path):
    """Legal programs end; what runs is what no SKIP passes over; requests go ahead in order."""
    config, rng, jobs = CONFIGS[name], np.random.default_rng(2), []
    for seed in range(6):
        words = [isa.encode(m) for m in random_program(seed, config, 40).program.instructions(ENTRY)]
        beats = len(words) * 16 // config.bus_bytes
        jobs.append(Job(
            words, rng.integers(1, (2, 12, 60)[seed % 3], len(words)).tolist(),
            gaps=(rng.geometric(0.4, beats) - 1).tolist() if seed % 2 else [],
            predicates=int(rng.integers(256)), refuse=seed == 5, patience=(1.0, 0.3)[seed % 2],
        ))  # fmt: skip
    for job, log in zip(jobs, run(config, jobs, tmp_path), strict=True):
        ends(log)
        expected, index = [], 0
        while job.words[index] & 15 != Opcode.END:
            made = isa.decode(job.words[index])
            if made.opcode == Opcode.SKIP:
                index += made["count"] if job.predicates >> made["predicate"] & 1 == made["sense"] else 0
            else:
                expected.append(index)
            index += 1
        assert sorted(starts_of(log)) == expected
        asked = [isa.decode(job.words[i]) for i in expected if job.words[i] & 15 in (4, 5)]
        requests = (
            [] if job.refuse else [[m["address"], m["length"] * config.beats_per_granule] for m in asked]
        )
        assert [row["request"] for row in log if row["request"]] == requests


def test_times(tmp_path):
    """A beat is taken in c, dispatched in c + 1, at its engine in c + 2; a token of c is taken in c + 1."""
    load = isa.instruction(Opcode.LOAD, signal=[Engine.MAC])
    mac = isa.instruction(Opcode.MAC, wait=[Engine.LOAD], signal=[Engine.CONTROL])
    end = isa.instruction(Opcode.END, wait=[Engine.MAC])
    words = words_of(load, mac, end, end)
    (log,) = run(CONFIGS["bus256"], [Job(words, [20, 30, 0, 0])], tmp_path)
    assert log[0]["there"]
    assert starts_of(log) == {0: 2, 1: 2 + 20 + 1}
    assert ends(log) == 2 + 20 + 1 + 30 + 1


def test_end_waits(tmp_path):
    """END goes when every queue is empty and every engine idle, its own tokens there."""
    works = [isa.instruction(Opcode(op)) for op in (3, 5, 6, 7, 11)]
    words = words_of(*works, *works, isa.instruction(Opcode.END))
    jobs = [Job(words, [1] * n + [90] + [1] * (11 - n)) for n in range(10)]
    for job, log in zip(jobs, run(CONFIGS["bus32"], jobs, tmp_path), strict=True):
        starts = starts_of(log)
        assert ends(log) == max(start + job.durations[n] for n, start in starts.items()) + 1
        assert len(starts) == 10


def test_skip(tmp_path):
    """Taken or not, by predicate and sense; a SKIP that waits holds up what follows."""
    load, end = isa.instruction(Opcode.LOAD), isa.instruction(Opcode.END)
    jobs = []
    for predicates in (0, 1 << 5, 255 - (1 << 5), 255):
        for sense in (0, 1):
            skip = isa.instruction(Opcode.SKIP, predicate=5, sense=sense, count=2)
            jobs.append(Job(words_of(load, skip, load, load, load, end), [3] * 6, predicates=predicates))
    first = isa.instruction(Opcode.MAC, signal=[Engine.CONTROL])
    waits = isa.instruction(Opcode.SKIP, wait=[Engine.MAC], signal=[Engine.STORE], sense=1, count=255)
    store = isa.instruction(Opcode.STORE, wait=[Engine.CONTROL])
    jobs.append(Job(words_of(first, waits, store, end), [50, 0, 5, 0]))
    # A skipped word need be no instruction.
    over = isa.instruction(Opcode.SKIP, sense=0, count=1)
    jobs.append(Job([isa.encode(over), 0, *words_of(load, end)], [3] * 4))
    logs = run(CONFIGS["bus64"], jobs, tmp_path)
    for job, log in zip(jobs[:8], logs, strict=False):
        taken = job.predicates >> 5 & 1 == isa.decode(job.words[1])["sense"]
        assert sorted(starts_of(log)) == ([0, 4] if taken else [0, 2, 3, 4])
        ends(log)
        assert sum(row["dispatched"] for row in log) == (4 if taken else 6)
    held = starts_of(logs[8])
    assert held[2] > held[0] + 50 and sorted(held) == [0, 2]
    assert sorted(starts_of(logs[9])) == [2]


def test_faults(tmp_path):
    """Opcodes that are none; instructions that run out; more tokens than can be counted; a token that never
    comes is for the watchdog. After a fault nothing starts."""
    load, end = isa.instruction(Opcode.LOAD), isa.instruction(Opcode.END)
    bad = [Job([*words_of(load, load), opcode, 1], [3] * 4) for opcode in (0, 12, 13, 14, 15)]
    short = [Job(words_of(load, load, load, load)[:n], [3] * 4, limit=n) for n in (2, 4)]
    gives = isa.instruction(Opcode.LOAD, signal=[Engine.MAC, Engine.LOAD])
    control = isa.instruction(Opcode.SKIP, signal=[Engine.VECTOR])
    more = [
        Job(words_of(*[gives] * (TOKEN_MAX + 3), end), [2] * 20),
        Job(words_of(*[control] * (TOKEN_MAX + 3), end), [2] * 20),
    ]
    most = [Job(words_of(*[control] * TOKEN_MAX, end), [2] * 20)]
    never = isa.instruction(Opcode.MAC, wait=[Engine.VECTOR, Engine.STORE])
    stuck = [Job(words_of(never, load, load, end), [3] * 4, cycles=500)]
    logs = iter(run(CONFIGS["bus32"], [*bad, *short, *more, *most, *stuck], tmp_path))
    for _ in bad:
        log = next(logs)
        assert log[ends(log, "bad_opcode")]["index"] == 2
    for job in short:
        log = next(logs)
        assert log[ends(log, "no_end")]["index"] == job.limit
    for engine in (Engine.LOAD, Engine.CONTROL):
        log = next(logs)
        assert log[ends(log, "overflow")]["overflow_engine"] == engine
    ends(next(logs))
    log = next(logs)
    assert not any(row["ended"] for row in log) and sorted(starts_of(log)) == [1, 2]
    assert log[-1]["mac_waiting"] and log[-1]["mac_lacks"] == 1 << Engine.VECTOR | 1 << Engine.STORE
