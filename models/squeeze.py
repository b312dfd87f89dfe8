"""Cut and round a trained model without training it: what a weight loses, the others of its row make up for.

    python -m ossicle.models.squeeze BEFORE RECIPE.toml OUT.safetensors [--clips 400]

For each matrix W of the encoder, with X what it reads in some training clips, ||W X - Q X|| is kept small:
column by column weights are set to zero or rounded, and the error of each is taken out of the columns that
are still to come, by the inverse of H = X X' (optimal brain surgeon: Hassibi & Stork 1993; rounding so:
GPTQ, Frantar et al. 2023, arXiv:2210.17323, its eq. 2 and 3; zeros: SparseGPT, Frantar & Alistarh 2023,
arXiv:2301.00774). Layers follow each other, so that one makes up for what those before it lost. Zeros and
bits are the recipe's [sparsity] and [bits], the clips those of its packs; all other matrices are rounded.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from pathlib import Path

import numpy as np
import torch
from ossicle.models.encoder import branch_layers
from ossicle.models.exact import joined
from ossicle.models.export import Checkpoint, Matrix, quantize_matrix, write_checkpoint
from ossicle.models.floating import float_lstm
from ossicle.models.initial import Start, read_start
from ossicle.models.qat import ACTIVATION_UNIT, largest_integer, row_scale
from ossicle.models.recipe import Recipe
from ossicle.models.search import pad
from torch import Tensor

DAMPING = 0.05  # of the mean diagonal of H, added to it
BLOCK = 64  # columns among which the least weights are cut
BATCH = 50  # clips
NARROWER = (1.0, 0.9, 0.8, 0.7)  # scales that are tried, of that of the largest weight of a row


def squeezed(weight: Tensor, hessian: Tensor, zeros: float, bits: int) -> tuple[Tensor, Tensor]:
    """Integers [rows, columns] and scales [rows] that give nearly what the weights [rows, columns] give.

    Args:
        hessian: X X', [columns, columns].
        zeros: share of the weights that are cut; more may round to zero.
    """
    upper, weight = inverse_factor(hessian), weight.double().clone()
    cuts = _cuts(weight, upper, zeros)
    scale, top = best_scale(weight, hessian.diagonal(), bits), largest_integer(bits)
    made = torch.zeros_like(weight)
    for first in range(0, weight.shape[1], BLOCK):
        block = slice(first, min(first + BLOCK, weight.shape[1]))
        kept = _kept(weight[:, block], upper.diagonal()[block], cuts[first // BLOCK])
        errors = torch.zeros_like(weight[:, block])
        for k, column in enumerate(range(block.start, block.stop)):
            own = weight[:, column]
            rounded = (own / scale).round().clamp_(-top, top) * kept[:, k]
            made[:, column] = rounded
            errors[:, k] = (own - rounded * scale) / upper[column, column]
            weight[:, column + 1 : block.stop] -= torch.outer(
                errors[:, k], upper[column, column + 1 : block.stop]
            )
        weight[:, block.stop :] -= errors @ upper[block, block.stop :]
    return made, scale


def inverse_factor(hessian: Tensor) -> Tensor:
    """Upper triangular U, U' U = (H + damping)**-1: its rows say how later columns make up for a column."""
    size = len(hessian)
    damped = hessian.double() + DAMPING * hessian.diagonal().mean() * torch.eye(size, dtype=torch.float64)
    return torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(damped)), upper=True)


def best_scale(weight: Tensor, importance: Tensor, bits: int) -> Tensor:
    """[rows]: of some scales the one whose rounding errs least, columns by their importance [columns]."""
    top = largest_integer(bits)
    tried = torch.stack([row_scale(weight, top)[:, 0] * part for part in NARROWER])
    errors = torch.stack([
        ((weight - (weight / s[:, None]).round().clamp_(-top, top) * s[:, None]).square() * importance).sum(1)
        for s in tried
    ])  # fmt: skip
    return tried.gather(0, errors.argmin(0)[None])[0].float().double()


def _cuts(weight: Tensor, upper: Tensor, zeros: float) -> list[int]:
    """How many weights of each block of columns are among the least of the matrix."""
    losses = (weight / upper.diagonal()).square()
    least = torch.zeros(losses.numel(), dtype=torch.bool)
    least[losses.flatten().argsort(stable=True)[: round(zeros * losses.numel())]] = True
    return [int(part.sum()) for part in least.view_as(losses).split(BLOCK, dim=1)]


def _kept(weight: Tensor, diagonal: Tensor, count: int) -> Tensor:
    """1 for weights that are not among the `count` whose loss is least, in their block as it is by now."""
    kept = torch.ones(weight.numel(), dtype=weight.dtype)
    kept[(weight / diagonal).square().flatten().argsort(stable=True)[:count]] = 0
    return kept.view_as(weight)


