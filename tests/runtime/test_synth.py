"""ossicle synth as a user sees it, on recorded reports: what it prints, and how it fails."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path

import pytest
from ossicle.runtime import cli
from ossicle.runtime.commands import synth as command
from ossicle.sim import synthesis, yowasp

RECORDED = Path(__file__).parents[1] / "sim" / "synthesis"
FILES = {"yosys": ("stat.json", "block.txt", "lut.txt"), "nextpnr-ecp5": ("report.json",)}


@pytest.fixture
def told():
    """What each tool was last told."""
    return {}


@pytest.fixture
def tools(told, monkeypatch, tmp_path):
    """Tools that leave the recorded files; the list of those that ran."""
    ran = []

    def run(tool, arguments, *, folder, seconds=None, line=lambda text: None):
        ran.append((tool, seconds))
        told[tool] = arguments
        for name in FILES[tool]:
            shutil.copy(RECORDED / name, folder)

    monkeypatch.setenv("OSSICLE_CACHE", str(tmp_path))
    monkeypatch.setattr(yowasp, "version", lambda tool: "1")
    monkeypatch.setattr(yowasp, "run", run)
    tiny = (RECORDED / "tiny.v").read_text(encoding="utf-8")
    monkeypatch.setattr(synthesis, "verilog_of", lambda config, serial_pins: tiny)
    return ran


def ossicle(capsys, *arguments: str) -> tuple[int, str, str]:
    status = cli.run(["synth", *arguments])
    return status, *capsys.readouterr()


def test_tables_for_people(tools, capsys):
    status, out, err = ossicle(capsys, "--device", "25k")
    assert status == 0, err
    rows = {line.split()[0]: line.split()[1:] for line in out.splitlines() if line.strip()}
    assert rows["lane"] == ["2", "16", "0", "16", "32", "2", "2", "12.34"]
    assert rows["all"] == ["1", "91", "16", "32", "49", "2", "2", "-"]
    assert rows["LFE5U-25F"][1] == "24,288"
    assert "npu_lane.words" in rows
    assert "81.0 MHz placed and routed, speed grade 6; the clock of small is 50 MHz" in out
    assert "inside.lane0.instance_.words.0.0 -> inside.lane0.instance_.product" in out


def test_json(tools, capsys):
    status, out, _ = ossicle(capsys, "--device", "25k", "--json", "--timeout", "3")
    found = json.loads(out)
    assert status == 0
    assert found["fmax_mhz"] == pytest.approx(81.018)
    assert (found["findings"], found["npu"], found["device"]) == ([], "small", "LFE5U-25F")
    assert sum(s["ns"] for s in found["critical_path"]) == pytest.approx(1000 / 81.018, abs=0.01)
    inner = [p for p in found["parts"] if "." not in p["part"]]
    assert sum(p["FF"] for p in inner) == found["total"]["FF"]
    assert tools == [("yosys", 180), ("nextpnr-ecp5", 180)]


def test_flat_makes_a_netlist_of_its_own(tools, capsys):
    assert ossicle(capsys, "--device", "25k")[0] == 0
    assert ossicle(capsys, "--device", "25k", "--flat")[0] == 0
    assert [tool for tool, _ in tools] == ["yosys", "nextpnr-ecp5"] * 2


def test_a_speed_grade_is_told_to_nextpnr_and_kept_apart(tools, told, capsys):
    for grade in ("6", "8"):
        status, out, _ = ossicle(capsys, "--device", "25k", "--grade", grade, "--json")
        arguments = told["nextpnr-ecp5"]
        assert (status, arguments[arguments.index("--speed") + 1]) == (0, grade)
        assert json.loads(out)["grade"] == int(grade)
    assert [tool for tool, _ in tools] == ["yosys", "nextpnr-ecp5", "nextpnr-ecp5"]


def test_no_place_needs_one_tool(tools, capsys):
    status, out, _ = ossicle(capsys, "--no-place", "--json")
    assert (status, json.loads(out)["fmax_mhz"], [tool for tool, _ in tools]) == (0, None, ["yosys"])


def test_too_large_for_the_device_is_a_finding(tools, capsys, monkeypatch):
    made = synthesis.synthesize
    larger = Counter({"DP16KD": 300})

    def synthesize(config, **options):
        found = made(config, **options)
        for part in found.parts:
            part.cells.update(larger)
        return found

    monkeypatch.setattr(synthesis, "synthesize", synthesize)
    status, out, _ = ossicle(capsys)
    assert status == 1
    assert "does not fit LFE5U-85F: 302 block RAM, there are 208" in out
    assert [tool for tool, _ in tools] == ["yosys"]


def test_a_clock_that_is_not_reached_is_a_finding(tools, capsys):
    status, out, _ = ossicle(capsys, "--npu", "base", "--device", "25k")
    assert status == 1
    assert "81.0 MHz is below the 100 MHz of base" in out


def test_a_large_memory_in_flip_flops_is_a_finding(tools, capsys, monkeypatch):
    larger = (RECORDED / "tiny.v").read_text("utf-8").replace("words [1023:0]", "words [9999:0]")
    monkeypatch.setattr(synthesis, "verilog_of", lambda config, serial_pins: larger)
    monkeypatch.setitem(FILES, "yosys", ("stat.json", "lut.txt"))
    run = yowasp.run

    def without_blocks(tool, arguments, *, folder, **options):
        (folder / "block.txt").touch()
        run(tool, arguments, folder=folder, **options)

    monkeypatch.setattr(yowasp, "run", without_blocks)
    status, out, _ = ossicle(capsys, "--no-place")
    assert status == 1
    assert "npu_lane.words, 80,000 bits, went into flip-flops" in out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--device", "100k"], "there is no device '100k'; use 25k, 45k, 85k"),
        (["--npu", "huge"], "huge is neither a preset (small, base, large) nor a TOML file"),
        (["--flat", "--no-place"], "--flat is a way to place and route; leave --no-place out"),
        (["--grade", "9"], "--grade 9 is not sold; use 6, 7, 8"),
        (["--timeout", "0"], "--timeout 0 is not possible; use minutes above 0"),
    ],
)
def test_bad_input_is_one_line(tools, capsys, arguments, says):
    status, out, err = ossicle(capsys, *arguments)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert says in err
    assert not tools


@pytest.mark.parametrize("missing", ["yosys", "nextpnr-ecp5"])
def test_a_missing_tool_is_one_line_before_any_work(tools, capsys, monkeypatch, missing):
    def version(tool):
        if tool == missing:
            raise yowasp.ToolMissing(f"yowasp-{tool} is not installed: pip install 'ossicle[synth]'")
        return "1"

    monkeypatch.setattr(yowasp, "version", version)
    status, out, err = ossicle(capsys)
    assert (status, out) == (2, "")
    assert err == f"ossicle: yowasp-{missing} is not installed: pip install 'ossicle[synth]'\n"
    assert not tools


def test_progress_is_a_task_when_what_is_done_changes():
    said = []

    class Bar:
        def task(self, text):
            said.append(text)

        def step(self, done, total):
            said.append((done, total))

    follow = command.Follow(Bar())
    for step in (("a", 0, 0), ("b", 0, 0), ("b", 1, 2), ("b", 2, 2)):
        follow(*step)
    assert said == ["a", "b", (1, 2), (2, 2)]
