"""Registers written where their next value is made: which are, and how."""

from __future__ import annotations

import pytest
from ossicle.hw.config import NpuConfig
from ossicle.sim.build import verilog_of
from ossicle.sim.registers import COPY, clocked_in_place

HEAD = """\
module counter(clk, rst, go, o);
  reg [3:0] \\$1 ;
  wire [4:0] \\$2 ;
  reg [3:0] \\count$3  = 4'h0;
  assign \\$2  = \\count$3  + 1'h1;
  assign o = \\count$3 ;
"""

COUNTER = HEAD + """\
  always @(posedge clk)
    \\count$3  <= \\$1 ;
  always @* begin
    if (\\$auto$verilog_backend.cc:2355:dump_module$1 ) begin end
    \\$1  = \\count$3 ;
    if (go) begin
      \\$1 [2:0] = \\$2 [2:0];
    end
    if (rst) begin
      \\$1  = 4'h0;
    end
  end
endmodule
"""

IN_PLACE = HEAD + """\
  always @(posedge clk) begin
    if (go) begin
      \\count$3 [2:0] <= \\$2 [2:0];
    end
    if (rst) begin
      \\count$3  <= 4'h0;
    end
  end
endmodule
"""


def test_a_register_is_assigned_at_the_clock_and_keeps_its_value_by_itself():
    assert clocked_in_place(COUNTER) == IN_PLACE


def test_a_next_value_that_is_another_by_default_is_assigned():
    text = clocked_in_place(COUNTER.replace("\\$1  = \\count$3 ;", "\\$1  = start;"))
    assert text == IN_PLACE.replace("clk) begin\n", "clk) begin\n    \\count$3  <= start;\n")


@pytest.mark.parametrize(("old", "new"), [
    ("assign o = \\count$3 ;", "assign o = \\$1 ;"),  # read elsewhere
    ("      \\$1  = 4'h0;", "      \\$1  = ~ \\$1 ;"),  # read in its own block
    ("      \\$1  = 4'h0;", "      \\$1  = 4'h0;\n      other = 1'h1;"),  # made beside another
])  # fmt: skip
def test_a_next_value_with_another_use_stays(old, new):
    text = COUNTER.replace(old, new)
    assert text != COUNTER
    assert clocked_in_place(text) == text


def test_every_register_of_a_processor_is_assigned_in_place():
    text = verilog_of(NpuConfig.load("small"))
    assert COPY.search(text)
    assert not COPY.search(clocked_in_place(text))
