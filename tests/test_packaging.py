"""What an installation must hold: every module and data file of the rooms, one namespace, no stray copies."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
ROOMS = ("hw", "sim", "compiler", "runtime", "models")
DATA = (".v", ".sv", ".svh", ".vlt", ".cpp", ".toml", ".safetensors", ".json", ".wav", ".typed")


def test_rooms_import_from_the_namespace_alone():
    code = "import ossicle.hw.config, ossicle.runtime.cli, sys; print('hw' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd="/", check=True)
    assert done.stdout.strip() == "False"
    assert not (ROOT / "ossicle").exists()


def test_the_command_is_installed():
    (entry,) = importlib.metadata.entry_points(group="console_scripts", name="ossicle")
    assert entry.value == "ossicle.runtime.cli:main"


@pytest.mark.parametrize("room", ROOMS)
def test_each_room_is_typed(room):
    assert (ROOT / room / "py.typed").is_file()
    assert (ROOT / "typings" / "ossicle" / room).resolve() == ROOT / room


def has_wanted_setuptools():
    """Whether what pyproject.toml builds with is installed: a new venv may bring an older one."""
    (wanted,) = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]
    try:
        return Requirement(wanted).specifier.contains(importlib.metadata.version("setuptools"))
    except importlib.metadata.PackageNotFoundError:
        return False


@pytest.mark.slow
def test_wheel_holds_every_file(tmp_path):
    if not has_wanted_setuptools():
        pytest.skip("setuptools is missing or too old here, and another one would need the network")
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation"]
    listing = ["git", "ls-files", *ROOMS]
    tracked = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True, check=False)
    if tracked.returncode:
        pytest.skip("not a git checkout: no list of the files that belong")
    rooms = [name for name in tracked.stdout.split() if (ROOT / name).is_file()]
    copy = tmp_path / "source"
    for name in [*rooms, "pyproject.toml", "setup.py", "README.md", "LICENSE"]:
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_bytes((ROOT / name).read_bytes())
    subprocess.run([*command, "-w", tmp_path, "."], cwd=copy, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    held = set(zipfile.ZipFile(wheel).namelist())
    assert {f"ossicle/{name}" for name in rooms if name.endswith((".py", *DATA))} <= held
