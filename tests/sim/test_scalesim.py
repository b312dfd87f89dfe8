"""SCALE-Sim as a peer: with a stand-in for its package, and as it is where OSSICLE_SCALESIM names it."""

from __future__ import annotations

import json
import os
import sys
import time

import pytest
from ossicle.runtime import cli
from ossicle.sim import scalesim
from ossicle.sim.build import ToolMissing
from ossicle.sim.yowasp import ToolError

STAND_IN = """
import configparser, os, sys, time
class scalesim:
    def __init__(self, save_disk_space, verbose, config, topology, layout, input_type_gemm):
        assert save_disk_space and input_type_gemm and open(layout).read()
        self.array = configparser.ConfigParser()
        self.array.read(config)
        self.layer = [word.strip() for word in open(topology).read().splitlines()[1].split(",")]
    def run_scale(self, top_path):
        does = os.environ.get("STAND_IN", "")
        open(os.environ["RUNS"], "a").write(f"{os.getpid()}\\n")
        print("\\r 50%|#####     | 5/10 [00:01<00:01, 5it/s]", end="", file=sys.stderr, flush=True)
        time.sleep(300 if does == "sleep" else 0.5)
        if does == "fail":
            raise TypeError("only 0-dimensional arrays")
        name, m, n, k, kept, _ = self.layer
        preset = self.array["architecture_presets"]
        count = int(n) * int(k) + int(preset["ArrayHeight"])
        os.mkdir(os.path.join(top_path, "product"))
        with open(os.path.join(top_path, "product", "COMPUTE_REPORT.csv"), "w") as report:
            names = "LayerID, Total Cycles (incl. prefetch), Total Cycles, Stall Cycles,"
            names = names.replace(" Total Cycles,", "") if does == "report" else names
            report.write(f"{names}\\n0, 9, {count}, 0,\\n")
"""


