"""Random transducers, configurations and checkpoint files, small enough to compile in milliseconds."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
from ossicle.compiler.encoder import ARBITRATOR, SCORE
from ossicle.compiler.graph import Graph, Matrix
from ossicle.compiler.importer import PARTS, TABLE, matrix_shapes, transducer
from ossicle.compiler.reference import Reference
from ossicle.hw.config import ConfigError, NpuConfig
from safetensors.numpy import save_file

TINY = {
    "kind": "rnnt",
    "features": 20,
    "encoder": [{"hidden": 12, "reduce": 1}, {"hidden": 20, "reduce": 2}],
    "joint": 24,
    "prediction": {"context": 2, "embedding": 10, "hidden": 18},
    "vocabulary": 31,
}


def topology(rng: np.random.Generator) -> dict:
    """Sizes that are no multiples of anything; one to three LSTMs, with any reduction."""
    layers = [
        {"hidden": int(rng.integers(1, 50)), "reduce": int(rng.choice([1, 1, 2, 3]))}
        for _ in range(rng.integers(1, 4))
    ]
    return {
        "kind": "rnnt",
        "features": int(rng.integers(3, 60)),
        "encoder": layers,
        "joint": int(rng.integers(1, 60)),
        "prediction": {
            "context": int(rng.integers(1, 4)),
            "embedding": int(rng.integers(1, 50)),
            "hidden": int(rng.integers(1, 60)),
        },
        "vocabulary": int(rng.integers(2, 100)),
    }


def branching(rng: np.random.Generator) -> dict:
    """One shared layer or two, and one layer or two on each side of a branch."""
    shared = [{"hidden": int(rng.integers(1, 40)), "reduce": 1} for _ in range(rng.integers(1, 3))]
    sides = [{"hidden": int(rng.integers(1, 40)), "reduce": 1} for _ in range(rng.integers(1, 3))]
    sides[0]["reduce"] = int(rng.integers(1, 4))
    branch = {"from": len(shared), "hidden": int(rng.integers(1, 20))}
    return {**topology(rng), "encoder": shared + sides, "branch": branch}


def matrices(rng: np.random.Generator, shape: dict) -> dict[str, Matrix]:
    return random_matrices(rng, matrix_shapes(shape))


def random_matrices(rng: np.random.Generator, shapes: dict[str, tuple[int, int]]) -> dict[str, Matrix]:
    """Any share of zeros; scales that use the range of the pre-activations."""
    made = {}
    for name, (rows, columns) in shapes.items():
        weight = rng.integers(-127, 128, (rows, columns)) * (rng.random((rows, columns)) > rng.random())
        made[name] = Matrix(
            weight.astype(np.int8),
            rng.integers(-30000, 30000, rows).astype(np.int32),
            rng.integers(1 << 15, 1 << 16, rows).astype(np.uint16),
            rng.integers(18, 24, rows).astype(np.uint8),
        )
    return made


def model(rng: np.random.Generator, shape: dict | None = None) -> Graph:
    shape = shape or topology(rng)
    table = rng.integers(-128, 128, (shape["vocabulary"], shape["prediction"]["embedding"])).astype(np.int8)
    return transducer("random", shape, matrices(rng, shape), table, {"topology": shape})


def scores(graph: Graph, features: np.ndarray) -> np.ndarray:
    """The arbitrator's score in each job, int16, of features [frames, features]."""
    encode = graph.routines["encode"]
    end = next(k for k, op in enumerate(encode.ops) if op.name == SCORE) + 1
    routine = replace(encode, ops=encode.ops[:end], output=encode.ops[end - 1].output)
    return Reference(replace(graph, routines={"encode": routine})).encode(features)[:, 0]


def undecided(graph: Graph) -> Graph:
    """A branching model with scores on both sides of 0: the bias is their median in noise."""
    made, rng = dict(graph.matrices), np.random.default_rng(0)
    for name in (ARBITRATOR, SCORE):
        shape = made[name].shape
        weight, bias = rng.integers(-127, 128, shape).astype(np.int8), np.zeros(shape[0], np.int32)
        scale = np.full(shape[0], 1 << 15, np.uint16), np.full(shape[0], 16, np.uint8)
        made[name] = Matrix(weight, bias, *scale)
    parts = graph.routines["encode"].inputs[0].parts
    noise = rng.integers(-128, 128, (50 * len(parts), parts[0].count)).astype(np.int8)
    middle = np.median(scores(replace(graph, matrices=made), noise))
    made[SCORE] = replace(made[SCORE], bias=np.int32([-2 * middle]))
    return replace(graph, matrices=made)


def config(rng: np.random.Generator) -> NpuConfig:
    """Odd processors: memories so small that most layers stream."""
    while True:
        try:
            return NpuConfig(
                lanes=int(rng.choice([4, 8, 16, 32, 64, 128, 256])),
                vector_width=int(rng.choice([4, 8, 16])),
                decoder_streams=int(rng.choice([1, 2, 4, 8, 16])),
                weight_words=int(rng.choice([32, 64, 200, 1000])),
                accumulators=int(rng.choice([64, 300])),
                parameter_words=int(rng.choice([8, 13, 50, 600])),
                table_sets=int(rng.choice([1, 2, 4])),
                table_log=int(rng.integers(9, 13)),
                bus_bits=int(rng.choice([32, 64, 256])),
                queue_depth=int(rng.integers(2, 17)),
            )
        except ConfigError:
            continue


def checkpoint(rng: np.random.Generator, shape: dict = TINY) -> tuple[dict, dict[str, np.ndarray]]:
    """Header and tensors of a whole checkpoint."""
    graph = model(rng, shape)
    tensors = {TABLE: graph.tables[TABLE], "tokenizer": np.arange(7, dtype=np.uint8)}
    for name, matrix in graph.matrices.items():
        tensors |= {f"{name}.{part}": getattr(matrix, part) for part in PARTS}
    header = {"format": "ossicle-checkpoint", "version": 1, "name": "tiny", "topology": shape, "frontend": {}}
    return header, tensors


def write_checkpoint(path, header: dict | str | None, tensors: dict[str, np.ndarray]) -> None:
    """A safetensors file; the header as JSON, as it is if it is text, or left out."""
    text = header if isinstance(header, str) else json.dumps(header)
    save_file(tensors, str(path), metadata=None if header is None else {"ossicle": text})
