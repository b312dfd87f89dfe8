"""What is drawn for each set: disjoint sentences and voices, names never trained on, contexts."""

import json
import random
from itertools import islice, pairwise

import pytest

pytest.importorskip("soxr")
from ossicle.models.data.grammar import Grammar, split_of
from ossicle.models.data.listed import listed_names
from ossicle.models.data.plan import CONTEXT, sentences, utterances
from ossicle.models.data.voices import SHARES

TRAINED = {"train", "test-sentences"}


@pytest.fixture(scope="module")
def grammar():
    return Grammar()


@pytest.fixture(scope="module")
def planned():
    return {name: list(islice(utterances(name, 1), 1500 if name == "train" else 250)) for name in SHARES}


def texts(utterances):
    return {utterance.sentence.text for utterance in utterances}


def voices(utterances):
    """Engine and voice; of espeak-ng the variant, which an accent does not change."""
    return {u.request.speaker.rpartition("+")[2] for u in utterances}


def test_sentences_of_train_dev_and_test_differ(planned):
    held = set().union(*(texts(planned[name]) for name in SHARES if name.startswith("test")))
    assert not texts(planned["train"]) & texts(planned["dev"])
    assert not texts(planned["train"]) & held
    assert not texts(planned["dev"]) & held


def test_voices_of_train_dev_and_test_differ(planned):
    train, dev = voices(planned["train"]), voices(planned["dev"])
    held = set().union(*(voices(planned[name]) for name in set(SHARES) - TRAINED - {"dev"}))
    assert not train & dev and not train & held and not dev & held
    assert voices(planned["test-synthesizer"]) == {"flite:rms", "festival:ked_diphone"}


def test_a_test_set_repeats_no_sentence(planned):
    assert all(len(texts(planned[name])) == 250 for name in SHARES if name != "train")


def test_the_seed_decides(planned):
    assert list(islice(utterances("train", 1), 50)) == planned["train"][:50]
    assert list(islice(utterances("train", 2), 50)) != planned["train"][:50]


def test_names_never_trained_on_come_among_others(planned):
    grammar = Grammar()
    unseen = {name for names in grammar.held_out.values() for name in names}
    said = " | ".join(f" {text} " for name in set(SHARES) - {"test-names"} for text in texts(planned[name]))
    for utterance in planned["test-names"]:
        names, context = utterance.sentence.names, utterance.context
        assert names and set(names) <= unseen & set(context)
        assert len(context) == len(set(context)) == CONTEXT
        assert CONTEXT // 2 - 4 < len(unseen & set(context)) < CONTEXT // 2 + 4
        assert all(f" {name} " not in said for name in names)


def test_phrases_of_other_texts_have_no_held_out_name(tmp_path):
    manifest = tmp_path / "texts.jsonl"
    text = "the garden of imogen was green and wide and open to all of us"
    manifest.write_text(json.dumps({"path": "a.flac", "text": text}) + "\n")
    drawn = [u.sentence for u in islice(utterances("train", 1, manifest), 600)]
    phrases = [s.text for s in drawn if s.intent is None]
    assert len(phrases) > 40 and all(phrase in text for phrase in phrases)
    assert not any("imogen" in phrase.split() for phrase in phrases)


def test_invented_names_are_like_known_ones_and_none_of_them(grammar):
    never = {word for values in grammar.held_out.values() for entry in values for word in entry.split()}
    known = {word for kind in grammar.held_out for entry in grammar.slots[kind] for word in entry.split()}
    drawn = list(islice(sentences("train", random.Random(5), None, invented=1.0), 200))
    names = [
        word for s in drawn for kind in grammar.held_out for word in s.slots.get(kind, "").split()
        if word not in ("the", "my")
    ]  # fmt: skip
    assert len(names) > 150 and not set(names) & (never | known)
    assert len(set(names)) > 0.9 * len(names)
    letters = {a + b for word in known for a, b in pairwise(word)}
    pairs = [a + b for word in names for a, b in pairwise(word)]
    assert sum(pair in letters for pair in pairs) > 0.95 * len(pairs)
    assert all(split_of(s.text) == "train" and not s.names for s in drawn)


def test_a_share_of_the_sentences_has_invented_names(grammar):
    def known(share):
        source = sentences("train", random.Random(1), None, invented=share)
        values = [next(source).slots.get("person", "") for _ in range(400)]
        return sum(value in grammar.slots["person"] for value in values if value)

    assert known(1.0) == 0 < known(0.5) < known(0.0)


def test_listed_names_are_none_of_the_tests_and_replace_invented_ones_where_lists_have_them(grammar):
    pytest.importorskip("faker")
    never = [entry for values in grammar.held_out.values() for entry in values]
    words = {word for entry in never for word in entry.split()}
    listed = {kind: set(listed_names(kind, never)) for kind in ("person", "surname", "city")}
    assert all(len(names) > 5000 for names in listed.values()) and listed_names("device", never) == []
    for name in set.union(*listed.values()):
        assert name.replace(" ", "").isalpha() and name.isascii() and words.isdisjoint(name.split())
    drawn = list(islice(sentences("train", random.Random(5), None, invented=1.0, listed=True), 200))
    for kind, names in listed.items():
        said = [s.slots[kind] for s in drawn if kind in s.slots]
        assert sum(name in names for name in said) > 0.8 * len(said) > 0
    assert all(split_of(s.text) == "train" and not s.names for s in drawn)


def test_lists_that_are_not_there_are_one_line(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pip install 'ossicle\[train\]'"):
        listed_names("person", [])