@pytest.fixture
def python(tmp_path, monkeypatch):
    """A function: an interpreter that finds a stand-in for scalesim, of these versions, before all else."""

    def made(version="3.0.0", numpy="2.3.5"):
        packages = tmp_path / "packages"
        for name, its in {"scalesim": version, "numpy": numpy}.items():
            folder = packages / f"{name}-{its}.dist-info"
            folder.mkdir(parents=True)
            (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {its}\n")
        (packages / "scalesim").mkdir()
        (packages / "scalesim" / "__init__.py").touch()
        (packages / "scalesim" / "scale_sim.py").write_text(STAND_IN)
        path = tmp_path / "python"
        path.write_text(f'#!/bin/sh\nPYTHONPATH={packages} exec {sys.executable} "$@"\n')
        path.chmod(0o755)
        return str(path)

    monkeypatch.setenv("OSSICLE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("RUNS", str(tmp_path / "runs"))
    monkeypatch.delenv("OSSICLE_SCALESIM", raising=False)
    return made


def runs(tmp_path):
    path = tmp_path / "runs"
    return path.read_text().split() if path.exists() else []


def bench(*arguments):
    return cli.run(["bench", "gemv", "--lanes", "8", "--rows", "32", "--cols", "40", *arguments])


def test_a_row_for_each_share_of_zeros_and_dataflow_and_no_second_run(python, tmp_path, capsys):
    options = ("--scalesim", python(), "--json")
    assert bench(*options) == 0
    found = json.loads(capsys.readouterr().out)
    theirs = found["scalesim"]["rows"]
    assert [row["kept"] for row in theirs[::2]] == ["1:1", "2:4", "1:4", "1:10", "1:20"]
    assert [(row["dataflow"], row["array"]) for row in theirs[:2]] == [
        ("output stationary", "1 x 8"), ("input stationary", "8 x 1"),
    ]  # fmt: skip
    assert [row["cycles"] for row in theirs[:2]] == [32 * 40 + 1, 32 * 40 + 8]
    first = found["rows"][0]
    assert (first["scalesim_cycles"], first["scalesim_dataflow"]) == (1281, "output stationary")
    assert first["ratio_to_scalesim"] == round(first["cycles"] / 1281, 4)
    assert "the same ones for all outputs" in found["scalesim"]["note"]
    assert len(runs(tmp_path)) == 10
    assert bench(*options) == 0
    assert json.loads(capsys.readouterr().out) == found
    assert len(runs(tmp_path)) == 10


def test_named_by_the_environment_and_told_in_tables(python, monkeypatch, capsys):
    monkeypatch.setenv("OSSICLE_SCALESIM", python())
    assert bench() == 0
    out = capsys.readouterr().out
    assert "ratio_to_scalesim" in out and "SCALE-Sim 3.0.0, 8 multipliers" in out
    assert scalesim.NOTE in out


def test_without_it_nothing_of_it(python, capsys):
    assert bench("--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert "scalesim" not in found and "scalesim_cycles" not in found["rows"][0]


def test_multiplications_of_weights_that_are_kept():
    def count(cols, kept):
        return scalesim.Product(10, cols, kept, "os", 1, 4).multiplications

    assert [count(1024, kept) for kept in scalesim.KEPT.values()] == [10240, 5120, 2560, 1030, 520]
    assert count(7, (2, 4)) == 40 and count(5, (2, 4)) == 30


PRODUCT = scalesim.Product(32, 40, (2, 4), "os", 1, 8)


def test_progress_is_that_of_its_bar(python):
    steps = []
    taken = scalesim.cycles(scalesim.find(python()), PRODUCT, progress=lambda *step: steps.append(step))
    assert taken == 32 * 40 + 1
    assert set(steps) == {(5, 10)}


WRONG = {
    "other version": ({"version": "2.0.2"}, "has scalesim 2.0.2, not 3.0.0; get it with python3 -m venv DIR"),
    "numpy": ({"numpy": "2.4.0"}, "fails on NumPy 2.4.0: .*/python -m pip install 'numpy<2.4'"),
}


@pytest.mark.parametrize("case", WRONG)
def test_versions_that_do_not_do(case, python):
    versions, message = WRONG[case]
    with pytest.raises(ToolMissing, match=message):
        scalesim.find(python(**versions))


@pytest.mark.parametrize("path", ["/no/such/python", "/dev/null", "/bin/echo", "/bin/false"])
def test_no_python_or_one_without_it_is_a_line_and_status_2(path, python, capsys):
    assert bench("--scalesim", path) == 2
    said = capsys.readouterr()
    assert said.out == ""
    (line,) = said.err.splitlines()
    assert line.startswith(f"ossicle: {path} ") and "pip install 'scalesim==3.0.0' 'numpy<2.4'" in line


BROKEN = {
    "fail": "scalesim failed with status 1: .*TypeError: only 0-dimensional arrays",
    "report": "scalesim's report is not that of 3.0.0: 'LayerID, Total Cycles",
    "sleep": "scalesim was stopped: it had not ended after 1 s",
}


@pytest.mark.parametrize("does", BROKEN)
def test_a_run_that_goes_wrong_leaves_nothing(does, python, tmp_path, monkeypatch):
    tool = scalesim.find(python())
    monkeypatch.setenv("STAND_IN", does)
    with pytest.raises(ToolError, match=BROKEN[does]):
        scalesim.cycles(tool, PRODUCT, seconds=1 if does == "sleep" else 60)
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".lock"]
    assert all(ended(int(pid)) for pid in runs(tmp_path))
    monkeypatch.delenv("STAND_IN")
    assert scalesim.cycles(tool, PRODUCT) == 1281


def test_an_interrupt_ends_it_and_leaves_nothing(python, tmp_path, monkeypatch):
    tool = scalesim.find(python())
    monkeypatch.setenv("STAND_IN", "sleep")

    def interrupt(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        scalesim.cycles(tool, PRODUCT, progress=interrupt)
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".lock"]
    assert all(ended(int(pid)) for pid in runs(tmp_path))


def ended(pid: int) -> bool:
    for _ in range(50):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    return False


@pytest.mark.slow
def test_scale_sim_itself_takes_the_cycles_of_its_dataflows(tmp_path, monkeypatch, capsys):
    """Fill, one product a step, drain, for each fold of the product onto the array; less one."""
    path = os.environ.get("OSSICLE_SCALESIM")
    if not path:
        pytest.skip(f"OSSICLE_SCALESIM names no Python with SCALE-Sim: {scalesim.INSTALL}")
    monkeypatch.setenv("OSSICLE_CACHE", str(tmp_path))
    assert bench("--json") == 0
    found = json.loads(capsys.readouterr().out)["scalesim"]["rows"]
    for row in found:
        kept, of = map(int, row["kept"].split(":"))
        inputs = -(-40 // of) * kept
        if row["dataflow"] == "output stationary":
            assert row["cycles"] == 32 // 8 * (inputs + 8 - 1) - 1
        else:
            assert row["cycles"] == -(-inputs // 8) * (2 * 8 + 32 - 1) - 1
