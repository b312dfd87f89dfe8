"""A grid of tiny runs: what its cells are, that finished ones are not run again, what is written."""

import json
from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch", reason="needs torch (the extra 'train')")
from ossicle.models import grid as module  # noqa: E402
from ossicle.models.grid import Grid, main, name_of, run_grid, word_errors  # noqa: E402

EMPTY = SimpleNamespace(beam_scores={})
SPARSITY = """steps = 4
[sparsity]
"encoder.0" = 0.5
"encoder.1" = 0.5
"""


@pytest.fixture
def grid_file(tiny_corpus, tiny_toml, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "r.toml").write_text(tiny_toml + SPARSITY)

    def write(text):
        recording = tiny_corpus.parent / "3.wav"
        head = f'base = "r.toml"\ntest = ["{tiny_corpus}"]\nbeam = 2\nnpu = "small"\n'
        (tmp_path / "g.toml").write_text(f'{head}recording = "{recording}"\n{text}')
        return tmp_path / "g.toml"

    return write


def test_every_cell_is_trained_and_tested_once(grid_file, tmp_path, monkeypatch):
    grid = Grid.read(grid_file('[axes]\n"schedule.bits" = [8, 4]\nzeros = [0.0, 0.75]\n'))
    assert [name_of(cell) for cell in grid.cells()] == [
        "bits=8,zeros=0.0", "bits=8,zeros=0.75", "bits=4,zeros=0.0", "bits=4,zeros=0.75",
    ]  # fmt: skip
    rows = run_grid(grid, tmp_path / "out")
    assert [row["schedule.bits"] for row in rows] == [8, 8, 4, 4]
    assert rows[1]["zeros_reached"] > rows[0]["zeros_reached"] + 0.3
    assert rows[3]["bits_per_weight"] < rows[1]["bits_per_weight"] < rows[0]["bits_per_weight"]
    assert all(row["cycles_a_second"] > 0 and row["wer"]["noise"][0] >= 0 for row in rows)
    assert json.loads((tmp_path / "out" / "results.json").read_text()) == rows
    lines = (tmp_path / "out" / "RESULTS.md").read_text().splitlines()
    assert sum(line.startswith("| ") for line in lines) == 6  # head, rule, four cells
    assert (tmp_path / "out" / "grid.png").stat().st_size > 5000
    monkeypatch.setattr(module, "Run", None)
    assert run_grid(grid, tmp_path / "out") == rows


def test_a_limit_leaves_the_first_utterances_of_each_manifest(grid_file, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(module, "read_checkpoint", lambda path: None)
    monkeypatch.setattr(module, "evaluate", lambda _, rows, *rest: asked.extend(rows) or EMPTY)
    for text in ("", "limit = 1\n"):
        word_errors(tmp_path / "no", Grid.read(grid_file(f"{text}[axes]\nzeros = [0.5]\n")))
    assert len(asked) > 2 and asked[-1] == asked[0] and asked.count(asked[0]) == 2


def test_cells_may_be_cut_without_training(grid_file, tiny_recipe, tiny_toml, tmp_path, monkeypatch):
    start = module.Run(tiny_recipe(run=tmp_path / "start"), lambda text: None)
    start.train()
    tables = f'initial = "{start.state}"\n{tiny_toml}'
    grid = grid_file('squeeze = 3\n[axes]\n"schedule.bits" = [8, 4]\nzeros = [0.75]\n')
    (tmp_path / "r.toml").write_text(tables + SPARSITY)
    monkeypatch.setattr(module, "Run", None)
    rows = run_grid(Grid.read(grid), tmp_path / "out")
    assert rows[1]["bits_per_weight"] < rows[0]["bits_per_weight"] and rows[0]["zeros_reached"] > 0.3


@pytest.mark.parametrize(
    "text, message",
    [
        ("[axes]\nzeros = []\n", "a list of one value or more"),
        ('[axes]\n"schedule.colour" = [1]\n', "colour"),
        ("colour = 1\n[axes]\nzeros = [0.5]\n", "colour"),
        ("squeeze = 3\n[axes]\nzeros = [0.5]\n", "has no `initial` model"),
        ("limit = 0\n[axes]\nzeros = [0.5]\n", "use 1 or more"),
        ("[axes]\nzeros = [1.5]\n", "use shares of 0 to below 1"),
    ],
)
def test_what_is_no_grid_is_said(grid_file, text, message, capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["grid", str(grid_file(text)), "out"])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2
    printed = capsys.readouterr().err
    assert message in printed and printed.count("\n") == 1
