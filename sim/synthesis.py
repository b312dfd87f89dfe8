"""Silicon cost: the processor's Verilog through Yosys and nextpnr to cells, and clock, of an ECP5.

    config -> Verilog between registers (hw/pins.py) -> netlist -> placed and routed, timed

Each stage leaves a folder in the cache, named by all that it depends on and moved there when it is whole:
after a kill, the next run goes on with the stage that was cut short. The hierarchy is kept, so that each cell
and each net has a module; logic is not optimized across the modules' borders.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ossicle.hw.config import NpuConfig
from ossicle.sim import timing_report, yowasp
from ossicle.sim.build import cache_folder, key_of, locked, verilog_of
from ossicle.sim.utilization import MemoryUse, Netlist, Part, memories

Progress = Callable[[str, int, int], None]
"""Of a stage: what it is doing, and how far that is: done, of how many (0: not known)."""


@dataclass(frozen=True)
class Device:
    """A Lattice ECP5 (FPGA-DS-02012, table 1.1), by the columns of `utilization.COLUMNS`."""

    part: str
    package: str
    has: dict[str, int]


DEVICES = {
    "25k": Device("LFE5U-25F", "CABGA381", {"LUT": 24288, "FF": 24288, "DSP": 28, "block RAM": 56}),
    "45k": Device("LFE5U-45F", "CABGA554", {"LUT": 43848, "FF": 43848, "DSP": 72, "block RAM": 108}),
    "85k": Device("LFE5U-85F", "CABGA756", {"LUT": 83640, "FF": 83640, "DSP": 156, "block RAM": 208}),
}

GRADES = (6, 7, 8)
"""Speed grades that an ECP5 is sold in, the slowest first."""

TOP, PROCESSOR = "pins", "pins.inside"
# Without splitnets, abc9 stops at a hierarchical netlist: github.com/YosysHQ/yosys/issues/4349.
SCRIPT = "; ".join((
    "read_verilog npu.v",
    "synth_ecp5 -noflatten -top {top} -run begin:map_luts",
    "splitnets",
    "synth_ecp5 -noflatten -top {top} -run map_luts: -json netlist.json",
    "tee -q -o stat.json stat -json",
    "tee -q -o block.txt select -list t:DP16KD",
    "tee -q -o lut.txt select -list t:TRELLIS_DPR16X4",
))  # fmt: skip

FLAT_SCRIPT = "; ".join((
    "read_verilog npu.v",
    "synth_ecp5 -top {top} -run begin:map_luts",
    "splitnets",
    "synth_ecp5 -top {top} -run map_luts: -json netlist.json",
))  # fmt: skip

PASS = re.compile(r"(?:\d+\.)+ Executing (\w+)")
YOSYS_DOES = {
    "HIERARCHY": "reads the Verilog", "PROC": "registers and logic", "ALUMACC": "adders and multipliers",
    "MEMORY_LIBMAP": "memories", "DFFLEGALIZE": "flip-flops", "ABC9": "logic to LUTs", "JSON": "writes it",
}  # fmt: skip
"""By the first pass of a piece of its work; passes come again, later."""
MAPPED = re.compile(r"Extracted \d+ AND gates")
NEXTPNR_DOES = {
    "Info: Packing constants": "packs", "Info: Creating initial": "places", "Info: Running main": "places",
    "Info: Running simulated annealing": "refines the placement", "Info: Routing globals": "routes",
}  # fmt: skip
ARCS = re.compile(r"Info: Routing (\d+) arcs")
REMAINING = re.compile(r"Info: +\d+ \|(?:[ \d]+\|){2} +(\d+)\|")


@dataclass(frozen=True)
class Synthesis:
    """A netlist: `parts` two levels deep, the processor (path "") first; `pins` what stands around it."""

    folder: Path
    top: str
    parts: list[Part]
    pins: dict[str, int]
    memories: list[MemoryUse]

    @property
    def whole(self) -> dict[str, int]:
        """`utilization.COLUMNS` of the processor."""
        return next(part.row() for part in self.parts if not part.path)

    def short(self, device: Device) -> dict[str, tuple[int, int]]:
        """What a device has too little of: (needed, there), the registers around the processor counted in."""
        needed = {name: count + self.pins[name] for name, count in self.whole.items()}
        return {name: (needed[name], has) for name, has in device.has.items() if needed[name] > has}


def check_tools(place: bool = True) -> None:
    """Raise ToolMissing if a tool that will be needed is not there."""
    for tool in ("yosys", "nextpnr-ecp5") if place else ("yosys",):
        yowasp.version(tool)


def synthesize(config: NpuConfig, *, seconds: float | None = None, progress: Progress | None = None):
    """Netlist of a processor, from the cache or made now.

    Args:
        seconds: how long Yosys may take.

    Raises:
        ToolMissing, ToolError: Yosys is not there, or failed, or took longer.
    """
    return synthesize_verilog(
        verilog_of(config, serial_pins=True), TOP, PROCESSOR, seconds=seconds, progress=progress
    )


def synthesize_verilog(
    verilog: str, top: str, root: str, *, seconds: float | None = None, progress: Progress | None = None
) -> Synthesis:
    """Netlist of any Verilog; `root` is the module whose parts are told apart."""
    follow = _YosysProgress(progress, verilog.count("\nmodule "))
    folder = _netlist(verilog, SCRIPT.format(top=top), seconds, follow)
    netlist = Netlist((folder / "stat.json").read_text("utf-8"), top)
    lists = [(folder / name).read_text("utf-8").splitlines() for name in ("block.txt", "lut.txt")]
    parts = netlist.parts(root, depth=2)
    around = Part("", 1, netlist.cells(top) - netlist.cells(root)).row()
    return Synthesis(folder, top, parts, around, memories(verilog, netlist, root, *lists))


def place(
    made: Synthesis,
    device: str,
    *,
    clock_mhz: float,
    grade: int = GRADES[0],
    root: str = PROCESSOR,
    flat: bool = False,
    seed: int = 1,
    seconds: float | None = None,
    progress: Progress | None = None,
) -> timing_report.Timing:
    """Place and route a netlist; its clock and its longest paths. From the cache or done now.

    Args:
        device: one of DEVICES.
        clock_mhz: what the tool aims at.
        grade: one of GRADES.
        flat: place a netlist of its own, in which Yosys optimized across the modules' borders.
        seconds: how long a tool may take.

    Raises:
        ToolMissing, ToolError: nextpnr is not there, or failed, or took longer.
    """
    folder = made.folder
    if flat:
        verilog = (folder / "npu.v").read_text("utf-8")
        folder = _netlist(verilog, FLAT_SCRIPT.format(top=made.top), seconds, _YosysProgress(progress, 1))
    arguments = (
        f"--{device}", "--package", DEVICES[device].package, "--speed", str(grade),
        "--json", f"../{folder.name}/netlist.json",
        "--lpf-allow-unconstrained", "--freq", f"{clock_mhz:g}", "--timing-allow-fail", "--seed", str(seed),
        "--report", "report.json", "--detailed-timing-report",
    )  # fmt: skip
    folder = cache_folder() / f"placed-{key_of(*arguments, yowasp.version('nextpnr-ecp5'))}"

    def make(work: Path) -> None:
        follow = _NextpnrProgress(progress)
        yowasp.run("nextpnr-ecp5", arguments, folder=work, seconds=seconds, line=follow)

    _stage(folder, make)
    parts = {part.path for part in made.parts if part.path and "." not in part.path}
    return timing_report.read((folder / "report.json").read_text("utf-8"), root.partition(".")[2], parts)


def _netlist(verilog: str, script: str, seconds: float | None, follow: _YosysProgress) -> Path:
    """Folder of what a script of Yosys makes of npu.v."""
    folder = cache_folder() / f"netlist-{key_of(verilog, script, yowasp.version('yosys'))}"

    def make(work: Path) -> None:
        (work / "npu.v").write_text(verilog, encoding="utf-8")
        yowasp.run("yosys", ("-p", script), folder=work, seconds=seconds, line=follow)

    _stage(folder, make)
    return folder


def _stage(folder: Path, make: Callable[[Path], None]) -> None:
    """Make a folder of the cache unless it is there: whole or not at all, one process at a time."""
    with locked(folder):
        if folder.is_dir():
            return
        work = folder.with_name(f"{folder.name}.partial")
        shutil.rmtree(work, ignore_errors=True)  # of a run that was killed
        work.mkdir()
        try:
            make(work)
            work.rename(folder)
        finally:
            shutil.rmtree(work, ignore_errors=True)


class _YosysProgress:
    """Yosys' log, line by line, to `Progress`."""

    def __init__(self, progress: Progress | None, modules: int) -> None:
        self._progress, self._modules, self._mapped = progress, modules, 0
        self._ahead = dict(YOSYS_DOES)

    def __call__(self, line: str) -> None:
        if self._progress is None:
            return
        found = PASS.match(line)
        if found and found[1] in self._ahead:
            self._progress(f"yosys: {self._ahead.pop(found[1])}", 0, 0)
        elif MAPPED.match(line):
            self._mapped += 1
            self._progress(f"yosys: {YOSYS_DOES['ABC9']}", self._mapped, self._modules)


class _NextpnrProgress:
    """nextpnr's log, line by line, to `Progress`."""

    def __init__(self, progress: Progress | None) -> None:
        self._progress, self._arcs = progress, 0

    def __call__(self, line: str) -> None:
        if self._progress is None:
            return
        for begin, does in NEXTPNR_DOES.items():
            if line.startswith(begin):
                self._progress(f"nextpnr: {does}", 0, 0)
        if found := ARCS.match(line):
            self._arcs = int(found[1])
        elif found := REMAINING.match(line):
            self._progress("nextpnr: routes", self._arcs - int(found[1]), self._arcs)
