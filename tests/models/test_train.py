"""Runs of a tiny network: resumed is uninterrupted, stages follow each other, the command does as it says."""

import json
from dataclasses import fields, replace
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="needs torch (the extra 'train')")
from ossicle.models.data.batches import Batch  # noqa: E402
from ossicle.models.data.split import read_manifest  # noqa: E402
from ossicle.models.export import read_checkpoint  # noqa: E402
from ossicle.models.initial import from_checkpoint, read_start  # noqa: E402
from ossicle.models.recipe import Schedule  # noqa: E402
from ossicle.models.runner import pick_device  # noqa: E402
from ossicle.models.train import Run, finish, learning_rate  # noqa: E402
from ossicle.runtime import cli  # noqa: E402

QUIET = {"say": lambda line: None}


def parameters(run):
    return {name: value.clone() for name, value in run.network.state_dict().items()}


def assert_equal(one, other):
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert torch.equal(value, other[name]), name


@pytest.mark.parametrize("stop", [1, 3, 5, 7])
def test_resumed_is_uninterrupted(tiny_recipe, tmp_path, stop):
    """Bit by bit, whether the run stops in an epoch or at its end, before or after a source joins."""
    plan = {"steps": 8, "save_every": 1, "prune_begin": 0.3, "prune_end": 0.6, "masked": 0.5}
    recipe = tiny_recipe(plan, sparsity={"encoder.0": 0.5})
    late = replace(recipe.train[0], name="late", begin=0.5)
    recipe = replace(recipe, train=[*recipe.train, late])
    whole = Run(recipe, **QUIET)
    whole.train()
    again = replace(recipe, run=tmp_path / "again")
    first = Run(again, **QUIET)
    first.progress = lambda done, total: (_ for _ in ()).throw(KeyboardInterrupt) if done > stop else None
    with pytest.raises(KeyboardInterrupt):
        first.train()
    second = Run(again, **QUIET)
    assert second.step == stop
    second.train()
    assert_equal(parameters(whole), parameters(second))
    assert_equal(whole.network.masks, second.network.masks)


def test_a_stage_starts_where_the_one_before_ended(tiny_recipe, tmp_path):
    run = Run(tiny_recipe(), **QUIET)
    found = finish(run, tmp_path / "r.toml", False)
    checkpoint = read_checkpoint(found["checkpoint"])
    for initial in (run.export("test"), run.state):
        plan = {"steps": 1}
        stage = tiny_recipe(plan, run=tmp_path / initial.name, initial=initial, vocabulary=None, topology={})
        following = Run(stage, **QUIET)
        assert following.tokenizer == run.tokenizer and following.frontend == run.frontend
        exported = following.network.checkpoint(run.tokenizer, run.frontend, {})
        for name, matrix in checkpoint.matrices.items():
            assert (exported.matrices[name].weight == matrix.weight).all()
            assert (abs(exported.matrices[name].bias - matrix.bias) <= 1).all()
        assert (exported.embedding == checkpoint.embedding).all()
        following.train()
        assert following.step == 1
    assert_equal(parameters(run), read_start(run.state).network().state_dict())


def test_short_clips_come_first_only_where_a_run_starts_from_nothing(tiny_recipe, tmp_path):
    run = Run(tiny_recipe(), **QUIET)
    stage = tiny_recipe(run=tmp_path / "s", initial=run.export("test"), vocabulary=None, topology={})
    assert run.batches.epoch == 0
    assert Run(stage, **QUIET).batches.epoch == 1


def test_zeros_of_a_checkpoint_are_its_masks(untrained_checkpoint):
    checkpoint = read_checkpoint(untrained_checkpoint)
    start = from_checkpoint(checkpoint)
    for name, matrix in checkpoint.matrices.items():
        assert (start.masks[name].numpy() == (matrix.weight != 0)).all()


