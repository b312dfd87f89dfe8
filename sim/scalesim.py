"""SCALE-Sim as a peer: a sparse matrix-vector product on a systolic array of as many multipliers as lanes.

It stands in an environment of its own, since its version 3.0.0 fails on NumPy 2.4 and newer, and is given as
that environment's Python. Of the arrays that it can simulate, those that waste least on a single vector are
taken: a row, each multiplier with an output, or a column, each with an input. Weight stationary loads each
weight for one product: for 2048 x 1024 on 8 x 8 it takes 753,663 cycles, these take 34,783 and 34,799.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ossicle.sim.build import ToolMissing, cache_folder, key_of, locked
from ossicle.sim.yowasp import ToolError, last_lines

VERSION = "3.0.0"
"""Its files and its report are those of this version."""
INSTALL = f"python3 -m venv DIR && DIR/bin/pip install 'scalesim=={VERSION}' 'numpy<2.4'"
SECONDS = 3600.0
"""How long one simulation may take."""
PROBE_SECONDS = 60.0
POLL_SECONDS = 0.2

KEPT = {0.0: (1, 1), 0.5: (2, 4), 0.75: (1, 4), 0.9: (1, 10), 0.95: (1, 20)}
"""Weights kept, of how many, by the share of zeros."""
DATAFLOWS = {"os": "output stationary", "is": "input stationary"}
NOTE = (
    "SCALE-Sim: a systolic array of as many multipliers, in a row (each an output) or in a column (each an\n"
    "input), whichever takes fewer cycles; it never waits for a memory. Its zeros are structured: N of\n"
    "every M inputs are kept, the same ones for all outputs. Ours fall anywhere."
)

ASK = "from importlib.metadata import version; print(version('scalesim'), version('numpy'))"
# Not its command line, which writes all traces whatever its -s says. The process ends with its host.
SIMULATE = """
import os, sys, threading
from scalesim.scale_sim import scalesim
def end_with_host():
    sys.stdin.read()
    os._exit(1)
threading.Thread(target=end_with_host, daemon=True).start()
simulation = scalesim(save_disk_space=True, verbose=True, config="array.cfg", topology="product.csv",
                      layout="layout.csv", input_type_gemm=True)
simulation.run_scale(top_path=".")
"""
ARRAY = """[general]
run_name = product
[architecture_presets]
ArrayHeight: {height}
ArrayWidth: {width}
IfmapSramSzkB: {input_kib}
FilterSramSzkB: {weight_kib}
OfmapSramSzkB: {output_kib}
IfmapOffset: 0
FilterOffset: 10000000
OfmapOffset: 2000000000
Dataflow: {dataflow}
Bandwidth: {width}
ReadRequestBuffer: 512
WriteRequestBuffer: 512
[layout]
IfmapCustomLayout: False
IfmapSRAMBankBandwidth: 10
IfmapSRAMBankNum: 10
IfmapSRAMBankPort: 2
FilterCustomLayout: False
FilterSRAMBankBandwidth: 10
FilterSRAMBankNum: 10
FilterSRAMBankPort: 2
[sparsity]
SparsitySupport: {sparse}
SparseRep: ellpack_block
OptimizedMapping: false
BlockSize: 4
RandomNumberGeneratorSeed: 40
[run_presets]
InterfaceBandwidth: CALC
UseRamulatorTrace: False
"""
DONE = re.compile(r"(\d+)/(\d+) \[")
"""Of its progress bar."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Scalesim:
    """An installation: its Python, and the versions that a result depends on."""

    python: str
    version: str
    numpy: str


@dataclass(frozen=True)
class Product:
    """A matrix of rows x cols times a vector, `kept` (N, M) of its weights, on an array of height x width."""

    rows: int
    cols: int
    kept: tuple[int, int]
    dataflow: str
    height: int
    width: int

    @property
    def multiplications(self) -> int:
        """Those of weights that are kept."""
        kept, of = self.kept
        whole, rest = divmod(self.cols, of)
        return self.rows * (whole * kept + min(rest, kept))

    def files(self) -> dict[str, str]:
        """What SCALE-Sim reads, by name. Both halves of a memory together hold twice the operand."""
        kept, of = self.kept
        array = ARRAY.format(
            height=self.height, width=self.width, dataflow=self.dataflow, sparse=of > 1,
            input_kib=_kib(2 * self.cols), weight_kib=_kib(2 * self.rows * self.cols),
            output_kib=_kib(2 * self.rows),
        )  # fmt: skip
        product = f"layer, M, N, K, sparsity,\ngemv, 1, {self.rows}, {self.cols}, {kept}:{of},\n"
        return {"array.cfg": array, "product.csv": product, "layout.csv": "layer,\n"}


