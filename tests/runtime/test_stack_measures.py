"""How the stack is measured: what counts as standing and as right, times, shares, and the command."""

from __future__ import annotations

import json
from dataclasses import replace
from math import sqrt

import pytest
from ossicle.runtime import cli
from ossicle.runtime.lattice_measures import Counts
from ossicle.runtime.programs import sample_files
from ossicle.runtime.stack_events import StackEvent
from ossicle.runtime.stack_measures import Outcome, Times, _standing, share, share_of, summary

MANIFEST = sample_files()[0].parent / "manifest.jsonl"


def event(kind, audio_s):
    return StackEvent(kind, "a", audio_s, None, None)


def test_only_what_nothing_took_back_stands():
    first = [event("partial", 0.1), event("speculative_end", 1), event("intent", 1)]
    again = [event("speculative_end", 2), event("intent", 2), event("final", 3)]
    assert {e.audio_s for e in _standing(first).values()} == {1}
    assert _standing([*first, event("reset", 1.5)]) == {}
    found = _standing([*first, event("reset", 1.5), *again])
    assert {kind: e.audio_s for kind, e in found.items()} == {"speculative_end": 2, "intent": 2}
    revised = _standing([*first, event("revision", 1.5), event("intent", 1.5), event("final", 1.5)])
    assert revised["intent"].audio_s == 1.5


def test_the_interval_is_wilsons():
    found = share_of(90, 100)
    middle, reach, below = 0.9 + 1.96**2 / 200, 1.96 * sqrt(0.09 / 100 + 1.96**2 / 40000), 1 + 1.96**2 / 100
    assert found["value"] == 90 and found["of"] == 100
    assert found["low"] == pytest.approx(100 * (middle - reach) / below, abs=0.01)
    assert found["high"] == pytest.approx(100 * (middle + reach) / below, abs=0.01)
    assert share([True, False, None]) == share_of(1, 3)
    assert share_of(5, 5)["high"] == 100 and share_of(0, 5)["low"] == 0
    assert share_of(0, 0) == {"value": None, "low": None, "high": None, "of": 0}


ONE = Outcome(
    cut_off=False, speculatives=1, stands=True, intent=True, meaning=False, whispered=False,
    heard_whispered=False,
    times={"speculative_end": Times(0.2, 0.002), "intent": Times(0.21, 0.003), "final": Times(0.4, 0.01)},
    counts=Counts(4, 1, 0, None, 8, 100, 60000),
)  # fmt: skip


def test_a_summary_counts_what_rows_say_and_times_of_those_not_cut_off():
    cut = replace(ONE, cut_off=True, speculatives=2, stands=False, times={"final": Times(-1, 0.5)})
    missed = replace(ONE, whispered=True, intent=None, meaning=None)
    found = summary([ONE, cut, missed])
    assert found["utterances"] == 3 and found["cut_off"]["value"] == pytest.approx(33.33)
    assert (found["speculatives"], found["stand"]["value"]) == (4, 50)
    assert (found["intent_right"]["of"], found["meaning_right"]["value"]) == (2, 0)
    assert found["whisper_missed"]["value"] == 100 and found["whisper_false"]["value"] == 0
    assert found["latency_ms"]["intent"] == {"p50": 210, "p90": 210}
    assert found["work_ms"]["final"] == {"p50": 10, "p90": 10}
    assert found["intent_before_final_ms"]["p50"] == 190
    assert found["lattice"]["wer"]["value"] == 25 and found["lattice"]["message_bytes"]["mean"] == 100


def bench(capsys, *arguments):
    status = cli.run(["bench", "stack", *map(str, arguments)])
    told = capsys.readouterr()
    return status, told.out, told.err


def test_the_command_measures_the_same_by_any_number_of_processes(capsys):
    status, out, _ = bench(capsys, MANIFEST, "--limit", 2, "--json")
    assert status == 0
    found = json.loads(out)
    (one,) = found["sets"]
    assert (one["set"], one["music"], one["utterances"]) == ("manifest", 0, 2)
    assert one["intent_right"]["value"] == one["meaning_right"]["value"] == one["stand"]["value"] == 100
    assert one["whisper_right"]["value"] == 100 and one["lattice"]["wer"]["value"] == 0
    latency = one["latency_ms"]
    assert 100 < latency["speculative_end"]["p50"] <= latency["intent"]["p50"] < latency["final"]["p50"]
    assert 0 < one["work_ms"]["intent"]["p50"] < one["work_ms"]["final"]["p50"] < 100
    assert 0 < one["lattice"]["percent_of_audio"]["all"] < 1
    status, out, _ = bench(capsys, MANIFEST, "--limit", 2, "--workers", 2, "--json")
    assert status == 0 and json.loads(out) == found


def test_music_makes_the_work_longer_and_people_read_tables(capsys):
    status, out, _ = bench(capsys, MANIFEST, "--limit", 1, "--music", "0,50", "--json")
    quiet, loud = json.loads(out)["sets"]
    assert (status, quiet["music"], loud["music"]) == (0, 0, 50)
    assert loud["work_ms"]["intent"]["p50"] > 1.2 * quiet["work_ms"]["intent"]["p50"]
    same = ("cut_off", "stand", "intent_right", "whisper_right", "lattice")
    assert [loud[key] for key in same] == [quiet[key] for key in same]
    status, out, _ = bench(capsys, MANIFEST, "--limit", 1)
    assert status == 0 and "speculative that stand" in out and "100.0 [20.6, 100.0]" in out
    assert "ms after the end of speech, on one processor at 100 MHz" in out


WRONG = {
    "nothing": ([], "bench stack needs a manifest"),
    "no rows": (["EMPTY"], "holds no recordings"),
    "twice": ([MANIFEST, MANIFEST], "two manifests have the same name"),
    "limit": ([MANIFEST, "--limit", 0], "--limit 0 is not possible"),
    "workers": ([MANIFEST, "--workers", 0], "--workers 0 is not possible"),
    "music": ([MANIFEST, "--music", "loud"], "--music loud is not possible"),
    "engine": ([MANIFEST, "--engine", "functional"], "there is no engine 'functional'; use fast, rtl"),
    "plot": ([MANIFEST, "--plot", "x.png"], "bench stack takes no --plot"),
}


@pytest.mark.parametrize("name", WRONG)
def test_bad_input_is_one_line(name, capsys, tmp_path):
    empty = tmp_path / "empty.jsonl"
    empty.touch()
    arguments, message = WRONG[name]
    status, out, err = bench(capsys, *(empty if one == "EMPTY" else one for one in arguments), "--json")
    assert (status, out) == (2, "") and message in err and err.count("\n") == 1
