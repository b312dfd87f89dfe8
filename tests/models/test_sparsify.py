"""The pruning schedule, which weights go, and what that leaves each lane."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch (the extra 'train')")
from ossicle.compiler.passes.balance import assign  # noqa: E402
from ossicle.models.export import SMALL_TOPOLOGY  # noqa: E402
from ossicle.models.network import Transducer  # noqa: E402
from ossicle.models.sparsify import (  # noqa: E402
    Pruning,
    balanced_mask,
    blocks,
    magnitude_mask,
    shrunk,
    target_sparsity,
)
from ossicle.models.train import Run  # noqa: E402

QUIET = {"say": lambda line: None}
TOPOLOGY = {**SMALL_TOPOLOGY, "vocabulary": 12}


def test_schedule_is_zhu_and_guptas_cubic():
    assert target_sparsity(99, 100, 200, 0.8) == 0
    assert target_sparsity(100, 100, 200, 0.8) == pytest.approx(0)
    assert target_sparsity(150, 100, 200, 0.8) == pytest.approx(0.8 * (1 - 0.5**3))
    assert target_sparsity(200, 100, 200, 0.8) == target_sparsity(900, 100, 200, 0.8) == pytest.approx(0.8)
    assert target_sparsity(5, 5, 5, 0.8) == pytest.approx(0.8)
    rising = [target_sparsity(step, 100, 200, 0.8, 0.3) for step in range(250)]
    assert rising == sorted(rising) and rising[0] == 0.3


def test_the_smallest_go():
    weight = torch.tensor([[0.5, -0.1, 0.3], [0.0, -2.0, 0.2]])
    assert magnitude_mask(weight, 0.5).tolist() == [[1, 0, 1], [0, 1, 0]]
    assert magnitude_mask(weight, 0).min() == 1
    assert balanced_mask(weight, 2 / 3).tolist() == [[1, 0, 0], [0, 1, 0]]


def test_gates_and_paths_keep_their_share_and_the_dead_stay_dead():
    torch.manual_seed(0)
    network = Transducer(TOPOLOGY)
    weight = network.weights["encoder_1"]
    with torch.no_grad():
        weight[256:512] *= 0.01  # one global threshold would kill the forget gate
    plan = Pruning(final={"encoder.1": 0.7}, begin=0, end=100)
    assert plan.apply(network, 50)["encoder.1"] == pytest.approx(0.7 * (1 - 0.5**3), abs=1e-3)
    first = network.masks["encoder.1"].clone()
    assert plan.apply(network, 100)["encoder.1"] == pytest.approx(0.7, abs=1e-3)
    mask = network.masks["encoder.1"]
    assert (mask <= first).all()
    for gate in range(4):
        for columns in (slice(0, 512), slice(512, 768)):
            zeros = 1 - mask[256 * gate : 256 * (gate + 1), columns].mean().item()
            assert zeros == pytest.approx(0.7, abs=1e-3)
    assert (network.matrix("encoder.1")[0] == 0).float().mean().item() >= 0.699


@pytest.mark.parametrize("rows", [1, 4, 32])
@pytest.mark.parametrize("zeros", [0.5, 0.75, 0.9])
def test_every_group_of_rows_keeps_the_same_number(rows, zeros):
    torch.manual_seed(0)
    network = Transducer(TOPOLOGY)
    with torch.no_grad():
        for _, weight in network.named_weights():
            weight.mul_(torch.rand(len(weight), 1))  # rows of very different size
    final = dict.fromkeys(("encoder.0", "encoder.1", "encoder.projection"), zeros)
    plan = Pruning(final=final, begin=0, end=1, kind="balanced", rows=rows)
    plan.check(TOPOLOGY)
    plan.apply(network, 1)
    for name, mask in network.masks.items():
        for block in blocks(name, TOPOLOGY):
            part = mask[block]
            counts = part.sum(1).view(rows, -1).sum(0)  # rows j, j + R / rows, ...
            assert (counts == counts[0]).all()
            size = rows * part.shape[1]
            assert counts[0] == size - int(zeros * size + 1e-9)


@pytest.mark.parametrize("lanes", [8, 32, 128])
def test_lanes_finish_together_on_balanced_rows(lanes):
    """The compiler's lanes have equal work in tiles of any number of slots, and not so without balance."""
    torch.manual_seed(0)
    network, imbalance = Transducer(TOPOLOGY), {}
    for kind in ("balanced", "unstructured"):
        plan = Pruning(final={"encoder.1": 0.75}, begin=0, end=1, kind=kind)
        mask = plan.mask("encoder.1", network.weights["encoder_1"].detach(), TOPOLOGY, 0.75)
        work = mask.reshape(4, 256, -1).transpose(0, 1).sum(2).numpy().astype(np.int64)  # unit by unit
        by_slot, worst = work.reshape(-1, lanes), 0.0
        for slots in (1, 3, 8):
            tile = by_slot[:slots]
            load = np.bincount(assign(tile).ravel(), tile.ravel(), lanes)
            worst = max(worst, load.max() / load.mean() - 1)
        imbalance[kind] = worst
    assert imbalance["balanced"] == 0
    assert imbalance["unstructured"] > 0.02


