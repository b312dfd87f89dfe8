"""A corpus, a recipe and a network of a size that trains in a second."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

TINY = {
    "encoder": [{"hidden": 8, "reduce": 1}, {"hidden": 8, "reduce": 2}],
    "joint": 8,
    "prediction": {"context": 2, "embedding": 4, "hidden": 8},
}
WORDS = ("on", "off", "red", "blue")


TINY_TOML = """
name = "tiny"
run = "run"
packs = "packs"
vocabulary = 16
workers = 1
device = "cpu"
[topology]
encoder = [{{hidden = 8, reduce = 1}}, {{hidden = 8, reduce = 2}}]
joint = 8
prediction = {{context = 2, embedding = 4, hidden = 8}}
[[train]]
name = "noise"
manifest = "{corpus}"
[[dev]]
name = "dev"
manifest = "{corpus}"
[schedule]
batch = 4
"""


@pytest.fixture(scope="session")
def tiny_corpus(tmp_path_factory) -> Path:
    """A manifest of 14 noise bursts of 0.7 to 1.5 s."""
    soundfile = pytest.importorskip("soundfile")
    from ossicle.models.data.split import write_manifest

    folder, rng, rows = tmp_path_factory.mktemp("corpus"), np.random.default_rng(0), []
    for i in range(14):
        audio = rng.normal(0, 20, 11200 + 1000 * i)
        audio[4000:6000] += rng.normal(0, 4000, 2000)
        soundfile.write(folder / f"{i}.wav", audio.astype(np.int16), 16000, subtype="PCM_16")
        text = " ".join(WORDS[(i + k) % 4] for k in range(1 + i % 2))
        rows.append({"path": f"{i}.wav", "text": text, "speaker": str(i % 3), "source": "noise"})
    write_manifest(folder / "all.jsonl", rows)
    return folder / "all.jsonl"


@pytest.fixture
def tiny_toml(tiny_corpus) -> str:
    """A recipe of the tiny network as a file has it; more of [schedule], and other tables, may follow."""
    return TINY_TOML.format(corpus=tiny_corpus)


@pytest.fixture
def tiny_recipe(tiny_corpus, tmp_path):
    """Makes a recipe of the tiny network in a folder of the test's own; arguments in place of its own."""
    pytest.importorskip("torch", reason="needs torch (the extra 'train')")
    from ossicle.models.recipe import Recipe, Schedule, Source

    def make(schedule=None, source=None, **changes) -> Recipe:
        plan = {"steps": 6, "batch": 4, "warmup": 2, "evaluate_every": 100, "save_every": 3}
        source = Source("noise", str(tiny_corpus), copies=1, **(source or {}))
        values = {
            "name": "tiny", "run": tmp_path / "run", "packs": tmp_path / "packs", "train": [source],
            "dev": [Source("dev", str(tiny_corpus))], "vocabulary": 16, "workers": 1, "topology": TINY,
            "device": "cpu", "schedule": Schedule(**{**plan, **(schedule or {})}),
        }  # fmt: skip
        return Recipe(**{**values, **changes})

    return make
