"""Streaming as a user runs it: words as they come, end-points, the microphone, and how they are measured."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from ossicle.runtime.microphone import microphone
from ossicle.runtime.programs import sample_files

COMMAND = [sys.executable, "-m", "ossicle.runtime.cli"]
RATE = 16000


def ossicle(*arguments, **kwargs):
    command = [*COMMAND, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=590, check=False, **kwargs)


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    """A shipped recording with 2 s of a quiet room after it, and its length without them."""
    samples, _ = soundfile.read(sample_files()[1], dtype="int16")
    room = np.random.default_rng(0).normal(0, 20, len(samples) + 2 * RATE)
    room[: len(samples)] += samples
    path = tmp_path_factory.mktemp("audio") / "said.wav"
    soundfile.write(path, np.clip(np.rint(room), -32768, 32767).astype(np.int16), RATE)
    return path, len(samples) / RATE


def lines(done):
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize(
    ("engine", "chunk"),
    [
        ("functional", 7),
        ("fast", 400),
        pytest.param("rtl", 30, marks=[pytest.mark.slow, pytest.mark.rtl]),
    ],
)
def test_the_last_line_says_what_transcribe_says(tmp_path, program, noise_wav, engine, chunk):
    options = (noise_wav, "--engine", engine, "--model", program, "--nbest", 3, "--json")
    whole = json.loads(ossicle("transcribe", *options, "--lattice", tmp_path / "whole.slf").stdout)
    slf = tmp_path / "stream.slf"
    *partials, final = lines(
        ossicle("transcribe", *options, "--stream", "--chunk-ms", chunk, "--lattice", slf)
    )
    assert {"event", "text", "audio_s", "cycles"} <= set(final)
    assert final["event"] == "final" and not final["end_point"]
    for key in ("text", "nbest", "lattice", "cycles"):
        assert final[key] == whole[key]
    assert partials and {line["event"] for line in partials} == {"partial"}
    times = [line["audio_s"] for line in partials]
    assert times == sorted(times) and final["audio_s"] == pytest.approx(whole["seconds"], abs=1e-4)
    assert slf.read_text().split("\n", 3)[3] == (tmp_path / "whole.slf").read_text().split("\n", 3)[3]


def test_people_read_a_line_a_text_and_then_the_text(program, noise_wav):
    done = ossicle("transcribe", noise_wav, "--engine", "functional", "--model", program, "--stream")
    assert done.returncode == 0, done.stderr
    *shown, last, text, facts = done.stdout.splitlines()
    assert last.endswith(f"[final] {text}") and all(" s  " in line for line in shown)
    assert "counts no cycles" in facts


def test_on_a_terminal_one_line_changes(program, noise_wav):
    ours, theirs = pty.openpty()
    command = [*COMMAND, "transcribe", noise_wav, "--engine", "functional", "--model", program, "--stream"]
    with subprocess.Popen(command, stdout=theirs, stderr=subprocess.DEVNULL) as process:
        os.close(theirs)
        seen = b""
        while True:
            try:
                part = os.read(ours, 65536)
            except OSError:  # Linux ends a terminal that nobody holds with an error
                break
            if not part:
                break
            seen += part
    os.close(ours)
    assert process.returncode == 0
    assert b"\x1b[2K" in seen and seen.count(b"counts no cycles") == 1


def test_endpoint_stops_after_the_speech_and_says_both_latencies(sample):
    path, spoken_s = sample
    *before, final = lines(
        ossicle("transcribe", path, "--stream", "--endpoint", "--engine", "fast", "--json")
    )
    early = before[-1]
    assert final["event"] == "final" and final["end_point"] and not final["revised"]
    assert early["event"] == "speculative_end" and early["text"] == final["text"] == before[-2]["text"]
    assert early["lattice"]["edges"] and final["lattice"]["edges"]
    assert spoken_s - 0.3 < early["audio_s"] < final["audio_s"] < spoken_s + 1
    assert 0 < early["cycles"] <= final["cycles"] < final["at_cycle"]
    plain = ossicle("transcribe", path, "--stream", "--endpoint", "--engine", "fast").stdout
    assert "(speculative, stood)" in plain and "(final); 0 speculative" in plain


def test_audio_that_ends_too_soon_has_no_end_point(program, noise_wav):
    done = ossicle(
        "transcribe", noise_wav, "--stream", "--endpoint", "--engine", "functional", "--model", program
    )
    assert done.returncode == 0, done.stderr
    assert "no end-point: the audio ended" in done.stdout
    assert "end-points without a language model: the language model has other word pieces" in done.stderr


WRONG = {
    "endpoint alone": ([], "--endpoint is for audio that is streamed; add --stream"),
    "chunk alone": (["--chunk-ms", "5"], "--chunk-ms is for audio that is streamed"),
    "chunk of nothing": (["--stream", "--chunk-ms", "0"], "--chunk-ms 0 is not possible"),
    "report": (["--stream", "--report", "r.html"], "--report does not go with --stream"),
    "rescore": (["--stream", "--rescore"], "--rescore does not go with --stream"),
    "file and microphone": (["--live"], "--live takes the microphone"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_does_not_go_together_is_one_line(name, noise_wav):
    arguments, message = WRONG[name]
    done = ossicle("transcribe", noise_wav, *(arguments or ["--endpoint"]))
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr and done.stderr.count("\n") == 1


def test_nothing_to_transcribe_is_one_line():
    done = ossicle("transcribe")
    assert done.returncode == 2 and "name a recording to transcribe" in done.stderr


PACKAGE = """
import numpy as np
class PortAudioError(Exception): pass
def check_input_settings(**settings): {check}
class InputStream:
    def __init__(self, callback, blocksize, **settings): self.call, self.size = callback, blocksize
    def __enter__(self):
        rng = np.random.default_rng(0)
        for _ in range(4):
            self.call(rng.normal(0, 3000, (self.size, 1)).astype(np.int16), self.size, None, None)
    def __exit__(self, *error): pass