def test_groups_that_do_not_divide_a_block_are_refused(tiny_recipe):
    recipe = tiny_recipe({"prune_kind": "balanced", "prune_rows": 3}, sparsity={"encoder.0": 0.5})
    with pytest.raises(ValueError, match=r"encoder.0: groups of 3 rows do not divide the 8 of a block"):
        Run(recipe, **QUIET)


@pytest.mark.parametrize("name", ["prune_kind", "prune_method"])
def test_unknown_ways_of_pruning_are_refused(tiny_recipe, name):
    with pytest.raises(ValueError, match=f"there is no {name} 'odd'; use"):
        tiny_recipe({name: "odd"})


def test_shrinkage_is_soft_and_spares_the_rest():
    weight = torch.tensor([[0.4, -0.2, 1.0, -0.1]])
    mask = magnitude_mask(weight, 0.5)
    torch.testing.assert_close(shrunk(weight, mask, 0.5), torch.tensor([[0.4, -0.1, 1.0, 0.0]]))
    torch.testing.assert_close(shrunk(weight, mask, 1.0), torch.tensor([[0.4, 0.0, 1.0, 0.0]]))
    torch.testing.assert_close(shrunk(weight, mask, 0.0), weight)


def test_a_shrunk_weight_that_the_loss_needs_comes_back():
    """Weights regress onto targets; the first was smallest at the start and is needed most in the end."""
    torch.manual_seed(0)
    network = Transducer({**TOPOLOGY, "encoder": [{"hidden": 4, "reduce": 2}], "joint": 4})
    name, key = "encoder.projection", "encoder_projection"
    target = torch.tensor([1.0, 0.8, 0.05, 0.04]).repeat(4, 1)
    final = {}
    for method in ("magnitude", "shrink"):
        with torch.no_grad():
            network.weights[key].copy_(torch.tensor([0.01, 0.8, 0.5, 0.5]))
        network.masks = {}
        plan = Pruning(final={name: 0.5}, begin=0, end=100, kind="balanced", method=method)
        for step in range(101):
            if plan.due(network, step):
                plan.apply(network, step)
            with torch.no_grad():
                weight = network.weights[key]
                weight += 0.01 * (target - weight) * network.masks.get(name, torch.ones(1))
        final[method] = network.masks[name][0].tolist()
    assert final["shrink"] == [1, 1, 0, 0]
    assert final["magnitude"][0] == 0


@pytest.mark.parametrize("method", ["magnitude", "shrink"])
def test_a_run_ends_with_the_zeros_asked_for(tiny_recipe, method):
    plan = {"prune_begin": 0.2, "prune_end": 0.6, "prune_method": method, "prune_kind": "balanced"}
    run = Run(tiny_recipe(plan, sparsity={"encoder.0": 0.5, "encoder.1": 0.75}), **QUIET)
    run.train()
    for name, zeros in run.recipe.sparsity.items():
        weight, _ = run.network.matrix(name)
        assert (weight == 0).float().mean().item() == pytest.approx(zeros, abs=0.02)
    assert set(run.network.masks) == set(run.recipe.sparsity)


def test_zeros_of_the_stage_before_stay(tiny_recipe, tmp_path):
    plan = {"prune_begin": 0.0, "prune_end": 0.5}
    first = Run(tiny_recipe(plan, sparsity={"encoder.0": 0.6}), **QUIET)
    first.train()
    before = first.network.matrix("encoder.0")[0] == 0
    stage = tiny_recipe(
        plan, initial=first.export("test"), run=tmp_path / "next", sparsity={"encoder.0": 0.6}
    )
    second = Run(stage, **QUIET)
    assert second.pruning.initial["encoder.0"] == pytest.approx(0.6, abs=0.01)
    second.train()
    weight = second.network.matrix("encoder.0")[0]
    assert (weight[before] == 0).all() and (weight == 0).float().mean() < 0.65
