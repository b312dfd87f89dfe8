"""Random models of topology "stack", on features or on labels, with states that can be kept or not."""

from __future__ import annotations

import numpy as np
import random_models
from ossicle.compiler.graph import Graph
from ossicle.compiler.stack import STACK, check_stack, stack, stack_shapes, table_shapes


def topology(rng: np.random.Generator) -> dict:
    """One to three layers, of sizes that are no multiples of anything."""
    hidden = [
        {"lstm": int(rng.integers(1, 40))}
        if rng.random() < 0.6
        else {"linear": int(rng.integers(1, 40)), "function": str(rng.choice(["relu", "sigmoid", "tanh"]))}
        for _ in range(rng.integers(0, 3))
    ]
    made = {"kind": STACK, "layers": [*hidden, {"linear": int(rng.integers(1, 30))}]}
    if rng.random() < 0.5:
        made["features"] = int(rng.integers(1, 50))
    else:
        sizes = {"labels": (1, 4), "buckets": (2, 50), "embedding": (1, 30)}
        made["tokens"] = {key: int(rng.integers(*size)) for key, size in sizes.items()}
    if any("lstm" in layer for layer in hidden) and rng.random() < 0.6:
        made["kept"] = int(rng.integers(1, 4))
    return made


def model(rng: np.random.Generator, shape: dict | None = None) -> Graph:
    shape = shape or topology(rng)
    check_stack(shape)
    tables = {
        name: rng.integers(-128, 128, size).astype(np.int8) for name, size in table_shapes(shape).items()
    }
    matrices = random_models.random_matrices(rng, stack_shapes(shape))
    return stack("random stack", shape, matrices, tables, {"topology": shape})
