"""Recipes and command lines: what is wrong is one clear line and exit status 2."""

from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="needs torch (the extra 'train')")
from ossicle.models import evaluate, train  # noqa: E402
from ossicle.models.recipe import Recipe, Schedule  # noqa: E402
from ossicle.models.train import learning_rate  # noqa: E402

COMMANDS = Path(train.__file__).with_name("recipes") / "commands.toml"


def test_the_shipped_recipe_reads():
    recipe = Recipe.read(COMMANDS)
    assert recipe.name == "commands"
    assert min(recipe.sparsity.values()) >= 0.5
    assert recipe.schedule.prune_end <= 0.8  # a fifth of the steps with frozen masks
    assert {source.name for source in recipe.dev}.isdisjoint(source.name for source in recipe.train)


@pytest.mark.parametrize(
    "text, message",
    [
        ("name = ", "not a recipe"),
        ('name = "a"\nrun = "r"\npacks = "p"\ntrain = []\ndev = []\ncolour = 1\n', "colour"),
        ('name = "a"\nrun = "r"\npacks = "p"\ntrain = []\ndev = []\n[schedule]\nsteeps = 3\n', "steeps"),
        ('name = "a"\nrun = "r"\npacks = "p"\ntrain = []\ndev = []\ndevice = "tpu"\n', "'tpu'"),
        ('name = "a"\nrun = "r"\npacks = "p"\ntrain = []\ndev = []\n[topology]\nheads = 3\n', "heads"),
        (
            'name = "a"\nrun = "r"\npacks = "p"\ntrain = []\ndev = []\n[schedule]\nrestarts = [0.5, 0.2]\n',
            "must rise",
        ),
        ('name = "a"\n', "train"),
    ],
)
def test_bad_recipes_are_refused(tmp_path, text, message):
    path = tmp_path / "recipe.toml"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        Recipe.read(path)


def test_learning_rate_rises_stays_and_falls():
    plan = Schedule(steps=1000, warmup=100, rate=1.0, decay_from=0.5)
    assert learning_rate(0, plan) == pytest.approx(0.01)
    assert learning_rate(100, plan) == learning_rate(500, plan) == pytest.approx(1.0)
    assert learning_rate(750, plan) == pytest.approx(0.505)
    assert learning_rate(1000, plan) == pytest.approx(0.01)


@pytest.mark.parametrize(
    "module, arguments", [(train, ["none.toml"]), (evaluate, ["none.safetensors", "none.jsonl"])]
)
def test_missing_files_exit_with_2_and_a_line(monkeypatch, capsys, tmp_path, module, arguments):
    monkeypatch.setattr("sys.argv", ["command", *(str(tmp_path / name) for name in arguments)])
    with pytest.raises(SystemExit) as stopped:
        module.main()
    assert stopped.value.code == 2
    assert "none." in capsys.readouterr().err.splitlines()[-1]
