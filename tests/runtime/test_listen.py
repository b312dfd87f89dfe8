"""ossicle listen as a user runs it: events as JSON lines, lines for people, and what does not go together."""

from __future__ import annotations

import json
import sys
from itertools import chain
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from ossicle.runtime import cli
from ossicle.runtime.commands.listen import utterances
from ossicle.runtime.programs import sample_files

RATE = 16000
ENDS = ["speculative_end", "intent", "speaker", "whisper", "final"]


@pytest.fixture
def ossicle(capsys):
    def run(*arguments):
        status = cli.run([*map(str, arguments)])
        told = capsys.readouterr()
        return SimpleNamespace(returncode=status, stdout=told.out, stderr=told.err)

    return run


@pytest.fixture(scope="module")
def said(tmp_path_factory):
    """A shipped recording in a quiet room, which goes on for 2 s."""
    samples, _ = soundfile.read(sample_files()[1], dtype="int16")
    room = np.random.default_rng(0).normal(0, 20, len(samples) + 2 * RATE)
    room[: len(samples)] += samples
    path = tmp_path_factory.mktemp("audio") / "said.wav"
    soundfile.write(path, np.clip(np.rint(room), -32768, 32767).astype(np.int16), RATE)
    return path


@pytest.fixture(scope="module")
def speakers(tmp_path_factory):
    path = tmp_path_factory.mktemp("speakers") / "s.json"
    assert cli.run(["enrol", "robin", str(sample_files()[1]), "--speakers", str(path)]) == 0
    return path


def lines(done):
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_each_event_is_a_line_and_the_last_is_the_response(ossicle, said, speakers):
    options = ("--speakers", speakers, "--without", "language", "--json")
    told = lines(ossicle("listen", said, said, *options))
    assert [line["event"] for line in told if line["event"] != "partial"] == 2 * ENDS
    assert all({"event", "file", "text", "audio_s", "cycles", "at_cycle"} <= set(line) for line in told)
    *before, final = told[len(told) // 2 :]
    assert final["text"] == "switch off the wine cooler in the attic"
    assert (final["intent"], final["slots"]["room"]) == ("switch", "attic")
    assert final["speaker"] == "robin" and final["speaker_score"] > 0.7
    assert final["whispered"] is False and final["whisper_probability"] < 0.5
    assert final["end_point"] and not final["revised"] and final["lattice"]["edges"]
    intent = next(line for line in before if line["event"] == "intent")
    assert intent["at_cycle"] < final["at_cycle"] and intent["intent"] == final["intent"]


def test_chunks_and_engines_do_not_show(ossicle, said):
    def found(*options):
        return lines(ossicle("listen", said, "--without", "language", "--json", *options))

    fast = found("--chunk-ms", 7)
    assert fast == found("--chunk-ms", 4000)
    functional = found("--engine", "functional", "--chunk-ms", 1000)
    for line in fast:
        line["cycles"] = line["at_cycle"] = None
    assert functional == fast


def test_people_read_a_line_an_event_then_the_text_and_facts(ossicle, said, speakers):
    done = ossicle("listen", said, "--speakers", speakers)
    assert done.returncode == 0, done.stderr
    shown = done.stdout.splitlines()
    meaning = "[intent] switch (0.99), state: off, device: wine cooler, room: attic"
    assert any(meaning in line for line in shown)
    assert any("[speaker] robin (best cosine 0." in line for line in shown)
    assert any("[whisper] voiced (0." in line for line in shown)
    assert shown[-3] == "switch off the wine cooler in the attic"
    assert shown[-2].startswith("intent known 1") and "ms of work after the last speech heard" in shown[-2]
    assert "cycles of all networks on base (fast)" in shown[-1]


def test_a_shared_processor_beside_music_takes_longer(ossicle, said):
    def final(*options):
        return lines(ossicle("listen", said, "--json", *options))[-1]

    apart, shared, loud = final(), final("--shared"), final("--shared", "--music", 50)
    assert apart["language"] == shared["language"] == loud["language"] == "en"
    assert apart["text"] == shared["text"] == loud["text"] and shared["slots"] == loud["slots"]
    assert apart["at_cycle"] < shared["at_cycle"] < loud["at_cycle"]


def test_boosts_and_networks_left_out(ossicle, said):
    options = ("--without", "speaker", "--without", "whisper", "--boost", "wine cooler", "--nbest", 2)
    *before, final = lines(ossicle("listen", said, *options, "--without", "nlu", "--json"))
    assert not {"intent", "whisper"} & {line["event"] for line in before}
    assert (final["intent"], final["whispered"], final["speaker"]) == (None, None, None)
    assert final["nbest"][0]["boost"] > 0 and len(final["nbest"]) == 2


def test_the_microphone_is_one_utterance_after_another():
    class Fake:
        def listen(self, chunks):
            for chunk in chunks:
                yield chunk
                if chunk % 3 == 0:
                    return

    assert [list(one) for one in utterances(Fake(), chain(range(1, 6)))] == [[1, 2, 3], [4, 5]]


WRONG = {
    "nothing": ([], "name recordings to listen to, or use --live"),
    "both": (["x.wav", "--live"], "name recordings to listen to, or use --live"),
    "no file": (["x.wav"], "x.wav"),
    "network": (["SAID", "--without", "ears"], "there is no network 'ears' to leave out; use endpoint, lm"),
    "no speakers": (["SAID", "--speakers", "none.json"], "none.json: No such file"),
    "speaker left out": (["SAID", "--speakers", "x", "--without", "speaker"], "--speakers needs the network"),
    "threshold": (["SAID", "--threshold", "0.5"], "--threshold is for speakers"),
    "music": (["SAID", "--engine", "functional", "--music", "5"], "--music needs cycles"),
    "chunk": (["SAID", "--chunk-ms", "0"], "--chunk-ms of 1 to 60000"),
    "letters": (["SAID", "--boost", "日本"], "日本"),
    "weight": (["SAID", "--boost-weight", "1"], "--boost-weight: nothing is boosted"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_does_not_go_together_is_one_line(ossicle, name, said):
    arguments, message = WRONG[name]
    done = ossicle("listen", *(said if one == "SAID" else one for one in arguments), "--json")
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr and done.stderr.count("\n") == 1


def test_live_goes_on_until_the_microphone_ends(ossicle, said, monkeypatch):
    samples, _ = soundfile.read(said, dtype="int16")
    twice = np.concatenate([samples, samples])
    module = "ossicle.runtime.commands.listen."
    monkeypatch.setattr(f"{module}check_microphone", lambda rate: None)
    monkeypatch.setattr(
        f"{module}microphone", lambda rate, chunk: (twice[i : i + chunk] for i in range(0, len(twice), chunk))
    )
    told = lines(ossicle("listen", "--live", "--json", "--without", "language"))
    finals = [line for line in told if line["event"] == "final"]
    assert [line["slots"].get("room") for line in finals if line["text"]] == ["attic", "attic"]
    assert {line["file"] for line in told} == {"microphone"}


def test_without_a_microphone_live_is_one_line(ossicle, monkeypatch):
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    done = ossicle("listen", "--live")
    assert done.returncode == 2 and "--live needs the package sounddevice" in done.stderr
