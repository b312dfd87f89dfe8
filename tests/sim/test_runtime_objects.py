"""The runtime's objects go from the first build of a kind to the next."""

import pytest
from ossicle.sim.runtime_objects import shared_runtime


def build(folder, kept, made):
    """A make that compiles what is missing; returns what it compiled."""
    folder.mkdir()
    with shared_runtime(folder, kept):
        compiled = [name for name in made if not (folder / name).exists()]
        for name in compiled:
            (folder / name).write_text(name)
    return compiled


def test_only_the_first_build_compiles_the_runtime(tmp_path):
    kept, names = tmp_path / "kept", ["verilated.o", "verilated_vpi.o", "Vtop.o"]
    assert build(tmp_path / "one", kept, names) == names
    assert sorted(path.name for path in kept.iterdir()) == names[:2]
    assert build(tmp_path / "two", kept, names) == ["Vtop.o"]
    assert (tmp_path / "two" / "verilated.o").read_text() == "verilated.o"


def test_a_build_that_fails_keeps_nothing(tmp_path):
    with pytest.raises(RuntimeError), shared_runtime(tmp_path, tmp_path / "kept"):
        (tmp_path / "verilated.o").touch()
        raise RuntimeError
    assert [path.name for path in tmp_path.iterdir()] == ["verilated.o"]
