"""A recording device does what the device does, and jobs come back from their file as they were."""

from __future__ import annotations

import tempfile

import numpy as np
import pytest
from ossicle.compiler.api import compile_gemv
from ossicle.hw.config import NpuConfig
from ossicle.hw.isa import Fault
from ossicle.sim.benchmarks import random_matrix
from ossicle.sim.device import DeviceFault
from ossicle.sim.functional import FunctionalDevice
from ossicle.sim.recording import JobFile, RecordingDevice

CONFIG = NpuConfig.load("small")


@pytest.fixture
def recorder():
    jobs = []
    device = RecordingDevice(FunctionalDevice(CONFIG), jobs.append)
    device.load(compile_gemv(random_matrix(16, 24, 0.5), CONFIG))
    return device, jobs


def test_jobs_come_back_from_their_file(recorder):
    device, jobs = recorder
    device.run("prepare")
    device.run("gemv", {1: 0, 2: 1})
    with tempfile.TemporaryFile() as file:
        kept = JobFile(file)
        for job in jobs:
            kept.add(job)
        for _ in range(2):
            again = list(kept)
            assert [(j.entry, j.arguments, j.result, j.counters) for j in again] == [
                (j.entry, j.arguments, j.result, j.counters) for j in jobs
            ]
            (address, content), (expected, value) = again[1].outputs[0], jobs[1].outputs[0]
            assert address == expected
            assert np.array_equal(content, value)


def test_a_faulty_job_is_recorded_and_raised(recorder):
    device, jobs = recorder
    with pytest.raises(DeviceFault):
        device.run("gemv", {1: 65535, 2: 0})
    assert jobs[0].result.fault is Fault.READ_WINDOW
    assert device.run("gemv", {1: 65535, 2: 0}, check=False).fault is Fault.READ_WINDOW
    assert len(jobs) == 2