def test_a_longer_context_changes_nothing_at_first(tiny_recipe, tmp_path):
    recipe = tiny_recipe()
    run, features = Run(recipe, **QUIET), torch.zeros(2, 8, 120)
    labels, frames, counts = torch.tensor([[1, 2, 3], [4, 5, 0]]), torch.tensor([4, 3]), torch.tensor([3, 2])
    run.save()
    longer = {**recipe.topology, "prediction": {**recipe.topology["prediction"], "context": 4}}
    changes = {"initial": run.state, "vocabulary": None, "run": tmp_path / "next"}
    following = Run(tiny_recipe(topology=longer, **changes), **QUIET)
    assert following.network.topology["prediction"]["context"] == 4
    one, other = (r.network(features, labels, frames, counts)[0] for r in (run, following))
    torch.testing.assert_close(one, other)
    with pytest.raises(ValueError, match="its prediction is"):
        shorter = {**recipe.topology, "prediction": {**recipe.topology["prediction"], "context": 1}}
        Run(tiny_recipe(topology=shorter, **changes), **QUIET)


def test_a_wider_encoder_changes_nothing_at_first(tiny_recipe, tmp_path):
    recipe = tiny_recipe(sparsity={"encoder.1": 0.5})
    run, features = Run(recipe, **QUIET), torch.rand(2, 8, 120)
    run.network.masks["encoder.1"] = (torch.rand(32, 24) < 0.5).float()
    run.save()
    layers = [{"hidden": 12, "reduce": 1}, {"hidden": 10, "reduce": 2}]
    changes = {
        "initial": run.state,
        "vocabulary": None,
        "sparsity": recipe.sparsity,
        "run": tmp_path / "next",
    }
    wide = Run(tiny_recipe(topology={"encoder": layers}, **changes), **QUIET).network
    assert wide.topology["encoder"] == layers and wide.masks["encoder.1"].shape == (40, 34)
    one, other = (n.project(n.encode(features)) for n in (run.network, wide))
    torch.testing.assert_close(one, other)
    for other in ([{"hidden": 6, "reduce": 1}, {"hidden": 8, "reduce": 2}], [{"hidden": 12, "reduce": 2}]):
        with pytest.raises(ValueError, match="may be wider, and no more"):
            Run(tiny_recipe(topology={"encoder": other}, **changes), **QUIET)


def test_zeros_may_grow_again(tiny_recipe, tmp_path):
    zeros = {"encoder.0": 0.5}
    run = Run(tiny_recipe({"steps": 2, "prune_begin": 0.0, "prune_end": 0.1}, sparsity=zeros), **QUIET)
    run.train()
    changes = {"initial": run.state, "vocabulary": None, "topology": {}, "sparsity": zeros}
    for regrow in (False, True):
        plan = {"steps": 2, "prune_begin": 0.9, "prune_end": 1.0}
        stage = tiny_recipe(plan, run=tmp_path / str(regrow), regrow=regrow, **changes)
        following = Run(stage, **QUIET)
        following.update(next(iter(following.batches)))
        weight, _ = following.network.matrix("encoder.0")
        assert ((weight == 0).float().mean().item() > 0.4) is not regrow


