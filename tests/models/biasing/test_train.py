"""Training on a tiny recognizer: the loss falls, the recognizer stays, a resumed run is the same."""

import json

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch (the extra 'train')")
from ossicle.compiler.biasing import read_adapter  # noqa: E402
from ossicle.models.biasing.network import near_paths, padded_steps  # noqa: E402
from ossicle.models.biasing.recipe import BiasingRecipe  # noqa: E402
from ossicle.models.biasing.train import finish, main, open_run  # noqa: E402
from ossicle.models.data.split import read_manifest, write_manifest  # noqa: E402
from ossicle.models.export import read_checkpoint, write_checkpoint  # noqa: E402
from ossicle.models.network import Transducer  # noqa: E402
from ossicle.models.untrained import DEVIATION, MEAN, letters_tokenizer, vocabulary_size  # noqa: E402
from ossicle.runtime.frontend import FrontendParameters  # noqa: E402

TOPOLOGY = {
    "kind": "rnnt", "features": 120, "joint": 8, "vocabulary": vocabulary_size(letters_tokenizer()),
    "encoder": [{"hidden": 8, "reduce": 1}, {"hidden": 8, "reduce": 2}],
    "prediction": {"context": 2, "embedding": 4, "hidden": 8},
}  # fmt: skip
RECIPE = """
name = "tiny"
core = "{folder}/core.safetensors"
run = "{folder}/{run}"
packs = "{folder}/packs"
workers = 1
[adapter]
heads = 2
key = 6
value = 6
labels = 3
embedding = 6
hidden = 6
[contexts]
slots = ["colour"]
distractors = 4
[dev_contexts]
size = 4
clips = 3
[[train]]
name = "noise"
manifest = "{folder}/all.jsonl"
[[dev]]
name = "dev"
manifest = "{folder}/all.jsonl"
[schedule]
batch = 4
steps = 6
warmup = 2
rate = 1e-2
save_every = 1
evaluate_every = 100
quantize_from = 0.5
"""
SAY = {"say": lambda line: None}


@pytest.fixture(scope="module")
def folder(tiny_corpus, tmp_path_factory):
    """A recognizer's checkpoint, and a corpus with slots."""
    folder = tmp_path_factory.mktemp("biasing")
    torch.manual_seed(0)
    frontend = FrontendParameters.from_statistics(MEAN, DEVIATION)
    core = Transducer(TOPOLOGY).checkpoint(letters_tokenizer(), frontend, {"name": "core"})
    write_checkpoint(folder / "core.safetensors", core)
    rows = [
        {**row, "slots": {"colour": next((w for w in ("red", "blue") if w in row["text"]), "on")}}
        for row in read_manifest(tiny_corpus)
    ]
    write_manifest(folder / "all.jsonl", rows)
    return folder


def recipe(folder, run="run", old="", new=""):
    path = folder / f"{run}.toml"
    path.write_text(RECIPE.format(folder=folder, run=run).replace(old, new, 1))
    return path


def opened(folder, run, steps=None):
    return open_run(recipe(folder, run), steps, **SAY)


def test_the_loss_falls_and_the_recognizer_stays_as_it_is(folder):
    run = opened(folder, "falls")
    before = {name: value.clone() for name, value in run.core.state_dict().items()}
    batch = next(iter(run.batches))
    rng = [1, 2]
    first = run.loss(batch, np.random.default_rng(rng))[0].item()
    for _ in range(30):
        loss, unbiased = run.loss(batch, np.random.default_rng(rng))
        run.optimizer.zero_grad()
        loss.backward()
        run.optimizer.step()
    assert loss.item() < 0.9 * first and loss.item() < unbiased
    for name, value in run.core.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert all(parameter.grad is not None for parameter in run.adapter.parameters())


@pytest.mark.parametrize("stop", [1, 4])
def test_resumed_is_uninterrupted(folder, stop):
    whole = opened(folder, f"whole{stop}")
    whole.train()
    first = opened(folder, f"again{stop}")
    first.progress = lambda done, total: (_ for _ in ()).throw(KeyboardInterrupt) if done > stop else None
    with pytest.raises(KeyboardInterrupt):
        first.train()
    second = opened(folder, f"again{stop}")
    assert second.step == stop
    second.train()
    for name, value in whole.adapter.state_dict().items():
        assert torch.equal(value, second.adapter.state_dict()[name]), name