class Calibration:
    """What each matrix of an encoder reads in some clips, layer after layer.

    Args:
        clips: int8 features [T, 120].
    """

    def __init__(self, topology: dict, clips: list[np.ndarray]) -> None:
        self.layers = topology["encoder"]
        order = sorted(clips, key=len)
        batches = [pad(order[i : i + BATCH]) for i in range(0, len(order), BATCH)]
        self.inputs = [features.float().transpose(0, 1) / ACTIVATION_UNIT for features, _ in batches]
        self.ends = [lengths for _, lengths in batches]

    def hessian(self, index: int, weight: Tensor, bias: Tensor) -> Tensor:
        """X X' of a layer's inputs and hidden states, those that the weights, as they were, make."""
        self._join(self.layers[index]["reduce"])
        hidden = self.layers[index]["hidden"]
        total = torch.zeros(weight.shape[1], weight.shape[1], dtype=torch.float64)
        for x, ends in zip(self.inputs, self.ends, strict=True):
            states = float_lstm(x, weight, bias)
            before = torch.cat([states.new_zeros(1, x.shape[1], hidden), states[:-1]])
            total += _outer(torch.cat([x, before], dim=2), ends)
        return total

    def step(self, weight: Tensor, bias: Tensor) -> None:
        """Go on to what the next matrix reads."""
        self.inputs = [float_lstm(x, weight, bias) for x in self.inputs]

    def outputs(self) -> Tensor:
        """X X' of what the last layer gives."""
        return sum(_outer(x, ends) for x, ends in zip(self.inputs, self.ends, strict=True))  # type: ignore

    def _join(self, steps: int) -> None:
        self.inputs = [joined(x, steps) for x in self.inputs]
        self.ends = [ends // steps for ends in self.ends]


def _outer(x: Tensor, ends: Tensor) -> Tensor:
    """X X' of x [T, B, columns], without what lies behind the ends [B]."""
    there = torch.arange(len(x))[:, None] < ends
    rows = x[there].double()
    return rows.T @ rows


@torch.no_grad()
def squeeze(start: Start, clips: list[np.ndarray], recipe: Recipe, header: dict) -> Checkpoint:
    """The integers of a model at the recipe's zeros and bits.

    Raises:
        ValueError: a branching encoder, or [bits] or [sparsity] names a matrix that the model has not.
    """
    if branch_layers(start.topology):
        raise ValueError("an encoder with a branch cannot be squeezed; squeeze it before it branches")
    bits, network = recipe.matrix_bits(start.topology), start.network()
    network.bits = bits
    plain = network.checkpoint(start.tokenizer, start.frontend, header)
    matrices, calibration = dict(plain.matrices), Calibration(start.topology, clips)
    for name in [*(f"encoder.{i}" for i in range(len(calibration.layers))), "encoder.projection"]:
        weight, bias = network.matrix(name)
        last = name == "encoder.projection"
        hessian = calibration.outputs() if last else calibration.hessian(_index(name), weight, bias)
        zeros = recipe.sparsity.get(name, float((weight == 0).double().mean()))
        matrices[name] = _matrix(name, *squeezed(weight, hessian, zeros, bits[name]), bias, bits[name])
        if not last:
            made = matrices[name]
            calibration.step(torch.from_numpy(made.weight * made.scale[:, None]).float(), bias)
    return Checkpoint(
        start.topology, matrices, plain.embedding, start.tokenizer, start.frontend, plain.header
    )


def _index(name: str) -> int:
    return int(name.removeprefix("encoder."))


def _matrix(name: str, integers: Tensor, scale: Tensor, bias: Tensor, bits: int) -> Matrix:
    real = (integers * scale[:, None]).numpy()
    return quantize_matrix(name, real, bias.double().numpy(), scale.numpy(), bits)


def clips_of(recipe: Recipe, count: int, features: int) -> list[np.ndarray]:
    """So many clips of the recipe's training packs, of each source by its `repeats`."""
    rng, found = np.random.default_rng(recipe.schedule.seed), []
    share = count / sum(source.repeats for source in recipe.train)
    for source in recipe.train:
        path = recipe.packs / source.name
        memory = np.load(path.with_suffix(".npy"), mmap_mode="r")
        rows = [json.loads(line) for line in path.with_suffix(".jsonl").read_text().splitlines()]
        for i in rng.permutation(len(rows))[: math.ceil(share * source.repeats)]:
            begin, frames = rows[i]["offset"], rows[i]["frames"]
            found.append(np.array(memory[begin : begin + frames]).reshape(-1, features))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("before", type=Path)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--clips", type=int, default=400)
    a = parser.parse_args()
    torch.set_num_threads(1)
    try:
        if a.clips < 1:
            raise ValueError(f"--clips {a.clips} leaves nothing to go by; use 1 or more")
        recipe, start = Recipe.read(a.recipe), read_start(a.before)
        recipe.prepare(start)
        command = "python -m ossicle.models.squeeze " + " ".join(sys.argv[1:])
        header = {"name": recipe.name, "provenance": {**recipe.provenance, "command": command}}
        clips = clips_of(recipe, a.clips, start.topology["features"])
        write_checkpoint(a.out, squeeze(start, clips, recipe, header))
    except (ValueError, OSError) as error:
        print(f"squeeze: {error}", file=sys.stderr)
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
