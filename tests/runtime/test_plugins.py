"""Commands of other rooms: found by entry point; what they lack is one line and exit status 2."""

import subprocess
import sys
from importlib.metadata import EntryPoint

import pytest
from ossicle.runtime import cli, plugins
from ossicle.runtime.console import Failure

COMMANDS = {"train": ["recipe.toml"], "evaluate": ["c.safetensors", "m.jsonl"]}


def test_the_installation_has_both():
    for name in COMMANDS:
        (entry,) = plugins.entry_points(group=plugins.GROUP, name=name)
        assert entry.value == f"ossicle.models.{name}:command"


@pytest.mark.parametrize("name", COMMANDS)
def test_without_torch_a_line_says_what_to_install(monkeypatch, capsys, name):
    def load(self):
        raise ModuleNotFoundError("No module named 'torch'", name="torch")

    monkeypatch.setattr(EntryPoint, "load", load)
    assert cli.run([name, *COMMANDS[name]]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said == f'ossicle: {name} needs torch, which is not installed: pip install "ossicle[train]"'


def test_a_module_of_ours_that_is_missing_is_no_missing_extra(monkeypatch):
    def load(self):
        raise ModuleNotFoundError("No module named 'ossicle.models.gone'", name="ossicle.models.gone")

    monkeypatch.setattr(EntryPoint, "load", load)
    with pytest.raises(ModuleNotFoundError):
        plugins.plugin("train", "train")


def test_an_installation_without_entry_points(monkeypatch):
    monkeypatch.setattr(plugins, "entry_points", lambda **_: ())
    with pytest.raises(Failure, match="install ossicle again"):
        plugins.plugin("train", "train")


def test_the_command_line_loads_no_torch():
    code = "import sys, ossicle.runtime.cli; print('torch' in sys.modules, 'ossicle.models' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


@pytest.mark.parametrize(
    "name, arguments, message",
    [
        ("train", ["none.toml"], "none.toml"),
        ("evaluate", ["none.safetensors", "none.jsonl"], "none.safetensors"),
        ("evaluate", ["none.safetensors", "none.jsonl", "--by", "colour"], "colour"),
    ],
)
def test_bad_input_is_a_line(tmp_path, monkeypatch, capsys, name, arguments, message):
    pytest.importorskip("torch", reason="needs torch (the extra 'train')")
    monkeypatch.chdir(tmp_path)
    assert cli.run([name, *arguments]) == 2
    assert message in capsys.readouterr().err.splitlines()[-1]
