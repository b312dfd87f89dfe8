"""Two devices' jobs side by side: equal ones pass, and each kind of difference is found and named."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from ossicle.compiler.api import compile_gemv
from ossicle.hw.config import NpuConfig
from ossicle.hw.isa import Engine, Fault
from ossicle.sim.benchmarks import random_matrix
from ossicle.sim.comparison import Comparison
from ossicle.sim.fast import FastDevice
from ossicle.sim.functional import FunctionalDevice
from ossicle.sim.recording import Job, RecordingDevice

CONFIG = NpuConfig.load("small").replace(name="four", lanes=4, decoder_streams=1)
NAMES = ("fast", "rtl")


@pytest.fixture(scope="module")
def program():
    return compile_gemv(random_matrix(16, 24, 0.5), CONFIG)


def recorded(device, program) -> list[Job]:
    jobs: list[Job] = []
    recorder = RecordingDevice(device, jobs.append)
    recorder.load(program)
    recorder.write("input", np.arange(1, 25, dtype=np.int8))
    recorder.run("prepare")
    for slot in (0, 1):
        recorder.run("gemv", {1: 0, 2: slot})
    return jobs


@pytest.fixture(scope="module")
def jobs(program):
    return recorded(FastDevice(CONFIG), program)


def compared(reference, jobs, program) -> Comparison:
    comparison = Comparison(reference, NAMES, program, "gemv")
    for job in jobs:
        comparison.add(job)
    comparison.end()
    return comparison


def test_equal_jobs(program, jobs):
    found = compared(jobs, jobs, program)
    assert found.first_difference is None
    assert (found.value_differences, found.cycle_differences) == (0, 0)
    assert found.jobs == 3
    assert found.words == 2 * 16
    assert found.cycles == sum(job.result.cycles for job in jobs)
    assert found.instructions == sum(job.counters["instructions"] for job in jobs)


def test_a_recorded_output_is_what_the_device_holds(program, jobs):
    device = FunctionalDevice(CONFIG)
    values = recorded(device, program)
    found = compared(jobs, values, program)
    assert found.first_difference is None
    assert found.instructions == found.cycles == 0
    ((address, content),) = values[-1].outputs
    output = next(s for s in program.symbols.values() if s.name != "input")
    assert address == output.at(1)
    assert np.array_equal(content.view(output.dtype)[: output.count], device.read(output.name, 1))


def spoiled_word(job: Job) -> Job:
    ((address, content),) = job.outputs
    content = content.copy()
    content.view(np.int16)[5] += 1
    return replace(job, outputs=((address, content),))


def spoiled_event(job: Job) -> Job:
    events = job.events.copy()
    events["cycle"][np.flatnonzero(events["engine"] == Engine.STORE)[-1]] += 1
    return replace(job, events=events)


def lost_event(job: Job) -> Job:
    return replace(job, events=job.events[:-1])


def doubled_event(job: Job) -> Job:
    return replace(job, events=np.concatenate([job.events, job.events[-1:]]))


def spoiled_counter(job: Job) -> Job:
    return replace(job, counters=dict(job.counters) | {"mac_busy": job.counters["mac_busy"] + 1})


def spoiled_end(job: Job) -> Job:
    return replace(job, result=replace(job.result, fault=Fault.BUS))


def spoiled_cycles(job: Job) -> Job:
    return replace(job, result=replace(job.result, cycles=job.result.cycles + 1))


@pytest.mark.parametrize(
    ("spoil", "kind", "words"),
    [
        (spoiled_word, "value", "word 5 of "),
        (spoiled_end, "value", "ends with NONE on fast, BUS on rtl"),
        (spoiled_event, "cycle", "(store output) ends in cycle "),
        (lost_event, "cycle", "never on rtl"),
        (doubled_event, "cycle", "events on fast"),
        (spoiled_counter, "cycle", "counter mac_busy is "),
        (spoiled_cycles, "cycle", "its cycles are "),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_difference_is_found_and_named(program, jobs, spoil, kind, words):
    found = compared(jobs, [*jobs[:2], spoil(jobs[2])], program)
    both = {"value": found.value_differences, "cycle": found.cycle_differences}
    assert both == {"value": 0, "cycle": 0} | {kind: 1}
    assert found.first_difference.startswith("frame 1, job 2 (gemv): ")
    assert words in found.first_difference
    assert "on rtl" in found.first_difference


def test_the_earliest_of_several_differences_comes_first(program, jobs):
    events = jobs[2].events.copy()
    events["cycle"] += 1
    found = compared(jobs, [*jobs[:2], replace(jobs[2], events=events)], program)
    assert found.cycle_differences == len(events)
    assert f"in cycle {events['cycle'][0] - 1} " in found.first_difference


def test_another_job_ends_the_comparison(program, jobs):
    other = replace(jobs[1], arguments={1: 0, 2: 9})
    found = compared(jobs, [jobs[0], other, spoiled_word(jobs[2])], program)
    assert found.value_differences == 1
    assert found.first_difference == "frame 0, job 1 is gemv(0, 0) on fast, gemv(0, 9) on rtl"


@pytest.mark.parametrize(
    ("here", "there", "words"),
    [(3, 2, "gemv(0, 1) on fast, none on rtl"), (2, 3, "none on fast, gemv(0, 1)")],
)
def test_a_job_too_many(program, jobs, here, there, words):
    found = compared(jobs[:here], jobs[:there], program)
    assert found.value_differences == 1
    assert f"job 2 is {words}" in found.first_difference
