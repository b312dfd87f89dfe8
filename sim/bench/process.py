"""The simulator as a process: started on a binary, asked through a connection, ended with its host."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import weakref
from collections.abc import Iterator
from multiprocessing import Pipe
from pathlib import Path

import numpy as np
from ossicle.sim.bench.mailbox import LINK_VARIABLE

LOG_FILE = "simulator.log"
LOG_LINES = 20
CLOSE_SECONDS = 5.0


def memory_folder() -> str | None:
    """A file system in memory, where there is one: rewriting a small file on a disk takes milliseconds."""
    memory = "/dev/shm"
    return memory if os.access(memory, os.W_OK) else None


@contextlib.contextmanager
def scratch_folder() -> Iterator[Path]:
    """A temporary working folder for a simulator."""
    with tempfile.TemporaryDirectory(prefix="ossicle-", dir=memory_folder()) as name:
        yield Path(name)


class SimulatorDied(RuntimeError):
    """The simulator ended by itself; the message ends with the tail of its log."""


class Simulator:
    """One running simulator, in a working folder of its own that is removed with it.

    Args:
        binary: what `ossicle.sim.build.build` returns, served by cocotb.
        arguments: plus-arguments for it.
    """

    def __init__(self, binary: Path, arguments: tuple[str, ...] = ()) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="ossicle-rtl-", dir=memory_folder()))
        self._link, far = Pipe()
        with (self.folder / LOG_FILE).open("wb") as log:
            self._process = subprocess.Popen(
                [str(binary), *arguments],
                cwd=self.folder,
                env=_environment(self.folder, far.fileno()),
                pass_fds=(far.fileno(),),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # an interrupt at the host's terminal is the host's
            )
        far.close()
        self.close = weakref.finalize(self, _end, self._link, self._process, self.folder)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self.close.alive and self._process.poll() is None

    def ask(self, request: bytes) -> np.ndarray:
        """Words of the result of a request.

        Raises:
            SimulatorDied: it ended before it answered; it is closed then.
        """
        if not self.close.alive:
            raise SimulatorDied("the simulator is closed")
        if not self.alive:
            raise SimulatorDied(self._last_words())
        try:
            self._link.send_bytes(request)
            return np.frombuffer(self._link.recv_bytes(), dtype="<u4")
        except (EOFError, OSError):
            raise SimulatorDied(self._last_words()) from None
        except BaseException:  # an interrupt: the answer would come to the next question
            self._process.kill()
            self.close()
            raise

    def _last_words(self) -> str:
        self._link.close()
        try:
            status = self._process.wait(CLOSE_SECONDS)
        except subprocess.TimeoutExpired:
            status = "unknown"
        lines = (self.folder / LOG_FILE).read_text(encoding="utf-8", errors="replace").splitlines()
        self.close()
        return "\n".join([f"the simulator ended (status {status}); the end of its log:", *lines[-LOG_LINES:]])


def _environment(folder: Path, link: int) -> dict[str, str]:
    """What cocotb's own runner sets, less the settings of an outer cocotb."""
    import find_libpython
    from cocotb_tools import config

    kept = {k: v for k, v in os.environ.items() if not k.startswith(("COCOTB_", "GPI_", "PYGPI_"))}
    return {
        **kept,
        "COCOTB_TEST_MODULES": "ossicle.sim.bench.server",
        "COCOTB_TOPLEVEL": "bench",
        "COCOTB_TRUST_INERTIAL_WRITES": "1",
        "COCOTB_REWRITE_ASSERTION_FILES": "",  # pytest's, of modules as they are imported: a second of start
        "COCOTB_RESULTS_FILE": str(folder / "results.xml"),
        "TOPLEVEL_LANG": "verilog",
        "GPI_USERS": f"{find_libpython.find_libpython()};{config.pygpi_entry_point()}",
        "PYGPI_PYTHON_BIN": sys.executable,
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        LINK_VARIABLE: str(link),
    }


def _end(link, process: subprocess.Popen, folder: Path) -> None:
    """Let the simulator end by itself, or kill it; leave neither process nor folder."""
    link.close()
    try:
        process.wait(CLOSE_SECONDS if process.poll() is None else 0)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    shutil.rmtree(folder, ignore_errors=True)
