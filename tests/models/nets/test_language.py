"""The net of languages: what it is trained on and for, and the shipped one."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from sounds import FRONTEND, SENTENCES, WEIGHTS, espeak, voice

torch = pytest.importorskip("torch", reason="needs torch (the extra 'train')")
from ossicle.compiler.api import compile_checkpoint  # noqa: E402
from ossicle.hw.config import PRESETS  # noqa: E402
from ossicle.models.data.split import write_manifest  # noqa: E402
from ossicle.models.export import read_checkpoint  # noqa: E402
from ossicle.models.nets import language as module_under_test  # noqa: E402
from ossicle.models.nets.language import Language, believed, decisions  # noqa: E402
from ossicle.models.nets.recipe import NetRecipe, NetSchedule  # noqa: E402
from ossicle.models.nets.stack import Stack  # noqa: E402
from ossicle.models.nets.task import outputs  # noqa: E402
from ossicle.models.nets.train import NetRun  # noqa: E402
from ossicle.runtime.frontend import features  # noqa: E402
from ossicle.runtime.language import LanguageIdentifier, evidence  # noqa: E402
from ossicle.sim.device import open_device  # noqa: E402

GERMAN = ("mach das licht in der küche an", "wie wird das wetter morgen", "stell den wecker auf zehn uhr")
SHIPPED = WEIGHTS / "language.safetensors"


@pytest.fixture
def task(tmp_path):
    """A task on buzzes: English ones are low, German ones high."""
    frontend = tmp_path / "frontend.json"
    frontend.write_text(json.dumps(FRONTEND.to_dict()))
    for folder, pitch, sources in (
        ("en", 100, ("espeak", "flite", "festival")),
        ("de", 190, ("espeak", "flite")),
        ("human", 130, ("an4",)),
    ):  # fmt: skip
        for name in ("train", "dev", "test", "test-voices", "test-synthesizer"):
            rows = []
            for i in range(6):
                path = tmp_path / folder / f"{name}-{i}.flac"
                path.parent.mkdir(exist_ok=True)
                soundfile.write(path, voice(0.7, pitch, seed=i), 16000)
                row = {"path": path.name, "text": "a", "speaker": "x", "source": sources[i % len(sources)]}
                rows.append(row)
            write_manifest(tmp_path / folder / f"{name}.jsonl", rows)
    for code, pitch in (("en", 100), ("de", 190)):
        (tmp_path / "people" / code).mkdir(parents=True)
        for i in range(3):
            word = voice(0.4, pitch, seed=i).repeat(2)
            soundfile.write(tmp_path / "people" / code / f"{i}.ogg", word / 32768, 32000)
    topology = {
        "kind": "stack", "features": 120, "labels": ["en", "de", "weight"],
        "layers": [{"lstm": 8, "reduce": 2}, {"linear": 3}],
    }  # fmt: skip
    data = {
        "english": str(tmp_path / "en"), "german": str(tmp_path / "de"), "human": str(tmp_path / "human"),
        "people": str(tmp_path / "people"), "clips": {"espeak": 2, "flite": 2, "people": 3}, "dev_clips": 2,
    }  # fmt: skip
    plan = NetSchedule(steps=60, batch=8, rate=2e-2, warmup=5, save_every=60, evaluate_every=60)
    recipe = NetRecipe("language", "language", tmp_path / "run", frontend, topology, data, plan)
    return Language(recipe)


def test_clips_are_of_either_language_and_of_each_kind(task):
    rows = task.pack("train").rows
    counts = {
        (label, kind): sum((r["label"], r["kind"]) == (label, kind) for r in rows)
        for label in (0, 1)
        for kind in module_under_test.SHARES
    }
    assert counts == {
        (0, "espeak"): 2, (0, "flite"): 2, (0, "people"): 3,
        (1, "espeak"): 2, (1, "flite"): 2, (1, "people"): 0,
    }  # fmt: skip
    features_, lengths, labels = task.batch(np.random.default_rng(0))
    assert labels.tolist() == [0, 1] * 4 and features_.shape[:2] == (8, int(lengths.max()))
    flite = task.pack("test-flite").rows
    assert {row["source"] for row in flite} == {"flite"} and [r["label"] for r in flite] == [0, 0, 1, 1]
    assert len(task.pack("test-people-words")) == 6
    joined = task.pack("test-people-joined")
    assert len(joined) == 2 * module_under_test.JOINS and joined.rows[-1]["speaker"] == "people:de"


def test_missing_data_are_one_clear_line(task, tmp_path):
    task.data["german"] = str(tmp_path / "none")
    with pytest.raises(ValueError, match=r"none/train.jsonl: No such file"):
        task.pack("train")
    task.data["people"] = str(tmp_path / "none")
    with pytest.raises(ValueError, match="apt-get install ktuberling-data"):
        task.pack("test-people-words")


def test_training_graph_and_runtime_believe_the_same():
    values = np.random.default_rng(0).normal(0, 2, (3, 9, 3))
    made = believed(torch.from_numpy(values)).numpy()
    for row, found in zip(values, made, strict=True):
        np.testing.assert_allclose(found, evidence(row), atol=1e-12)
    early = [np.array([[5.0, 0, 0], [0, 9, 0], [0, 9, 0]])]
    assert decisions(early, 0.06, 0.06)[0] == 0 and decisions(early, np.inf, 0.06)[0] == 1


def test_the_loss_is_of_what_is_heard_and_not_of_the_padding(task):
    network = Stack(task.topology)
    features_, lengths, labels = task.batch(np.random.default_rng(1))
    lengths = torch.full_like(lengths, 14)
    other = features_.clone()
    other[:, 14:] = torch.randn_like(other[:, 14:])
    assert task.loss(network, (features_, lengths, labels)).item() == pytest.approx(
        task.loss(network, (other, lengths, labels)).item()
    )


def test_a_short_training_tells_low_from_high(task):
    task.prepare()
    run = NetRun(task.recipe, task)
    run.train()
    checkpoint = read_checkpoint(run.export("x"))
    scores = task.score(checkpoint, ("test-voices", "test-human"))
    assert scores["test-voices"]["accuracy"] >= 75 and scores["test-voices"]["clips"] == 12
    assert {"en", "de", "0.5 s", "1 s", "2 s"} <= set(scores["test-voices"])
    assert "de" not in scores["test-human"] and "test-human: an4" in scores


@pytest.mark.skipif(not SHIPPED.exists(), reason="no net of languages is shipped")
@pytest.mark.parametrize(
    "engine", ["functional", "fast", pytest.param("rtl", marks=[pytest.mark.slow, pytest.mark.rtl])]
)
def test_shipped_net_gives_the_same_words_in_training_and_on_a_device(engine, tmp_path):
    checkpoint = read_checkpoint(SHIPPED)
    samples = espeak(GERMAN[0], "de+f3", tmp_path)[:8000]
    exact = outputs(checkpoint, [features(samples, checkpoint.frontend).reshape(-1, 40)])[0]
    with open_device(engine, PRESETS["base"]) as device:
        made = LanguageIdentifier(device, compile_checkpoint(SHIPPED, PRESETS["base"]))
        made.identify(samples)
        np.testing.assert_array_equal(np.array(made.outputs) / 256, exact)


@pytest.mark.skipif(not SHIPPED.exists(), reason="no net of languages is shipped")
def test_shipped_net_in_a_session_that_switches(tmp_path):
    checkpoint = read_checkpoint(SHIPPED)
    with open_device("functional", PRESETS["base"]) as device:
        made = LanguageIdentifier(device, compile_checkpoint(SHIPPED, PRESETS["base"]))
        right = []
        for variant in ("f3", "m5"):
            for english, german in zip(SENTENCES, GERMAN, strict=True):
                for code, text, accent in (("en", english, "en-us"), ("de", german, "de")):
                    right.append(made.identify(espeak(text, f"{accent}+{variant}", tmp_path)).code == code)
    assert np.mean(right) >= 0.75 and checkpoint.topology["labels"][:2] == ["en", "de"]


def test_the_recipe_says_where_its_languages_are():
    recipe = NetRecipe.read(Path(__file__).parents[3] / "models/recipes/language.toml")
    assert recipe.topology["labels"] == ["en", "de", "weight"] and "people" in recipe.data["clips"]
