"""The streaming calls: chunks don't show, one utterance at a time, results partial and final."""

from __future__ import annotations

import numpy as np
import pytest
from fake_device import FakeDevice, fake_program
from ossicle.runtime.recognizer import Recognizer, StreamError
from ossicle.runtime.transducer import SearchOptions


@pytest.fixture
def recognizer():
    return Recognizer(FakeDevice(), fake_program(), nbest=3)


def noise(seconds: float = 0.7) -> np.ndarray:
    return np.random.default_rng(1).normal(0, 3000, int(16000 * seconds)).astype(np.int16)


def decode(recognizer, samples, chunk):
    stream, partial = recognizer.create_stream(), []
    for start in range(0, len(samples), chunk):
        stream.accept_waveform(16000, samples[start : start + chunk])
        while recognizer.is_ready(stream):
            recognizer.decode_stream(stream)
        partial.append(recognizer.get_result(stream))
    stream.input_finished()
    while recognizer.is_ready(stream):
        recognizer.decode_stream(stream)
    result = recognizer.get_result(stream)
    recognizer.reset(stream)
    return result, partial


@pytest.mark.parametrize("chunk", [160, 1600, 4801])
def test_chunks_do_not_show(recognizer, chunk):
    whole = recognizer.recognize(noise())
    result, partial = decode(recognizer, noise(), chunk)
    assert result == whole
    assert result.final
    assert not any(p.final for p in partial)
    assert result.text == result.lattice.best().text


@pytest.mark.parametrize("steps", [2, 3, 7, 40])
@pytest.mark.parametrize("chunk", [160, 4801])
def test_chunks_of_steps_do_not_show(recognizer, steps, chunk):
    """40: longer than the utterance."""
    whole = recognizer.recognize(noise())
    made = Recognizer(FakeDevice(), fake_program(chunk=steps), nbest=3)
    assert made.recognize(noise()) == whole
    assert decode(made, noise(), chunk)[0] == whole


def test_a_chunk_waits_for_its_last_step_and_the_end_for_none():
    recognizer = Recognizer(FakeDevice(), fake_program(chunk=4))
    stream = recognizer.create_stream()
    step = recognizer.frontend.step_samples * recognizer.driver.frames_per_step
    stream.accept_waveform(16000, noise(3 * step / 16000 + 0.02))
    assert stream.waiting == 3 and not recognizer.is_ready(stream)
    with pytest.raises(StreamError, match="no step is ready"):
        recognizer.decode_stream(stream)
    stream.input_finished()
    assert recognizer.is_ready(stream)
    while recognizer.is_ready(stream):
        recognizer.decode_stream(stream)
    assert recognizer.get_result(stream).final


def test_a_second_utterance_is_as_the_first(recognizer):
    assert recognizer.recognize(noise()) == recognizer.recognize(noise())


def test_floats_are_taken_as_samples(recognizer):
    stream = recognizer.create_stream()
    stream.accept_waveform(16000, noise().astype(np.float64) / 32768)
    stream.input_finished()
    while recognizer.is_ready(stream):
        recognizer.decode_stream(stream)
    result = recognizer.get_result(stream)
    recognizer.reset(stream)
    assert result.text == recognizer.recognize(noise()).text


def test_nothing_said_is_an_empty_text(recognizer):
    result = recognizer.recognize(np.zeros(0, np.int16))
    assert (result.text, result.final, result.frames) == ("", True, 0)


def test_two_streams_at_once_are_refused(recognizer):
    one, two = recognizer.create_stream(), recognizer.create_stream()
    for stream in (one, two):
        stream.accept_waveform(16000, noise())
    recognizer.decode_stream(one)
    with pytest.raises(StreamError, match="another stream"):
        recognizer.decode_stream(two)
    recognizer.reset(one)
    recognizer.decode_stream(two)


def test_another_rate_and_late_audio_are_refused(recognizer):
    stream = recognizer.create_stream()
    with pytest.raises(StreamError, match="8000"):
        stream.accept_waveform(8000, noise())
    stream.input_finished()
    with pytest.raises(StreamError, match="input_finished"):
        stream.accept_waveform(16000, noise())


def test_greedy_is_one_path():
    recognizer = Recognizer(FakeDevice(), fake_program(), SearchOptions(greedy=True))
    result = recognizer.recognize(noise())
    assert [p.text for p in result.lattice.nbest(10)] == [result.text]


@pytest.mark.parametrize("context", [1, 4000, 5760, 9999])
@pytest.mark.parametrize("chunk", [1, 4])
def test_context_moves_the_encoder_and_has_no_text(context, chunk):
    """The fake encoder has no state: what follows the context is then what is recognized alone."""
    made = Recognizer(FakeDevice(), fake_program(chunk=chunk), nbest=3)
    alone = made.recognize(noise()[context:])
    joints = made.driver.cycles.jobs["joint"]
    assert made.recognize(noise(), context=context) == alone
    assert made.driver.cycles.jobs["joint"] == joints
    assert made.recognize(noise()) != alone  # of the next utterance nothing is left out
    encoded = -(-context // 960) + alone.frames
    assert len(made.driver.frame_cycles) < encoded + 2


def test_a_context_longer_than_the_audio_leaves_no_text(recognizer):
    result = recognizer.recognize(noise(0.3), context=16000)
    assert result.final and result.text == "" and result.frames == 0


def test_context_comes_before_the_audio(recognizer):
    stream = recognizer.create_stream()
    with pytest.raises(StreamError, match="-1 samples of context"):
        stream.expect_context(-1)
    stream.accept_waveform(16000, noise(0.01))
    with pytest.raises(StreamError, match="before all audio"):
        stream.expect_context(960)
    stream.clear()
    stream.expect_context(960)
    stream.clear()
    assert stream.context_steps == 0


def test_another_stream_waits_while_context_is_heard(recognizer):
    first, second = recognizer.create_stream(), recognizer.create_stream()
    first.expect_context(9600)
    for stream in (first, second):
        stream.accept_waveform(16000, noise(0.3))
    recognizer.decode_stream(first)
    assert first.search.frame == 0
    with pytest.raises(StreamError, match="another stream is being decoded"):
        recognizer.decode_stream(second)
    with pytest.raises(StreamError, match="an utterance is being decoded"):
        recognizer.set_boosts(["a"])
