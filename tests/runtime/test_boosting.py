"""Boosts as a user sets them: a recognizer's call between utterances, `ossicle transcribe --boost`."""

import json

import numpy as np
import pytest
from fake_device import FakeDevice, fake_program
from ossicle.runtime import cli
from ossicle.runtime.lattice_io import from_slf
from ossicle.runtime.recognizer import Recognizer, StreamError

NOISE = np.random.default_rng(1).normal(0, 3000, 11200).astype(np.int16)


@pytest.fixture
def recognizer():
    return Recognizer(FakeDevice(), fake_program(), nbest=20)


def test_boosts_change_between_utterances(recognizer):
    plain = recognizer.recognize(NOISE)
    word = next(word for path in plain.nbest[1:] for word in path.words if word not in plain.text.split())
    assert recognizer.set_boosts([word, "50 %"], 20.0) == ["50 %"]
    boosted = recognizer.recognize(NOISE)
    assert word in boosted.text.split()
    for path in boosted.nbest:
        assert path.boost == pytest.approx(20 * len(word) * path.words.count(word))
        assert path.score == pytest.approx(path.boost + path.acoustic)
    assert recognizer.set_boosts([]) == []
    assert recognizer.recognize(NOISE) == plain


def test_boosts_do_not_change_in_an_utterance(recognizer):
    stream = recognizer.create_stream()
    stream.accept_waveform(16000, NOISE)
    recognizer.decode_stream(stream)
    with pytest.raises(StreamError, match="an utterance is being decoded"):
        recognizer.set_boosts(["a"])
    recognizer.reset(stream)
    recognizer.set_boosts(["a"])
    with pytest.raises(ValueError, match="a boost of -1 a letter"):
        recognizer.set_boosts(["a"], -1)


@pytest.fixture
def transcribe(capsys, noise_wav, untrained_checkpoint):
    """Runs `ossicle transcribe`; returns (status, stdout, stderr)."""

    def run(*arguments, engine="functional"):
        options = ("--engine", engine, "--npu", "small", "--model", untrained_checkpoint, "--beam", 2)
        status = cli.run([str(a) for a in ("transcribe", noise_wav, *options, *arguments)])
        said = capsys.readouterr()
        return status, said.out, said.err

    return run


def test_transcribe_with_boosts_on_two_engines(transcribe, tmp_path):
    (tmp_path / "names.txt").write_text("Kitchen\n\nzero six\n")
    slf = tmp_path / "o.slf"
    options = ("--boost", tmp_path / "names.txt", "--boost", "seven", "--boost-weight", 20)
    status, out, err = transcribe(*options, "--lattice", slf, "--nbest", 3, "--json")
    assert status == 0, err
    found = json.loads(out)
    assert found["boost"] == {"phrases": 3, "weight": 20.0} and "context" not in found
    assert any(name in found["text"] for name in ("kitchen", "zero six", "seven"))
    best = found["nbest"][0]
    assert best["boost"] >= 20 * len("seven") and best["score"] > best["boost"] - 200
    assert sum(edge.boost for edge in from_slf(slf.read_text()).best().edges) == pytest.approx(best["boost"])
    assert any("boost" in edge for edge in found["lattice"]["edges"])
    fast = json.loads(transcribe(*options, "--nbest", 3, "--json", engine="fast")[1])
    assert (fast["nbest"], fast["lattice"]) == (found["nbest"], found["lattice"])
    status, out, _ = transcribe(*options)
    assert status == 0 and f"boosts: 3 phrases, 20 a letter; {best['boost']:+.2f} of this score" in out


def test_transcribe_without_boosts_is_as_it_was(transcribe):
    plain = json.loads(transcribe("--json")[1])
    assert "boost" not in plain and plain["nbest"][0]["boost"] == 0
    assert not any("boost" in edge for edge in plain["lattice"]["edges"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--boost", "none.txt"], "none.txt: no such file; --boost takes a file"),
        (["--boost", "{empty}"], "no phrases for --boost"),
        (["--boost", ","], "no phrases for --boost"),
        (["--boost", "tony,7 up"], "no letters '7': spell '7 up'"),
        (["--boost", "tony", "--boost-weight", "-1"], "a boost of -1 a letter is not possible"),
        (["--boost", "tony", "--boost-weight", "much"], "--boost-weight"),
        (["--boost-weight", "1"], "name phrases with --boost"),
    ],
)
def test_transcribe_says_what_is_wrong(transcribe, tmp_path, options, message):
    (tmp_path / "empty.txt").write_text("")
    status, out, err = transcribe(*(option.format(empty=tmp_path / "empty.txt") for option in options))
    assert status == 2 and not out
    assert message in err.splitlines()[-1]
