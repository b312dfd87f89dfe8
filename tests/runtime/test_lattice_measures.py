"""Measures of lattices, of counts that are written down here, and the command as a user runs it."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from fake_model import PIECES, FakeModel
from ossicle.runtime import cli
from ossicle.runtime.lattice import build_lattice
from ossicle.runtime.lattice_measures import POSTERIORS, Counts, count, curve, draw, summary, word_errors
from ossicle.runtime.lattice_wire import encode
from ossicle.runtime.programs import sample_files
from rescoring_parts import LATTICE, small_rescorer

ROW = Counts(words=10, errors=2, oracle=1, rescored=1, edges=30, message_bytes=100, audio_bytes=20000)


def test_word_errors_are_edits():
    assert word_errors("a b c d", "a x c") == 2
    assert word_errors("", "a") == 1 and word_errors("a b", "") == 2 and word_errors("", "") == 0


def test_counts_of_one_lattice(tmp_path):
    made = count(LATTICE, "rude bed", 5000)
    assert made == Counts(2, 1, 0, None, 5, len(encode(LATTICE)), 5000)
    small = count(LATTICE, "rude bed", 5000, posterior=1.0)
    assert (small.errors, small.oracle, small.edges) == (1, 1, 2)
    assert small.message_bytes < made.message_bytes
    rescorer = small_rescorer(tmp_path, weight=0.0, bonus=9.0)
    assert count(LATTICE, "red bed", 5000, rescorer).rescored == 0  # two words, the likeliest of those
    tight = count(LATTICE, "rude bed", 5000, most_bytes=made.message_bytes - 10)
    assert tight.message_bytes < made.message_bytes and tight.edges < made.edges
    with pytest.raises(ValueError, match="posterior of 2"):
        count(LATTICE, "a", 1, posterior=2)


def test_an_accent_is_one_letter_however_it_is_encoded():
    lattice = replace(LATTICE, edges=(replace(LATTICE.edges[2], word="caf\u00e9"), *LATTICE.edges))
    assert count(lattice, "cafe\u0301", 1).oracle == 0


def test_summary_of_equal_rows_has_no_spread():
    made = summary([ROW] * 5)
    assert made["wer"] == {"value": 20, "low": 20, "high": 20}
    assert made["oracle_wer"]["value"] == 10 and made["oracle_percent_of_wer"]["value"] == 50
    assert made["rescored_wer"]["value"] == 10 and made["reduction_percent"]["value"] == 50
    assert (made["utterances"], made["words"], made["edges_per_word"]) == (5, 50, 3)
    assert made["message_bytes"] == {"mean": 100, "p50": 100, "p90": 100, "p99": 100, "max": 100}
    assert made["percent_of_audio"]["all"] == 0.5 and made["within_goal_percent"] == 100


def test_intervals_hold_the_value_and_pairs_are_kept():
    rows = [
        replace(ROW, words=w, errors=2 * e, oracle=e, rescored=e)
        for w, e in zip(range(4, 24), range(20), strict=True)
    ]
    made = summary(rows)
    assert made["wer"]["low"] < made["wer"]["value"] < made["wer"]["high"]
    assert made["oracle_percent_of_wer"] == {"value": 50, "low": 50, "high": 50}  # whatever is drawn
    assert summary(rows) == made and summary(rows, seed=1) != made


def test_what_cannot_be_measured():
    assert summary([]) == {} and summary([replace(ROW, words=0)]) == {}
    made = summary([replace(ROW, errors=0, oracle=0, rescored=None, audio_bytes=0)])
    assert made["oracle_percent_of_wer"] == {"value": None, "low": None, "high": None}
    assert made["percent_of_audio"] is None and "rescored_wer" not in made
    large = summary([ROW, replace(ROW, message_bytes=300)])
    assert large["within_goal_percent"] == 50 and large["percent_of_audio"]["max"] == 1.5


def test_a_curve_of_pruning(tmp_path):
    lattices = [build_lattice(FakeModel(seed, 6, 500).search(6, beam=5).graph(), PIECES) for seed in range(4)]
    told = []
    rows = curve(lattices, ["a b", "ac", "bd a", ""], lambda *now: told.append(now))
    assert [row["posterior"] for row in rows] == list(POSTERIORS) and told[-1] == (len(POSTERIORS),) * 2
    for key, order in (("edges_per_word", 1), ("message_bytes", 1), ("oracle_wer", -1)):
        values = [row[key] for row in rows]
        assert values == sorted(values, reverse=order == 1) and values[0] != values[-1]
    assert len({row["wer"] for row in rows}) == 1
    pytest.importorskip("matplotlib", reason="needs matplotlib")
    draw({"fake": rows}, tmp_path / "curve.png")
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")


@pytest.fixture
def manifest(tmp_path):
    """Two shipped recordings, each a source of its own."""
    pytest.importorskip("torch", reason="needs torch (the extra 'train')")
    texts = {row["path"]: row["text"] for row in map(json.loads, _manifest().read_text().splitlines())}
    files = sorted(sample_files(), key=lambda path: path.stat().st_size)[:2]
    rows = [{"path": str(f), "text": texts[f.name], "source": f.stem} for f in files]
    (tmp_path / "two.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path / "two.jsonl"


def _manifest():
    return sample_files()[0].parent / "manifest.jsonl"


def test_bench_lattice(manifest, capsys):
    assert cli.run(["bench", "lattice", str(manifest), "--beam", "4", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["beam"] == 4 and found["posterior"] == 0 and found["rescoring"]["nbest"] == 50
    assert list(found["sets"]) == ["two", *(f"two, {row}" for row in _sources(manifest))]
    whole = found["sets"]["two"]
    assert whole["utterances"] == 2 and whole["words"] > 4
    assert whole["oracle_wer"]["value"] <= whole["wer"]["value"] < 50
    assert whole["edges_per_word"] >= 1 and whole["within_goal_percent"] == 100
    assert 0 < whole["percent_of_audio"]["max"] < 1
    arguments = ["bench", "lattice", str(manifest), "--beam", "4", "--upload", "0.2", "--json"]
    assert cli.run(arguments) == 0
    small = json.loads(capsys.readouterr().out)
    assert small["upload"] == 0.2 and small["sets"]["two"]["percent_of_audio"]["max"] <= 0.2
    arguments = ["bench", "lattice", str(manifest), "--beam", "4", "--limit", "1", "--posterior", "1"]
    assert cli.run(arguments) == 0
    told = capsys.readouterr().out
    assert "posterior 1" in told and "rescored after the network" in told and "two, " not in told


def _sources(manifest):
    return [json.loads(line)["source"] for line in manifest.read_text().splitlines()]


BAD = {
    "no manifest": ([], "bench lattice needs a manifest"),
    "no file": (["none.jsonl"], "none.jsonl: No such file"),
    "no text": (["{silent}"], "a row has no text"),
    "no words": (["{empty}"], "nobody says a word"),
    "limit": (["{two}", "--limit", "0"], "--limit 0 is not possible"),
    "workers": (["{two}", "--workers", "0"], "--workers 0 is not possible"),
    "posterior": (["{two}", "--posterior", "2"], "--posterior 2.0 is not possible"),
    "upload": (["{two}", "--upload", "0"], "0 % of the audio's bytes is not possible"),
    "lattice beam": (["{two}", "--lattice-beam", "0"], "--lattice-beam 0.0 is not possible"),
    "beam": (["{two}", "--beam", "99"], "a beam of 99 is not possible"),
    "place": (["{two}", "--plot", "nowhere/a.png"], "does not exist"),
    "twice": (["{two}", "{two}"], "the same name"),
    "model": (["{two}", "--model", "{two}"], "two.jsonl"),
    "another's option": (["{two}", "--clock", "5"], "bench lattice takes no --clock"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_refused_with_one_line(case, manifest, tmp_path, capsys, monkeypatch):
    row = json.loads(manifest.read_text().splitlines()[0])
    (tmp_path / "silent.jsonl").write_text(json.dumps({"path": row["path"]}))
    (tmp_path / "empty.jsonl").write_text(json.dumps({"path": row["path"], "text": " "}))
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.iterdir())
    options, message = BAD[case]
    given = [str(tmp_path / f"{one[1:-1]}.jsonl") if one.startswith("{") else one for one in options]
    assert cli.run(["bench", "lattice", *given]) == 2
    said = capsys.readouterr()
    assert message in said.err.splitlines()[-1] and said.out == ""
    assert sorted(tmp_path.iterdir()) == before


def test_bench_lattice_is_no_option_of_others(capsys):
    assert cli.run(["bench", "gemv", "--posterior", "0.1"]) == 2
    assert "bench gemv takes no --posterior; bench lattice does" in capsys.readouterr().err
