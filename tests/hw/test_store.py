"""The store engine: its bytes, its bursts, and its end as the fast model has it."""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass, field

import cosim
import numpy as np
import pytest
from ossicle.hw import isa
from ossicle.hw.config import PRESETS
from ossicle.hw.isa import Engine, Fault, Opcode, Target
from ossicle.hw.store import SOURCES, Store
from ossicle.hw.transfer import target_bits, target_words
from ossicle.sim.cycle import setup
from ossicle.sim.cycle import state as S
from ossicle.sim.cycle.transfer import store_cycle

pytestmark = pytest.mark.rtl

SMALL = PRESETS["small"].replace(activation_words=640, vector_words=640)
CONFIGS = {
    "bus32": SMALL,
    "bus64": SMALL.replace(bus_bits=64, vector_width=8),
    "bus256": SMALL.replace(bus_bits=256),
}
"""Words of 64 and 128 bits: wider than a beat, as wide, and 2 or 4 of them in one."""
CYCLES = 4000


@dataclass
class Job:
    """A STORE and how the memory takes it."""

    made: isa.Instruction
    arguments: list[int] = field(default_factory=lambda: [0] * isa.ARGUMENTS)
    refused: bool = False
    music: int = 0
    latency: int = 3
    address_ready: list[int] = field(default_factory=list)
    data_ready: list[int] = field(default_factory=list)
    error: int = -1

    @property
    def address(self) -> int:
        made = self.made
        return made["address"] + self.arguments[made["argument"]] * made["stride"] * 32 & 0xFFFFFFFF

    def given(self) -> dict:
        """`music` takes the memory as the fast model's competitor does, if no pattern is given."""
        owned = [int((n + 1) * self.music // 100 > n * self.music // 100) for n in range(CYCLES)]
        return {
            "word": f"{isa.encode(self.made):x}", "arguments": self.arguments, "refused": int(self.refused),
            "address_ready": self.address_ready, "data_ready": self.data_ready or [1 - n for n in owned],
            "latency": self.latency, "error": self.error,
        }  # fmt: skip


class Bench:
    """A configuration and what its memories hold."""

    def __init__(self, name: str):
        self.config = CONFIGS[name]
        self.rng = np.random.default_rng(8)
        self.memory = {
            target: self.rng.bytes(target_words(self.config)[target] * target_bits(self.config)[target] // 8)
            for target in SOURCES
        }

    def run(self, jobs: list[Job], tmp_path) -> list[dict]:
        words = {}
        for target, content in self.memory.items():
            size = target_bits(self.config)[target] // 8
            words[target.name.lower()] = [
                content[k : k + size][::-1].hex() for k in range(0, len(content), size)
            ]
        observed = tmp_path / "observed.json"
        parameters = {"jobs": [job.given() for job in jobs], "observed": str(observed), **words}
        cosim.run(Store(config=self.config), "store_cosim", parameters, tmp_path)
        return json.loads(observed.read_text(encoding="utf-8"))

    def job(self, target: Target, most: int = 24, **rest) -> Job:
        rng, bits, capacity = self.rng, target_bits(self.config)[target], target_words(self.config)[target]
        length = int(rng.integers(1, min(capacity * bits // 256, most) + 1))
        made = isa.instruction(
            Opcode.STORE, target=target, address=int(rng.integers(0, 1 << 27)) * 32, length=length,
            source=int(rng.integers(0, capacity - length * 256 // bits + 1)), argument=int(rng.integers(8)),
            stride=int(rng.integers(1 << 16)),
        )  # fmt: skip
        return Job(made, [0, *map(int, rng.integers(0, 1 << 16, isa.ARGUMENTS - 1))], **rest)

    def check(self, job: Job, seen: dict) -> None:
        """Bytes, and bursts that end at pages, in order, of 256 beats at most."""
        made, size = job.made, self.config.bus_bytes
        first = made["source"] * target_bits(self.config)[Target(made["target"])] // 8
        expected = self.memory[Target(made["target"])][first : first + 32 * made["length"]]
        assert b"".join(int(beat, 16).to_bytes(size, "little") for beat in seen["beats"]) == expected
        assert seen["window"] == [job.address, made["length"]]
        place = job.address
        for n, (_, address, beats, beat_bytes, kind) in enumerate(seen["bursts"]):
            assert (address, beat_bytes, kind) == (place & 0xFFFFFFFF, size, 1)
            place += beats * size
            assert address % 4096 + beats * size <= 4096 and beats <= 256
            last = n == len(seen["bursts"]) - 1
            assert last or place % 4096 == 0 or beats == 256
        assert place == job.address + 32 * made["length"]
        assert (seen["done"], seen["fault"], seen["value"]) == (1, 0, made["length"])

    def model_end(self, job: Job) -> int:
        """The fast model's last cycle of this instruction, if the slave takes every address at once."""
        state = np.zeros(S.SIZE, np.int64)
        state[S.STATE + Engine.STORE] = S.CHECK
        config = setup.config_of(self.config.replace(dram_latency=job.latency), job.music)
        word = np.frombuffer(isa.encode(job.made).to_bytes(16, "little"), np.uint8)
        program, arguments = setup.instruction_table(word[None]), np.array(job.arguments, np.int64)
        windows = np.array([[0, 0], [0, 0], [0, 1 << 33]], np.int64)
        for cycle in range(1, CYCLES):
            state[S.NOW] = cycle
            if store_cycle(state, config, program, arguments, windows):
                return cycle
        raise AssertionError("the model does not end")


@pytest.mark.parametrize("name", cosim.mostly_slow(CONFIGS, "bus64"))
def test_both_sources(name, tmp_path):
    """Ready memories and slow ones, long responses: bytes, bursts, and the end exact to the cycle."""
    bench = Bench(name)
    shapes = itertools.product(SOURCES, (0, 1, 40), (0, 30, 75), range(2))
    jobs = [bench.job(target, latency=latency, music=music) for target, latency, music, _ in shapes]
    for job, seen in zip(jobs, bench.run(jobs, tmp_path), strict=True):
        bench.check(job, seen)
        assert seen["end"] == bench.model_end(job), str(job.made)


@pytest.mark.parametrize("name", cosim.mostly_slow(CONFIGS, "bus64"))
def test_pages(name, tmp_path):
    """Stores that end at, begin at and cross 4096 bytes; longer than the longest burst."""
    bench = Bench(name)
    jobs = []
    for target, granules, before in itertools.product(SOURCES, (1, 2, 33, 160), (0, 1, 33)):
        made = isa.instruction(Opcode.STORE, target=target, address=0x7000 - 32 * before, length=granules)
        jobs.append(Job(made))
    results = bench.run(jobs, tmp_path)
    for job, seen in zip(jobs, results, strict=True):
        bench.check(job, seen)
        assert seen["end"] == bench.model_end(job)
    assert max(len(seen["bursts"]) for seen in results) >= 3


def test_slave_that_is_never_ready_for_long(tmp_path):
    """Random patience on both channels: nothing lost, nothing changed while it waits; errors are told."""
    bench = Bench("bus64")
    jobs = []
    for n in range(24):
        patterns = (bench.rng.random((2, CYCLES)) < bench.rng.choice([0.1, 0.5, 0.9])).astype(int).tolist()
        job = bench.job(SOURCES[n % 2], latency=n, address_ready=patterns[0], data_ready=patterns[1])
        job.error = 0 if n % 3 == 0 else -1
        jobs.append(job)
    for job, seen in zip(jobs, bench.run(jobs, tmp_path), strict=True):
        bench.check(job, seen)
        assert len(seen["errors"]) == (job.error == 0)


def test_faults(tmp_path):
    """Operands that do not fit fault in cycle 1, a refused window in cycle 2; the bus stays still."""
    bench = Bench("bus32")
    words = target_words(bench.config)
    wrong = [
        {"target": Target.PARAMETER, "length": 1}, {"target": 3, "length": 1},
        *({"target": t} for t in SOURCES),
        *({"target": t, "length": 1, "source": words[t]} for t in SOURCES),
        *({"target": t, "length": words[t] * target_bits(bench.config)[t] // 256 + 1} for t in SOURCES),
        *({"target": t, "length": 1, "source": words[t] - 1} for t in SOURCES),
        *({"target": t, "length": 0xFFFF, "source": 0xFFFF} for t in SOURCES),
    ]  # fmt: skip
    jobs = [Job(isa.instruction(Opcode.STORE, **operands)) for operands in wrong]
    refused, good = bench.job(Target.VECTOR, refused=True), bench.job(Target.ACTIVATION)
    seen = bench.run([*jobs, refused, good], tmp_path)
    for job, result in zip(jobs, seen, strict=False):
        outcome = (result["fault"], result["end"], result["done"], result["bursts"], result["beats"])
        assert outcome == (Fault.MEMORY_RANGE, 1, 0, [], []), str(job.made)
    result = seen[-2]
    assert (result["fault"], result["end"], result["bursts"]) == (Fault.WRITE_WINDOW, 2, [])
    assert result["window"] == [refused.address, refused.made["length"]]
    bench.check(good, seen[-1])
