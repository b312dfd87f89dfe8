"""Checkpoints: what is written is what is read; what is wrong is refused with a reason."""

from dataclasses import replace

import numpy as np
import pytest
from ossicle.hw.numerics import requantize
from ossicle.models.export import (
    matrix_shapes,
    quantize_matrix,
    read_checkpoint,
    write_checkpoint,
)
from ossicle.models.untrained import untrained


@pytest.fixture(scope="module")
def checkpoint():
    return untrained(seed=3, zeros=0.6)


def test_round_trip(checkpoint, tmp_path):
    path = tmp_path / "model.safetensors"
    write_checkpoint(path, checkpoint)
    again = read_checkpoint(path)
    assert again.frontend == checkpoint.frontend
    assert again.tokenizer == checkpoint.tokenizer
    assert again.topology == checkpoint.topology
    np.testing.assert_array_equal(again.embedding, checkpoint.embedding)
    for name, matrix in checkpoint.matrices.items():
        for part in ("weight", "bias", "scale", "multiplier", "shift"):
            np.testing.assert_array_equal(getattr(again.matrices[name], part), getattr(matrix, part))
        assert again.header["sparsity"][name] == pytest.approx(matrix.sparsity, abs=1e-4)
        assert again.header["sparsity"][name] > 0.55


def test_integers_stand_for_the_real_matrix():
    rng = np.random.default_rng(0)
    weight, bias = rng.normal(0, 0.2, (32, 100)), rng.normal(0, 1, 32)
    x = rng.integers(-128, 128, 100)
    for name, unit in (("encoder.0", 1 << 11), ("joint.output", 1 << 8)):
        m = quantize_matrix(name, weight, bias)
        result = requantize(m.weight.astype(np.int64) @ x, m.bias, m.multiplier, m.shift) / unit
        assert np.abs(result - (weight @ (x / 128) + bias)).max() < 0.03


def test_bias_that_overflows_is_refused():
    with pytest.raises(ValueError, match=r"past 2\*\*30"):
        quantize_matrix("encoder.0", np.full((1, 4), 1e-7), np.array([10.0]))


@pytest.mark.parametrize("part", ["weight", "bias", "multiplier"])
def test_wrong_shapes_are_refused(checkpoint, tmp_path, part):
    matrix = checkpoint.matrices["encoder.1"]
    wrong = replace(matrix, **{part: getattr(matrix, part)[:-1]})
    broken = replace(checkpoint, matrices={**checkpoint.matrices, "encoder.1": wrong})
    with pytest.raises(ValueError, match=f"encoder.1.{part} must be"):
        write_checkpoint(tmp_path / "broken.safetensors", broken)
    assert not (tmp_path / "broken.safetensors").exists()


def test_missing_matrices_and_other_files_are_refused(checkpoint, tmp_path):
    fewer = {name: m for name, m in checkpoint.matrices.items() if name != "joint.output"}
    with pytest.raises(ValueError, match="joint"):
        write_checkpoint(tmp_path / "broken.safetensors", replace(checkpoint, matrices=fewer))
    text = tmp_path / "text.safetensors"
    text.write_text("not a checkpoint")
    with pytest.raises(ValueError, match="not a readable safetensors"):
        read_checkpoint(text)


def test_shapes_of_the_small_topology(checkpoint):
    shapes = matrix_shapes(checkpoint.topology)
    assert shapes["encoder.0"] == (1024, 376)
    assert shapes["encoder.1"] == (1024, 768)
    assert shapes["encoder.2"] == (1024, 512)
    assert shapes["joint.output"][1] == 192
