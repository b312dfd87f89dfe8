"""Clock and paths from what nextpnr left of tests/sim/synthesis/tiny.v, places and sources taken out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ossicle.sim.timing_report import part_of, read

REPORT = Path(__file__).with_name("synthesis") / "report.json"


@pytest.fixture
def timing():
    return read(REPORT.read_text(encoding="utf-8"), "inside", {"lane", "sum"})


def test_the_critical_path_is_the_clock(timing):
    assert timing.fmax_mhz == pytest.approx(81.018)
    assert sum(segment.ns for segment in timing.critical) == pytest.approx(1000 / timing.fmax_mhz, abs=0.01)
    assert sum(timing.shares().values()) == pytest.approx(1000 / timing.fmax_mhz, abs=0.01)
    assert set(timing.shares()) == {"clk-to-q", "routing", "logic", "setup"}
    assert timing.critical[0].begin == "inside.lane0.instance_.words.0.0"


def test_the_longest_path_into_each_part(timing):
    assert set(timing.worst_ns) == {"", "lane", "sum"}
    assert timing.worst_ns["lane"] == pytest.approx(1000 / timing.fmax_mhz, abs=0.01)
    assert max(timing.worst_ns.values()) == timing.worst_ns["lane"]


def test_sites_of_the_device(timing):
    assert timing.used["DP16KD"][0] == 2
    assert timing.used["MULT18X18D"][0] == 2


def test_a_slower_endpoint_shows():
    report = json.loads(REPORT.read_text(encoding="utf-8"))
    net = next(n for n in report["detailed_net_timings"] if n["event"].startswith("posedge"))
    net["endpoints"].append(net["endpoints"][0] | {"cell": "inside.sum.total_1", "delay": [1, 99]})
    assert read(json.dumps(report), "inside", {"lane", "sum"}).worst_ns["sum"] == 99


@pytest.mark.parametrize(
    ("cell", "part"),
    [
        ("inside.mac.lane0.instance_.rest_LUT4_A", "mac"),
        ("inside.counters$371.values", "counters"),
        ("inside.vectors.0.0", ""),
        ("inside.built[0]_TRELLIS_FF_Q", ""),
        ("mixed_TRELLIS_FF_Q", None),
        ("insider.mac.x", None),
    ],
)
def test_part_of_a_cell(cell, part):
    assert part_of(cell, "inside", {"mac", "counters"}) == part
