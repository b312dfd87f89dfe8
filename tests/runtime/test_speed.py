"""The cycles that are timed are those of the recording's jobs, as the driver counts them."""

from __future__ import annotations

import numpy as np
from fake_device import CYCLES, FakeDevice, fake_program
from ossicle.runtime.recognizer import Recognizer
from ossicle.runtime.speed import RecordedDevice, recorded_calls, recording_speed, replay_speed

SAMPLES = np.random.default_rng(1).normal(0, 3000, 4800).astype(np.int16)


def test_the_jobs_of_the_recording_are_timed():
    device = FakeDevice()
    cycles, seconds = recording_speed(device, fake_program(), SAMPLES)
    recognizer = Recognizer(FakeDevice(), fake_program())
    recognizer.recognize(SAMPLES)
    assert cycles == recognizer.driver.cycles.total
    assert cycles == sum(CYCLES[entry] for entry, _ in device.runs) - CYCLES["prepare"]
    assert 0 < seconds < 60


def test_each_time_is_as_the_first():
    device = FakeDevice()
    assert len({recording_speed(device, fake_program(), SAMPLES)[0] for _ in range(3)}) == 1


def test_a_replay_makes_the_same_calls():
    device, other = FakeDevice(), FakeDevice()
    calls = recorded_calls(device, fake_program(), SAMPLES)
    cycles, seconds = replay_speed(other, fake_program(), calls)
    assert other.runs == device.runs
    assert cycles == recording_speed(FakeDevice(), fake_program(), SAMPLES)[0]
    assert 0 < seconds < 60


def test_what_was_written_is_kept_as_it_was():
    written, kept = np.arange(4, dtype=np.int8), []

    class Writes(FakeDevice):
        def write(self, where, data, slot=0) -> None:
            kept.append(np.array(data))

    recorded = RecordedDevice(Writes())
    recorded.write("features", written)
    written[:] = 0
    recorded.calls[0](recorded.device)
    np.testing.assert_array_equal(kept[0], kept[1])
