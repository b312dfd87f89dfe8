"""The shipped recognizer of two languages: what is spoken is written and named, where a session switches."""

import json
from pathlib import Path

from ossicle.models.data.split import read_manifest
from ossicle.runtime.cli import run

WEIGHTS = Path(__file__).parents[2] / "models" / "weights"


def test_german_and_english_in_one_session(capsys):
    german = read_manifest(WEIGHTS / "samples_de" / "manifest.jsonl")[0]
    english = read_manifest(WEIGHTS / "samples" / "manifest.jsonl")[0]
    files = [str(german["path"]), str(english["path"]), str(german["path"])]
    model = str(WEIGHTS / "commands-multi.safetensors")
    assert run(["transcribe", *files, "--model", model, "--engine", "functional", "--json"]) == 0
    heard = json.loads(capsys.readouterr().out)
    assert [each["language"]["code"] for each in heard] == ["de", "en", "de"]
    assert heard[0]["text"] == heard[2]["text"] == german["text"]
    assert heard[1]["text"].startswith("flight") and heard[1]["text"].endswith("four four one five two")
