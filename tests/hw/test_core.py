"""The whole processor at its pins: what the simulated DRAM never does, it must survive too.

Random programs, values and cycles are in tests/sim/test_verify.py; here are buses of random times, and error
responses.
"""

from __future__ import annotations

import json

import cosim
import numpy as np
import pytest
from ossicle.compiler.program import Program
from ossicle.hw.config import NpuConfig
from ossicle.hw.core import Npu
from ossicle.hw.isa import ARGUMENTS, Engine, Fault
from ossicle.hw.registers import Register
from ossicle.sim.fast import FastDevice
from ossicle.sim.functional import FunctionalDevice
from ossicle.sim.random_programs import DATA, ENTRY, RandomProgram, random_program

pytestmark = pytest.mark.rtl

CONFIG = NpuConfig(
    name="tiny", lanes=4, lookahead=2, weight_words=64, accumulators=16, activation_words=32, vector_width=4,
    vector_words=32, parameter_words=32, decoder_streams=2, table_log=9, table_sets=1, bus_bits=64,
    burst_beats=4, outstanding=2, queue_depth=2,
)  # fmt: skip
MEMORY_BYTES = 1 << 20
WATCHDOG = 20_000
BUSY, DONE, FAULT = 1, 2, 4
EAGER = {"patience": 1.0, "latency": [40, 40], "read_error": -1, "write_error": -1}
FICKLE = {"patience": 0.5, "latency": [0, 60], "read_error": -1, "write_error": -1}


def registers_of(program: Program, arguments: dict[int, int]) -> list[tuple[int, int]]:
    entry = program.entries[ENTRY]
    windows = [bound for window in program.windows for bound in window]
    return [
        (Register.ENTRY, entry.address),
        (Register.COUNT, entry.count),
        (Register.WATCHDOG, WATCHDOG),
        *((Register.READ0_BASE + n, bound) for n, bound in enumerate(windows)),
        *((Register.ARGUMENT + n, arguments.get(n, 0)) for n in range(1, ARGUMENTS)),
    ]


def job(made: RandomProgram, **memory) -> dict:
    symbol = made.program.symbols[DATA]
    return {
        "registers": registers_of(made.program, made.arguments),
        "load": [(0, made.program.image.hex()), (symbol.address, made.data.tobytes().hex())],
        "dump": (symbol.address, symbol.count), **memory,
    }  # fmt: skip


def run(jobs: list[dict], tmp_path) -> list[dict]:
    observed = tmp_path / "observed.json"
    parameters = {"jobs": jobs, "memory_bytes": MEMORY_BYTES, "observed": str(observed)}
    cosim.run(Npu(config=CONFIG), "core_cosim", parameters, tmp_path)
    return json.loads(observed.read_text(encoding="utf-8"))


def check_sums(counters: dict[str, int]) -> None:
    causes = sum(value for name, value in counters.items() if name.startswith("mac_idle_"))
    assert counters["mac_busy"] + causes == counters["cycles"]
    lanes = sum(value for name, value in counters.items() if name.startswith("lane_"))
    assert lanes == CONFIG.lanes * counters["mac_busy"]


def check_good(made: RandomProgram, seen: dict) -> None:
    expected = made.run_on(FunctionalDevice(CONFIG))
    assert (seen["status"], seen["fault"]) == (DONE, 0)
    np.testing.assert_array_equal(np.frombuffer(bytes.fromhex(seen["data"]), np.int8), expected)
    check_sums(seen["counters"])
    assert seen["cycle"] == seen["counters"]["cycles"] + 1


@pytest.mark.slow
def test_memory_of_random_patience(tmp_path):
    """Whatever the buses do, the data are the functional device's."""
    programs = [random_program(seed, CONFIG, 40) for seed in range(30, 34)]
    jobs = [job(made, **(FICKLE | {"patience": 0.25 + 0.25 * n})) for n, made in enumerate(programs)]
    for made, seen in zip(programs, run(jobs, tmp_path), strict=True):
        check_good(made, seen)
        per_engine = {n: [e for e in seen["events"] if e[1] == n] for n in Engine}
        assert sum(len(events) for events in per_engine.values()) == 2 * seen["counters"]["instructions"]
        for events in per_engine.values():
            assert [kind for _, _, kind, _, _ in events] == [0, 1] * (len(events) // 2)
            indices = [index for _, _, kind, index, _ in events if kind == 0]
            assert indices == sorted(indices)


@pytest.mark.slow
def test_memory_of_the_simulators(tmp_path):
    """An eager memory of the fixed latency: every event in the fast device's cycle."""
    made = random_program(7, CONFIG, 40)
    device = FastDevice(CONFIG)
    made.run_on(device)
    for seen in run([job(made, **EAGER)] * 2, tmp_path):
        check_good(made, seen)
        assert seen["events"] == [[int(v) for v in event] for event in device.events()]
        assert seen["counters"] == device.counters()


def test_error_responses(tmp_path):
    """An error on a read beat or write burst stops the job with BUS; the next job is as ever."""
    made, good = random_program(40, CONFIG, 30), random_program(41, CONFIG, 4)
    jobs, expected = [], []
    for n in (0, 7, 90):
        jobs += [job(made, **(FICKLE | {"read_error": n})), job(good, **FICKLE)]
        expected.append(Engine.LOAD)
    for n in (0, 3):
        jobs += [job(made, **(FICKLE | {"write_error": n})), job(good, **FICKLE)]
        expected.append(Engine.STORE)
    seen = run(jobs, tmp_path)
    for engine, failed, after in zip(expected, seen[::2], seen[1::2], strict=True):
        assert failed["status"] == DONE | FAULT
        assert (failed["fault"] & 15, failed["fault"] >> 4 & 7) == (Fault.BUS, engine)
        assert failed["missing"] == 0, "the job ended with a read under way"
        check_sums(failed["counters"])
        check_good(good, after)
