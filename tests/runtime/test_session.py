"""A session hears chunks of any size: they show neither in events nor in results, nor do end-pointers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from fake_device import FakeDevice, fake_program
from hypothesis import given, settings
from hypothesis import strategies as st
from ossicle.compiler.api import compile_checkpoint
from ossicle.hw.config import PRESETS
from ossicle.runtime.endpointer import Decision, EndPointer, EndpointRule
from ossicle.runtime.endpointing import EndOfText, EndPointing, EndpointPrograms
from ossicle.runtime.lattice_io import to_slf
from ossicle.runtime.recognizer import Recognizer, StreamError
from ossicle.runtime.session import PARTIAL, Session
from ossicle.sim.device import open_device

RATE = 16000
NOISE = np.random.default_rng(1).normal(0, 3000, 3 * RATE).astype(np.int16)
CHUNKS = st.lists(st.integers(1, 5000), min_size=1, max_size=30)


class FakeNet:
    """Hears speech in blocks that are loud; silent afterwards."""

    def __init__(self):
        self.cycles = type("", (), {"cycles": {"step": 0}, "counted": True})()

    def begin(self):
        self.cycles.cycles["step"] = 0

    def accept(self, samples):
        self.cycles.cycles["step"] += 77
        speech = 0.9 if np.abs(samples.astype(int)).mean() > 500 else 0.1
        return np.array([[speech, (1 - speech) / 2, (1 - speech) / 2]])


def session(endpointed=True, chunk=1, rule=None):
    recognizer = Recognizer(FakeDevice(), fake_program(chunk=chunk), nbest=3)
    ends = EndPointing(FakeNet(), EndPointer(rule)) if endpointed else None
    return Session(recognizer, ends)


def heard(one: Session, samples, sizes=(len(NOISE),)):
    """All events of an utterance in chunks of the sizes, over and over."""
    one.begin()
    made, at, k = [], 0, 0
    while at < len(samples) and not one.done:
        size = sizes[k % len(sizes)]
        made += one.accept_waveform(RATE, samples[at : at + size])
        at, k = at + size, k + 1
    return made + one.finish()


def speech_then_pause(*seconds):
    """Noise and near silence in turns."""
    parts = [NOISE[: int(s * RATE)] // (1 if k % 2 == 0 else 300) for k, s in enumerate(seconds)]
    return np.concatenate(parts)


@given(CHUNKS)
@settings(max_examples=20)
@pytest.mark.parametrize("endpointed", [False, True])
def test_chunks_do_not_show_in_events(endpointed, sizes):
    samples = speech_then_pause(0.4, 0.15, 0.2, 0.8)
    assert heard(session(endpointed), samples, sizes) == heard(session(endpointed), samples)


@given(CHUNKS)
@settings(max_examples=10)
def test_without_end_pointers_the_result_is_that_of_the_whole(sizes):
    one = session(False)
    *partials, final = heard(one, NOISE[:12345], sizes)
    whole = one.recognizer.recognize(NOISE[:12345])
    assert replace(final.result, lattice=replace(final.result.lattice, utterance="utterance")) == whole
    assert {e.kind for e in partials} == {PARTIAL} and not final.revised and final.silence_s is None


@pytest.fixture(scope="module")
def functional(untrained_checkpoint):
    """A session on functional devices, the net of end-points with it, ends never."""
    config = PRESETS["base"]
    program = compile_checkpoint(untrained_checkpoint, config)
    never = EndpointRule(shortest_s=99, longest_s=99)
    devices = [open_device("functional", config) for _ in range(2)]
    ends = EndpointPrograms.load(program, config)
    assert ends.language_model is None and "other word pieces" in ends.missing
    yield Session(Recognizer(devices[0], program, nbest=3), ends.start(lambda: devices[1], never))
    for device in devices:
        device.close()


@pytest.fixture(scope="module")
def whole(functional):
    return functional.recognizer.recognize(NOISE[:6400])


@given(CHUNKS)
@settings(max_examples=6)
def test_chunks_do_not_show_on_the_functional_device(functional, whole, sizes):
    """Labels, scores and lattice, bit by bit."""
    result = heard(functional, NOISE[:6400], sizes)[-1].result
    assert result.labels == whole.labels
    assert [p.score for p in result.nbest] == [p.score for p in whole.nbest]
    assert to_slf(replace(result.lattice, utterance=whole.lattice.utterance)) == to_slf(whole.lattice)
    assert result.lattice.edges == whole.lattice.edges and result.lattice.total == whole.lattice.total


@pytest.mark.parametrize("chunk", [1, 4])
def test_an_end_point_stops_the_utterance_and_a_pause_does_not(chunk):
    rule = EndpointRule(shortest_s=0.6, slope_s=0.0, lead_s=0.3, still_s=0.0, longest_s=9)
    one = session(True, chunk, rule)
    events = heard(one, speech_then_pause(0.8, 0.45, 0.8, 2.5), [1600])
    decisions = [e for e in events if e.kind != PARTIAL]
    assert decisions[-1].kind == Decision.FINAL and decisions[-2].kind == Decision.SPECULATIVE
    assert one.done and one.finish() == []
    resets = [e for e in decisions if e.kind == Decision.RESET]
    assert any(1.25 <= e.audio_s <= 1.31 for e in resets)
    final, early = decisions[-1], decisions[-2]
    assert final.silence_s == pytest.approx(0.6, abs=0.031) and final.audio_s == pytest.approx(2.66, abs=0.05)
    assert early.result.lattice and final.result.final
    assert final.revised == (early.text != final.text)
    with pytest.raises(StreamError, match="after the final event"):
        one.accept_waveform(RATE, NOISE)


def test_times_grow_and_cycles_are_at_most_the_clock():
    events = heard(session(), speech_then_pause(0.8, 2.0), [700])
    for key in ("audio_s", "cycles", "at_cycle"):
        values = [getattr(e, key) for e in events]
        assert values == sorted(values)
    megahertz = PRESETS["base"].clock_mhz
    for event in events:
        assert event.audio_s * megahertz * 1e6 <= event.at_cycle
        assert event.cycles <= event.at_cycle


def test_a_second_utterance_is_as_the_first():
    """But for its cycles: predictions of the first are still there."""
    one, samples = session(), speech_then_pause(0.8, 2.0)
    first, second = ([replace(e, cycles=None, at_cycle=None) for e in heard(one, samples)] for _ in range(2))
    assert first == second


def test_nothing_said_is_an_empty_final_event():
    for endpointed in (False, True):
        (final,) = heard(session(endpointed), NOISE[:0])
        assert (final.kind, final.text, final.audio_s, final.cycles) == (Decision.FINAL, "", 0.0, 0)


def test_other_audio_is_refused():
    one = session()
    with pytest.raises(StreamError, match="8000 Hz; the model takes 16000"):
        one.accept_waveform(8000, NOISE)
    with pytest.raises(StreamError, match="one channel of int16"):
        one.accept_waveform(RATE, NOISE / 32768)


def test_the_end_of_text_is_asked_once_a_text():
    class Model:
        labels, cycles, asked = ["", "a"], FakeNet().cycles, 0

        def after(self, labels):
            self.asked += 1
            self.cycles.jobs = {"step": len(labels) + 1}
            return np.array([256, 0], np.int16)

        def forget(self):
            pass

    text = EndOfText(Model())
    assert text((1,)) == text((1,)) == pytest.approx(1 - np.log(1 + np.e))
    assert text._model.asked == 1 and text.cycles.jobs == {"step": 2}


@given(CHUNKS)
@settings(max_examples=10)
def test_chunks_do_not_show_after_context(sizes):
    one, samples = session(False), NOISE[:12345]
    one.begin(0.25)
    made, at = [], 0
    for size in (*sizes, len(samples)):
        made += one.accept_waveform(RATE, samples[at : at + size])
        at += size
    final = (made + one.finish())[-1]
    assert replace(final.result, lattice=replace(final.result.lattice, utterance="utterance")) == (
        one.recognizer.recognize(samples, context=4000)
    )
    assert all(event.audio_s > 0.25 for event in made)


def test_a_wake_word_ends_no_utterance():
    samples, one = speech_then_pause(0.3, 1.5, 0.4, 1.5), session()
    assert heard(one, samples)[-1].audio_s < 1.8
    one.begin(1.6)
    events = one.accept_waveform(RATE, samples)
    assert events[-1].kind == Decision.FINAL and all(event.audio_s > 1.6 for event in events)
    assert one.spoken[0] >= 1.6 * RATE
