"""What the transducer says of a name, against sums over alignments written out; asked of a driver again."""

import itertools
import math

import numpy as np
import pytest
from fake_device import CYCLES, FakeDevice, fake_program
from ossicle.runtime.alias_evidence import MARGIN, Evidence
from ossicle.runtime.alias_weights import Audio
from ossicle.runtime.driver import Driver

FRAMES, LABELS, CONTEXT = 9, 5, 2
SPELLED = {"ann": (1, 2), "an": (3,), "bob": (2, 2, 4), "call": (4, 1), "": ()}


def log_probs(frame, context):
    """Of a frame after a context, or of no audio: something of its own for each."""
    made = np.random.default_rng([0 if frame is None else frame + 1, *context]).normal(0, 1, LABELS)
    return made - math.log(np.exp(made).sum())


class Counted:
    def __init__(self):
        self.asked = []

    def __call__(self, questions):
        self.asked += questions
        return [log_probs(*question) for question in questions]


def before(prefix, labels, i):
    return ((0,) * CONTEXT + prefix + labels[:i])[-CONTEXT:]


def slow_audio(prefix, labels, frames):
    """Every way to give the labels in some frames, each frame ended by a blank."""
    total = 0.0
    for at in itertools.combinations_with_replacement(frames, len(labels)):
        score, done = 0.0, 0
        for frame in frames:
            for _ in range(at.count(frame)):
                score += log_probs(frame, before(prefix, labels, done))[labels[done]]
                done += 1
            score += log_probs(frame, before(prefix, labels, done))[0]
        total += math.exp(score)
    return math.log(total)


def slow_silent(prefix, labels):
    found = 0.0
    for i, label in enumerate(labels):
        probs = np.exp(log_probs(None, before(prefix, labels, i)))
        found += math.log(probs[label] / probs[1:].sum())
    return found


@pytest.mark.parametrize(
    ("heard", "way", "start", "end"), [("an", "call", 3, 5), ("bob", "", 0, 2), ("an", "", 6, 9)]
)
def test_evidence_is_the_sum_over_alignments(heard, way, start, end):
    ask = Counted()
    evidence = Evidence(FRAMES, CONTEXT, ask, SPELLED.get)
    found = evidence.of("ann", [heard], way.split(), start, end)
    frames = range(max(0, start - MARGIN), min(FRAMES, end + MARGIN))
    said, other = (slow_audio(SPELLED[way], SPELLED[text], frames) for text in ("ann", heard))
    silent = slow_silent(SPELLED[way], SPELLED["ann"])
    pieces = len(SPELLED["ann"]) - len(SPELLED[heard])
    assert found == pytest.approx(Audio(said, other, silent, pieces))
    assert len(set(ask.asked)) == len(ask.asked), "asked once of each frame and context"


def test_a_name_without_a_spelling_is_none():
    evidence = Evidence(FRAMES, CONTEXT, Counted(), SPELLED.get)
    assert evidence.of("zoë", ["an"], [], 1, 3) is None


def test_a_driver_is_asked_again_of_what_it_encoded():
    driver = Driver(FakeDevice(), fake_program())
    driver.reset()
    kept, said = [], []
    for i in range(70):  # more frames than slots
        slot = driver.encode(np.full((2, 120), i % 50, np.int8))
        kept.append(driver.encoded(slot))
        said.append(driver.joint(slot, (1, i % 7)))
    cycles, frames = driver.cycles.total, list(driver.frame_cycles)
    for i in (3, 69, 0):
        twice = driver.joint_again(kept[i], [(1, i % 7), (2, 3)])
        np.testing.assert_array_equal(twice[0], said[i])
        np.testing.assert_array_equal(driver.joint_again(kept[i], [(2, 3)]), twice[1:])
    assert driver.frame_cycles == frames, "of no frame"
    assert driver.cycles.total == cycles + 9 * CYCLES["joint"] + CYCLES["predict"]
