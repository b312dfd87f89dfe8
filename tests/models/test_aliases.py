"""How names are misheard, learned from pairs and from recordings."""

import json
import math

import numpy as np
import pytest
import soundfile

pytest.importorskip("torch", reason="needs torch (the extra 'train')")
from ossicle.models import aliases
from ossicle.models.data.split import write_manifest
from ossicle.models.mishearings import expected, learned, odds_of
from ossicle.runtime.aliases import Aliases, SoundTable

PAIRS = [
    ("phil", "fil"), ("phoebe", "foebe"), ("sophia", "sofia"), ("ralph", "ralf"), ("anna", "ana"),
    ("murphy", "murfy"), ("stephan", "stefan"), ("bob", "bob"), ("peter", "peter"), ("lena", "lina"),
] * 3  # fmt: skip


def test_chunks_are_counted_as_every_alignment_has_them():
    chunks = {("a", "b"): math.log(0.2), ("a", ""): math.log(0.1), ("", "b"): math.log(0.3)}
    counts = expected([("a", "b")], chunks)
    whole = 0.2 + 2 * 0.1 * 0.3
    assert counts["a", "b"] == pytest.approx(0.2 / whole)
    assert counts["a", ""] == counts["", "b"] == pytest.approx(0.06 / whole)


def test_what_is_often_heard_for_another_speaks_for_it():
    chunks = learned(PAIRS)
    assert sum(map(math.exp, chunks.values())) == pytest.approx(1, abs=0.2)
    odds = odds_of(chunks)
    assert odds["ph", "f"] > 3 and odds["b", "b"] > 1
    assert odds.get(("p", "b"), -9.0) < 0


def test_words_over_a_name():
    rows = [
        {"text": "call anna lee now", "slots": {"person": "anna lee"}},
        {"text": "dim the lights", "slots": {"state": "dim"}},
    ]
    sentences = [["call an alley now", "call annalee", "call now"], ["dim the lights"]]
    assert aliases.pairs_of(rows, sentences)[:2] == [("annalee", "analley"), ("annalee", "annalee")]


def test_names_stand_beside_some_words():
    rows = [{"text": f"call {name} now", "slots": {"person": name}} for name in ("ann", "bob", "eve")] * 5
    rows += [{"text": "turn the lights on now", "slots": {}}] * 15
    before, after = aliases.places(rows)
    assert before["call"] > 1 > before["<s>"] and before["turn"] < -1 and after["now"] > 0 > after["the"]


def test_the_command_makes_a_table_that_finds_names(tmp_path, untrained_checkpoint, monkeypatch, capsys):
    rows = []
    for i, (name, _) in enumerate(PAIRS[:10]):
        noise = np.random.default_rng(i).normal(0, 3000, 3200).clip(-32768, 32767).astype(np.int16)
        soundfile.write(tmp_path / f"{i}.wav", noise, 16000, subtype="PCM_16")
        rows.append({"path": f"{i}.wav", "text": f"call {name}", "slots": {"person": name}})
    write_manifest(tmp_path / "m.jsonl", rows)
    heard = [[f"call {other}"] * 3 for _, other in PAIRS[:10]]
    recognize = aliases.sentences_of
    monkeypatch.setattr(
        aliases, "sentences_of", lambda *given: heard if len(recognize(*given)) == len(heard) else []
    )
    out, manifest = tmp_path / "o.aliases.json", str(tmp_path / "m.jsonl")
    command = ["a", str(untrained_checkpoint), str(out), "--names", manifest, "--texts", manifest]
    monkeypatch.setattr("sys.argv", command)
    aliases.main()
    assert "30 pairs" in capsys.readouterr().out
    table = json.loads(out.read_text())
    assert table["words"]["call"] > 0 and table["before"]["call"] > 0
    (found,) = Aliases(["stephan", "peter"], SoundTable(out)).near(["stefan"])
    assert max(found, key=lambda one: one[1])[0] == "stephan"
