"""Packs, recipes and runs of the small nets."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sounds import FRONTEND, voice

torch = pytest.importorskip("torch", reason="needs torch (the extra 'train')")
from ossicle.models.data.whisper import whisper  # noqa: E402
from ossicle.models.export import read_checkpoint  # noqa: E402
from ossicle.models.nets.pack import Shaper, collate, crop, make_pack  # noqa: E402
from ossicle.models.nets.recipe import NetRecipe, NetSchedule  # noqa: E402
from ossicle.models.nets.release import work  # noqa: E402
from ossicle.models.nets.stack import Stack  # noqa: E402
from ossicle.models.nets.tasks import TASKS, open_task  # noqa: E402
from ossicle.models.nets.train import NetRun  # noqa: E402
from ossicle.runtime.frontend import features  # noqa: E402

RECIPES = Path(__file__).parents[3] / "models/recipes"


def test_pack_holds_each_clip_and_is_made_once(tmp_path):
    clips = [(voice(0.4, seed=k), {"label": k}) for k in range(3)]
    pack = make_pack(tmp_path / "p", lambda: iter(clips), FRONTEND)
    again = make_pack(tmp_path / "p", lambda: iter([]), FRONTEND)
    for i, (audio, row) in enumerate(clips):
        for made in (pack, again):
            np.testing.assert_array_equal(made.frames(i), features(audio, FRONTEND).reshape(-1, 40))
            assert made.rows[i]["label"] == row["label"]


def test_collate_crop_and_channel():
    rng = np.random.default_rng(0)
    clips = [rng.integers(-60, 60, (n, 40)).astype(np.int8) for n in (31, 60)]
    made, lengths = collate(clips)
    assert made.shape == (2, 20, 120) and lengths.tolist() == [10, 20]
    np.testing.assert_array_equal(made[0, :10].reshape(30, 40), clips[0][:30])
    assert (made[0, 10:] == -128).all()
    part = crop(clips[1], 30, rng)
    starts = [s for s in range(0, 31, 3) if np.array_equal(clips[1][s : s + 30], part)]
    assert len(starts) == 1
    shaper = Shaper(FRONTEND)
    shaped = shaper(clips[0], rng)
    assert shaped.shape == clips[0].shape and np.abs(shaped).max() <= 128
    inner = np.abs(shaped).max(axis=0) < 127
    difference = (shaped - clips[0])[:, inner]
    assert (np.abs(difference - np.round(difference.mean(axis=0))) <= 1).all()


@pytest.fixture
def recipe(tmp_path):
    """A recipe whose frontend is at hand."""
    frontend = tmp_path / "frontend.json"
    frontend.write_text(json.dumps(FRONTEND.to_dict()))
    topology = {"kind": "stack", "features": 120, "layers": [{"lstm": 8}, {"linear": 2}]}
    return NetRecipe(
        "tiny", "whisper", tmp_path, frontend, topology, {}, NetSchedule(steps=8, batch=4, save_every=4),
        {"layer.0": 0.5},
    )  # fmt: skip


def test_a_run_that_was_stopped_ends_the_same(recipe):
    """Training data in the run's folder; eight steps, and four and four."""
    clips = [(voice(0.5, seed=k) if k % 2 else whisper(voice(0.5, seed=k), np.random.default_rng(k)),
              {"label": 1 - k % 2, "speaker": "x", "source": "x"}) for k in range(6)]  # fmt: skip
    for name in ("train", "dev"):
        make_pack(recipe.run / name, lambda: iter(clips), FRONTEND)
    whole = NetRun(recipe, open_task(recipe))
    whole.train()
    first = {name: value.clone() for name, value in whole.network.state_dict().items()}
    assert read_checkpoint(whole.export("x")).matrices["layer.0"].sparsity >= 0.5
    whole.state.unlink()
    half = NetRun(recipe, open_task(recipe))
    for _ in range(4):
        half.compress()
        half.update()
        half.step += 1
    half.save()
    rest = NetRun(recipe, open_task(recipe))
    assert rest.step == 4
    rest.train()
    for name, value in rest.network.state_dict().items():
        torch.testing.assert_close(value, first[name], rtol=0, atol=0)
    rest.state.unlink()
    ahead = NetRun(replace(recipe, workers=2), open_task(recipe))  # other processes make the batches
    ahead.train()
    for name, value in ahead.network.state_dict().items():
        torch.testing.assert_close(value, first[name], rtol=0, atol=0)


@pytest.mark.parametrize("name", sorted(TASKS))
def test_shipped_recipes_are_read(name):
    recipe = NetRecipe.read(RECIPES / f"{name}.toml")
    assert recipe.name == recipe.task == name
    labels = recipe.topology.get("tokens", {}).get("labels")
    inputs = torch.zeros(1, 4, labels, dtype=torch.long) if labels else torch.zeros(1, 4, 120)
    assert Stack(recipe.topology)(inputs).shape[2] == recipe.topology["layers"][-1]["linear"]


def test_the_services_model_is_one_of_language():
    recipe = NetRecipe.read(RECIPES / "lm-cloud.toml")
    assert (recipe.name, recipe.task, recipe.device) == ("lm-cloud", "lm", "auto") and recipe.workers > 0


def test_a_device_that_is_not_there_is_refused(recipe):
    if torch.cuda.is_available():
        pytest.skip("a GPU is there")
    with pytest.raises(ValueError, match="torch finds no GPU here"):
        NetRun(replace(recipe, device="cuda"), open_task(recipe))


def test_wrong_recipes_are_one_clear_line(tmp_path):
    with pytest.raises(ValueError, match="No such file"):
        NetRecipe.read(tmp_path / "none.toml")
    text = (RECIPES / "whisper.toml").read_text()
    for old, new, message in (
        ("{ linear = 2 }", "{ linear = 0 }", "1 or more"),
        ("rate = ", "speed = ", "speed"),
        ('run = "', 'walk = "', "run"), ('run = "', 'workers = -1\nrun = "', "-1 workers"),
        ('run = "', 'device = "tpu"\nrun = "', "there is no device 'tpu'"),
    ):
        (tmp_path / "wrong.toml").write_text(text.replace(old, new))
        with pytest.raises(ValueError, match=f"not a recipe of a small net.*{message}"):
            NetRecipe.read(tmp_path / "wrong.toml")


def test_products_of_a_second_and_of_a_word():
    layers = [{"lstm": 10, "reduce": 2}, {"linear": 3}]
    second = round((40 * 250 + 30) / 0.06)
    assert work({"features": 120, "layers": layers}) == {"macs_per_second_dense": second}
    tokens, layers = {"labels": 5, "buckets": 9, "embedding": 4}, [{"lstm": 10}, {"linear": 3}]
    assert work({"tokens": tokens, "layers": layers}) == {"macs_per_word_dense": 2 * (40 * 30 + 30)}
    pieces = {"tokens": {**tokens, "labels": 1}, "layers": layers}
    assert work(pieces) == {"macs_per_piece_dense": 40 * 14 + 30}


def test_a_net_on_features_needs_a_frontend(recipe):
    with pytest.raises(ValueError, match="tiny: the recipe of a net on features names a frontend"):
        open_task(replace(recipe, frontend=None))
