"""Grammar, splits and scores."""

import json
import random
import re

import pytest
from ossicle.models.data.grammar import Grammar, number, ordinal, split_of
from ossicle.models.data.split import read_manifest, split_speakers


def test_numbers():
    assert number(0) == "zero"
    assert number(342) == "three hundred forty two"
    assert number(15020) == "fifteen thousand twenty"
    assert [ordinal(n) for n in (1, 12, 20, 23, 30)] == [
        "first",
        "twelfth",
        "twentieth",
        "twenty third",
        "thirtieth",
    ]


def test_every_template_can_be_filled():
    grammar, rng = Grammar(), random.Random(0)
    for domain, templates in grammar.templates.items():
        for _ in range(20 * len(templates)):
            text = grammar.draw(rng, domain)
            assert re.fullmatch("[A-Za-z']+( [A-Za-z']+)*", text), text


def test_splits_depend_on_the_sentence_alone():
    grammar, rng = Grammar(), random.Random(1)
    texts = {grammar.draw(rng) for _ in range(3000)}
    shares = {split: sum(split_of(text) == split for text in texts) / len(texts) for split in ("dev", "test")}
    assert 0.03 < shares["dev"] < 0.09 and 0.03 < shares["test"] < 0.09
    assert split_of("go") == "train"
    assert all(split_of(text) == split_of(text.lower()) for text in texts)


def test_speakers_are_whole():
    rows = [{"source": "a", "speaker": f"a:{i % 7}", "path": str(i), "text": "x"} for i in range(70)]
    splits = split_speakers(rows, {"a": 2}, {"a": 1})
    speakers = {name: {row["speaker"] for row in part} for name, part in splits.items()}
    assert [len(speakers[name]) for name in ("train", "dev", "test")] == [4, 1, 2]
    assert not speakers["train"] & speakers["test"]


def test_bad_manifest_is_one_clear_line(tmp_path):
    with pytest.raises(ValueError, match="No such file"):
        read_manifest(tmp_path / "none.jsonl")
    bad = tmp_path / "bad.jsonl"
    bad.write_text(json.dumps({"path": "a.wav"}) + "\n")
    with pytest.raises(ValueError, match="text"):
        read_manifest(bad)


def test_word_errors():
    pytest.importorskip("torch", reason="needs torch (the extra 'train')")
    from ossicle.models.evaluate import score, word_errors

    assert word_errors("turn on the light", "turn on the light") == 0
    assert word_errors("turn on the light", "turn of light please") == 3
    assert word_errors("", "a b") == 2
    result = score(["a b c d", "e f"], ["a b c x", "e f"])
    assert result.wer == pytest.approx(16.67) and result.sentence_correct == 50
