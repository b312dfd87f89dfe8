"""Instances compiled once: which inputs are assigned from outside; the lanes then share functions."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from ossicle.hw.config import NpuConfig
from ossicle.sim.build import build, verilog_of
from ossicle.sim.instances import INSTANCE, OWN, compiled_once

LANE = """\
  npu_lane \\instance  (
    .base(base),
    .clk(clk),
    .finished(finished),
    .halves({ \\port$2$0 , \\port$1$0  }),
    .take(take),
    .weight__address(weight__address),
    .weight__data(data),
    .weight__valid(weight__valid)
  );
"""

FROM_OUTSIDE = """\
  npu_lane \\instance (
    .base(base),
    .clk(clk),
    .finished(finished)
  );
  assign \\instance .halves = $c1("1") ? { \\port$2$0 , \\port$1$0  } : 1'd0;
  assign \\instance .take = $c1("1") ? take : 1'd0;
  assign \\instance .weight__address = $c1("1") ? weight__address : 1'd0;
  assign \\instance .weight__data = $c1("1") ? data : 1'd0;
  assign \\instance .weight__valid = $c1("1") ? weight__valid : 1'd0;
"""


def test_inputs_of_its_own_are_assigned_by_the_module_around_it():
    assert compiled_once(LANE) == FROM_OUTSIDE


@pytest.mark.parametrize(("old", "new"), [
    ("npu_lane", "npu_other"),
    ("    .take(take),\n", ""),
])  # fmt: skip
def test_other_instances_stay(old, new):
    text = LANE.replace(old, new)
    assert compiled_once(text) == text


def test_every_lane_of_a_processor_is_met():
    config = NpuConfig.load("small")
    text = compiled_once(verilog_of(config))
    lanes = [found["ports"] for found in INSTANCE.finditer(text) if found["module"] == "npu_lane"]
    assert len(lanes) == config.lanes
    assert not any(f".{port}(" in ports for ports in lanes for port in OWN["npu_lane"])


@pytest.mark.skipif(not shutil.which("nm"), reason="needs nm")
def test_lanes_share_what_is_run_in_each_cycle():
    config = NpuConfig.load("small")
    binary = build(verilog_of(config), bus_bits=config.bus_bits)
    symbols = subprocess.run(["nm", str(binary)], check=True, capture_output=True, text=True).stdout
    clocked = [line for line in symbols.splitlines() if "npu_lane___nba_sequent" in line]
    assert 0 < len(clocked) < config.lanes
