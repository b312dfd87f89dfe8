"""Tagged sentences, their errors, and the measures of the net of meanings."""

import random
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch (the extra 'train')")
from dataclasses import replace  # noqa: E402

from ossicle.models.data.grammar import Grammar, split_of  # noqa: E402
from ossicle.models.data.split import write_manifest  # noqa: E402
from ossicle.models.export import read_checkpoint  # noqa: E402
from ossicle.models.nets import sentences as made_of  # noqa: E402
from ossicle.models.nets.nlu import IGNORED, Case, Nlu, f1, measures  # noqa: E402
from ossicle.models.nets.recipe import NetRecipe, NetSchedule  # noqa: E402
from ossicle.models.nets.sentences import Tagged  # noqa: E402
from ossicle.models.nets.stack import Stack  # noqa: E402

MODELS = Path(__file__).parents[3] / "models"
CALL = made_of.tagged("what is imogen's number", "contact", {"person": "imogen"})
TURN = made_of.tagged("turn on the pool lamp", "switch", {"state": "on", "device": "pool lamp"})


def test_words_get_the_tags_of_their_values():
    assert CALL.words == ("what", "is", "imogen", "'s", "number")
    assert CALL.tags == ("outside", "outside", "begin.person", "outside", "outside")
    assert TURN.tags == ("outside", "begin.state", "outside", "begin.device", "inside.device")
    assert TURN.slots == {("state", "on"), ("device", "pool lamp")}
    assert made_of.tagged("turn on", "switch", {"device": "on", "state": "turn"}) is None
    assert made_of.tagged("turn on", "switch", {"device": ""}) is None


def test_drawn_sentences_keep_splits_and_slots_apart():
    grammar, rng = Grammar(), random.Random(0)
    for split in ("train", "dev", "test"):
        for one in islice(made_of.drawn(grammar, rng, split), 50):
            assert split_of(" ".join(one.words).replace(" '", "'")) == split
            assert len(one.words) == len(one.tags)
    names = {name for values in grammar.held_out.values() for name in values}
    for one in islice(made_of.drawn(grammar, rng, "names"), 50):
        assert {value.replace(" '", "'") for _, value in one.slots} & names


def test_errors_leave_valid_tags():
    rng, words = random.Random(0), ["red", "blue", "green"]
    assert made_of.corrupted(TURN, 0.0, rng, words) == TURN
    changed = 0
    for _ in range(300):
        one = made_of.corrupted(TURN, 0.5, rng, words)
        changed += one.words != TURN.words
        assert 1 <= len(one.words) == len(one.tags) <= 10 and one.intent == "switch"
        for before, tag in zip(("outside", *one.tags), one.tags, strict=False):
            kind, _, slot = tag.partition(".")
            assert kind != "inside" or before.partition(".")[2] == slot
    assert changed > 200
    everything = made_of.corrupted(TURN, 1e9, random.Random(3), words)
    assert len(everything.words) >= 1


def test_new_names_take_the_place_of_the_asked_ones():
    rng = random.Random(0)
    one = made_of.renamed(TURN, ["device"], 1.0, rng, ["kettle", "window"])
    assert one.words[:3] == TURN.words[:3] and one.tags == TURN.tags
    assert one.words[3:] != TURN.words[3:]
    assert made_of.renamed(TURN, ["person"], 1.0, rng, ["kettle"]) == TURN
    assert all(made_of.blend("a", "b", rng) for _ in range(20))


def test_measures_by_hand():
    cases = [
        Case(TURN.words, "switch", frozenset(TURN.spans), True),
        Case(CALL.words, "contact", frozenset(CALL.spans), True),
        Case(("hello",), "smalltalk", frozenset(), True),
        Case(("call", "ann"), "call", frozenset({("person", "anna")}), False),
    ]
    off = Tagged(TURN.words, (*TURN.tags[:4], "outside"), "switch")
    found = [off, replace(CALL, intent="call"), Tagged(("hello",), ("outside",), "smalltalk"),
             Tagged(("call", "ann"), ("outside", "begin.person"), "call")]  # fmt: skip
    made = measures(cases, found)
    assert made["intent"] == 75 and made["semantic_error"] == 75 and made["sentences"] == 4
    assert made["slot_f1"] == 50  # right: state, imogen; wanted 4, found 4
    assert made["low"] <= 75 <= made["high"] and made["f1_low"] <= 50 <= made["f1_high"]
    assert f1(np.zeros(3)) == 100


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    shipped = NetRecipe.read(MODELS / "recipes/nlu.toml")
    return replace(shipped, run=tmp_path_factory.mktemp("nlu"), schedule=NetSchedule(batch=8))


def test_batches_are_the_sentences(recipe):
    task = Nlu(recipe)
    task.prepare()
    labels, steps, intents, tags = task.collate([TURN, CALL])
    assert labels.shape == (2, 10, 5) and steps.tolist() == [10, 10]
    assert (tags[:, :5] == IGNORED).all()
    assert [task.meanings.tags[tag] for tag in tags[0, 5:]] == list(TURN.tags)
    assert [task.meanings.intents[i] for i in intents] == ["switch", "contact"]
    batch = task.batch(np.random.default_rng(0))
    again = task.batch(np.random.default_rng(0))
    assert all(torch.equal(a, b) for a, b in zip(batch, again, strict=True))
    loss = task.loss(Stack(task.topology), batch)
    assert loss.shape == () and loss > 1


def test_a_grammar_that_grew_is_one_clear_line(recipe):
    wrong = {**recipe.topology, "layers": [{"lstm": 4}, {"linear": 7}]}
    with pytest.raises(ValueError, match="nlu: the last layer"):
        Nlu(replace(recipe, topology=wrong)).prepare()


def test_recognized_sentences_are_scored_by_values(recipe, tmp_path):
    rows = [
        {"path": "x", "text": "turn on the pool lamp", "hypothesis": "turn on the pool lamp",
         "intent": "switch", "slots": {"state": "on", "device": "pool lamp"}},
        {"path": "x", "text": "call tony", "hypothesis": "", "intent": "call", "slots": {"person": "tony"}},
    ]  # fmt: skip
    write_manifest(tmp_path / "heard.jsonl", rows)
    task = Nlu(replace(recipe, data={**recipe.data, "recognized": str(tmp_path / "heard.jsonl")}))
    assert task.TEST[-1] == "test-recognized"
    first, second = task.cases("test-recognized")
    assert first.wanted == {("state", "on"), ("device", "pool lamp")} and not first.places
    assert second.heard == () and second.wanted == {("person", "tony")}
    made = task.score(Stack(task.topology).checkpoint(None, {}), ("test-recognized",))["test-recognized"]
    assert made["sentences"] == 2 and made["semantic_error"] >= 50


def test_shipped_net_of_meanings(recipe):
    made = Nlu(recipe).score(read_checkpoint(MODELS / "weights/nlu.safetensors"), ("dev",))["dev"]
    assert made["intent"] >= 95 and made["slot_f1"] >= 92
    assert (MODELS / "weights/nlu.safetensors").stat().st_size <= 150_000