def test_what_does_not_learn_stays_as_it_was(tiny_recipe, tmp_path):
    zeros = {"encoder.0": 0.5}
    run = Run(tiny_recipe({"steps": 2, "prune_begin": 0.0, "prune_end": 0.1}, sparsity=zeros), **QUIET)
    run.train()
    changes = {"initial": run.state, "vocabulary": None, "topology": {}, "learn": ["encoder.1"]}
    stage = Run(tiny_recipe({"steps": 3}, run=tmp_path / "next", **changes), **QUIET)
    assert stage.network.masks["encoder.0"].mean() == pytest.approx(0.5, abs=0.1)
    before = {key: value.clone() for key, value in stage.network.state_dict().items()}
    stage.train()
    after = stage.network.state_dict()
    changed = {key for key, value in after.items() if not torch.equal(value, before[key])}
    assert changed == {"weights.encoder_1", "biases.encoder_1"}
    with pytest.raises(ValueError, match=r"learn: there is no matrix encoder\.7"):
        Run(tiny_recipe(**{**changes, "learn": ["encoder.7"]}), **QUIET)
    with pytest.raises(ValueError, match="name one"):
        tiny_recipe(learn=["encoder.1"])


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"topology": {"joint": 9}}, "its joint is 8, the recipe's 9"),
        ({"vocabulary": 15}, "its vocabulary is 16, the recipe's 15"),
        ({"packs": "other"}, "another frontend"),
        ({"initial": "none.pt"}, "none.pt"),
    ],
)
def test_a_start_that_does_not_fit_is_refused(tiny_recipe, tmp_path, changes, message):
    initial = Run(tiny_recipe(), **QUIET).export("test")
    if "packs" in changes:
        changes = {"packs": tmp_path / "other"}
        other = tiny_recipe(source={"shift": 0.1}, **changes).prepare().to_dict()
        other["mean"][0] += 1
        (tmp_path / "other" / "frontend.json").write_text(json.dumps(other))
    if "initial" in changes:
        changes, initial = {}, tmp_path / changes["initial"]
    values = {"initial": initial, "vocabulary": None, "topology": {}, "run": tmp_path / "next"} | changes
    with pytest.raises(ValueError, match=message):
        Run(tiny_recipe(**values), **QUIET)


def test_what_is_no_state_is_no_start(tmp_path):
    (tmp_path / "state.pt").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="not the state of a training run"):
        read_start(tmp_path / "state.pt")


def test_learning_rate_restarts():
    plan = Schedule(steps=1000, warmup=10, rate=1.0, decay_from=0.5, restarts=(0.5,), restart_rate=0.4)
    assert learning_rate(499, plan) < 0.02
    assert learning_rate(500, plan) == pytest.approx(0.04)
    assert learning_rate(509, plan) == learning_rate(749, plan) == pytest.approx(0.4)
    assert learning_rate(1000, plan) == pytest.approx(0.004)


def test_a_gpu_that_is_not_there_is_said(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert pick_device("auto").type == pick_device("cpu").type == "cpu"
    with pytest.raises(ValueError, match="no GPU"):
        pick_device("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert pick_device("auto").type == pick_device("cuda").type == "cuda"
    assert pick_device("cpu").type == "cpu"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_trains_as_the_cpu_does(tiny_recipe, tmp_path):
    gpu, cpu = (Run(tiny_recipe(device=name, run=tmp_path / name), **QUIET) for name in ("cuda", "cpu"))
    batch = next(iter(gpu.batches))
    same = Batch(*(getattr(batch, field.name).cpu() for field in fields(batch)))
    losses = [[run.update(b)[0].item() for _ in range(3)] for run, b in ((gpu, batch), (cpu, same))]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_goes_all_the_way(tiny_recipe, tmp_path):
    plan = {"steps": 8, "prune_begin": 0.2, "prune_end": 0.5, "quantize_from": 0.6}
    run = Run(tiny_recipe(plan, device="cuda", run=tmp_path / "run", sparsity={"encoder.0": 0.5}), **QUIET)
    run.train()
    assert read_checkpoint(run.export("test")).matrices["encoder.0"].sparsity >= 0.5


def test_the_command_writes_what_it_says(tiny_corpus, tiny_toml, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "r.toml").write_text(f"{tiny_toml}steps = 2\n")
    assert cli.run(["train", "r.toml", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["steps"] == 2 and set(found["wer"]) == {"dev"}
    assert read_checkpoint(found["checkpoint"]).header["provenance"]["command"] == "ossicle train r.toml"
    assert cli.run(["train", "r.toml", "--export"]) == 0
    assert "2 steps" in capsys.readouterr().out
    heard = ["--hypotheses", str(tmp_path / "heard.jsonl")]
    assert cli.run(["evaluate", found["checkpoint"], str(tiny_corpus), "--beam", "2", "--json", *heard]) == 0
    assert json.loads(capsys.readouterr().out)["sets"]["noise"]["beam"]["utterances"] == 14
    rows = read_manifest(tmp_path / "heard.jsonl")
    assert len(rows) == 14 and all("hypothesis" in row and Path(row["path"]).is_file() for row in rows)
