"""ossicle update, as a user runs it."""

from __future__ import annotations

import json
import stat

import numpy as np
import pytest
from ossicle.models.export import (
    Checkpoint,
    Matrix,
    matrix_shapes,
    quantize_matrix,
    table_shapes,
    write_checkpoint,
)
from ossicle.runtime import cli
from ossicle.runtime.update import peers

pytest.importorskip("cryptography", reason='needs pip install "ossicle[update]"')
TOPOLOGY = {
    "kind": "stack", "tokens": {"labels": 2, "buckets": 61, "embedding": 8},
    "layers": [{"lstm": 16}, {"linear": 5}], "labels": list("abcde"),
}  # fmt: skip


def net(step: int = 0) -> Checkpoint:
    """A small net; `step` is added to every third weight that is not zero (a stand-in for training)."""
    rng, matrices = np.random.default_rng(1), {}
    for name, shape in matrix_shapes(TOPOLOGY).items():
        made = quantize_matrix(name, rng.normal(0, 1, shape), rng.normal(0, 0.5, shape[0]))
        hit = (np.arange(made.weight.size).reshape(shape) % 3 == 0) & (made.weight != 0)
        weight = np.clip(made.weight + step * hit, -127, 127).astype(np.int8)
        matrices[name] = Matrix(weight, made.bias, made.scale, made.multiplier, made.shift)
    table = rng.integers(-127, 128, *table_shapes(TOPOLOGY).values()).astype(np.int8)
    return Checkpoint(TOPOLOGY, matrices, table, b"", None, {"name": "net"})


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with old.safetensors, new.safetensors and keys, which is the current one."""
    monkeypatch.chdir(tmp_path)
    write_checkpoint(tmp_path / "old.safetensors", net())
    write_checkpoint(tmp_path / "new.safetensors", net(1))
    assert cli.run(["update", "keygen", "keys"]) == 0
    return tmp_path


def diff(*more):
    return cli.run(
        ["update", "diff", "old.safetensors", "new.safetensors", "--key", "keys/update.key", *more]
    )


def apply(*more, trust="keys/update.pub"):
    return cli.run(["update", "apply", "old.safetensors", "new.update", "--trust", trust, *more])


def test_diff_apply_rollback(place, capsys):
    old, new = ((place / f"{name}.safetensors").read_bytes() for name in ("old", "new"))
    assert diff() == 0
    capsys.readouterr()
    assert apply("--json") == 0
    assert json.loads(capsys.readouterr().out)["applied"] is True
    assert (place / "old.safetensors").read_bytes() == new
    assert apply() == 0
    assert "is that model already" in capsys.readouterr().out
    assert cli.run(["update", "rollback", "old.safetensors"]) == 0
    assert (place / "old.safetensors").read_bytes() == old
    assert cli.run(["update", "rollback", "old.safetensors"]) == 2
    assert "nothing to go back to" in capsys.readouterr().err


def test_keys_are_secret_and_never_overwritten(place, capsys):
    private = place / "keys" / "update.key"
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    before = private.read_bytes()
    assert cli.run(["update", "keygen", "keys"]) == 2
    assert "is there already" in capsys.readouterr().err
    assert private.read_bytes() == before


def test_compare(place, capsys):
    capsys.readouterr()
    assert cli.run(["update", "diff", "old.safetensors", "new.safetensors", "--compare", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (
        found["bytes"]
        < found["whole"]
        == min(row["bytes"] for row in found["rows"] if row["what"].startswith("whole"))
    )
    if peers.zstd(b"") is not None:
        assert found["bytes"] <= found["peers"]["zstd --patch-from"]
    assert not (place / "new.update").exists()


def test_a_model_that_fails_its_check_is_taken_back(place, capsys, noise_wav):
    assert diff() == 0
    old = (place / "old.safetensors").read_bytes()
    assert apply("--check", str(noise_wav), "turn on the lights") == 1
    assert "failed its check and the old one is back: it writes no text" in capsys.readouterr().err
    assert (place / "old.safetensors").read_bytes() == old
    assert cli.run(["update", "rollback", "old.safetensors"]) == 2


def test_a_model_that_does_not_compile_is_taken_back(place, capsys):
    """Its scales and shapes are a checkpoint's, its header is not."""
    new = place / "new.safetensors"
    new.write_bytes(new.read_bytes().replace(b'\\"kind\\":\\"stack\\"', b'\\"kind\\":\\"stuck\\"'))
    assert diff() == 0
    old = (place / "old.safetensors").read_bytes()
    assert apply() == 1
    assert "topology of kind 'stuck'" in capsys.readouterr().err
    assert (place / "old.safetensors").read_bytes() == old


def test_bad_input_is_one_line_and_changes_nothing(place, capsys):
    assert diff() == 0
    assert cli.run(["update", "keygen", "others"]) == 0
    (place / "text").write_text("hello")
    before = sorted(path.name for path in place.iterdir())
    capsys.readouterr()
    for arguments, why in [
        (["diff", "old.safetensors", "new.safetensors"], "an update is signed"),
        (["diff", "none", "new.safetensors", "--key", "keys/update.key"], "none: no such file"),
        (["diff", "text", "new.safetensors", "--key", "keys/update.key"], "text: not a checkpoint"),
        (["diff", "old.safetensors", "new.safetensors", "--key", "keys/update.pub"], "no private key in PEM"),
        (["apply", "old.safetensors", "text", "--trust", "keys/update.pub"], "text: not an update"),
        (["apply", "old.safetensors", "none", "--trust", "keys/update.pub"], "none: no such file"),
        (["apply", "none", "new.update", "--trust", "keys/update.pub"], "none: no such file"),
        (
            ["apply", "old.safetensors", "new.update", "--trust", "others/update.pub"],
            "not of the trusted key",
        ),
        (
            ["apply", "text", "new.update", "--trust", "keys/update.pub"],
            "the update is of a model with SHA-256",
        ),
        (
            ["apply", "old.safetensors", "new.update", "--trust", "keys/update.pub", "--check", "none", "x"],
            "none",
        ),
        (["rollback", "old.safetensors"], "nothing to go back to"),
    ]:
        assert cli.run(["update", *arguments]) == 2, arguments
        said = capsys.readouterr().err
        assert why in said
        assert said.count("\n") == 1
    assert sorted(path.name for path in place.iterdir()) == before
