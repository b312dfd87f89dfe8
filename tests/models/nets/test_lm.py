"""Sentences that a language model learns from, its perplexity, and the shipped one's integers."""

import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch (the extra 'train')")
from ossicle.compiler.api import compile_checkpoint  # noqa: E402
from ossicle.compiler.importer import import_checkpoint  # noqa: E402
from ossicle.hw.config import PRESETS  # noqa: E402
from ossicle.models.data.grammar import split_of  # noqa: E402
from ossicle.models.data.split import write_manifest  # noqa: E402
from ossicle.models.export import read_checkpoint, write_checkpoint  # noqa: E402
from ossicle.models.nets.exact import ExactStack  # noqa: E402
from ossicle.models.nets.lm import IGNORED, Lm  # noqa: E402
from ossicle.models.nets.recipe import NetRecipe, NetSchedule  # noqa: E402
from ossicle.models.nets.stack import Stack  # noqa: E402
from ossicle.runtime.language_model import DeviceModel, HostModel, PrefixTree  # noqa: E402
from ossicle.runtime.rescoring import Rescorer  # noqa: E402
from ossicle.sim.device import open_device  # noqa: E402

MODELS = Path(__file__).parents[3] / "models"
SHIPPED = MODELS / "weights/lm.safetensors"
CONFIG = PRESETS["base"]
TEXTS = ["turn on the kitchen lights", "turn on the kitchen light", "turn off the lights", "turnip", ""]


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    shipped = NetRecipe.read(MODELS / "recipes/lm.toml")
    data = {**shipped.data, "tokenizer": str(MODELS / "weights/commands.safetensors")}
    run = tmp_path_factory.mktemp("lm")
    return replace(shipped, data=data, run=run, schedule=NetSchedule(batch=8))


@pytest.fixture(scope="module")
def task(recipe):
    made = Lm(recipe)
    made.prepare()
    return made


def test_batches_are_sentences_after_their_begin_and_up_to_their_end(task):
    inputs, targets = task.collate(["call ann", "stop"])
    rows = [[piece + 1 for piece in task.tokenizer.encode(text)] for text in ("call ann", "stop")]
    for row, given, wanted in zip(rows, inputs.tolist(), targets.tolist(), strict=True):
        assert given[: len(row) + 1] == [0, *row]
        assert wanted[: len(row) + 1] == [*row, 0] and set(wanted[len(row) + 1 :]) <= {IGNORED}
    first, again = (task.batch(np.random.default_rng(0)) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], task.batch(np.random.default_rng(1))[0])
    loss = task.loss(Stack(task.topology), first)
    assert loss.shape == () and loss > 1


def test_no_sentence_of_the_tests_is_trained_on(recipe, task):
    draw = random.Random(0)
    plain = Lm(replace(recipe, data={**recipe.data, "loose": 0.0, "renamed": 0.0}))
    assert all(split_of(plain.text(draw)) == "train" for _ in range(300))
    assert len(set(task.sentences("dev"))) == 600
    assert all(split_of(text) == "dev" for text in task.sentences("dev")[:50])
    held_out = {name for names in task.grammar.held_out.values() for name in names}
    names = task.sentences("test-names")
    assert all(any(name in text for name in held_out) for text in names[:50])


def test_some_sentences_are_of_other_texts_and_new_words(recipe, tmp_path):
    write_manifest(tmp_path / "texts.jsonl", [{"path": "x", "text": "xylophones quarrel zanily"}])
    write_manifest(tmp_path / "whole.jsonl", [{"path": "x", "text": "zithers yawn"}])
    tables = [
        {"manifest": str(tmp_path / "texts.jsonl"), "share": 0.3, "parts": 1.0},
        {"manifest": str(tmp_path / "whole.jsonl"), "share": 0.1, "parts": 0.0},
    ]
    data = {**recipe.data, "texts": tables, "loose": 0.2}
    task, draw = Lm(replace(recipe, data=data)), random.Random(0)
    texts = [task.text(draw) for _ in range(400)]
    parts = [t for t in texts if set(t.split()) <= {"xylophones", "quarrel", "zanily"}]
    assert 60 < len(parts) < 180 and len(set(parts)) > 3
    assert 20 < texts.count("zithers yawn") < 70 and not {"zithers", "yawn"} & set(texts)
    known = set(task.words)
    assert any(set(t.replace("'s", " 's").split()) - known - {"xylophones"} for t in texts)


