"""A recipe over a grid of settings: what each does to word errors, size and cycles.

    python -m ossicle.models.grid GRID.toml OUT

    base = "models/recipes/commands.2.toml"      # a recipe; with `initial`, all cells start from its weights
    test = ["cache/human/test.jsonl", "cache/synth/test.jsonl"]
    npu = "base"                                 # that codes the weights, and counts cycles on ...
    recording = "models/weights/samples/x.wav"   # ... this recording, if there is one
    limit = 200                                  # the first utterances of each test manifest; without it all
    squeeze = 400                                # cells are not trained: the recipe's `initial` is cut and
                                                 # rounded by so many clips, see squeeze.py
    [axes]
    "schedule.bits" = [8, 6, 5, 4]               # a key of the recipe, by its path
    zeros = [0.5, 0.75, 0.9]                     # of every matrix in the recipe's [sparsity]

A cell is a run in a folder of its own; one that was stopped goes on, one that is finished is not run again.
OUT gets results.json, RESULTS.md and grid.png.
"""

from __future__ import annotations

import argparse
import copy
import json
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import torch
from ossicle.compiler.api import compile_checkpoint
from ossicle.hw.config import NpuConfig
from ossicle.models.data.pack import RATE, read_audio
from ossicle.models.data.split import read_manifest
from ossicle.models.evaluate import evaluate, sets_of
from ossicle.models.export import read_checkpoint, write_checkpoint
from ossicle.models.recipe import Recipe
from ossicle.models.squeeze import clips_of, squeeze
from ossicle.models.train import Run, finish
from ossicle.runtime.console import write_whole
from ossicle.runtime.speed import recording_speed
from ossicle.sim.device import open_device

ZEROS = "zeros"
Row = dict[str, Any]


@dataclass(frozen=True)
class Grid:
    """See above. beam: states of the search that tests."""

    base: str
    test: list[str]
    axes: dict[str, list]
    npu: str = "base"
    recording: str | None = None
    beam: int = 8
    limit: int | None = None
    squeeze: int | None = None
    table: dict[str, Any] = field(init=False)
    """The base recipe's."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "table", tomllib.loads(Path(self.base).read_text()))
        for name in ("limit", "squeeze"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise ValueError(f"{name} = {value} is not possible; use 1 or more")
        if self.squeeze and "initial" not in self.table:
            raise ValueError(f"squeeze: {self.base} has no `initial` model to cut")
        if not self.axes or not all(isinstance(values, list) and values for values in self.axes.values()):
            raise ValueError("[axes] needs a list of one value or more for each key")
        if not all(0 <= value < 1 for value in self.axes.get(ZEROS, [])):
            raise ValueError(f"zeros = {self.axes[ZEROS]}: use shares of 0 to below 1")
        for settings in self.cells():
            self.recipe(settings, Path())

    @classmethod
    def read(cls, path: Path) -> Grid:
        """Raises ValueError, one line, on what is no grid, or has a cell that is no recipe."""
        try:
            return cls(**tomllib.loads(Path(path).read_text()))
        except OSError as error:
            raise ValueError(f"{error.filename or path}: {error.strerror}") from error
        except (TypeError, ValueError) as error:
            raise ValueError(f"{path}: not a grid ({error})") from error

    def cells(self) -> Iterator[dict[str, Any]]:
        """Settings by axis, the last axis fastest."""
        for values in product(*self.axes.values()):
            yield dict(zip(self.axes, values, strict=True))

    def recipe(self, settings: dict[str, Any], run: Path) -> Recipe:
        """The base recipe with some settings in place of its own."""
        table = copy.deepcopy(self.table) | {"run": str(run)}
        for key, value in settings.items():
            if key == ZEROS:
                table["sparsity"] = dict.fromkeys(table.get("sparsity", {}), value) if value else {}
                continue
            *path, last = key.split(".")
            inner = table
            for part in path:
                inner = inner.setdefault(part, {})
            inner[last] = value
        return Recipe.from_table(table, Path(self.base))


def name_of(settings: dict[str, Any]) -> str:
    """Of a cell's folder."""
    return ",".join(f"{key.split('.')[-1]}={value}" for key, value in settings.items())


def run_cell(grid: Grid, settings: dict[str, Any], folder: Path) -> Row:
    """Train and test a cell, unless that is done."""
    result = folder / "result.json"
    if result.exists():
        return json.loads(result.read_text())
    checkpoint = made(grid, grid.recipe(settings, folder))
    row = settings | sizes(checkpoint, grid) | word_errors(checkpoint, grid)
    write_whole(result, json.dumps(row, indent=1) + "\n")
    return row


