"""The load engine: every write in its cycle, by the rules of its docstring."""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass, field

import cosim
import numpy as np
import pytest
from ossicle.hw import isa
from ossicle.hw.config import PRESETS, NpuConfig
from ossicle.hw.isa import Fault, Opcode, Target
from ossicle.hw.load import Load
from ossicle.hw.transfer import target_bits, target_words

pytestmark = pytest.mark.rtl

SMALL = PRESETS["small"].replace(activation_words=32, vector_words=64, parameter_words=16)
CONFIGS = {
    "bus32": SMALL,
    "bus64": SMALL.replace(bus_bits=64, vector_width=8),
    "bus256": SMALL.replace(lanes=16, bus_bits=256, vector_width=16),
    "bus256 narrow": SMALL.replace(bus_bits=256),
}


@dataclass
class Job:
    """A LOAD, its data and when they come."""

    made: isa.Instruction
    arguments: list[int] = field(default_factory=lambda: [0] * isa.ARGUMENTS)
    data: bytes = b""
    gaps: list[int] = field(default_factory=list)
    delay: int = 0
    refused: bool = False
    blocked: list[int] = field(default_factory=list)

    def given(self, config: NpuConfig) -> dict:
        size = config.bus_bytes
        beats = [self.data[k : k + size][::-1].hex() for k in range(0, len(self.data), size)]
        return {
            "word": f"{isa.encode(self.made):x}", "beats": beats, "gaps": self.gaps, "delay": self.delay,
            "refused": int(self.refused), "blocked": self.blocked, "arguments": self.arguments,
        }  # fmt: skip


def run(config: NpuConfig, jobs: list[Job], tmp_path) -> list[dict]:
    observed = tmp_path / "observed.json"
    parameters = {"jobs": [job.given(config) for job in jobs], "observed": str(observed)}
    cosim.run(Load(config=config), "load_cosim", parameters, tmp_path)
    return json.loads(observed.read_text(encoding="utf-8"))


def writes_of(config: NpuConfig, job: Job) -> list[list]:
    """(cycle, target, word, data) of each write of a good job."""
    target, place = job.made["target"], job.made["destination"]
    size = target_bits(config)[Target(target)] // 8
    words = [job.data[k : k + size] for k in range(0, len(job.data), size)]
    gaps = job.gaps or [0] * (len(job.data) // config.bus_bytes)

    def held_up(cycle: int) -> int:
        return cycle < len(job.blocked) and job.blocked[cycle] >> target & 1

    writes, cycle = [], 2 + job.delay
    for n, gap in enumerate(gaps):
        cycle += 1 + gap
        complete = (n + 1) * config.bus_bytes // size
        # Whole words behind the last byte of this beat: one if the word is wide, some if it is narrow.
        for k in range(len(writes), complete):
            cycle += len(writes) > n * config.bus_bytes // size
            while held_up(cycle):
                cycle += 1
            writes.append([cycle, target, place + k, words[k][::-1].hex()])
    return writes


def check(config: NpuConfig, job: Job, seen: dict) -> None:
    made = job.made
    address = made["address"] + job.arguments[made["argument"]] * made["stride"] * 32 & 0xFFFFFFFF
    assert seen["request"] == [2 + job.delay, address, len(job.data) // config.bus_bytes]
    writes = writes_of(config, job)
    assert [[*w[:3], int(w[3], 16)] for w in seen["writes"]] == [[*w[:3], int(w[3], 16)] for w in writes]
    assert (seen["done"], seen["fault"], seen["end"]) == (1, 0, writes[-1][0])
    assert (seen["value"], seen["taken"]) == (made["length"], len(job.data) // config.bus_bytes)


def random_job(config: NpuConfig, rng, target: Target, slow: bool) -> Job:
    bits, capacity = target_bits(config)[target], target_words(config)[target]
    unit = max(1, bits // 256)
    most = capacity * bits // 256 // unit
    length = unit * int(rng.integers(1, min(most, 12) + 1))
    made = isa.instruction(
        Opcode.LOAD, target=target, address=int(rng.integers(0, 1 << 27)) * 32, length=length,
        destination=int(rng.integers(0, capacity - length * 256 // bits + 1)), argument=int(rng.integers(8)),
        stride=int(rng.integers(1 << 16)),
    )  # fmt: skip
    job = Job(made, [0, *map(int, rng.integers(0, 1 << 16, isa.ARGUMENTS - 1))], rng.bytes(32 * length))
    if slow:
        job.gaps = (rng.geometric(0.5, len(job.data) // config.bus_bytes) - 1).tolist()
        job.delay = int(rng.integers(10))
        job.blocked = np.where(rng.random(400) < 0.4, rng.integers(0, 8, 400), 0).tolist()
    return job


@pytest.mark.parametrize("name", cosim.mostly_slow(CONFIGS, "bus64"))
def test_every_target(name, tmp_path):
    """Words narrower than a beat, as wide, wider; beats late, writes held up; addresses from arguments."""
    config, rng = CONFIGS[name], np.random.default_rng(9)
    kinds = itertools.product(Target, (False, True), range(5))
    jobs = [random_job(config, rng, target, slow) for target, slow, _ in kinds]
    for target in Target:
        whole = target_words(config)[target] * target_bits(config)[target] // 256
        made = isa.instruction(Opcode.LOAD, target=target, length=whole)
        jobs.append(Job(made, data=rng.bytes(32 * whole)))
    for job, seen in zip(jobs, run(config, jobs, tmp_path), strict=True):
        check(config, job, seen)


@pytest.mark.parametrize("name", ["bus32", "bus256"])
def test_faults(name, tmp_path):
    """Operands that do not fit fault in cycle 1, a refused request in cycle 2; nothing is written."""
    config, rng = CONFIGS[name], np.random.default_rng(4)
    wrong = [{"target": 3, "length": 1}]
    for target in Target:
        bits, capacity = target_bits(config)[target], target_words(config)[target]
        unit = max(1, bits // 256)
        whole = capacity * bits // 256
        wrong += [
            {"target": target},
            {"target": target, "length": whole + unit},
            {"target": target, "length": unit, "destination": capacity},
            {"target": target, "length": unit, "destination": 0xFFFF},
            {"target": target, "length": 0xFFFF // unit * unit},
        ]
        if unit > 1:
            wrong.append({"target": target, "length": unit + 1})
    jobs = [Job(isa.instruction(Opcode.LOAD, **operands)) for operands in wrong]
    refused = random_job(config, rng, Target.VECTOR, slow=False)
    refused.refused = True
    good = random_job(config, rng, Target.ACTIVATION, slow=True)
    seen = run(config, [*jobs, refused, good], tmp_path)
    for job, result in zip(jobs, seen, strict=False):
        outcome = result["fault"], result["end"], result["done"], result["request"], result["writes"]
        assert outcome == (Fault.MEMORY_RANGE, 1, 0, None, []), str(job.made)
    result = seen[-2]
    assert (result["fault"], result["end"], result["request"]) == (Fault.READ_WINDOW, 2, None)
    check(config, good, seen[-1])