def find(python: str) -> Scalesim:
    """The installation of a Python.

    Raises:
        ToolMissing: it does not run, or has no SCALE-Sim, or versions that do not do.
    """
    try:
        done = subprocess.run(
            [python, "-c", ASK], capture_output=True, text=True, timeout=PROBE_SECONDS, check=False,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        raise ToolMissing(f"{python} is no Python that runs; name that of {INSTALL}") from None
    words = done.stdout.split()
    if done.returncode or len(words) != 2:
        raise ToolMissing(f"{python} has no scalesim; get one with {INSTALL}")
    found = Scalesim(python, *words)
    if found.version != VERSION:
        raise ToolMissing(f"{python} has scalesim {found.version}, not {VERSION}; get it with {INSTALL}")
    if tuple(map(int, found.numpy.split(".")[:2])) >= (2, 4):
        raise ToolMissing(
            f"scalesim {VERSION} fails on NumPy {found.numpy}: {python} -m pip install 'numpy<2.4'"
        )
    return found


def gemv(
    tool: Scalesim,
    *,
    lanes: int,
    rows: int,
    cols: int,
    zeros: Sequence[float],
    progress: Callable[[str, int, int], None] = lambda doing, done, total: None,
) -> list[dict]:
    """A row for each share of zeros (of `KEPT`) and dataflow, on an array of `lanes` multipliers.

    Raises:
        ToolError: see `cycles`.
    """
    found = []
    for share in zeros:
        for dataflow, (height, width) in {"os": (1, lanes), "is": (lanes, 1)}.items():
            product = Product(rows, cols, KEPT[share], dataflow, height, width)
            follow = partial(progress, f"SCALE-Sim: {DATAFLOWS[dataflow]}, {100 * share:g} % zeros")
            follow(0, 0)
            taken = cycles(tool, product, progress=follow)
            found.append({
                "zeros": share, "kept": "{}:{}".format(*KEPT[share]), "dataflow": DATAFLOWS[dataflow],
                "array": f"{height} x {width}", "cycles": taken,
                "use": round(product.multiplications / (lanes * taken), 4),
            })  # fmt: skip
    return found


def beside(ours: list[dict], theirs: list[dict]) -> list[dict]:
    """Our rows of `benchmarks.gemv`, each with SCALE-Sim's fewer cycles at that share of zeros."""
    best = {}
    for row in theirs:
        if row["zeros"] not in best or row["cycles"] < best[row["zeros"]]["cycles"]:
            best[row["zeros"]] = row
    return [
        row
        | {
            "scalesim_cycles": best[row["zeros"]]["cycles"],
            "scalesim_dataflow": best[row["zeros"]]["dataflow"],
            "ratio_to_scalesim": round(row["cycles"] / best[row["zeros"]]["cycles"], 4),
        }
        for row in ours
    ]


def cycles(
    tool: Scalesim, product: Product, *, seconds: float = SECONDS,
    progress: Progress = lambda done, total: None,
) -> int:  # fmt: skip
    """Cycles of a product as SCALE-Sim reports them: from the cache, or simulated now in seconds to minutes.

    Raises:
        ToolError: it failed, or took longer than `seconds`, or its report is none.
    """
    files = product.files()
    kept = cache_folder() / f"scalesim-{key_of(SIMULATE, tool.version, tool.numpy, *files.values())}.csv"
    with locked(kept):
        if not kept.is_file():
            report = _simulate(tool, files, seconds, progress)
            _total_cycles(report)
            whole = kept.with_suffix(".partial")
            whole.write_text(report, encoding="utf-8")
            whole.rename(kept)
        return _total_cycles(kept.read_text("utf-8"))


def _simulate(tool: Scalesim, files: dict[str, str], seconds: float, progress: Progress) -> str:
    """Text of the report of a run in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="ossicle-scalesim-") as name:
        folder = Path(name)
        for file, text in files.items():
            (folder / file).write_text(text, encoding="utf-8")
        log = folder / "log"
        with (
            log.open("wb") as output,
            (folder / "output").open("wb") as said,
            subprocess.Popen(
                [tool.python, "-c", SIMULATE], cwd=folder, stdin=subprocess.PIPE, stdout=said, stderr=output
            ) as process,
        ):
            try:
                _follow(process, log, seconds, progress)
            except BaseException:
                process.kill()
                raise
        report = folder / "product" / "COMPUTE_REPORT.csv"
        if process.returncode or not report.is_file():
            raise ToolError(f"scalesim failed with status {process.returncode}: {last_lines(log)}")
        return report.read_text(encoding="utf-8")


def _follow(process: subprocess.Popen, log: Path, seconds: float, progress: Progress) -> None:
    """Hand on how far its progress bar has come until it ends."""
    end = time.monotonic() + seconds
    while process.poll() is None:
        if time.monotonic() > end:
            raise ToolError(f"scalesim was stopped: it had not ended after {seconds:g} s")
        found = DONE.findall(last_lines(log))
        if found:
            progress(*map(int, found[-1]))
        time.sleep(POLL_SECONDS)


def _total_cycles(report: str) -> int:
    """Of the one layer in COMPUTE_REPORT.csv."""
    try:
        names, values = (line.split(",") for line in report.splitlines())
        return int(values[[name.strip() for name in names].index("Total Cycles")])
    except ValueError:
        raise ToolError(f"scalesim's report is not that of {VERSION}: {report[:200]!r}") from None


def _kib(count: int) -> int:
    return max(1, -(-count // 1024))
