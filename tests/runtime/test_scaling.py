"""Cycles against lanes: rows, limits, the sentence about where it stops, the command."""

import json

import numpy as np
import pytest
from ossicle.hw.config import PRESETS, ConfigError
from ossicle.runtime import cli
from ossicle.runtime.console import Failure
from ossicle.runtime.scaling import draw, scaled, scaling, where_it_stops

BASE = PRESETS["base"]


def row(memory, lanes, cycles, waits="bus"):
    return {"memory": memory, "lanes": lanes, "cycles": cycles, "waits": waits, "waits %": 60.0}


def test_memory_is_held_or_grown():
    held, grown = (scaled(BASE, 128, memory) for memory in ("held", "grown"))
    assert held.weight_words * held.lanes == BASE.weight_words * BASE.lanes
    assert grown.weight_words == BASE.weight_words
    assert held.decoder_streams == grown.decoder_streams == 64
    with pytest.raises(ConfigError):
        scaled(BASE, 3, "held")


def test_where_it_stops_names_the_first_doubling_that_is_of_little_use():
    rows = [row("held", 8, 1000), row("held", 16, 600), row("held", 32, 550), row("held", 64, 200)]
    (said,) = where_it_stops(rows)
    assert "stops at 16 lanes; 32 are 1.09 times as fast" in said and "bus in 60 %" in said
    (said,) = where_it_stops([row("grown", 8, 1000), row("grown", 16, 500)])
    assert said == "weight memory grown: it scales to 16 lanes"


def test_rows_respect_both_limits(untrained_checkpoint, tmp_path):
    samples = np.random.default_rng(0).normal(0, 3000, 6400).astype(np.int16)
    rows = scaling(untrained_checkpoint, BASE, samples, lanes=(16, 64))
    assert [(r["memory"], r["lanes"]) for r in rows] == [(m, n) for m in ("held", "grown") for n in (16, 64)]
    for r in rows:
        assert r["cycles"] >= r["MAC cycles"] and 0 < r["lane_use"] <= 100
    assert rows[0]["speedup"] == 1 and rows[3]["cycles"] < rows[2]["cycles"]
    draw(rows, tmp_path / "scaling.png")
    assert (tmp_path / "scaling.png").read_bytes()[:4] == b"\x89PNG"


def test_no_processor_that_holds_the_model_is_said(untrained_checkpoint):
    tight = BASE.replace(vector_words=64)
    with pytest.raises(Failure, match="no processor like base with 16 to 16 lanes"):
        scaling(untrained_checkpoint, tight, np.zeros(6400, np.int16), lanes=(16,))


def test_the_command_prints_both_tables(untrained_checkpoint, noise_wav, tmp_path, capsys):
    plot = tmp_path / "scaling.png"
    options = ["--model", str(untrained_checkpoint), "--plot", str(plot), "--json"]
    assert cli.run(["bench", "scaling", str(noise_wav), *options]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {r["lanes"] for r in found["lanes"]} == {8, 16, 32, 64, 128, 256} and len(found["stops"]) == 2
    cycles = [r["cycles"] for r in found["lengths"]]
    assert [r["recordings"] for r in found["lengths"]] == [1, 2, 4, 8] and cycles == sorted(cycles)
    assert plot.exists()


@pytest.mark.parametrize(
    "options, said",
    [
        (["--lanes", "64"], "use --npu"),
        (["--model", "p.npu"], "takes its checkpoint"),
        (["--limit", "3"], "--limit"),
    ],
)
def test_what_it_does_not_take_is_refused(options, said, noise_wav, capsys):
    assert cli.run(["bench", "scaling", str(noise_wav), *options]) == 2
    error = capsys.readouterr().err
    assert said in error and len(error.strip().splitlines()) == 1
