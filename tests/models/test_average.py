"""A point between two stages of one model."""

import pytest

torch = pytest.importorskip("torch", reason="needs torch (the extra 'train')")
from dataclasses import replace  # noqa: E402

from ossicle.models import average as module  # noqa: E402
from ossicle.models.average import average  # noqa: E402
from ossicle.models.export import read_checkpoint, write_checkpoint  # noqa: E402
from ossicle.models.initial import from_checkpoint  # noqa: E402
from ossicle.models.untrained import untrained  # noqa: E402


@pytest.fixture(scope="module")
def stages():
    """A model and one nearby, with the same zeros."""
    before = from_checkpoint(untrained())
    moved = {
        name: value
        + 0.01 * (value != 0) * torch.randn(value.shape, generator=torch.Generator().manual_seed(1))
        for name, value in before.parameters.items()
    }
    return before, replace(before, parameters=moved)


def test_the_ends_are_the_two(stages):
    for share, start in zip((0.0, 1.0), stages, strict=True):
        found = from_checkpoint(average(*stages, share, {"name": "m"}))
        network, own = found.network(), start.network()
        for name, weight in network.named_weights():
            largest = own.weights[name.replace(".", "_")].abs().max().item()
            off = (weight - own.weights[name.replace(".", "_")]).abs().max().item()
            assert off <= largest / 127, name


def test_between_keeps_the_zeros(stages):
    found = average(*stages, 0.5, {"name": "m"})
    for name, mask in stages[1].masks.items():
        assert not found.matrices[name].weight[mask.numpy() == 0].any()


def test_two_models_are_refused(stages, tmp_path, monkeypatch, capsys):
    other = from_checkpoint(untrained(hidden=128))
    with pytest.raises(ValueError, match="same topology"):
        average(stages[0], other, 0.5, {"name": "m"})
    with pytest.raises(ValueError, match="use 0 to 1"):
        average(*stages, 1.5, {"name": "m"})
    monkeypatch.setattr("sys.argv", ["average", str(tmp_path / "none.pt"), "b.pt", str(tmp_path / "out")])
    with pytest.raises(SystemExit) as stopped:
        module.main()
    assert stopped.value.code == 2 and "none.pt" in capsys.readouterr().err


def test_the_command_writes_a_checkpoint(tmp_path, monkeypatch):
    write_checkpoint(tmp_path / "a.safetensors", untrained())
    paths = [str(tmp_path / name) for name in ("a.safetensors", "a.safetensors", "out.safetensors")]
    monkeypatch.setattr("sys.argv", ["average", *paths, "--share", "0.5", "--name", "mean"])
    module.main()
    assert read_checkpoint(tmp_path / "out.safetensors").header["name"] == "mean"
