"""The driver's slots and its account of cycles."""

from __future__ import annotations

import numpy as np
import pytest
from fake_device import CYCLES, FakeDevice, fake_program
from ossicle.runtime.driver import Driver

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


def test_chunks_take_slots_side_by_side():
    device = FakeDevice()
    driver = Driver(device, fake_program(chunk=5))
    driver.reset()
    frames = np.arange(1, 6, dtype=np.int8).reshape(5, 1, 1) * np.ones((5, 2, 120), np.int8)
    for _ in range(12):
        slots = driver.encode_chunk(frames)
        assert slots == list(range(slots[0], slots[0] + 5)) and slots[-1] < 64
    assert slots == list(range(55, 60))
    assert driver.encode_chunk(frames)[0] == 0  # five more end after slot 63
    assert driver.encode(frames[0]) == 5
    written = [device._slots["features", slot] for slot in range(5)]
    assert [int(w[0, 0]) for w in written] == [1, 2, 3, 4, 5]


def test_the_last_steps_are_a_chunk_with_zeros_and_one_alone_a_step():
    device = FakeDevice()
    driver = Driver(device, fake_program(chunk=5))
    driver.reset()
    frames = np.ones((5, 2, 120), np.int8)
    assert driver.encode_chunk(frames[:3]) == [0, 1, 2]
    assert [int(device._slots["features", slot].sum()) for slot in range(5)] == [240, 240, 240, 0, 0]
    assert driver.encode_chunk(frames[:1]) == [5]
    assert [entry for entry, _ in device.runs[-2:]] == ["encode.chunk", "encode"]
    assert len(driver.frame_cycles) == 4
    for wrong in (frames[:0], np.ones((6, 2, 120), np.int8)):
        with pytest.raises(ValueError, match="a chunk of this program has 1 to 5"):
            driver.encode_chunk(wrong)


def test_a_chunks_cycles_are_shared_by_its_frames():
    driver = Driver(FakeDevice(), fake_program(chunk=4))
    driver.reset()
    slots = driver.encode_chunk(np.ones((4, 2, 120), np.int8))
    assert sum(driver.frame_cycles) == CYCLES["encode.chunk"]
    assert max(driver.frame_cycles) - min(driver.frame_cycles) == 1
    before = list(driver.frame_cycles)
    driver.joint(slots[1], (0, 0))
    assert driver.frame_cycles[1] == before[1] + CYCLES["predict"] + CYCLES["joint"]
    assert sum(driver.frame_cycles) + CYCLES["reset"] == driver.cycles.total


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
