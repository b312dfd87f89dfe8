"""Release a trained net: test it, write its scores into it, its card, and the table of all small nets.

    python -m ossicle.models.nets.release RECIPE.toml OUT

writes OUT/NAME.safetensors (now with scores by test set), OUT/NAME.json (the card), a picture if the task has
one, and OUT/NETS.md (from all the cards of small nets in OUT).
"""

from __future__ import annotations

import argparse
import json
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from ossicle.models.export import Checkpoint, read_checkpoint, write_checkpoint
from ossicle.models.nets.recipe import NetRecipe
from ossicle.models.nets.task import Scores
from ossicle.models.nets.tasks import open_task

STEP_SECONDS = 0.03
INTRODUCTION = """# Results of the small nets

All in the processor's integers, on speakers and voices that were not trained on. Intervals (low to high) of
95 %: bootstrap. Rates in percent. Whispered speech other than espeak-ng's is made of voiced speech by
models/data/whisper.py, as in training; no recording of a person's whisper was at hand.
"""


def macs_per_second(topology: dict) -> int:
    """Products of the dense matrices for a second of audio."""
    total, width, pace = 0.0, topology["features"], 1 / STEP_SECONDS
    for layer in topology["layers"]:
        reduce, hidden = layer.get("reduce", 1), layer.get("lstm", 0)
        pace /= reduce
        total += pace * (
            4 * hidden * (width * reduce + hidden) if hidden else layer["linear"] * width * reduce
        )
        width = hidden or layer["linear"]
    return round(total)


def card(checkpoint: Checkpoint, size: int, said: dict) -> dict:
    """Everything that a reader of the net should know."""
    header = checkpoint.full_header()
    weights = sum(matrix.weight.size for matrix in checkpoint.matrices.values())
    zeros = sum(int(np.sum(matrix.weight == 0)) for matrix in checkpoint.matrices.values())
    kept = ("topology", "quantization", "sparsity", "provenance", "scores")
    return {
        "name": header["name"],
        "file": f"{header['name']}.safetensors",
        "bytes": size,
        "weights": weights,
        "zeros": round(zeros / weights, 4),
        "macs_per_second_dense": macs_per_second(checkpoint.topology),
        **{key: header[key] for key in kept},
        **said,
    }


def section(made: dict) -> str:
    """A net's part of NETS.md, from its card."""
    size = (
        f"{made['weights']:,} weights of 8 bits, {100 * made['zeros']:.0f} % zeros, {made['bytes']:,} bytes"
    )
    lines = [f"## {made['name']}", "", f"{made.get('use', '')} {size}.", ""]
    lines += [*_table(made["scores"]), ""]
    lines += [made[key] + "\n" for key in ("measures", "limits") if key in made]
    if "picture" in made:
        lines += [f"![{made['name']}]({made['picture']})", ""]
    commands = "\n".join(f"    {command}" for command in made["commands"])
    return "\n".join([*lines, f"Made by:\n\n{commands}\n"])


def _table(scores: Scores) -> list[str]:
    columns = list(next(iter(scores.values())))
    lines = [f"| set | {' | '.join(columns)} |", f"| --- |{' ---: |' * len(columns)}"]
    return lines + [f"| {name} | {' | '.join(f'{s[c]:g}' for c in columns)} |" for name, s in scores.items()]


def write_results(folder: Path) -> None:
    """NETS.md of the cards in a folder that are small nets'."""
    cards = [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]
    sections = [section(made) for made in cards if made.get("topology", {}).get("kind") == "stack"]
    (folder / "NETS.md").write_text("\n".join([INTRODUCTION, *sections]))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("recipe", type=Path)
    parser.add_argument("out", type=Path)
    a = parser.parse_args()
    torch.set_num_threads(1)
    try:
        recipe = NetRecipe.read(a.recipe)
        task, said = open_task(recipe), dict(recipe.card)
        checkpoint = read_checkpoint(recipe.run / f"{recipe.name}.safetensors")
        if "data" in said:
            said["data"] = tomllib.loads(Path(said["data"]).read_text())["data"]
        scores = task.score(checkpoint, (*task.TEST, *task.DEV))
    except (ValueError, OSError) as error:
        parser.error(str(error))
    checkpoint = replace(checkpoint, header={**checkpoint.header, "scores": scores})
    path = a.out / f"{recipe.name}.safetensors"
    write_checkpoint(path, checkpoint)
    picture = task.picture(checkpoint, a.out)
    train = checkpoint.header["provenance"]["command"]
    said["commands"] = [train, f"python -m ossicle.models.nets.release {a.recipe} {a.out}"]
    if picture:
        said["picture"] = picture.name
    table = card(checkpoint, path.stat().st_size, said)
    (a.out / f"{recipe.name}.json").write_text(json.dumps(table, indent=1) + "\n")
    write_results(a.out)
    for name, values in scores.items():
        print(f"{name:24s} {values}")


if __name__ == "__main__":
    main()
