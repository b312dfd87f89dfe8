"""Context phrases as a user gives them: transcribe and evaluate."""

import json

import pytest
import soundfile
from ossicle.models.biasing.checkpoint import adapter_topology, core_of, untrained_adapter, write_adapter
from ossicle.models.data.split import write_manifest
from ossicle.models.export import read_checkpoint
from ossicle.runtime import cli

SIZES = {"heads": 2, "key": 12, "value": 9, "labels": 3, "embedding": 10, "hidden": 14}


@pytest.fixture(scope="module")
def adapter(untrained_checkpoint, tmp_path_factory):
    core = read_checkpoint(untrained_checkpoint)
    path = tmp_path_factory.mktemp("adapter") / "biasing.safetensors"
    made = untrained_adapter(adapter_topology(core.topology, SIZES))
    write_adapter(path, made, core_of(core), {"name": "b"})
    return path


@pytest.fixture
def ossicle(capsys):
    """Runs the command line; returns (status, stdout, stderr)."""

    def run(*arguments):
        status = cli.run([str(argument) for argument in arguments])
        said = capsys.readouterr()
        return status, said.out, said.err

    return run


@pytest.fixture
def transcribe(ossicle, noise_wav, untrained_checkpoint):
    def run(*arguments):
        options = ("--engine", "functional", "--model", untrained_checkpoint, "--beam", 2)
        return ossicle("transcribe", noise_wav, *options, *arguments)

    return run


def test_transcribe_with_phrases_and_a_map(transcribe, adapter, tmp_path):
    (tmp_path / "names.txt").write_text("Kitchen\nzero six\n50 %\n")
    picture = tmp_path / "map.svg"
    options = ("--biasing", adapter, "--context", tmp_path / "names.txt")
    status, out, err = transcribe(*options, "--attention-map", picture, "--json")
    assert status == 0, err
    found, plain = json.loads(out), json.loads(transcribe("--json")[1])
    assert found["context"]["phrases"] == 2 and found["context"]["left_out"] == ["50 %"]
    assert found["lattice"] != plain["lattice"] and found["jobs"]["biased"] == found["jobs"]["query"]
    assert "kitchen" in picture.read_text() and "context" not in plain
    status, out, err = transcribe(*options)
    assert status == 0 and "context: 2 phrases" in out and "'50 %'" in err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["map.svg", "names.txt"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--biasing", "{adapter}"], "name them with --context"),
        (["--attention-map", "m.svg"], "name them with --context"),
        (["--biasing", "{adapter}", "--context", ","], "no phrases for --context"),
        (["--biasing", "{adapter}", "--context", "none.txt"], "no such file"),
        (["--biasing", "{adapter}", "--context", "4 %"], "none of the context phrases"),
        (["--biasing", "{adapter}", "--context", "on", "--attention-map", "m.png"], "name it m.svg"),
        (["--biasing", "{adapter}", "--context", "on", "--attention-map", "no/m.svg"], "does not exist"),
        (["--biasing", "none.safetensors", "--context", "on"], "none.safetensors: no such file"),
        (["--biasing", "{core}", "--context", "on"], "kind 'rnnt'"),
        (["--biasing", "{adapter}", "--context", "on", "--model", "x.npu"], "x.npu"),
    ],
)
def test_transcribe_says_what_is_wrong(transcribe, adapter, untrained_checkpoint, options, message):
    given = [option.format(adapter=adapter, core=untrained_checkpoint) for option in options]
    status, out, err = transcribe(*given)
    assert status == 2 and not out
    assert message in err.splitlines()[-1]


def test_evaluate_without_and_with_phrases(ossicle, untrained_checkpoint, adapter, tmp_path):
    pytest.importorskip("torch", reason="needs torch (the extra 'train')")
    rows = []
    for i, context in enumerate((["kitchen"], [], None)):
        soundfile.write(tmp_path / f"{i}.wav", noise(i), 16000, subtype="PCM_16")
        row = {"path": f"{i}.wav", "text": "kitchen lights", "speaker": "a", "source": f"s{i}"}
        rows.append(row if context is None else {**row, "context": context})
    write_manifest(tmp_path / "m.jsonl", rows)
    command = ("evaluate", untrained_checkpoint, tmp_path / "m.jsonl", "--beam", 2, "--json")
    hypotheses = tmp_path / "h.jsonl"
    status, out, err = ossicle(*command, "--biasing", adapter, "--hypotheses", hypotheses)
    assert status == 0, err
    found, plain = json.loads(out)["sets"], json.loads(ossicle(*command)[1])["sets"]
    for name in ("s0", "s1", "s2"):
        assert found[name]["unbiased"] == plain[name]["beam"]
    assert found["s1"]["beam"] == plain["s1"]["beam"] and found["s2"]["greedy"] == plain["s2"]["greedy"]
    status, out, err = ossicle(*command, "--biasing", adapter, "--context", "zero", "--workers", 2)
    assert status == 0, err
    assert json.loads(out)["sets"]["s0"] == found["s0"]
    status, _, err = ossicle(*command, "--context", "zero")
    assert status == 2 and "name an adapter with --biasing" in err


def test_evaluate_refuses_the_adapter_of_another_recognizer(ossicle, adapter, tmp_path, untrained_checkpoint):
    pytest.importorskip("torch", reason="needs torch (the extra 'train')")
    from ossicle.models.export import write_checkpoint
    from ossicle.models.untrained import untrained

    write_checkpoint(tmp_path / "other.safetensors", untrained(seed=9))
    write_manifest(tmp_path / "m.jsonl", [{"path": "0.wav", "text": "a", "source": "s"}])
    status, _, err = ossicle(
        "evaluate", tmp_path / "other.safetensors", tmp_path / "m.jsonl", "--biasing", adapter
    )
    assert status == 2 and "train it on this one" in err


def noise(seed):
    import numpy as np

    return np.random.default_rng(seed).normal(0, 3000, 6400).clip(-32768, 32767).astype(np.int16)
