"""What a netlist takes of an ECP5: cells by part of the processor, and where each memory went.

Read from what Yosys leaves: `stat -json`, the Verilog itself, and lists of the memory cells.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

MODULE = re.compile(r"^module\s+(\\\S+|\w+)", re.MULTILINE)
MEMORY = re.compile(r"^\s*reg (?:\[(\d+):0\] )?(\\\S+|\w+)\s+\[(\d+):0\];", re.MULTILINE)
NUMBER = re.compile(r"[_$]?\d+$")
"""What tells one instance from another at the end of a module's name."""

LUTS_PER_CELL = {"LUT4": 1, "CCU2C": 2, "TRELLIS_DPR16X4": 4}
"""4-input tables that a cell takes the place of; nextpnr adds a few where carry chains begin and end."""
COLUMNS = {
    "LUT": LUTS_PER_CELL, "carry": {"CCU2C": 2}, "LUT RAM": {"TRELLIS_DPR16X4": 4}, "FF": {"TRELLIS_FF": 1},
    "DSP": {"MULT18X18D": 1}, "block RAM": {"DP16KD": 1},
}  # fmt: skip
"""By column of the table, cells and what each counts. carry and LUT RAM are a part of LUT."""
BLOCK_BITS = 18432


@dataclass(frozen=True)
class Part:
    """A module with all that is in it, or several alike: `path` without the top, without numbers."""

    path: str
    count: int
    cells: Counter[str]

    def row(self) -> dict[str, int]:
        """Its `COLUMNS`."""
        return {
            name: sum(self.cells[cell] * each for cell, each in weights.items())
            for name, weights in COLUMNS.items()
        }


@dataclass(frozen=True)
class MemoryUse:
    """One memory of the Verilog, or several alike, and the cells that all of them became."""

    path: str
    count: int
    width: int
    words: int
    kind: str
    """block RAM, LUT RAM or flip-flops."""
    cells: int

    @property
    def bits(self) -> int:
        return self.width * self.words * self.count

    @property
    def misplaced(self) -> bool:
        """Large enough to fill a block RAM by half, and not in one."""
        return self.kind != "block RAM" and self.width * self.words >= BLOCK_BITS // 2


class Netlist:
    """Modules of a hierarchical netlist, by name without Verilog's backslash.

    Args:
        stat: text that `stat -json` wrote.
        top: name of the top module.
    """

    def __init__(self, stat: str, top: str) -> None:
        modules = json.loads(stat)["modules"]
        self.top = top
        self._own = {name.lstrip("\\"): Counter(m["num_cells_by_type"]) for name, m in modules.items()}

    def cells(self, module: str) -> Counter[str]:
        """Cells of a module and of all below it."""
        found: Counter[str] = Counter()
        for cell, count in self._own[module].items():
            if cell in self._own:
                found.update({name: n * count for name, n in self.cells(cell).items()})
            else:
                found[cell] += count
        return found

    def instances(self) -> dict[str, list[str]]:
        """By module, the path of each instance; a module that is instantiated once has its own name."""
        found: dict[str, list[str]] = {}
        self._walk(self.top, self.top, found)
        return found

    def _walk(self, module: str, path: str, found: dict[str, list[str]]) -> None:
        found.setdefault(module, []).append(path)
        for cell, count in self._own[module].items():
            if cell in self._own:
                below = cell if cell.startswith(f"{module}.") else f"{path}.{cell}"
                for _ in range(count):
                    self._walk(cell, below, found)

    def parts(self, root: str, depth: int) -> list[Part]:
        """Modules at most `depth` below a root module, with their contents; those alike in one."""
        found: dict[str, Part] = {}
        for module in sorted(self.instances()):
            inner = module.removeprefix(f"{root}.")
            if module != root and (inner == module or inner.count(".") >= depth):
                continue
            path = "" if module == root else ".".join(NUMBER.sub("", p) for p in inner.split("."))
            before = found.get(path, Part(path, 0, Counter()))
            found[path] = Part(path, before.count + 1, before.cells + self.cells(module))
        return list(found.values())


def memories(
    verilog: str, netlist: Netlist, root: str, block: Iterable[str], lut: Iterable[str]
) -> list[MemoryUse]:
    """What each memory of the Verilog became, in the order of the modules; equal ones in one row.

    Args:
        root: module that their paths leave out.
        block, lut: `module/cell` of the DP16KD and of the TRELLIS_DPR16X4 of the netlist.
    """
    cells = {"block RAM": _by_memory(block), "LUT RAM": _by_memory(lut)}
    instances, found = netlist.instances(), {}
    for module, name, width, words in declared(verilog):
        kind = next((k for k in cells if cells[k][module, name]), "flip-flops")
        count = len(instances.get(module, ()))
        if not count:
            continue
        own = cells[kind][module, name] if kind in cells else width * words
        inner = f"{module}.{name}".removeprefix(f"{root}.").split(".")
        path = ".".join([*(NUMBER.sub("", part) for part in inner[:-1]), inner[-1]])
        key = path, width, words, kind
        before = found.get(key, MemoryUse(path, 0, width, words, kind, 0))
        found[key] = MemoryUse(path, before.count + count, width, words, kind, before.cells + own * count)
    return list(found.values())


def declared(verilog: str) -> Iterable[tuple[str, str, int, int]]:
    """(module, name, bits of a word, words) of each memory that a Verilog text declares."""
    starts = [(match.start(), match[1].lstrip("\\")) for match in MODULE.finditer(verilog)]
    ends = [start for start, _ in starts[1:]] + [len(verilog)]
    for (start, module), end in zip(starts, ends, strict=True):
        for width, name, last in MEMORY.findall(verilog, start, end):
            yield module, name.lstrip("\\"), int(width or 0) + 1, int(last) + 1


def _by_memory(lines: Iterable[str]) -> Counter[tuple[str, str]]:
    """Cells by module and memory; Yosys numbers the cells of a memory: NAME.ROW.COLUMN."""
    found: Counter[tuple[str, str]] = Counter()
    for line in lines:
        module, _, cell = line.strip().partition("/")
        found[module, cell.rsplit(".", 2)[0]] += 1
    return found
