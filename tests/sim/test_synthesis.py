"""The stages: each once, whole or not at all. One run of the real tools, of a component of the processor."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from ossicle.hw.arithmetic import Requantize
from ossicle.hw.pins import SerialPins
from ossicle.hw.verilog import generate_component
from ossicle.sim import synthesis, yowasp
from ossicle.sim.build import ToolMissing
from ossicle.sim.synthesis import DEVICES, place, synthesize_verilog

RECORDED = Path(__file__).with_name("synthesis")
VERILOG = (RECORDED / "tiny.v").read_text(encoding="utf-8")
LOG = {
    "yosys": ["1. Executing HIERARCHY pass", "2.1. Executing ABC9 pass", "Extracted 3 AND gates",
              "2.2. Executing HIERARCHY pass"],
    "nextpnr-ecp5": ["Info: Packing constants..", "Info: Routing 200 arcs.",
                     "Info:        886 |      117        750 |  117   750 |        50|       3.6       3.6|"],
}  # fmt: skip
FILES = {"yosys": ("stat.json", "block.txt", "lut.txt"), "nextpnr-ecp5": ("report.json",)}


class Recorded:
    """`yowasp.run` that leaves recorded files; `broken` names tools that fail after having left them."""

    def __init__(self) -> None:
        self.runs: list[str] = []
        self.broken: set[str] = set()

    def __call__(self, tool, arguments, *, folder, seconds=None, line=lambda text: None):
        self.runs.append(tool)
        for name in FILES[tool]:
            shutil.copy(RECORDED / name, folder)
        for text in LOG[tool]:
            line(text)
        if tool in self.broken:
            raise yowasp.ToolError(f"{tool} was stopped: it had not ended after {seconds:g} s")


@pytest.fixture
def tools(monkeypatch, tmp_path):
    monkeypatch.setenv("OSSICLE_CACHE", str(tmp_path))
    monkeypatch.setattr(yowasp, "version", lambda tool: "1")
    recorded = Recorded()
    monkeypatch.setattr(yowasp, "run", recorded)
    return recorded


def whole(**options):
    made = synthesize_verilog(VERILOG, "pins", "pins.inside", seconds=60, **options)
    return made, place(made, "25k", clock_mhz=50, root="pins.inside", seconds=60, **options)


def test_each_stage_runs_once(tools, tmp_path):
    made, timing = whole()
    assert (made.whole["block RAM"], made.pins["FF"]) == (2, 28)
    assert timing.fmax_mhz == pytest.approx(81.018)
    assert whole()[1] == timing
    assert tools.runs == ["yosys", "nextpnr-ecp5"]
    assert not list(tmp_path.glob("*.partial"))


def test_a_stage_that_is_cut_short_leaves_nothing_and_the_one_before_stays(tools, tmp_path):
    tools.broken = {"nextpnr-ecp5"}
    with pytest.raises(yowasp.ToolError, match="nextpnr-ecp5 was stopped"):
        whole()
    assert [p.name.partition("-")[0] for p in tmp_path.iterdir() if p.is_dir()] == ["netlist"]
    tools.broken = set()
    whole()
    assert tools.runs == ["yosys", "nextpnr-ecp5", "nextpnr-ecp5"]


def test_what_a_killed_run_left_is_no_result(tools, tmp_path):
    made, _ = whole()
    made.folder.rename(made.folder.with_name(f"{made.folder.name}.partial"))
    whole()
    assert tools.runs.count("yosys") == 2
    assert not list(tmp_path.glob("*.partial"))


def test_other_devices_seeds_and_versions_are_other_results(tools, monkeypatch):
    made, _ = whole()
    place(made, "45k", clock_mhz=50, root="pins.inside")
    place(made, "25k", clock_mhz=50, root="pins.inside", seed=2)
    assert tools.runs.count("nextpnr-ecp5") == 3
    monkeypatch.setattr(yowasp, "version", lambda tool: "2")
    whole()
    assert tools.runs.count("yosys") == 2


def test_progress_of_both_tools(tools):
    seen = []
    whole(progress=lambda *step: seen.append(step))
    assert seen == [
        ("yosys: reads the Verilog", 0, 0), ("yosys: logic to LUTs", 0, 0), ("yosys: logic to LUTs", 1, 6),
        ("nextpnr: packs", 0, 0), ("nextpnr: routes", 150, 200),
    ]  # fmt: skip


def test_what_is_short(tools):
    made, _ = whole()
    assert made.short(DEVICES["25k"]) == {}
    few = synthesis.Device("few", "none", {"LUT": 90, "FF": 76, "DSP": 2, "block RAM": 2})
    assert made.short(few) == {"LUT": (91, 90), "FF": (77, 76)}


@pytest.mark.slow
def test_requantize_on_the_real_tools(monkeypatch, tmp_path):
    try:
        synthesis.check_tools()
    except ToolMissing as error:
        pytest.skip(str(error))
    monkeypatch.setenv("OSSICLE_CACHE", str(tmp_path))
    verilog = generate_component(SerialPins(Requantize()), "pins")
    made = synthesize_verilog(verilog, "pins", "pins.inside")
    assert made.whole["DSP"] == 2
    assert made.whole["FF"] > 100
    assert made.pins["FF"] == 32 + 32 + 16 + 6 + 16
    assert place(made, "25k", clock_mhz=50, root="pins.inside").fmax_mhz > 50
    timing = place(made, "25k", clock_mhz=50, root="pins.inside", flat=True)
    assert timing.fmax_mhz > 50
    assert sum(timing.shares().values()) == pytest.approx(1000 / timing.fmax_mhz, rel=0.01)
    assert timing.used["MULT18X18D"] == (2, 28)
