"""Checkpoint files of a few rows, and a stand-in for what a few steps of training leave of them."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from numpy.typing import NDArray
from ossicle.hw.numerics import ACTIVATION_FRACTION, PREACTIVATION_FRACTION, quantize_multiplier
from safetensors.numpy import save

Tensors = dict[str, NDArray[Any]]


def matrix(rng: np.random.Generator, name: str, shape: tuple[int, int], bits: int, zeros: float) -> Tensors:
    """The five tensors of a matrix; models/export.py lists them."""
    rows, top = shape[0], (1 << (bits - 1)) - 1
    weight = np.clip(np.rint(rng.normal(0, top / 2.5, shape)), -top, top)
    scale = rng.uniform(0.001, 0.01, rows).astype(np.float32)
    return derive(name, {
        f"{name}.weight": np.where(rng.random(shape) < zeros, 0, weight).astype(np.int8),
        f"{name}.bias": rng.integers(-(1 << 20), 1 << 20, rows).astype(np.int32),
        f"{name}.scale": scale,
    })  # fmt: skip


def derive(name: str, tensors: Tensors) -> Tensors:
    """With the multiplier and shift that follow from the scale."""
    exact = tensors[f"{name}.scale"].astype(np.float64) * 2.0 ** (
        PREACTIVATION_FRACTION - ACTIVATION_FRACTION
    )
    multiplier, shift = quantize_multiplier(exact)
    return tensors | {f"{name}.multiplier": multiplier, f"{name}.shift": shift}


def checkpoint(rng: np.random.Generator, shape=(24, 40), bits: int = 8, zeros: float = 0.5) -> Tensors:
    """Two matrices, a table and a tokenizer."""
    return {
        **matrix(rng, "encoder.0", shape, bits, zeros),
        **matrix(rng, "joint.output", (shape[1], shape[0]), bits, zeros),
        "prediction.embedding": rng.integers(-127, 128, (shape[1], 8)).astype(np.int8),
        "tokenizer": rng.integers(0, 256, 300).astype(np.uint8),
    }


def tuned(rng: np.random.Generator, tensors: Tensors, share: float = 0.05) -> Tensors:
    """A stand-in for a short fine-tuning: `share` of the weights that are not zero one or two steps away, and
    biases near. Training moves weights by their gradients; here they are drawn."""
    made = {}
    for name, old in tensors.items():
        made[name] = old
        if name.endswith(".weight"):
            hit = (old != 0) & (rng.random(old.shape) < share)
            moved = np.clip(old + rng.choice([-2, -1, 1, 2], old.shape), -127, 127)
            made[name] = np.where(hit, moved, old).astype(np.int8)
        elif name.endswith(".bias"):
            made[name] = (old + rng.integers(-40, 41, old.shape)).astype(np.int32)
    return made


def content(tensors: Tensors, **header) -> bytes:
    """The file."""
    return save(tensors, {"ossicle": json.dumps({"name": "small", **header})})
