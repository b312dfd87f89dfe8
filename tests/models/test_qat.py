"""Quantization: the regularizer and finite differences, where it leads; bits of each matrix to the file."""

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch (the extra 'train')")
from ossicle.models.export import read_checkpoint, write_checkpoint  # noqa: E402
from ossicle.models.qat import (  # noqa: E402
    EDGE,
    distance_to_levels,
    fake_weight,
    level_penalty,
    level_pull,
    row_scale,
)
from ossicle.models.train import Run, finish  # noqa: E402

QUIET = {"say": lambda line: None}


@pytest.mark.parametrize("bits", [2, 4, 5, 8])
def test_the_pull_is_the_penaltys_slope(bits):
    torch.manual_seed(bits)
    weight = torch.randn(3, 6, dtype=torch.float64)
    weight[:, 0] = 4.0  # each row's largest, whose scale is held fast
    pull, step = level_pull(weight, bits), 1e-7
    steps = weight / row_scale(weight, (1 << (bits - 1)) - 1)
    assert pull.abs().max() <= 1
    assert pull[:, 0].abs().max() < 1e-9
    for index in np.ndindex(3, 5):
        place = (index[0], index[1] + 1)
        if abs(steps[place] - steps[place].round()) < EDGE:
            continue
        above, below = weight.clone(), weight.clone()
        above[place] += step
        below[place] -= step
        slope = (level_penalty(above, bits) - level_penalty(below, bits)) / (2 * step)
        assert pull[place].item() == pytest.approx(slope.item(), abs=1e-5)


def test_whole_numbers_and_zeros_are_left_alone():
    weight = torch.tensor([[0.7, -0.3, 0.0, 0.1], [0.0, 0.0, 0.0, 0.0]], dtype=torch.float64)
    assert level_penalty(weight, 4).item() == pytest.approx(0, abs=1e-12)
    assert (level_pull(weight, 4)[weight == 0] == 0).all()
    assert distance_to_levels(weight, 4) == pytest.approx(0, abs=1e-9)


def test_the_pull_ends_at_the_nearest_levels():
    torch.manual_seed(0)
    weight = torch.randn(8, 40, dtype=torch.float64)
    target = fake_weight(weight, 4)
    near = (weight / row_scale(weight, 7) % 1 - 0.5).abs() > 0.1  # not on the fence between two
    for _ in range(400):
        weight -= 2e-3 * level_pull(weight, 4)
    assert distance_to_levels(weight, 4) < 0.02
    assert ((weight - target)[near].abs() < 5e-3).all()


@pytest.mark.parametrize("quantization", ["fake", "regularized", "post"])
def test_bits_of_each_matrix_reach_the_file(tiny_recipe, tmp_path, quantization):
    plan = {"quantization": quantization, "quantize_from": 0.3, "pull": 0.1, "bits": 6}
    recipe = tiny_recipe(plan, bits={"encoder.0": 4, "joint.output": 8})
    run = Run(recipe, **QUIET)
    checkpoint = read_checkpoint(finish(run, tmp_path / "r.toml", False)["checkpoint"])
    assert run.network.rounding == (quantization == "fake")
    bits = checkpoint.header["quantization"]
    assert (bits["encoder.0"], bits["encoder.1"], bits["joint.output"]) == (4, 6, 8)
    for name, matrix in checkpoint.matrices.items():
        assert np.abs(matrix.weight).max() == (1 << (bits[name] - 1)) - 1


def test_regularized_training_is_float_and_nears_the_levels(tiny_recipe, tmp_path):
    distances = {}
    for quantization in ("post", "regularized"):
        plan = {"steps": 30, "quantization": quantization, "quantize_from": 0.0, "pull": 10.0, "bits": 4}
        run = Run(tiny_recipe(plan, run=tmp_path / quantization), **QUIET)
        run.train()
        weight, _ = run.network.matrix("encoder.0")
        assert torch.equal(weight, run.network.weights["encoder_0"])
        distances[quantization] = run.off_levels()
    assert distances["regularized"] < 0.7 * distances["post"]


def test_weights_snap_to_their_levels(tiny_recipe):
    plan = {"steps": 2, "quantization": "regularized", "quantize_from": 0.0, "snap_every": 2, "bits": 5}
    run = Run(tiny_recipe(plan), **QUIET)
    run.train()
    assert run.off_levels() < 1e-4


def test_more_than_the_bits_hold_is_refused(untrained_checkpoint, tmp_path):
    checkpoint = read_checkpoint(untrained_checkpoint)
    bits = dict.fromkeys(checkpoint.matrices, 8) | {"encoder.1": 5}
    wrong = replace(checkpoint, header={**checkpoint.header, "quantization": bits})
    with pytest.raises(ValueError, match=r"encoder.1.weight holds 127; its 5 bits end at 15"):
        write_checkpoint(tmp_path / "wrong.safetensors", wrong)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"bits": {"encoder.9": 4}}, r"\[bits\]: there is no matrix encoder.9; there are encoder.0,"),
        ({"sparsity": {"encoder": 0.4}}, r"\[sparsity\]: there is no matrix encoder;"),
        ({"bits": {"encoder.0": 9}}, "encoder.0: 9 bits"),
        ({"sparsity": {"encoder.0": 1.0}}, "encoder.0: a sparsity of 1.0"),
    ],
)
def test_tables_that_fit_no_matrix_are_refused(tiny_recipe, changes, message):
    with pytest.raises(ValueError, match=message):
        Run(tiny_recipe(**changes), **QUIET)


def test_an_unknown_quantization_is_refused(tiny_recipe):
    with pytest.raises(ValueError, match="no quantization 'half'; use fake, regularized, post"):
        tiny_recipe({"quantization": "half"})
