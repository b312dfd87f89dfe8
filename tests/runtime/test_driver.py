"""The driver's slots and its account of cycles."""

from __future__ import annotations

import numpy as np
import pytest
from fake_device import CYCLES, FakeDevice, fake_program
from ossicle.runtime.driver import Driver
from ossicle.sim.device import DeviceFault

FRAMES = np.ones((2, 120), np.int8)


def test_frames_are_padded_and_go_round_the_slots():
    device = FakeDevice()
    driver = Driver(device, fake_program())
    driver.reset()
    slots = [driver.encode(FRAMES) for _ in range(130)]
    assert slots == [i % 64 for i in range(130)]
    written = device._slots["features", 0]
    assert written.shape == (2, 128)
    assert written[:, :120].all()
    assert not written[:, 120:].any()


def test_predictions_are_kept_by_context():
    device = FakeDevice()
    driver = Driver(device, fake_program(slots=3))
    driver.reset()
    slot = driver.encode(FRAMES)
    for context in [(0, 1), (0, 2), (0, 1), (0, 3), (0, 4), (0, 1), (0, 2)]:
        driver.joint(slot, context)
    asked = [(a[1], a[2]) for entry, a in device.runs if entry == "predict"]
    assert asked == [(0, 1), (0, 2), (0, 3), (0, 4), (0, 2)]
    fresh = Driver(FakeDevice(), fake_program())
    fresh.reset()
    assert np.array_equal(driver.joint(slot, (0, 2)), fresh.joint(fresh.encode(FRAMES), (0, 2)))


def test_cycles_are_those_of_the_jobs():
    driver = Driver(FakeDevice(), fake_program())
    driver.reset()
    slot = driver.encode(FRAMES)
    driver.joint(slot, (0, 0))
    driver.joint(slot, (0, 0))
    assert driver.cycles.jobs == {"reset": 1, "encode": 1, "predict": 1, "joint": 2}
    spent = CYCLES["encode"] + CYCLES["predict"] + 2 * CYCLES["joint"]
    assert driver.frame_cycles == [spent]
    assert driver.cycles.total == spent + CYCLES["reset"]


def test_another_net_is_refused():
    program = fake_program()
    program.meta.update(name="whisper", topology={"kind": "stack"})
    with pytest.raises(ValueError, match="whisper: not the program of a recognizer"):
        Driver(FakeDevice(), program)


def test_a_fault_is_raised_with_its_name():
    driver = Driver(FakeDevice(fail="encode"), fake_program())
    driver.reset()
    with pytest.raises(DeviceFault, match="WATCHDOG"):
        driver.encode(FRAMES)
