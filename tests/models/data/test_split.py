"""Splits by whole speakers, test sets by what is said."""

import json
import sys

import pytest
from ossicle.models.data.split import (
    held_out_sets,
    main,
    read_manifest,
    split_speakers,
    text_class,
    write_manifest,
)


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


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("two oh nine", "digits"), ("area code four one two", "digits"), ("fifty six hundred", "digits"),
        ("ninth of september nineteen sixty four", "dates"), ("may third", "dates"),
        ("k a r l a", "names"), ("o apostrophe h a r a", "names"),
        ("rubout f x c four", "letters"), ("x i sixty one", "letters"), ("x", "letters"),
        ("enter fifty five", "words"), ("yes", "words"),
    ],
)  # fmt: skip
def test_text_classes(text, kind):
    assert text_class(text) == kind


def test_test_sets_go_by_source_and_class():
    said = [("a", "one two"), ("a", "k a r l"), ("a", "three"), ("b", "one")]
    sets = held_out_sets([{"source": source, "text": text} for source, text in said], {"a"})
    assert {name: len(rows) for name, rows in sets.items()} == {
        "test-a-digits": 2, "test-a-names": 1, "test-b": 1,
    }  # fmt: skip


def test_the_tool_writes_every_set(tmp_path, monkeypatch):
    rows = [
        {"path": f"{i}.wav", "text": ("one", "k a")[i // 4 % 2], "speaker": f"s{i % 4}", "source": "a"}
        for i in range(16)
    ]
    write_manifest(tmp_path / "all.jsonl", rows)
    arguments = ["--test", "a=1", "--dev", "a=1", "--classes", "a"]
    monkeypatch.setattr(
        sys, "argv", ["split", str(tmp_path / "all.jsonl"), str(tmp_path / "out"), *arguments]
    )
    main()
    made = {path.stem: len(read_manifest(path)) for path in (tmp_path / "out").glob("*.jsonl")}
    assert made == {"train": 8, "dev": 4, "test": 4, "test-a-digits": 2, "test-a-names": 2}
