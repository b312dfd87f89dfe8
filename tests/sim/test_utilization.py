"""Counts by part and by memory, from what Yosys left of tests/sim/synthesis/tiny.v."""

from __future__ import annotations

from pathlib import Path

import pytest
from ossicle.sim.utilization import BLOCK_BITS, MemoryUse, Netlist, declared, memories

RECORDED = Path(__file__).with_name("synthesis")
VERILOG = (RECORDED / "tiny.v").read_text(encoding="utf-8")


@pytest.fixture
def netlist():
    return Netlist((RECORDED / "stat.json").read_text(encoding="utf-8"), "pins")


def lines(name: str) -> list[str]:
    return (RECORDED / name).read_text(encoding="utf-8").splitlines()


def test_parts_alike_are_one_row_with_all_that_is_in_them(netlist):
    parts = {part.path: part for part in netlist.parts("pins.inside", depth=2)}
    assert {path: part.count for path, part in parts.items()} == {"": 1, "lane": 2, "sum": 1}
    assert parts["lane"].row() == {
        "LUT": 16, "carry": 0, "LUT RAM": 16, "FF": 32, "DSP": 2, "block RAM": 2,
    }  # fmt: skip
    assert parts["sum"].row()["carry"] == 16


def test_the_processor_is_its_parts_and_what_lies_between(netlist):
    whole, *inner = (part.cells for part in netlist.parts("pins.inside", depth=1))
    between = whole - inner[0] - inner[1]
    assert between["TRELLIS_FF"] == 1
    assert netlist.cells("pins") - whole == {"TRELLIS_FF": 28}


def test_each_memory_and_where_it_went(netlist):
    found = memories(VERILOG, netlist, "pins.inside", lines("block.txt"), lines("lut.txt"))
    assert {(m.path, m.count, m.words, m.width, m.kind, m.cells) for m in found} == {
        ("npu_lane.words", 2, 1024, 8, "block RAM", 2),
        ("npu_lane.few", 2, 4, 8, "LUT RAM", 4),
        ("sum.flags", 1, 2, 16, "LUT RAM", 4),
    }
    assert sum(m.bits for m in found) == 2 * (8192 + 32) + 32
    assert not any(m.misplaced for m in found)


def test_a_memory_of_no_cells_is_flip_flops(netlist):
    found = memories(VERILOG, netlist, "pins.inside", [], lines("lut.txt"))
    words = next(m for m in found if m.path == "npu_lane.words")
    assert (words.kind, words.cells) == ("flip-flops", 2 * 8192)
    assert not words.misplaced  # less than half a block


@pytest.mark.parametrize("kind", ["LUT RAM", "flip-flops", "block RAM"])
def test_large_memories_belong_in_block_ram(kind):
    large = MemoryUse("weights", 8, 16, BLOCK_BITS // 32, kind, 1)
    assert large.misplaced == (kind != "block RAM")


def test_declarations_of_every_form():
    text = (
        "module a(x);\n  reg [7:0] one [3:0];\n  reg two [1:0];\nendmodule\n"
        "module \\b.c$1 (x);\n  reg [0:0] \\three  [15:0];\n  reg [7:0] no_memory;\nendmodule\n"
    )
    assert list(declared(text)) == [("a", "one", 8, 4), ("a", "two", 1, 2), ("b.c$1", "three", 1, 16)]
