"""ossicle train: a checkpoint from a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from ossicle.runtime.console import JsonOption, note, print_json, progress_bar
from ossicle.runtime.plugins import plugin


def train(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="A recipe (.toml).")],
    steps: Annotated[int | None, typer.Option(help="In place of the recipe's.", min=1)] = None,
    export: Annotated[
        bool, typer.Option("--export", help="Only write the saved state's checkpoint.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Train a model from a recipe, or go on where that was stopped."""
    run = plugin("train", "train")
    with progress_bar(as_json) as bar:
        bar.task(f"training {recipe.stem}")
        say = (lambda line: None) if as_json else note
        found = run(recipe, steps=steps, export=export, say=say, progress=bar.step)
    if as_json:
        print_json(found)
        return
    for name, rate in found["wer"].items():
        print(f"{name:28s} WER {rate:5.1f} %")
    print(f"{found['steps']} steps; checkpoint {found['checkpoint']}, curves {found['curves']}")
