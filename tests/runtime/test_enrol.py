"""People known by their voice: the file, what is refused, and the command as a user runs it."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from ossicle.runtime import cli
from ossicle.runtime.console import Failure
from ossicle.runtime.programs import default_model, sample_files
from ossicle.runtime.speaker import enrolled, unit
from ossicle.runtime.speakers import Person, Speakers, net_hash

RATE = 16000
NET = net_hash(default_model("weights/speaker.safetensors"))
RNG = np.random.default_rng(0)
SAID = soundfile.read(sample_files()[2], dtype="int16")[0]
PEOPLE = {name: Person(unit(RNG.normal(size=64)), 3, 6.25) for name in ("Anna", "Jürgen")}


@pytest.fixture
def enrol(capsys):
    def run(*arguments):
        status = cli.run(["enrol", *map(str, arguments)])
        told = capsys.readouterr()
        return SimpleNamespace(returncode=status, stdout=told.out, stderr=told.err)

    return run


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "s.json"
    Speakers("a" * 64, 0.38, PEOPLE).write(path)
    return path


def test_a_file_comes_back_as_it_was_written(path):
    found = Speakers.read(path, "a" * 64)
    assert found.threshold == 0.38 and list(found.people) == list(PEOPLE)
    for name, person in PEOPLE.items():
        assert found.people[name].vector @ person.vector == pytest.approx(1, abs=1e-5)
        assert (found.people[name].clips, found.people[name].seconds) == (3, 6.25)
    found.write(path)
    again = Speakers.read(path)
    assert all((again.people[n].vector == found.people[n].vector).all() for n in PEOPLE)
    assert [one.name for one in path.parent.iterdir()] == ["s.json"]


@given(st.data())
def test_a_file_that_was_damaged_is_refused(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("damaged") / "s.json"
    Speakers("a" * 64, 0.38, PEOPLE).write(path)
    content = bytearray(path.read_bytes())
    at = data.draw(st.integers(0, len(content) - 2))  # the last one is the line's end
    content[at] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content[: data.draw(st.integers(at + 1, len(content)))])
    with pytest.raises(Failure, match=r"damaged|not a file of speakers|of version"):
        Speakers.read(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"net": "b" * 64}, "enrolled with another speaker encoder"),
        ({"version": 2}, "of version 2; this one reads 1"),
        ({"format": "x"}, "not a file of speakers"),
    ],
)
def test_another_nets_file_or_version_is_refused(path, change, message):
    content = json.loads(path.read_text()) | change
    if "net" in change:
        Speakers("b" * 64, 0.38, PEOPLE).write(path)
    else:
        path.write_text(json.dumps(content))
    with pytest.raises(Failure, match=message):
        Speakers.read(path, "a" * 64)


def test_the_best_cosine_from_the_threshold_on_names_somebody():
    found = Speakers("", 0.4, PEOPLE)
    anna, other = PEOPLE["Anna"].vector, PEOPLE["Jürgen"].vector
    assert found.identify(anna).name == "Anna" and found.identify(anna).score == pytest.approx(1)
    assert found.identify(unit(anna + 1.2 * other)).name == "Jürgen"
    nobody = found.identify(-anna - other)
    assert nobody.name is None and nobody.score < 0
    assert found.identify(None).score is None and found.without("Anna").identify(anna).name is None
    assert found.with_threshold(1.5).identify(anna).name is None


def test_a_person_is_the_mean_of_the_clips():
    vectors = [unit(np.array([1.0, 0, 0])), unit(np.array([0, 1.0, 0]))]
    assert enrolled(vectors) == pytest.approx([2**-0.5, 2**-0.5, 0])
    assert np.linalg.norm(unit(np.zeros(3))) == 0


def test_people_are_enrolled_listed_enrolled_anew_and_removed(enrol, tmp_path):
    path, clips = tmp_path / "s.json", sample_files()
    done = enrol("anna", clips[2], clips[2], "--speakers", path, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["people"] == [{"name": "anna", "clips": 2, "seconds": found["people"][0]["seconds"]}]
    assert [row["score"] for row in found["clips"]] == [1.0, 1.0] and not found["replaced"]
    assert Speakers.read(path, NET).threshold == found["threshold"] == 0.38
    assert enrol("bert", clips[0], "--speakers", path, "--threshold", "0.5").returncode == 0
    done = enrol("anna", clips[1], "--speakers", path, "--engine", "functional", "--json")
    again = json.loads(done.stdout)
    assert again["replaced"] and [row["name"] for row in again["people"]] == ["anna", "bert"]
    assert again["threshold"] == 0.5
    shown = enrol("--list", "--speakers", path).stdout
    assert "2 enrolled, cosine from 0.5" in shown and "anna" in shown and "bert" in shown
    done = enrol("--remove", "anna", "--speakers", path)
    assert done.returncode == 0 and "removed: anna" in done.stdout
    assert list(Speakers.read(path).people) == ["bert"]


def test_clips_of_two_people_are_told_of(enrol, tmp_path):
    done = enrol("anna", *sample_files()[::3], "--speakers", tmp_path / "s.json")
    assert done.returncode == 0 and done.stderr.count("sounds like somebody else") == 2
    assert "enrolled by 2 of the 3 clips" in done.stderr


def quiet(seconds):
    return np.random.default_rng(0).normal(0, 5, int(seconds * RATE)).astype(np.int16)


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (quiet(2), "no speech heard in 2.00 s"),
        (np.zeros(2 * RATE, np.int16), "no speech heard in 2.00 s"),
        (np.concatenate([SAID[:12000], quiet(2)]), "too short"),
    ],
    ids=["a quiet room", "digital silence", "a word"],
)
def test_clips_without_enough_speech_are_refused(enrol, tmp_path, samples, message):
    clip, path = tmp_path / "c.wav", tmp_path / "s.json"
    soundfile.write(clip, samples, RATE)
    done = enrol("anna", sample_files()[2], clip, "--speakers", path, "--json")
    assert (done.returncode, done.stdout) == (2, "") and not path.exists()
    assert f"{clip}: " in done.stderr and message in done.stderr and done.stderr.count("\n") == 1


WRONG = {
    "nothing": ([], "give a name and recordings, or --list"),
    "two things": (["anna", "--list"], "give a name and recordings, or --list"),
    "no clips": (["anna"], "name recordings of anna"),
    "no name": ([" ", "x.wav"], "a name of 1 to 64 printable characters"),
    "no such clip": (["anna", "x.wav"], "x.wav"),
    "no such person": (["--remove", "carl"], "'carl' is not enrolled; enrolled: Anna, Jürgen"),
    "threshold": (["anna", "x.wav", "--threshold", "2"], "--threshold 2.0 is not possible"),
    "engine": (["anna", "x.wav", "--engine", "slow"], "there is no engine 'slow'"),
    "another net": (["anna", str(sample_files()[2])], "enrolled with another speaker encoder"),
}


@pytest.mark.parametrize("name", WRONG)
def test_bad_input_is_one_line_and_leaves_the_file(enrol, path, name):
    arguments, message = WRONG[name]
    before = path.read_bytes()
    done = enrol(*arguments, "--speakers", path, *(["--json"] if "--list" not in arguments else []))
    assert (done.returncode, done.stdout) == (2, "") and message in done.stderr
    assert done.stderr.count("\n") == 1 and path.read_bytes() == before


def test_without_a_file_of_speakers_it_is_one_line(enrol):
    done = enrol("--list")
    assert done.returncode == 2 and "--speakers" in done.stderr and done.stderr.count("\n") == 1