def made(grid: Grid, recipe: Recipe) -> Path:
    """A cell's checkpoint: trained, or cut and rounded."""
    if not grid.squeeze:
        run = Run(recipe, partial(print, flush=True))
        return Path(finish(run, Path(grid.base), False)["checkpoint"])
    start = recipe.start()
    assert start is not None, "a grid that squeezes has an `initial` model"
    recipe.prepare(start)
    recipe.run.mkdir(parents=True, exist_ok=True)
    path = recipe.run / f"{recipe.name}.safetensors"
    clips = clips_of(recipe, grid.squeeze, start.frontend.features)
    header = {"name": recipe.name, "provenance": recipe.provenance}
    write_checkpoint(path, squeeze(start, clips, recipe, header))
    return path


def sizes(checkpoint: Path, grid: Grid) -> Row:
    """Zeros, bits a weight as coded, bytes in all, and of a second of the recording the cycles."""
    config = NpuConfig.load(grid.npu)
    program = compile_checkpoint(checkpoint, config)
    layers = program.meta["report"]["layers"]
    weights = sum(layer["weights"] for layer in layers)
    coded = sum(layer["coded_bits"] for layer in layers)
    row = {
        "zeros_reached": round(sum(layer["zeros"] * layer["weights"] for layer in layers) / weights, 4),
        "bits_per_weight": round(coded / weights, 3),
        "bytes": coded // 8,
        "part_of_float32": round(coded / (32 * weights), 4),
    }
    if grid.recording:
        samples = read_audio(grid.recording)
        with open_device("fast", config) as device:
            cycles, _ = recording_speed(device, program, samples)
        row["cycles_a_second"] = round(cycles * RATE / len(samples))
    return row


def word_errors(checkpoint: Path, grid: Grid) -> Row:
    """WER of each source of the test sets, and its interval, in percent."""
    rows = [row for manifest in grid.test for row in read_manifest(Path(manifest))[: grid.limit]]
    scores = evaluate(read_checkpoint(checkpoint), rows, sets_of(rows, "source"), grid.beam).beam_scores
    return {"wer": {name: [s.wer, s.low, s.high] for name, s in scores.items()}}


def table(grid: Grid, rows: list[Row]) -> str:
    """RESULTS.md: a row a cell."""
    sets, keys = list(rows[0]["wer"]), [key for key in rows[0] if key != "wer"]
    heads = [*keys, *(f"{name} WER %" for name in sets)]
    lines = [f"# {Path(grid.base).stem}: {' x '.join(grid.axes)}", ""]
    lines.append(f"Integers, beam {grid.beam}; intervals of 95 %, bootstrap over utterances.\n")
    lines += [f"| {' | '.join(heads)} |", f"|{' ---: |' * len(heads)}"]
    for row in rows:
        cells = [str(row[key]) for key in keys]
        cells += ["{:.1f} ({:.1f} to {:.1f})".format(*row["wer"][name]) for name in sets]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def picture(grid: Grid, rows: list[Row], out: Path) -> None:
    """WER by the last axis, a line for each setting of the others, a plot a test set."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    sets, (*others, last) = list(rows[0]["wer"]), list(grid.axes)
    figure, axes = pyplot.subplots(1, len(sets), figsize=(4.5 * len(sets), 4), squeeze=False)
    for axis, name in zip(axes[0], sets, strict=True):
        for values in product(*(grid.axes[key] for key in others)):
            own = dict(zip(others, values, strict=True))
            line = [row for row in rows if all(row[key] == value for key, value in own.items())]
            places = [str(row[last]) for row in line]
            middle, low, high = zip(*(row["wer"][name] for row in line), strict=True)
            axis.plot(places, middle, marker="o", label=name_of(own) or None)
            axis.fill_between(places, low, high, alpha=0.15)
        axis.set(title=name, xlabel=last, ylim=(0, None))
        axis.grid(alpha=0.3)
    axes[0][0].set_ylabel("WER %")
    if others:
        axes[0][-1].legend()
    figure.tight_layout()
    figure.savefig(out, dpi=110)
    pyplot.close(figure)


def run_grid(grid: Grid, out: Path) -> list[Row]:
    """Every cell, then what OUT gets."""
    out.mkdir(parents=True, exist_ok=True)
    rows = [run_cell(grid, settings, out / name_of(settings)) for settings in grid.cells()]
    write_whole(out / "results.json", json.dumps(rows, indent=1) + "\n")
    write_whole(out / "RESULTS.md", table(grid, rows))
    picture(grid, rows, out / "grid.png")
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("grid", type=Path)
    parser.add_argument("out", type=Path)
    a = parser.parse_args()
    torch.set_num_threads(1)
    try:
        grid = Grid.read(a.grid)
        print(table(grid, run_grid(grid, a.out)))
    except (ValueError, OSError) as error:
        print(f"grid: {error}", file=sys.stderr)
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
