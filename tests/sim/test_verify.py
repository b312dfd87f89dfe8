"""Random programs on all devices: the same bytes, the same cycles, the same counters."""

from __future__ import annotations

from collections import Counter
from itertools import product

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ossicle.compiler.api import compile_gemv
from ossicle.hw.config import PRESETS, NpuConfig
from ossicle.hw.isa import Fault
from ossicle.sim import build, verify
from ossicle.sim.benchmarks import random_matrix
from ossicle.sim.fast import FastDevice
from ossicle.sim.random_configs import random_configs
from ossicle.sim.random_faults import CAUSES
from ossicle.sim.random_programs import DATA, ENTRY

TINY = NpuConfig(
    name="tiny", lanes=4, lookahead=2, weight_words=256, accumulators=64, activation_words=64, vector_width=4,
    vector_words=128, parameter_words=64, decoder_streams=1, table_log=9, table_sets=1, bus_bits=32,
    burst_beats=4, outstanding=2, queue_depth=2,
)  # fmt: skip
WIDE = TINY.replace(
    name="wide", lanes=8, lookahead=7, vector_width=8, decoder_streams=4, table_log=10, table_sets=2,
    bus_bits=256, burst_beats=16, outstanding=5, queue_depth=5,
)  # fmt: skip
NEVER_FAULTY = 1 << 30


def agreed(found: dict) -> bool:
    return not (found["value_differences"] or found["cycle_differences"] or found["first_difference"])


@given(
    seed=st.integers(0, 10**6), lanes=st.sampled_from((4, 8, 16)), bus=st.sampled_from((32, 64, 128, 256)),
    width=st.sampled_from((4, 8)), lookahead=st.integers(2, 16),
)  # fmt: skip
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_fast_computes_what_functional_does(seed, lanes, bus, width, lookahead):
    config = WIDE.replace(lanes=max(lanes, width), bus_bits=bus, vector_width=width, lookahead=lookahead)
    found = verify.verify_random(1, seed, [config], rtl=False)
    assert agreed(found), found["first_difference"]
    assert found["faults"] or found["instructions"] > 20


@given(seed=st.integers(0, 10**6), bus=st.sampled_from((32, 256)))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_fast_faults_as_functional_does(seed, bus):
    found = verify.verify_random(1, seed, [WIDE.replace(bus_bits=bus)], rtl=False, faulty=1)
    assert agreed(found), found["first_difference"]


def test_programs_have_every_fault():
    """And few of them pass the fault by."""
    seen = Counter()
    for seed in range(80):
        case = verify.Case.draw(seed, TINY, 40, 1)
        device = FastDevice(case.config, watchdog=case.watchdog)
        device.load(case.made.program)
        device.write(DATA, case.made.data)
        seen[device.run(ENTRY, case.made.arguments, check=False).fault] += 1
    assert set(seen) >= set(CAUSES) and seen[Fault.NONE] < 15


def test_random_processors_have_every_bus_and_agree():
    configs = random_configs(8, 5)
    assert configs == random_configs(8, 5) != random_configs(8, 6)
    assert [config.bus_bits for config in configs] == [32, 64, 128, 256] * 2
    assert len({config.digest() for config in configs}) == 8
    found = verify.verify_random(16, 0, configs, rtl=False)
    assert agreed(found), found["first_difference"]


@pytest.fixture
def tools():
    try:
        build.find_tools()
    except build.ToolMissing as error:
        pytest.skip(str(error))


@pytest.mark.rtl
@pytest.mark.parametrize("config", (TINY, pytest.param(WIDE, marks=pytest.mark.slow)), ids=lambda c: c.name)
def test_rtl_in_every_value_and_cycle(tools, config):
    found = verify.verify_random(15, 100, [config])
    assert agreed(found), found["first_difference"]
    assert found["programs"] == 15 and found["cycles"] > 10_000


@pytest.mark.rtl
@pytest.mark.parametrize("config", (TINY, pytest.param(WIDE, marks=pytest.mark.slow)), ids=lambda c: c.name)
def test_rtl_after_every_fault(tools, config):
    """The record, every event and every counter of jobs that a fault ended; the data that they left."""
    found = verify.verify_random(3 * len(CAUSES), 500, [config], faulty=1)
    assert agreed(found), found["first_difference"]
    assert found["faults"] > 2 * len(CAUSES)


EXTREMES = tuple(product((0, 200), (0, 75)))
"""Latencies of the memory, in cycles, and percents of it that other traffic has."""


@pytest.mark.rtl
@pytest.mark.parametrize("config", (TINY, pytest.param(WIDE, marks=pytest.mark.slow)), ids=lambda c: c.name)
def test_rtl_at_the_extremes_of_the_memory(tools, config):
    """On the narrowest bus and on the widest: no latency and a long one, no other traffic and much."""
    assert config.bus_bits == {"tiny": 32, "wide": 256}[config.name]
    met = Counter()
    for seed in range(3000, 3050):
        case = verify.Case.draw(seed, config, 60, NEVER_FAULTY)
        meets = (case.config.dram_latency, case.music)
        if meets in EXTREMES and met[meets] < 2:
            found = verify.verify_random(1, seed, [config], faulty=NEVER_FAULTY)
            assert agreed(found), found["first_difference"]
            assert found["instructions"] > 20
            met[meets] += 1
    assert met == dict.fromkeys(EXTREMES, 2)


@pytest.mark.slow
@pytest.mark.rtl
@pytest.mark.parametrize("part", range(4))
@pytest.mark.parametrize("config", [TINY, WIDE, PRESETS["small"], PRESETS["base"]], ids=lambda c: c.name)
def test_rtl_on_many_programs(tools, config, part):
    found = verify.verify_random(15, 1000 + 100 * part, [config])
    assert agreed(found), found["first_difference"]
    assert found["programs"] == 15


def test_a_program_of_the_users():
    program = compile_gemv(random_matrix(40, 48, 0.6), TINY)
    found = verify.verify_program(program, TINY, rtl=False)
    assert agreed(found) and found["jobs"] >= 3


def test_a_wrong_value_is_found(monkeypatch):
    """A device that computes something else does not pass."""
    original = FastDevice._run

    def spoiled(self, entry, arguments):
        result = original(self, entry, arguments)
        begin = self.program.windows.write[0]
        self.dram[begin] ^= 1
        return result

    monkeypatch.setattr(FastDevice, "_run", spoiled)
    found = verify.verify_random(1, 0, [TINY], rtl=False)
    assert found["value_differences"] == 1
    assert "DRAM" in found["first_difference"]


@pytest.mark.rtl
def test_a_wrong_cycle_is_found(tools, monkeypatch):
    """A fast model of another window meets the RTL's values, not its cycles."""
    original = verify.FastDevice
    monkeypatch.setattr(
        verify, "FastDevice",
        lambda config, **options: original(config.replace(dram_latency=config.dram_latency + 1), **options),
    )  # fmt: skip
    found = verify.verify_random(1, 3, [TINY])
    assert found["value_differences"] == 0
    assert found["cycle_differences"] > 0 and "on fast" in found["first_difference"]