def test_tables_of_texts_are_checked(recipe, tmp_path):
    write_manifest(tmp_path / "none.jsonl", [{"path": "x", "text": " "}])
    for table, message in (
        ({"manifest": "x"}, "has manifest, share and parts, not manifest"),
        ({"manifest": str(tmp_path / "none.jsonl"), "share": 0.1, "parts": 0.1}, "no texts"),
    ):
        with pytest.raises(ValueError, match=message):
            Lm(replace(recipe, data={**recipe.data, "texts": [table]}))


def test_perplexity_is_that_of_every_word_and_end(task, tmp_path):
    checkpoint = Stack(task.topology).checkpoint(None, {})
    write_checkpoint(tmp_path / "lm", checkpoint)
    texts = task.sentences("dev")[:40]
    task = Lm(task.recipe)
    task.sentences = lambda name: texts
    found = task.score(checkpoint, ("dev",))["dev"]
    rescorer = Rescorer(
        HostModel(import_checkpoint(tmp_path / "lm")), task.tokenizer.serialized_model_proto()
    )
    words = sum(len(text.split()) + 1 for text in texts)
    assert found["words"] == words - 40 and found["sentences"] == 40
    assert found["perplexity"] == pytest.approx(np.exp(-sum(rescorer.log_probs(texts)) / words), rel=1e-4)


def test_another_tokenizer_s_size_is_one_clear_line(recipe):
    wrong = {**recipe.topology, "layers": [{"lstm": 4}, {"linear": 7}]}
    with pytest.raises(ValueError, match=r"lm: labels, buckets and outputs are \(1, 224, 7\)"):
        Lm(replace(recipe, topology=wrong)).prepare()
    with pytest.raises(ValueError, match="no recognizer, it has no tokenizer"):
        Lm(replace(recipe, data={**recipe.data, "tokenizer": str(MODELS / "weights/nlu.safetensors")}))


def test_shipped_model(task):
    checkpoint = read_checkpoint(SHIPPED)
    assert task.score(checkpoint, ("dev",))["dev"]["perplexity"] <= 16
    assert checkpoint.topology["labels"] == task.pieces
    weights = np.concatenate([m.weight.ravel() for m in checkpoint.matrices.values()])
    assert np.mean(weights == 0) >= 0.5 and SHIPPED.stat().st_size <= 800_000


@pytest.mark.parametrize(
    "engine", ["functional", "fast", pytest.param("rtl", marks=[pytest.mark.slow, pytest.mark.rtl])]
)
def test_shipped_model_is_the_same_in_training_on_the_host_and_on_devices(engine, task):
    checkpoint, texts = read_checkpoint(SHIPPED), TEXTS[:2] if engine == "rtl" else TEXTS
    rows = [[piece + 1 for piece in task.tokenizer.encode(text)] for text in texts]
    tree, exact = PrefixTree(rows), ExactStack(checkpoint)
    host = HostModel(import_checkpoint(SHIPPED)).logits(tree)
    for row in rows:
        trained = exact(torch.tensor([[[0], *([label] for label in row)]]))[0].numpy()
        np.testing.assert_array_equal(host[tree.nodes(row)], trained)
    with open_device(engine, CONFIG) as device:
        model = DeviceModel(device, compile_checkpoint(SHIPPED, CONFIG))
        np.testing.assert_array_equal(model.logits(tree), host)
        assert model.cycles.jobs["step"] == len(tree) < sum(len(row) + 1 for row in rows)
