"""`ossicle evaluate --boost` as a user runs it, alone and with attention to the same phrases."""

import json

import numpy as np
import pytest
import soundfile
from ossicle.models.data.split import write_manifest
from ossicle.runtime import cli

pytest.importorskip("torch", reason="needs torch (the extra 'train')")
CONTEXTS = (["kitchen", "seven"], [], None)


@pytest.fixture
def manifest(tmp_path):
    rows = []
    for i, context in enumerate(CONTEXTS):
        noise = np.random.default_rng(i).normal(0, 3000, 6400).clip(-32768, 32767).astype(np.int16)
        soundfile.write(tmp_path / f"{i}.wav", noise, 16000, subtype="PCM_16")
        row = {"path": f"{i}.wav", "text": "kitchen lights", "source": f"s{i}"}
        rows.append(row if context is None else {**row, "context": context})
    write_manifest(tmp_path / "m.jsonl", rows)
    return tmp_path / "m.jsonl"


@pytest.fixture
def evaluate(capsys, manifest, untrained_checkpoint):
    """Runs `ossicle evaluate`; returns (status, stdout, stderr)."""

    def run(*arguments):
        command = ("evaluate", untrained_checkpoint, manifest, "--beam", 2, *arguments)
        status = cli.run([str(a) for a in command])
        said = capsys.readouterr()
        return status, said.out, said.err

    return run


def test_evaluate_without_and_with_the_context_of_each_row(evaluate, tmp_path):
    hypotheses = tmp_path / "h.jsonl"
    options = ("--boost-weight", 20, "--hypotheses", hypotheses, "--json", "--boost")
    status, out, err = evaluate(*options)
    assert status == 0, err
    found, plain = json.loads(out), json.loads(evaluate("--json")[1])["sets"]
    assert found["boost"] == 20
    for name in ("s0", "s1", "s2"):
        assert found["sets"][name]["unbiased"] == plain[name]["beam"]
    assert found["sets"]["s1"]["beam"] == plain["s1"]["beam"]
    texts = [json.loads(line)["hypothesis"] for line in hypotheses.read_text().splitlines()]
    assert {"kitchen", "seven"} & set(texts[0].split())
    status, out, err = evaluate("--boost", *options[:-1], "--workers", 2)
    assert status == 0 and json.loads(out)["sets"] == found["sets"], err


def test_evaluate_with_the_phrases_of_a_file(evaluate, tmp_path):
    (tmp_path / "names.txt").write_text("Kitchen\nseven\n")
    status, out, err = evaluate("--boost", tmp_path / "names.txt")
    assert status == 0, err
    assert "boosted: 2 phrases, 0.5 a letter" in out and "unbiased" in out


def test_boosts_and_attention_at_once(evaluate, untrained_checkpoint, tmp_path):
    from ossicle.models.biasing.checkpoint import adapter_topology, core_of, untrained_adapter, write_adapter
    from ossicle.models.export import read_checkpoint

    core = read_checkpoint(untrained_checkpoint)
    sizes = {"heads": 2, "key": 12, "value": 9, "labels": 3, "embedding": 10, "hidden": 14}
    made = untrained_adapter(adapter_topology(core.topology, sizes))
    write_adapter(tmp_path / "a.safetensors", made, core_of(core), {"name": "b"})
    hypotheses = tmp_path / "h.jsonl"
    options = ("--biasing", tmp_path / "a.safetensors", "--boost-weight", 20, "--hypotheses", hypotheses)
    status, _, err = evaluate(*options, "--json", "--boost")
    assert status == 0, err
    texts = [json.loads(line)["hypothesis"] for line in hypotheses.read_text().splitlines()]
    assert {"kitchen", "seven"} & set(texts[0].split())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--boost", "none.txt"], "none.txt: no such file; --boost takes a file"),
        (["--boost", "{empty}"], "no phrases for --boost"),
        (["--boost", "tony,7 up"], "no letters '7': spell '7 up'"),
        (["--boost", "--boost-weight", "-1"], "a boost of -1 a letter is not possible"),
        (["--boost-weight", "1"], "name phrases with --boost"),
    ],
)
def test_evaluate_says_what_is_wrong(evaluate, tmp_path, options, message):
    (tmp_path / "empty.txt").write_text("")
    status, out, err = evaluate(*(option.format(empty=tmp_path / "empty.txt") for option in options))
    assert status == 2 and not out
    assert message in err.splitlines()[-1]


def test_rows_without_context_need_a_file(evaluate, manifest):
    write_manifest(manifest, [{"path": "2.wav", "text": "a", "source": "s"}])
    status, _, err = evaluate("--boost")
    assert status == 2 and "no row has a `context`" in err and "--boost FILE" in err
