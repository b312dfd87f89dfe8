"""`ossicle evaluate --context-audio` as a user runs it: commands after a wake word, and after other audio."""

import json

import numpy as np
import pytest
import soundfile
from ossicle.models.data.split import read_manifest, wake_seconds, write_manifest
from ossicle.runtime import cli

torch = pytest.importorskip("torch", reason="needs torch (the extra 'train')")
from ossicle.compiler.api import compile_checkpoint  # noqa: E402
from ossicle.hw.config import PRESETS  # noqa: E402
from ossicle.models.context_audio import change, hear  # noqa: E402
from ossicle.models.export import read_checkpoint  # noqa: E402
from ossicle.models.search import lattices_of  # noqa: E402
from ossicle.runtime.recognizer import Recognizer  # noqa: E402
from ossicle.runtime.transducer import SearchOptions  # noqa: E402
from ossicle.sim.device import open_device  # noqa: E402

SECONDS = 0.251


def sound(seed, seconds):
    noise = np.random.default_rng(seed).normal(0, 3000, int(16000 * seconds))
    return noise.clip(-32768, 32767).astype(np.int16)


@pytest.fixture
def manifest(tmp_path):
    rows = []
    for i in range(3):
        paths = {"path": f"{i}.wav", "wake_other": f"{i}-other.wav", "wake_noise": f"{i}-noise.wav"}
        for k, path in enumerate(paths.values()):
            samples = sound(10 * i + k, 0.7 if k == 0 else SECONDS)
            soundfile.write(tmp_path / path, samples, 16000, subtype="PCM_16")
        rows.append({**paths, "text": "kitchen lights", "source": f"s{i % 2}", "wake_seconds": SECONDS})
    write_manifest(tmp_path / "m.jsonl", rows)
    return tmp_path / "m.jsonl"


@pytest.fixture
def evaluate(capsys, manifest, untrained_checkpoint):
    """Runs `ossicle evaluate`; returns (status, stdout, stderr)."""

    def run(*arguments, name=manifest):
        command = ("evaluate", untrained_checkpoint, name, "--beam", 2, *arguments)
        status = cli.run([str(a) for a in command])
        said = capsys.readouterr()
        return status, said.out, said.err

    return run


def test_all_contexts_beside_each_other(evaluate):
    status, out, err = evaluate("--context-audio", "all", "--json", "--errors", 1)
    assert status == 0, err
    found = json.loads(out)["context_audio"]
    assert list(found) == ["cold", "own", "other", "noise"]
    for kind, made in found.items():
        assert set(made["sets"]) == {"s0", "s1"} and len(made["errors"]) == 1
        assert ("fewer_errors" in made) == (kind != "cold")
    status, out, err = evaluate("--context-audio", "own", "--context-audio", "cold", "--workers", 2)
    assert status == 0, err
    assert "context audio" in out and "fewer errors %" in out and "noise" not in out


def test_cold_is_the_command_alone_and_own_is_not(evaluate, manifest, tmp_path):
    rows = read_manifest(manifest)
    for row in rows:
        samples = soundfile.read(row["path"], dtype="int16")[0]
        path = row["path"].replace(".wav", "-cut.wav")
        soundfile.write(path, samples[round(SECONDS * 16000) :], 16000, subtype="PCM_16")
        row["path"] = path
    write_manifest(tmp_path / "cut.jsonl", rows)

    def heard(*options, **more):
        hypotheses = tmp_path / "h.jsonl"
        status, _, err = evaluate("--hypotheses", hypotheses, *options, **more)
        assert status == 0, err
        return [json.loads(line)["hypothesis"] for line in hypotheses.read_text().splitlines()]

    cut = heard(name=tmp_path / "cut.jsonl")
    assert heard("--context-audio", "cold") == cut
    assert heard("--context-audio", "own") != cut
    assert heard("--context-audio", "other") != heard("--context-audio", "noise")


@pytest.mark.parametrize("kind", ["own", "other"])
def test_it_is_what_the_processor_gives(manifest, untrained_checkpoint, kind):
    model, rows = read_checkpoint(untrained_checkpoint), read_manifest(manifest)
    options = SearchOptions(beam=2)
    heard = hear(rows, kind, model.frontend, model.topology)
    assert heard.begins == [5, 5, 5]
    expected = lattices_of(model, options, heard.features, begins=heard.begins)
    program = compile_checkpoint(untrained_checkpoint, PRESETS["small"])
    with open_device("functional", PRESETS["small"]) as device:
        recognizer = Recognizer(device, program, options)
        for row, lattice in zip(rows, expected, strict=True):
            samples = soundfile.read(row["path"], dtype="int16")[0]
            context = round(wake_seconds(row) * 16000)
            if kind == "other":
                theirs = soundfile.read(row["wake_other"], dtype="int16")[0]
                samples = np.concatenate([theirs, samples[context:]])
            assert recognizer.recognize(samples, context=context).lattice == lattice


def test_a_change_is_paired():
    made = change([2, 1, 3, 2] * 20, [1, 1, 2, 2] * 20)
    assert made.fewer == 25 and 10 < made.low < 25 < made.high < 40
    assert change([1, 2], [1, 2]).low == change([1, 2], [1, 2]).high == 0
    assert change([0, 0], [1, 0]).fewer is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--context-audio", "warm"], "there is no 'warm'; use cold, own, other, noise, all"),
        (["--context-audio", "all", "--hypotheses", "h.jsonl"], "name one alone"),
    ],
)
def test_evaluate_says_what_is_wrong(evaluate, options, message):
    status, out, err = evaluate(*options)
    assert status == 2 and not out
    assert message in err.splitlines()[-1]


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        ({"wake_seconds": None}, "own", "its row has no `wake_seconds`"),
        ({"wake_seconds": ["hey marvin"]}, "cold", "the seconds before the text, not ['hey"),
        ({"wake_seconds": "0.5"}, "own", "is to be a number above 0"),
        ({"wake_seconds": True}, "own", "is to be a number above 0"),
        ({"wake_seconds": -1}, "own", "is to be a number above 0"),
        ({"wake_seconds": 7}, "own", "`wake_seconds` is 7, and the clip has 0.7 s"),
        ({"wake_other": None}, "other", "its row has no `wake_other`"),
        ({"wake_noise": "none.wav"}, "noise", "none.wav: not a readable audio file"),
    ],
)
def test_rows_that_cannot_be_are_one_line(evaluate, manifest, change, kind, message):
    rows = [json.loads(line) for line in manifest.read_text().splitlines()]
    rows[1] = {key: value for key, value in {**rows[1], **change}.items() if value is not None}
    write_manifest(manifest, rows)
    status, out, err = evaluate("--context-audio", kind)
    assert status == 2 and not out and message in err.splitlines()[-1]


def test_seconds_are_no_phrases(evaluate, manifest):
    write_manifest(manifest, [{"path": "0.wav", "text": "a", "source": "s", "context": 0.5}])
    status, _, err = evaluate("--boost")
    assert status == 2 and "a list of phrases, not 0.5; seconds before the text are `wake_seconds`" in err
