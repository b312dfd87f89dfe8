"""Cutting and rounding without training: errors are made up for, zeros and bits are as asked for."""

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch (the extra 'train')")
from ossicle.models.exact import joined  # noqa: E402
from ossicle.models.export import quantize_matrix, read_checkpoint  # noqa: E402
from ossicle.models.floating import float_lstm  # noqa: E402
from ossicle.models.initial import from_checkpoint  # noqa: E402
from ossicle.models.squeeze import DAMPING, Calibration, inverse_factor, main, squeeze, squeezed  # noqa: E402
from ossicle.models.train import Run  # noqa: E402


@pytest.fixture(scope="module")
def layer():
    """Weights [24, 150], of more columns than a block has, and inputs [150, 2000] that hang together."""
    torch.manual_seed(0)
    mixed = torch.randn(150, 40) @ torch.randn(40, 2000) + 0.3 * torch.randn(150, 2000)
    return torch.randn(24, 150), mixed.double()


def error(weight, made, scale, inputs):
    return ((weight.double() - made * scale[:, None]) @ inputs).square().mean().item()


@pytest.mark.parametrize("zeros, bits", [(0.0, 4), (0.5, 8), (0.75, 5), (0.9, 6)])
def test_less_is_lost_than_by_cutting_and_rounding_alone(layer, zeros, bits):
    weight, inputs = layer
    made, scale = squeezed(weight, inputs @ inputs.T, zeros, bits)
    top = (1 << (bits - 1)) - 1
    assert torch.equal(made, made.round()) and made.abs().max() <= top
    assert zeros - 0.001 <= (made == 0).double().mean() < zeros + 0.15
    cut = weight.clone()
    cut[cut.abs() <= cut.abs().flatten().kthvalue(max(1, int(zeros * cut.numel()))).values] = 0
    plain = quantize_matrix("encoder.0", cut.double().numpy(), np.zeros(24), bits=bits)
    integers, scales = (torch.from_numpy(part).double() for part in (plain.weight, plain.scale))
    assert error(weight, made, scale, inputs) < 0.75 * error(weight, integers, scales, inputs)


def test_inputs_that_do_not_hang_together_leave_nearest_levels(layer):
    """H a multiple of one: no column can make up for another."""
    weight, _ = layer
    made, scale = squeezed(weight, torch.eye(150, dtype=torch.float64), 0.0, 6)
    assert torch.equal(made, (weight.double() / scale[:, None]).round().clamp(-31, 31))


def test_the_factor_is_of_the_inverse(layer):
    _, inputs = layer
    hessian = inputs @ inputs.T
    upper = inverse_factor(hessian)
    damped = hessian + DAMPING * hessian.diagonal().mean() * torch.eye(150)
    one = torch.eye(150, dtype=torch.float64)
    torch.testing.assert_close(upper.T @ upper @ damped, one, atol=1e-6, rtol=0)
    assert torch.equal(upper, upper.triu())


def test_calibration_is_what_each_layer_reads():
    torch.manual_seed(1)
    topology = {"encoder": [{"hidden": 4, "reduce": 1}, {"hidden": 3, "reduce": 2}]}
    rng = np.random.default_rng(0)
    clips = [rng.integers(-128, 128, (n, 5)).astype(np.int8) for n in (6, 9)]
    first, second = (torch.randn(16, 9), torch.randn(16)), (torch.randn(12, 11), torch.randn(12))
    calibration = Calibration(topology, clips)
    found = [calibration.hessian(0, *first)]
    calibration.step(*first)
    found.append(calibration.hessian(1, *second))
    calibration.step(*second)
    found.append(calibration.outputs())
    rows = [[], [], []]
    for clip in clips:
        x = torch.from_numpy(clip).float()[:, None] / 128
        for i, (weight, bias) in enumerate((first, second)):
            x = joined(x, topology["encoder"][i]["reduce"])
            states = float_lstm(x, weight, bias)
            before = torch.cat([torch.zeros(1, *states.shape[1:]), states[:-1]])
            rows[i].append(torch.cat([x, before], 2).flatten(0, 1))
            x = states
        rows[2].append(x.flatten(0, 1))
    for made, wanted in zip(found, rows, strict=True):
        read = torch.cat(wanted).double()
        torch.testing.assert_close(made, read.T @ read, atol=1e-4, rtol=1e-4)


def test_the_command_makes_a_checkpoint_of_the_recipes_zeros_and_bits(
    tiny_recipe, tiny_toml, tmp_path, monkeypatch, capsys
):
    before = Run(tiny_recipe(), lambda text: None).export("test")
    monkeypatch.chdir(tmp_path)
    recipe, out = tmp_path / "r.toml", tmp_path / "out.safetensors"
    tables = '[bits]\n"encoder.1" = 5\n[sparsity]\n"encoder.1" = 0.8\n'
    recipe.write_text(f"{tiny_toml}\n{tables}")
    monkeypatch.setattr("sys.argv", ["squeeze", str(before), str(recipe), str(out), "--clips", "3"])
    main()
    made = read_checkpoint(out)
    assert made.matrices["encoder.1"].sparsity > 0.79 and abs(made.matrices["encoder.1"].weight).max() <= 15
    assert made.matrices["joint.output"].sparsity < 0.2
    assert "models.squeeze" in made.full_header()["provenance"]["command"]
    recipe.write_text(f'{tiny_toml}\n[sparsity]\n"encoder.9" = 0.8\n')
    for clips, message in (("3", "there is no matrix encoder.9"), ("0", "use 1 or more")):
        monkeypatch.setattr("sys.argv", ["squeeze", str(before), str(recipe), str(out), "--clips", clips])
        with pytest.raises(SystemExit) as stopped:
            main()
        assert stopped.value.code == 2 and message in capsys.readouterr().err


def test_a_branching_encoder_is_refused(tiny_recipe, untrained_checkpoint):
    start = from_checkpoint(read_checkpoint(untrained_checkpoint))
    branching = replace(start, topology={**start.topology, "branch": {"from": 1, "hidden": 16}})
    with pytest.raises(ValueError, match="before it branches"):
        squeeze(branching, [], tiny_recipe(), {})
