"""Sentences of files, to train a language model on."""

import sys

import pytest
from ossicle.models.data import texts
from ossicle.models.data.split import read_manifest, write_manifest
from ossicle.models.data.texts import sentences


def test_sentences_are_what_can_be_read_aloud():
    text = "Turn it off, please! It's 5 o'clock. The {city} of <name>. Café (really): don't. Dr. No \u2019tis"
    assert list(sentences(text, 16)) == ["turn it off please", "really", "don't", "dr"]
    assert list(sentences("one two three. one two", 2)) == ["one two"]


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "texts"
    made.mkdir()
    (made / "data.verb").write_text('00001 v give | to hand over; "give me that"; "he gave: all 3"\n')
    (made / "lines.dialog").write_text("Good night.\n# a comment\nHow are you? # asked\nSet {what} off\n")
    write_manifest(made / "said.jsonl", [{"path": "a", "text": "good night"}, {"path": "b", "text": "yes"}])
    return made


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["texts", *map(str, arguments)])
    texts.main()


def test_files_of_each_kind_are_read_once(folder, tmp_path, monkeypatch, capsys):
    run(monkeypatch, tmp_path / "out.jsonl", folder)
    found = [row["text"] for row in read_manifest(tmp_path / "out.jsonl")]
    assert found == ["give me that", "he gave", "good night", "how are you", "yes"]
    assert "5 sentences" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "there is no such file or folder"),
        (lambda path: path.write_bytes(b"\xff\xfe\x80"), "it is not in UTF-8"),
        (lambda path: path.write_text("12 { }"), "no sentence is in these files"),
    ],
)
def test_what_has_no_sentences_is_refused(make, message, tmp_path, monkeypatch, capsys):
    make(tmp_path / "in.txt")
    with pytest.raises(SystemExit) as stopped:
        run(monkeypatch, tmp_path / "out.jsonl", tmp_path / "in.txt")
    assert stopped.value.code == 2 and message in capsys.readouterr().err
    assert not (tmp_path / "out.jsonl").exists()
