"""`ossicle transcribe --context-audio` as a user runs it: the encoder's state goes on, on every engine."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import soundfile
from ossicle.runtime.programs import load_program
from ossicle.runtime.recognizer import Recognizer
from ossicle.runtime.stack import Stack
from ossicle.sim.device import open_device

COMMAND = [sys.executable, "-m", "ossicle.runtime.cli"]
CONTEXT_S = 0.3


def ossicle(*arguments):
    command = [*COMMAND, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=590, check=False)


def transcribed(*arguments):
    done = ossicle("transcribe", *arguments, "--json")
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()] if "--stream" in arguments else (
        json.loads(done.stdout)
    )


@pytest.fixture(scope="module")
def functional(program, noise_wav):
    return transcribed(
        noise_wav, "--model", program, "--engine", "functional", "--nbest", 3, "--context-audio", CONTEXT_S
    )


@pytest.mark.parametrize("engine", ["fast", pytest.param("rtl", marks=[pytest.mark.slow, pytest.mark.rtl])])
def test_every_engine_says_the_same(program, noise_wav, functional, engine):
    found = transcribed(
        noise_wav, "--model", program, "--engine", engine, "--nbest", 3, "--context-audio", CONTEXT_S
    )
    for key in ("text", "words", "nbest", "lattice", "frames", "jobs", "context_audio_s"):
        assert found[key] == functional[key]
    assert found["cycles"] > 0 and functional["context_audio_s"] == CONTEXT_S


def test_streamed_it_is_the_same(program, noise_wav, functional):
    options = ("--model", program, "--engine", "functional", "--nbest", 3, "--context-audio", CONTEXT_S)
    *partials, final = transcribed(noise_wav, *options, "--stream", "--chunk-ms", 37)
    for key in ("text", "nbest", "lattice"):
        assert final[key] == functional[key]
    assert partials and all(line["audio_s"] > CONTEXT_S for line in partials)


def test_the_state_of_the_context_is_carried(program, noise_wav, functional, tmp_path):
    samples, rate = soundfile.read(noise_wav, dtype="int16")
    cut = tmp_path / "cut.wav"
    soundfile.write(cut, samples[round(CONTEXT_S * rate) :], rate)
    cold = transcribed(cut, "--model", program, "--engine", "functional", "--nbest", 3)
    assert cold["frames"] == functional["frames"]
    assert cold["nbest"] != functional["nbest"]
    assert functional["jobs"]["encode"] == cold["jobs"]["encode"] + 5  # 0.3 s are five steps


def test_a_stack_hears_it_too(program, noise_wav):
    made, config = load_program(program, None)
    samples, rate = soundfile.read(noise_wav, dtype="int16")
    with open_device("functional", config) as device:
        whole = Recognizer(device, made).recognize(samples, context=round(CONTEXT_S * rate))
        stack = Stack({"recognizer": made}, lambda name, program: device)
        stack.begin(CONTEXT_S)
        *partials, final = stack.process(samples, rate) + stack.finish()
    assert final.text == whole.text and final.result.labels == whole.labels
    assert partials and all(event.audio_s > CONTEXT_S for event in partials)


@pytest.mark.parametrize(
    ("seconds", "more", "message"),
    [
        ("-1", (), "--context-audio -1 is not possible; use 0 or more seconds"),
        ("nan", (), "--context-audio nan is not possible"),
        ("60", (), "and nothing after them; use fewer seconds"),
        ("60", ("--stream",), "and nothing after them; use fewer seconds"),
        ("soon", (), "--context-audio': Input should be a valid number"),
    ],
)
def test_seconds_that_cannot_be_are_one_line(program, noise_wav, seconds, more, message):
    options = ("--engine", "functional", "--context-audio", seconds)
    done = ossicle("transcribe", noise_wav, "--model", program, *options, *more)
    assert done.returncode == 2 and not done.stdout
    assert message in done.stderr.splitlines()[-1]
