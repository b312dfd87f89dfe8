"""Memories written in place: which are, and how."""

from __future__ import annotations

from ossicle.hw.config import NpuConfig
from ossicle.sim.build import verilog_of
from ossicle.sim.memories import written_in_place

BYTES = """\
  reg [15:0] bank [7:0];
  always @(posedge clk) begin
    if (\\enable$1 [0])
      bank[address[2:0]][7:0] <= data[7:0];
    if (\\enable$1 [1])
      bank[address[2:0]][15:8] <= data[15:8];
  end
  reg [15:0] _0_;
  always @(posedge clk) begin
    if (go) begin
      _0_ <= bank[at[2:0]];
    end
  end
  assign word = _0_;
"""

IN_PLACE = """\
  reg [15:0] bank [7:0];
  reg [15:0] _0_;
  always @(posedge clk) begin
    if (go) begin
      _0_ <= bank[at[2:0]];
    end
    if (\\enable$1 != 0) begin
    if (\\enable$1 [0])
      bank[address[2:0]][7:0] = data[7:0];
    if (\\enable$1 [1])
      bank[address[2:0]][15:8] = data[15:8];
    end
  end
  assign word = _0_;
"""


def test_reads_come_first_and_one_test_guards_the_bytes():
    assert written_in_place(BYTES) == IN_PLACE


def test_a_memory_whose_read_is_not_clocked_stays():
    text = BYTES.replace("_0_ <= bank[at[2:0]];", "_0_ <= at;").replace("= _0_;", "= bank[_0_];")
    assert written_in_place(text) == text


def test_ports_of_two_memories_stay_apart():
    text = BYTES.replace("_0_ <= bank", "_0_ <= other")
    assert written_in_place(text) == text


def test_every_synchronous_memory_of_a_lane_is_written_in_place():
    text = written_in_place(verilog_of(NpuConfig.load("small")))
    for name in ("accumulators", "activation_data", "activation_tags", "weight_data", "weight_tags"):
        assert f" {name}[" in text
        assert not any(line.startswith(f"      {name}[") and " <= " in line for line in text.splitlines())
