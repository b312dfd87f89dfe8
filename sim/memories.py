"""Memories of a processor's Verilog as Verilator simulates them quickly: written in place, after their reads.

A write with an enable for each byte costs Verilator a variable, a test and a test later for each byte of each
memory in every cycle, written or not, because its assignments take effect after all reads of the cycle. In
one block, with the reads before them, they need not wait: what is read is the old word either way.
"""

from __future__ import annotations

import re

MEMORY = re.compile(
    r"  always @\(posedge clk\) begin\n(?P<writes>(?:    if \([^\n]+\)\n      [^\n]+ <= [^\n]+;\n)+)  end\n"
    r"(?P<registers>(?:  reg [^\n;\[]*\[[^\n;]*\] _\d+_;\n)+)"
    r"  always @\(posedge clk\) begin\n(?P<reads>(?:    [^\n]+\n)+?)  end\n"
)
TARGET = re.compile(r" +(?:_\d+_ <= )?(?P<memory>[^\s\[]+)\[")
PLAIN = re.compile(r" +(?:if \([^\n]+\)(?: begin)?|end)$")
ENABLE = re.compile(r"^    if \((.+) \[\d+\]\)$", re.MULTILINE)


def written_in_place(verilog: str) -> str:
    """The same Verilog, each memory with clocked read ports in one block: reads, then blocking writes.

    Memories that are read in other ways stay as they are.
    """
    return MEMORY.sub(_one_block, verilog)


def _one_block(found: re.Match) -> str:
    lines = [line for line in (found["writes"] + found["reads"]).splitlines() if not PLAIN.match(line)]
    targets = [TARGET.match(line) for line in lines]
    if not all(targets) or len({target["memory"] for target in targets}) != 1:
        return found[0]
    writes = found["writes"].replace(" <= ", " = ")
    enables = {match[1] for match in ENABLE.finditer(writes)}
    if len(enables) == 1:
        writes = f"    if ({enables.pop()} != 0) begin\n{writes}    end\n"
    return f"{found['registers']}  always @(posedge clk) begin\n{found['reads']}{writes}  end\n"
