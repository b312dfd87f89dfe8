"""Registers of the Verilog as Verilator simulates them quickly: written where their next value is made.

Yosys writes a register as a variable for its next value, made whenever an input changes, and a block that
copies it at the clock. Without the variable nothing is kept twice, and what only a condition's branch needs
is worked out only when the condition holds.
"""

from __future__ import annotations

import re
from collections import Counter

NAME = r"(?:\\\S+ |[A-Za-z_]\w*)"
MODULE = re.compile(r"^module .*?^endmodule\n", re.MULTILINE | re.DOTALL)
COPY = re.compile(
    rf"^  always @\(posedge clk\)\n    (?P<register>{NAME}) ?<= (?P<following>{NAME}) ?;\n", re.MULTILINE
)
BLOCK = re.compile(
    r"^  always @\* begin\n(?:    if \(\\\$auto[^\n]*\n)?(?P<body>.*?)^  end\n", re.MULTILINE | re.DOTALL
)
TARGET = re.compile(rf"^(?P<indent> +)(?P<name>{NAME}) ?(?P<part>\[[^\n\]]*\])? *= ", re.MULTILINE)
WORD = re.compile(r"\\\S+ |[A-Za-z_][\w$]*")


def clocked_in_place(verilog: str) -> str:
    """The same Verilog, each register assigned in one clocked block, without a variable for its next value.

    Registers whose next value is read elsewhere, or made beside others, stay as they are.
    """
    return MODULE.sub(lambda found: _of_module(found[0]), verilog)


def _of_module(text: str) -> str:
    uses = Counter(WORD.findall(text))
    registers = {copy["following"]: copy["register"] for copy in COPY.finditer(text)}
    moved = set()

    def clocked(found: re.Match) -> str:
        names = [target["name"] for target in TARGET.finditer(found["body"])]
        name = names[0] if names else ""
        # Besides its assignments a next value is in its declaration and in the copy.
        own = set(names) == {name} and WORD.findall(found["body"]).count(name) == len(names)
        if name not in registers or not own or uses[name] != len(names) + 2:
            return found[0]
        moved.add(name)
        return f"  always @(posedge clk) begin\n{_assigned(found['body'], registers[name])}  end\n"

    text = BLOCK.sub(clocked, text)
    return COPY.sub(lambda copy: "" if copy["following"] in moved else copy[0], text)


def _assigned(body: str, register: str) -> str:
    """The statements, with the register as their target; that it keeps its value needs none."""
    body = TARGET.sub(lambda target: f"{target['indent']}{register}{target['part'] or ''} <= ", body)
    return re.sub(rf"\A +{re.escape(register)} <= {re.escape(register)} ?;\n", "", body)
