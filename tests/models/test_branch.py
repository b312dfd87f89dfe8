"""Training a branch: its gate and cost, what it starts from, runs that stop and go on, what is exported."""

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch (the extra 'train')")
from ossicle.compiler.importer import import_checkpoint  # noqa: E402
from ossicle.compiler.reference import Reference  # noqa: E402
from ossicle.models.branch import Branching, BranchOptions, fast_share  # noqa: E402
from ossicle.models.data.batches import Batch  # noqa: E402
from ossicle.models.exact import ExactTransducer  # noqa: E402
from ossicle.models.export import read_checkpoint  # noqa: E402
from ossicle.models.initial import branched, read_start  # noqa: E402
from ossicle.models.network import Transducer  # noqa: E402
from ossicle.models.train import Run  # noqa: E402

QUIET = {"say": lambda line: None}
OPTIONS = BranchOptions(begin=1, hidden=4, cost=0.6, hard_from=0.5)
TOPOLOGY = {
    "kind": "rnnt", "features": 120, "joint": 8, "vocabulary": 16,
    "encoder": [{"hidden": 8, "reduce": 1}, {"hidden": 8, "reduce": 2}],
    "prediction": {"context": 2, "embedding": 4, "hidden": 8}, "branch": OPTIONS.topology(),
}  # fmt: skip


def batch(frames: list[int], starts: list[int]) -> Batch:
    count, steps = len(frames), max(f + s for f, s in zip(frames, starts, strict=True))
    features = torch.rand(count, 2 * steps, 120) * 2 - 1
    labels = torch.zeros(count, 1, dtype=torch.long)
    one = torch.ones(count, dtype=torch.long)
    return Batch(features, labels, torch.tensor(frames), one, one > 0, torch.tensor(starts))


@pytest.fixture
def network():
    torch.manual_seed(0)
    return Transducer(TOPOLOGY)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"hidden": 3}, "needs `from`"),
        ({"from": 1, "begin": 1}, "needs `from`"),
        ({"from": 1, "cost": 0.0}, "cost = 0.0 is no share"),
        ({"from": 1, "hard_from": 2}, "hard_from = 2 is no part"),
        ({"from": 1, "temperature": (1.0, 0.0)}, "temperature = .* use two, above 0"),
        ({"from": 1, "costs": 0.5}, "costs"),
    ],
)
def test_wrong_options_are_refused(table, message):
    with pytest.raises((ValueError, TypeError), match=message):
        BranchOptions.read(table)


def test_the_gate_cools_down_and_then_is_hard():
    branching = Branching(replace(OPTIONS, temperature=(2.0, 0.5)), 100, 1)
    gates = [branching.gate(step) for step in (0, 25, 49, 50, 99)]
    assert [gate.temperature for gate in gates] == pytest.approx([2.0, 1.0, 0.514, 0.5, 0.5], rel=1e-2)
    assert [gate.hard for gate in gates] == [False, False, False, True, True]
    assert [gate.noise is None for gate in gates] == [False, False, False, True, True]


def test_noise_is_that_of_the_step_and_the_rank():
    branching, scores = Branching(OPTIONS, 100, 1), torch.zeros(5, 2)
    made = [branching.gate(step, rank)(scores) for step, rank in ((3, 0), (3, 0), (4, 0), (3, 1))]
    assert torch.equal(made[0], made[1])
    assert not torch.equal(made[0], made[2]) and not torch.equal(made[0], made[3])


def test_cost_counts_weights_that_stay_and_frames_that_are_there(network):
    network.masks["encoder.1.fast"] = (torch.arange(32 * 24).view(32, 24) % 4 == 0).float()
    assert fast_share(network) == pytest.approx(0.25)
    given, branching = batch([3, 5], [2, 0]), Branching(OPTIONS, 10, 1)
    network.encode(given.features)
    share = network.share.detach()
    slow = torch.cat([share[:5, 0], share[:5, 1]]).mean().item()
    branching.weight = 2.0
    wanted = slow + (1 - slow) * 0.25
    penalty = 2 * wanted + OPTIONS.stiffness / 2 * (wanted - OPTIONS.cost) ** 2
    assert branching.penalty(network, given).item() == pytest.approx(penalty)
    assert (branching.slow, branching.cost) == pytest.approx((slow, wanted))


def test_hard_decisions_are_the_integers(network):
    """Shares of the float graph are the exact model's decisions, but for scores at the threshold."""
    network.rounding = True
    features = torch.randint(-128, 128, (4, 40, 120), dtype=torch.int8)
    made = network.checkpoint(b"", None, {})
    with torch.no_grad():
        network.encode(features.float() / 128)
    exact = ExactTransducer(made).scores(features)
    sure = exact.abs() > 40  # of 2048
    assert sure.float().mean() > 0.5
    assert torch.equal((network.share.t() > 0.5)[sure], (exact > 0)[sure])


