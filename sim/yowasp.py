"""The FPGA tools that pip installs, Yosys and nextpnr as WebAssembly, each run in a process of its own.

`python -m ossicle.sim.yowasp yosys ARGUMENTS` is such a process. It ends with the one that started it, whose
end closes its stdin: the tools compute for minutes, and would go on for nobody.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module, metadata
from pathlib import Path

from ossicle.sim.build import ToolMissing

LOG_LINES = 6
POLL_SECONDS = 0.2


class ToolError(RuntimeError):
    """A tool failed or took too long; the message says which, and how its output ends."""


@dataclass(frozen=True)
class Tool:
    """A tool of the package yowasp-NAME."""

    name: str
    function: str
    """Of the package: runs the tool."""
    logging: tuple[str, ...] = ()
    """Arguments that make it write NAME.log line by line, where its output comes in larger pieces."""


TOOLS = {
    tool.name: tool
    for tool in (
        Tool("yosys", "run_yosys", ("-q", "-L", "yosys.log")),
        Tool("nextpnr-ecp5", "run_nextpnr_ecp5"),
    )
}


def version(tool: str) -> str:
    """Version of a tool's package.

    Raises:
        ToolMissing: it is not installed.
    """
    try:
        return metadata.version(f"yowasp-{tool}")
    except metadata.PackageNotFoundError:
        raise ToolMissing(f"yowasp-{tool} is not installed: pip install 'ossicle[synth]'") from None


def run(
    tool: str,
    arguments: Sequence[str],
    *,
    folder: Path,
    seconds: float | None = None,
    line: Callable[[str], None] = lambda text: None,
) -> None:
    """Run a tool in a folder, where it leaves NAME.log; arguments name files relative to it.

    Args:
        seconds: how long it may take; None: for ever.
        line: is given each line of the log as it is written.

    Raises:
        ToolMissing: it is not installed.
        ToolError: it failed, or took longer.
    """
    version(tool)
    extra = TOOLS[tool].logging
    log, output = folder / f"{tool}.log", folder / f"{tool}.{'out' if extra else 'log'}"
    log.touch()
    command = [sys.executable, "-m", "ossicle.sim.yowasp", tool, *extra, *arguments]
    environment = os.environ | {"TMPDIR": str(folder.absolute())}
    with (
        output.open("wb") as console,
        log.open(encoding="utf-8", errors="replace") as written,
        subprocess.Popen(
            command, cwd=folder, env=environment, stdin=subprocess.PIPE, stdout=console, stderr=console
        ) as process,
    ):
        try:
            _follow(process, written, seconds, line)
        except BaseException:
            process.kill()
            raise
    if process.returncode:
        said = last_lines(output) or last_lines(log)
        raise ToolError(f"{tool} failed with status {process.returncode}: {said}")


def _follow(process: subprocess.Popen, written, seconds: float | None, line) -> None:
    """Hand on the log's lines until the process ends."""
    begin, part, running = time.monotonic(), "", True
    while running:
        running = process.poll() is None
        for text in written:
            part += text
            if part.endswith("\n"):
                line(part.rstrip())
                part = ""
        if running and seconds is not None and time.monotonic() - begin > seconds:
            raise ToolError(f"{process.args[3]} was stopped: it had not ended after {seconds:g} s")
        if running:
            time.sleep(POLL_SECONDS)


def last_lines(path: Path) -> str:
    """The end of a log, as one line."""
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    return "; ".join(text.strip() for text in lines[-LOG_LINES:] if text.strip())


def _end_with_parent() -> None:
    while os.read(sys.stdin.fileno(), 1024):
        pass
    os._exit(1)


def main() -> int:
    """Be the process of a tool."""
    tool, *arguments = sys.argv[1:]
    package = import_module(f"yowasp_{tool}".replace("-", "_"))
    threading.Thread(target=_end_with_parent, daemon=True).start()
    return getattr(package, TOOLS[tool].function)(arguments)


if __name__ == "__main__":
    sys.exit(main())