"""


@pytest.mark.parametrize(
    ("package", "message"),
    [
        ("raise ImportError", "--live needs the package sounddevice: pip install"),
        ("raise OSError('PortAudio library not found')", "--live needs PortAudio"),
        (
            PACKAGE.format(check="raise PortAudioError('no input device')"),
            "no microphone that records at 16000",
        ),
    ],
    ids=["not installed", "no library", "no microphone"],
)
def test_without_a_microphone_live_is_one_line(tmp_path, program, package, message):
    (tmp_path / "sounddevice.py").write_text(package)
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    done = ossicle("transcribe", "--live", "--engine", "functional", "--model", program, env=environment)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr and done.stderr.count("\n") == 1


def test_the_microphone_gives_chunks_until_it_is_stopped(tmp_path, monkeypatch):
    (tmp_path / "sounddevice.py").write_text(PACKAGE.format(check="pass"))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "sounddevice", raising=False)
    before, chunks = signal.getsignal(signal.SIGINT), microphone(RATE, 160)
    taken = [next(chunks)]
    os.kill(os.getpid(), signal.SIGINT)
    taken += chunks  # what was heard before
    assert len(taken) == 4 and all(chunk.shape == (160,) and chunk.dtype == np.int16 for chunk in taken)
    assert signal.getsignal(signal.SIGINT) == before
    monkeypatch.delitem(sys.modules, "sounddevice")


def test_bench_endpoint_measures_a_manifest(tmp_path, sample):
    _, spoken_s = sample
    manifest, picture = tmp_path / "m.jsonl", tmp_path / "curve.png"
    row = {"path": str(sample_files()[1]), "text": "", "pauses": []}
    manifest.write_text(json.dumps(row) + "\n" + json.dumps({**row, "speech_end": spoken_s + 9}) + "\n")
    done = ossicle("bench", "endpoint", manifest, "--plot", picture, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["clips"], found["cut_off_percent"], found["speculatives"]) == (2, 50, 2)
    assert 50 < found["speculative_ms"]["p50"] < found["final_ms"]["p50"] < 1000
    assert found["by_text"] and found["stand_percent"] == 100
    assert found["curve"]["rule"][0]["p50_ms"] < found["curve"]["rule"][-1]["p50_ms"]
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert Path(found["plot"]) == picture


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "No such file"),
        ("", "holds no recordings"),
        ("{}", "not a manifest"),
        ('{"path": "x.wav"}', "no such file"),
    ],
)
def test_a_manifest_that_is_none_is_one_line(tmp_path, content, message):
    manifest = tmp_path / "m.jsonl"
    if content is not None:
        manifest.write_text(content)
    done = ossicle("bench", "endpoint", manifest, "--json", "--engine", "functional")
    assert done.returncode == 2 and message in done.stderr and "Traceback" not in done.stderr
