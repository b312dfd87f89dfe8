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
from ossicle.compiler.api import compile_checkpoint
from ossicle.compiler.importer import import_checkpoint
from ossicle.hw.config import NpuConfig
from ossicle.models.export import Checkpoint, read_checkpoint, write_checkpoint
from ossicle.models.layers import input_width
from ossicle.models.nets.recipe import NetRecipe
from ossicle.models.nets.task import Scores
from ossicle.models.nets.tasks import open_task
from ossicle.runtime.words import READINGS

STEP_SECONDS = 0.03
CODED_FOR = "base"
INTRODUCTION = """# Results of the small nets

All in the processor's integers, on speakers, voices and sentences that were not trained on. Intervals (low to
high) of 95 %: bootstrap. Rates in percent. Whispered speech other than espeak-ng's is made of voiced speech
by models/data/whisper.py, as in training; no recording of a person's whisper was at hand.
"""


def macs(topology: dict, steps: float) -> int:
    """Products of the dense matrices in so many steps of the first layer."""
    total, width, pace = 0.0, input_width(topology), steps
    for layer in topology["layers"]:
        reduce, hidden = layer.get("reduce", 1), layer.get("lstm", 0)
        pace /= reduce
        total += pace * (
            4 * hidden * (width * reduce + hidden) if hidden else layer["linear"] * width * reduce
        )
        width = hidden or layer["linear"]
    return round(total)


def work(topology: dict) -> dict[str, int]:
    """What it takes: products of the dense matrices for a second of audio, a word, or a piece of one."""
    if "tokens" in topology and topology["tokens"]["labels"] == 1:
        return {"macs_per_piece_dense": macs(topology, 1)}
    if "tokens" in topology:
        return {"macs_per_word_dense": macs(topology, READINGS)}
    return {"macs_per_second_dense": macs(topology, 1 / STEP_SECONDS)}


def coded_bytes(path: Path) -> int:
    """Of a checkpoint on the processor `base`: code of the matrices, and the embedding table."""
    graph, program = import_checkpoint(path), compile_checkpoint(path, NpuConfig.load(CODED_FOR))
    code = sum(layer["coded_bits"] for layer in program.meta["report"]["layers"])
    return code // 8 + sum(table.size for table in graph.tables.values())


def card(checkpoint: Checkpoint, path: Path, said: dict) -> dict:
    """Everything that a reader of the net, at `path`, should know."""
    header = checkpoint.full_header()
    arrays = [matrix.weight for matrix in checkpoint.matrices.values()]
    arrays += [checkpoint.embedding] if checkpoint.embedding is not None else []
    weights = sum(array.size for array in arrays)
    zeros = sum(int(np.sum(array == 0)) for array in arrays)
    kept = ("topology", "quantization", "sparsity", "provenance", "scores")
    return {
        "name": header["name"],
        "file": f"{header['name']}.safetensors",
        "bytes": path.stat().st_size,
        "bytes_coded": coded_bytes(path),
        "bytes_float32_dense": 4 * (weights + sum(m.bias.size for m in checkpoint.matrices.values())),
        "weights": weights,
        "zeros": round(zeros / weights, 4),
        **work(checkpoint.topology),
        **{key: header[key] for key in kept},
        **said,
    }


def section(made: dict) -> str:
    """A net's part of NETS.md, from its card."""
    size = (
        f"{made['weights']:,} weights of 8 bits, {100 * made['zeros']:.0f} % zeros, {made['bytes']:,} bytes"
    )
    if "bytes_coded" in made:
        size += f"; coded {made['bytes_coded']:,}, dense in float32 {made['bytes_float32_dense']:,}"
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
    return lines + [
        f"| {name} | {' | '.join(f'{s[c]:g}' if c in s else '' for c in columns)} |"
        for name, s in scores.items()
    ]


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
    table = card(checkpoint, path, said)
    (a.out / f"{recipe.name}.json").write_text(json.dumps(table, indent=1) + "\n")
    write_results(a.out)
    for name, values in scores.items():
        print(f"{name:24s} {values}")


if __name__ == "__main__":
    main()