def test_the_controller_holds_the_cost(network):
    """Against an objective that wants the slow side everywhere."""
    given, branching = batch([12, 12], [0, 0]), Branching(replace(OPTIONS, pace=0.1), 400, 1)
    network.masks["encoder.1.fast"] = torch.zeros(32, 24)
    optimizer = torch.optim.Adam(network.parameters(), 0.01)
    costs = []
    for step in range(200):
        network.gate = branching.gate(step)
        network.encode(given.features)
        loss = branching.penalty(network, given) - 3 * network.share.mean()
        branching.settle(branching.cost)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        costs.append(branching.cost)
    assert np.mean(costs[-50:]) == pytest.approx(OPTIONS.cost, abs=0.1)
    assert branching.weight == pytest.approx(3, rel=0.5)


def test_both_sides_begin_as_the_layers_of_a_plain_network(tiny_recipe, tmp_path):
    plain = Run(tiny_recipe({"steps": 2}, sparsity={"encoder.1": 0.4}), **QUIET)
    plain.train()
    sparsity = {"encoder.1": 0.4, "encoder.1.fast": 0.8}
    recipe = tiny_recipe(
        {"steps": 4, "prune_begin": 0, "prune_end": 0.5}, run=tmp_path / "branch", initial=plain.state,
        vocabulary=None, topology={}, branch=OPTIONS, sparsity=sparsity,
    )  # fmt: skip
    run = Run(recipe, **QUIET)
    before = plain.network.weights["encoder_1"]
    assert torch.equal(run.network.weights["encoder_1"], before)
    assert torch.equal(run.network.weights["encoder_1_fast"], before)
    run.train()
    zeros = [(run.network.matrix(name)[0] == 0).float().mean().item() for name in sparsity]
    assert zeros == pytest.approx([0.4, 0.8], abs=0.03)


def test_another_branch_than_that_of_the_start_is_refused(tiny_recipe):
    run = Run(tiny_recipe({"steps": 1}, branch=OPTIONS), **QUIET)
    run.train()
    start = read_start(run.state)
    assert branched(start, OPTIONS.topology()) is start
    with pytest.raises(ValueError, match=r"its branch is .*'hidden': 4.*, the recipe's .*'hidden': 5"):
        branched(start, {"from": 1, "hidden": 5})
    with pytest.raises(ValueError, match="a branch from layer 2; the encoder's last is 1"):
        tiny_recipe(branch=BranchOptions(begin=2)).full_topology()


def test_resumed_is_uninterrupted(tiny_recipe, tmp_path):
    recipe = tiny_recipe({"steps": 8, "save_every": 1}, branch=OPTIONS, sparsity={"encoder.1.fast": 0.5})
    whole = Run(recipe, **QUIET)
    whole.train()
    again = replace(recipe, run=tmp_path / "again")
    first = Run(again, **QUIET)
    first.progress = lambda done, total: (_ for _ in ()).throw(KeyboardInterrupt) if done > 3 else None
    with pytest.raises(KeyboardInterrupt):
        first.train()
    second = Run(again, **QUIET)
    assert second.step == 3
    second.train()
    for name, value in whole.network.state_dict().items():
        assert torch.equal(value, second.network.state_dict()[name]), name
    assert whole.branching.weight == second.branching.weight > 0


def test_what_is_exported_compiles_to_the_same_integers(tiny_recipe):
    run = Run(tiny_recipe({"steps": 3}, branch=OPTIONS), **QUIET)
    run.train()
    path = run.export("test")
    features = np.random.default_rng(0).integers(-128, 128, (2, 24, 120)).astype(np.int8)
    exact = ExactTransducer(read_checkpoint(path)).encode(torch.from_numpy(features)).numpy()
    np.testing.assert_array_equal(exact, Reference(import_checkpoint(path), (2,)).encode(features))


def test_a_recipe_file_has_a_branch(tmp_path):
    from ossicle.models.recipe import Recipe

    head = 'name = "a"\nrun = "r"\npacks = "p"\ntrain = []\ndev = []\n[branch]\n'
    (tmp_path / "r.toml").write_text(f"{head}from = 1\ncost = 0.5\ntemperature = [1.0, 0.5]\n")
    recipe = Recipe.read(tmp_path / "r.toml")
    assert recipe.branch == BranchOptions(begin=1, cost=0.5, temperature=(1.0, 0.5))
    assert recipe.full_topology()["branch"] == {"from": 1, "hidden": 16}
    (tmp_path / "r.toml").write_text(f"{head}from = 1\ncost = 2.0\n")
    with pytest.raises(ValueError, match=r"not a recipe .*cost = 2\.0"):
        Recipe.read(tmp_path / "r.toml")
