"""Language models of random weights, small."""

import numpy as np
from ossicle.models.export import Checkpoint, matrix_shapes, quantize_matrix, table_shapes


def random_model(labels, kept=2, seed=1, tokens=None, sizes=(20, 12)):
    """A checkpoint of random weights; two LSTMs, of a size that leaves padding in every memory."""
    topology = {
        "kind": "stack",
        "kept": kept,
        "tokens": {"labels": 1, "buckets": len(labels), "embedding": 6} | (tokens or {}),
        "layers": [*({"lstm": size} for size in sizes), {"linear": len(labels)}],
        "labels": labels,
    }
    if not kept:
        del topology["kept"]
    rng = np.random.default_rng(seed)
    matrices = {
        name: quantize_matrix(name, rng.normal(0, 1, shape), rng.normal(0, 0.5, shape[0]))
        for name, shape in matrix_shapes(topology).items()
    }
    table = rng.integers(-128, 128, *table_shapes(topology).values()).astype(np.int8)
    return Checkpoint(topology, matrices, table, b"", None, {"name": "random"})
