"""Rescoring as a user meets it: transcribe and evaluate, with a language model of random weights."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import soundfile
from ossicle.compiler.api import compile_checkpoint
from ossicle.hw.config import PRESETS
from ossicle.models.export import read_checkpoint, write_checkpoint
from ossicle.runtime.programs import MEANINGS_MODEL, default_model
from random_lm import random_model
from sentencepiece import SentencePieceProcessor

COMMAND = [sys.executable, "-m", "ossicle.runtime.cli"]


def ossicle(*arguments, cwd=None):
    command = [*COMMAND, *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=590, check=False)


@pytest.fixture(scope="module")
def files(tmp_path_factory, untrained_checkpoint, noise_wav):
    """Paths by name: recognizer, its language model (checkpoint and program), bad ones, a manifest."""
    folder = tmp_path_factory.mktemp("second")
    tokenizer = read_checkpoint(untrained_checkpoint).tokenizer
    processor = SentencePieceProcessor(model_proto=tokenizer)
    labels = ["", *(processor.id_to_piece(i) for i in range(processor.get_piece_size()))]
    write_checkpoint(folder / "lm.safetensors", random_model(labels, kept=3))
    write_checkpoint(folder / "other.safetensors", random_model([*labels[:-1], "~"]))
    write_checkpoint(
        folder / "large.safetensors", random_model(labels, sizes=(8,), tokens={"embedding": 2100})
    )
    compile_checkpoint(folder / "lm.safetensors", PRESETS["base"]).save(folder / "lm.npu")
    (folder / "damaged.safetensors").write_bytes((folder / "lm.safetensors").read_bytes()[:-2000])
    (folder / "text.safetensors").write_text("hello")
    row = {"path": str(noise_wav), "text": "turn on the lights", "source": "noise"}
    (folder / "set.jsonl").write_text("".join(json.dumps(row) + "\n" for _ in range(2)))
    named = {path.name: path for path in folder.iterdir()}
    return named | {"wav": noise_wav, "model": untrained_checkpoint, "nlu": default_model(MEANINGS_MODEL)}


def transcribed(files, *arguments, engine="functional"):
    done = ossicle(
        "transcribe", files["wav"], "--engine", engine, "--model", files["model"], *arguments, "--json"
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_transcribe_says_the_text_before_and_after(files):
    plain = transcribed(files, "--nbest", 5)
    assert "rescored" not in plain
    model = ("--language-model", files["lm.safetensors"], "--lm-weight", 2, "--lm-bonus", 0.5)
    fewest = transcribed(files, "--nbest", 5, *model)
    errors = [row["expected_errors"] for row in fewest["nbest"]]
    assert errors == sorted(errors) and fewest["rescored"]["best"] == "errors"
    found = transcribed(files, "--nbest", 5, *model, "--lm-best", "score")
    assert found["rescored"]["best"] == "score"
    assert found["rescored"]["before"] == plain["text"]
    assert found["text"] == found["nbest"][0]["text"]
    assert found["lattice"] == plain["lattice"] and found["jobs"] == plain["jobs"]
    scores = [row["score"] for row in found["nbest"]]
    assert scores == sorted(scores, reverse=True) and len(scores) == 5
    for row in found["nbest"]:
        score = row["transducer"] + 2 * row["language_model"] + 0.5 * len(row["text"].split())
        assert row["score"] == pytest.approx(score, abs=2e-3)
    assert found["rescored"]["cycles"] is None and found["rescored"]["jobs"]["step"] > 1
    assert found["rescored"]["weight"] == 2 and found["rescored"]["nbest"] == 50
    tree = found["rescored"]["lattice"]
    ends = [edge["score"] for edge in tree["edges"] if edge["to"] == len(tree["nodes"]) - 1]
    assert len(ends) == 5 and tree["total"] == found["lattice"]["total"]
    assert [row["word"] for row in found["words"]] == found["text"].split()
    assert all(0 < row["confidence"] <= 1 and row["start"] <= row["end"] for row in found["words"])


def test_engines_rescore_alike_and_programs_as_checkpoints(files):
    options = ("--nbest", 3, "--lm-weight", 1.5, "--language-model")
    functional = transcribed(files, *options, files["lm.safetensors"])
    fast = transcribed(files, *options, files["lm.npu"], engine="fast")
    assert fast["nbest"] == functional["nbest"]
    assert fast["rescored"]["jobs"] == functional["rescored"]["jobs"]
    assert fast["rescored"]["cycles"] > 1000
    assert fast["cycles"] == transcribed(files, engine="fast")["cycles"]  # rescoring is counted apart


def test_weight_of_zero_is_the_first_pass(files):
    weights = ("--lm-weight", 0, "--lm-bonus", 0, "--lm-best", "score")
    options = (*weights, "--language-model", files["lm.safetensors"])
    found, plain = transcribed(files, "--nbest", 4, *options), transcribed(files, "--nbest", 4)
    assert found["text"] == plain["text"]
    assert [(row["text"], row["score"]) for row in found["nbest"]] == [
        (row["text"], row["score"]) for row in plain["nbest"]
    ]


@pytest.mark.slow
@pytest.mark.rtl
def test_the_verilog_rescores_as_fast_does(files, tmp_path):
    """A clip of two frames on the small processor: sentences, scores, cycles."""
    if shutil.which("g++") is None or shutil.which("make") is None:
        pytest.skip("building the simulator needs g++ and make")
    soundfile.write(tmp_path / "clip.wav", np.random.default_rng(2).normal(0, 0.1, 200).clip(-1, 1), 16000)
    options = ("--npu", "small", "--beam", 2, "--lm-nbest", 4, "--language-model", files["lm.safetensors"])
    clip = files | {"wav": tmp_path / "clip.wav"}
    rtl, fast = (transcribed(clip, *options, engine=engine) for engine in ("rtl", "fast"))
    assert rtl["rescored"]["cycles"] > 100
    assert rtl | {"engine": "fast"} == fast


def test_transcribe_for_people(files):
    done = ossicle(
        "transcribe", files["wav"], "--engine", "functional", "--model", files["model"], "--language-model",
        files["lm.safetensors"], "--nbest", 2,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    text, before, second, *_, last = done.stdout.splitlines()
    found = transcribed(files, "--nbest", 2, "--language-model", files["lm.safetensors"])
    assert text == found["text"] and before == f"  before rescoring: {found['rescored']['before']}"
    assert second.startswith(f"  2. {found['nbest'][1]['text']}")
    assert last == f"rescoring: {found['rescored']['jobs']['step']} steps of the language model"


def test_evaluate_gives_both_error_rates(files, tmp_path):
    pytest.importorskip("torch", reason="needs torch (the extra 'train')")
    arguments = ("evaluate", files["model"], files["set.jsonl"], "--beam", 2)
    plain = json.loads(ossicle(*arguments, "--json").stdout)
    with_lm = ("--language-model", files["lm.safetensors"])
    zero = ossicle(*arguments, *with_lm, "--lm-weight", 0, "--lm-bonus", 0, "--json")
    assert zero.returncode == 0, zero.stderr
    found = json.loads(zero.stdout)
    assert found["sets"]["noise"]["rescored"] == found["sets"]["noise"]["beam"]
    assert found["sets"]["noise"]["beam"] == plain["sets"]["noise"]["beam"]
    assert "rescored" not in plain["sets"]["noise"] and plain["language_model"] is None
    heard = tmp_path / "heard.jsonl"
    done = ossicle(
        *arguments, *with_lm, "--lm-weight", 5, "--lm-nbest", 7, "--hypotheses", heard, "--errors", 1
    )
    assert done.returncode == 0, done.stderr
    assert "rescored WER %" in done.stdout and "7 sentences, weight 5" in done.stdout
    text = json.loads(heard.read_text().splitlines()[0])["hypothesis"]
    options = ("--beam", 2, "--lm-weight", 5, "--lm-nbest", 7, "--language-model", files["lm.safetensors"])
    assert text == transcribed(files, *options)["text"]  # a device says what the reference says
    assert repr(text) in done.stdout


BAD = {
    "no file": (["--language-model", "none.safetensors"], "none.safetensors: no such file"),
    "text": (["--language-model", "{text.safetensors}"], "not a readable safetensors file"),
    "damaged": (["--language-model", "{damaged.safetensors}"], "not a readable safetensors file"),
    "other pieces": (
        ["--language-model", "{other.safetensors}"],
        "has other word pieces than the recognizer",
    ),
    "another net": (["--language-model", "{nlu}"], "nlu: not a language model"),
    "a recognizer": (["--language-model", "{model}"], "not a language model"),
    "weight": (
        ["--language-model", "{lm.safetensors}", "--lm-weight", "-1"],
        "weight of -1.0 is not possible",
    ),
    "nbest": (["--language-model", "{lm.safetensors}", "--lm-nbest", "0"], "0 sentences to rescore"),
    "no order": (["--language-model", "{lm.safetensors}", "--lm-best", "words"], "sentences by 'words'"),
    "no model": (["--lm-weight", "1"], "--lm-weight: nothing is rescored"),
}
ONLY_DEVICES = {
    "too large": (["--npu", "small", "--language-model", "{large.safetensors}"], "needs activation_words"),
    "other npu": (["--npu", "small", "--language-model", "{lm.npu}"], "small"),
}


def refused(arguments, options, message, files, cwd):
    given = [files[one[1:-1]] if one.startswith("{") else one for one in options]
    done = ossicle(*arguments, *given, cwd=cwd)
    assert done.returncode == 2 and done.stdout == "", done.stderr
    *notes, line = done.stderr.splitlines()
    assert line.startswith("ossicle: ") and message in line, done.stderr
    assert not [note for note in notes if note.startswith("ossicle:")]
    assert list(cwd.iterdir()) == []


@pytest.mark.parametrize("case", BAD | ONLY_DEVICES)
def test_transcribe_refuses_with_one_line(case, files, tmp_path):
    arguments = ("transcribe", files["wav"], "--engine", "functional", "--model", files["model"])
    refused(arguments, *(BAD | ONLY_DEVICES)[case], files, tmp_path)


@pytest.mark.parametrize("case", ["damaged", "other pieces", "weight", "no model"])
def test_evaluate_refuses_with_one_line(case, files, tmp_path):
    pytest.importorskip("torch", reason="needs torch (the extra 'train')")
    arguments = ("evaluate", files["model"], files["set.jsonl"], "--hypotheses", tmp_path / "heard.jsonl")
    refused(arguments, *BAD[case], files, tmp_path)