def test_a_run_ends_with_a_checkpoint_of_its_recognizer(folder):
    path = recipe(folder, "ends")
    found = finish(open_run(path, 3, **SAY), path, False)
    adapter = read_adapter(found["checkpoint"])
    assert adapter.header["core"]["name"] == "core" and adapter.header["provenance"]["steps"] == 3
    card = json.loads((folder / "ends" / "tiny.json").read_text())
    assert set(card["dev_wer"]) == {"dev", "dev biased", "dev others"}
    assert (folder / "ends" / "curves.png").is_file()
    again = open_run(path, 3, **SAY)
    assert again.step == 3 and finish(again, path, True)["checkpoint"] == found["checkpoint"]


def test_a_run_on_another_recognizer_is_not_gone_on_with(folder):
    run = opened(folder, "other")
    run.save()
    saved = torch.load(run.state, weights_only=True)
    torch.save({**saved, "core": "0" * 64}, run.state)
    with pytest.raises(ValueError, match="another recognizer"):
        opened(folder, "other")


def test_pairs_near_the_paths_are_those_that_probability_goes_through():
    """Labels 1, 2 in frames 2 and 4 of 6: an utterance after another one of a single pair."""
    logits = torch.full((1 + 6 * 3, 4), -20.0)
    logits[:, 0] = 0  # blank everywhere, but for
    for t, u in ((2, 0), (4, 1)):
        logits[1 + 3 * t + u, 0], logits[1 + 3 * t + u, 1 + u] = -20, 0
    labels, frames, counts = torch.tensor([[0, 0], [1, 2]]), torch.tensor([1, 6]), torch.tensor([0, 2])
    kept, loss = near_paths(logits, labels, frames, counts)
    path = {(t, (t > 2) + (t > 4)) for t in range(6)} | {(2, 1), (4, 2)}
    near = {(t + i, u + j) for t, u in path for i in (-1, 0, 1) for j in (-1, 0, 1)}
    wanted = {1 + 3 * t + u for t, u in near if 0 <= t < 6 and 0 <= u < 3}
    assert set(kept.tolist()) == {0} | wanted and len(wanted) < 18
    assert loss == pytest.approx(0, abs=1e-3)


def test_attending_to_nothing_leaves_the_recognizers_loss(folder):
    run = opened(folder, "nothing")
    with torch.no_grad():
        run.adapter.weights["bias"].zero_()
        loss, unbiased = run.loss(next(iter(run.batches)), np.random.default_rng(1))
    assert loss.item() == pytest.approx(unbiased, rel=1e-5)


def test_steps_of_phrases_and_the_places_of_their_entries():
    given, places = padded_steps([(7, 8), (5,)], 2)
    assert given.tolist() == [[[7, 8], [0, 5]], [[0, 7], [0, 0]]]
    assert places.tolist() == [[1, 0], [0, 0], [0, 1]]
    given, places = padded_steps([], 2)
    assert given.shape == (1, 1, 2) and places.shape == (0, 2)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('core = "', '# "', "does not name its core"),
        ("core.safetensors", "none.safetensors", "none.safetensors"),
        ("heads = 2", "depth = 2", "no depth"),
        ('slots = ["colour"]', 'slots = ["planet"]', "slots planet"),
        ("distractors = 4", "distractors = 0", "distractors = 0"),
        ("distractors = 4", "distractor = 4", "not a recipe of context biasing"),
        ("[contexts]", "[sparsity]\nx = 1\n[contexts]", "has no sparsity"),
        ("size = 4", "size = 0", "each 1 or more"),
        ("batch = 4", "batches = 4", "not a recipe"),
        ("[contexts]", "[contexts", "not a recipe"),
    ],
)
def test_recipes_that_are_none(folder, old, new, message):
    with pytest.raises(ValueError, match=message) as caught:
        open_run(recipe(folder, "odd", old, new), None, **SAY)
    assert "\n" not in str(caught.value)


def test_the_command_says_what_is_wrong_in_a_line(folder, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["train", str(folder / "missing.toml")])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 2
    assert "missing.toml: No such file" in capsys.readouterr().err


def test_the_shipped_recipe_is_one():
    made = BiasingRecipe.read("models/recipes/biasing.toml")
    assert made.recipe.name == "biasing" and "person" in made.contexts.slots
    assert read_checkpoint(made.recipe.initial).topology["prediction"]["context"] <= 6
