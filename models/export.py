"""Checkpoints: the one contract between training and everything else. A safetensors file, integers only.

<matrix>.weight      int8    [rows, columns]   +-(2**(bits - 1) - 1), gate-major rows i, f, g, o in an LSTM
<matrix>.multiplier  uint16  [rows]            with shift: accumulator -> output, see hw/numerics.py
<matrix>.shift       uint8   [rows]
<matrix>.bias        int32   [rows]            in accumulator units, |bias| <= 2**30
<matrix>.scale       float32 [rows]            real value of one weight step (information only)
prediction.embedding int8    [V, 96]           Q0.7, of a transducer
tokens.embedding     int8    [buckets, width]  Q0.7, of a stack on tokens, which has no frontend in its header
tokenizer            uint8   [bytes]           a sentencepiece model, of a transducer
metadata["ossicle"]  JSON                      the header: see `Checkpoint.header`

Topologies are of kind "rnnt", see SMALL_TOPOLOGY and, for a branch, encoder.py, or "stack", see layers.py.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from ossicle.hw.numerics import (
    ACTIVATION_FRACTION,
    LOGIT_FRACTION,
    PREACTIVATION_FRACTION,
    quantize_multiplier,
)
from ossicle.models.encoder import check_branch, encoder_shapes
from ossicle.models.layers import OUTPUT, STACK, check_stack, stack_shapes
from ossicle.runtime.frontend import FrontendParameters
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

FORMAT, VERSION = "ossicle-checkpoint", 1
BIAS_LIMIT = 1 << 30
EMBEDDING, TOKENS = "prediction.embedding", "tokens.embedding"
SMALL_TOPOLOGY = {
    "kind": "rnnt",
    "features": 120,
    "encoder": [
        {"hidden": 256, "reduce": 1},
        {"hidden": 256, "reduce": 2},
        {"hidden": 256, "reduce": 1},
    ],
    "joint": 192,
    "prediction": {"context": 2, "embedding": 96, "hidden": 192},
}


def matrix_shapes(topology: dict) -> dict[str, tuple[int, int]]:
    """Name -> (rows, columns) of every matrix of a topology, in the order of evaluation."""
    if topology.get("kind") == STACK:
        return stack_shapes(topology)
    shapes = encoder_shapes(topology)
    prediction, joint = topology["prediction"], topology["joint"]
    shapes["prediction.hidden"] = (prediction["hidden"], prediction["context"] * prediction["embedding"])
    shapes["prediction.projection"] = (joint, prediction["hidden"])
    shapes["joint.output"] = (topology["vocabulary"], joint)
    return shapes


def table_shapes(topology: dict) -> dict[str, tuple[int, int]]:
    """Name -> (rows, columns) of the embedding table of a topology that has one."""
    if topology.get("kind") != STACK:
        return {EMBEDDING: (topology["vocabulary"], topology["prediction"]["embedding"])}
    tokens = topology.get("tokens")
    return {TOKENS: (tokens["buckets"], tokens["embedding"])} if tokens else {}


def output_fraction(name: str) -> int:
    """Fraction bits of a matrix's output: logits are Q7.8, everything else Q4.11."""
    return LOGIT_FRACTION if name in ("joint.output", OUTPUT) else PREACTIVATION_FRACTION


@dataclass(frozen=True)
class Matrix:
    """An integer matrix. Real output = scale * 2**-7 * (weight @ activation + bias)."""

    weight: NDArray[np.int8]
    bias: NDArray[np.int32]
    scale: NDArray[np.float32]
    multiplier: NDArray[np.uint16]
    shift: NDArray[np.uint8]

    @property
    def sparsity(self) -> float:
        """Fraction of zeros."""
        return float(np.mean(self.weight == 0))


def quantize_matrix(
    name: str, weight: NDArray, bias: NDArray, scale: NDArray | None = None, bits: int = 8
) -> Matrix:
    """Round a real matrix [rows, columns] and bias [rows] to integers, one symmetric scale a row.

    Args:
        scale: [rows] positive; by default the largest magnitude of a row maps to the largest integer.
    Raises:
        ValueError: a bias that is out of the range of an accumulator.
    """
    top = (1 << (bits - 1)) - 1
    if scale is None:
        largest = np.abs(weight).max(axis=1)
        scale = np.where(largest > 0, largest, 1.0) / top
    scale = np.asarray(scale, np.float32)
    exact = scale.astype(np.float64)
    integers = np.clip(np.rint(weight / exact[:, None]), -top, top).astype(np.int8)
    multiplier, shift = quantize_multiplier(exact * 2.0 ** (output_fraction(name) - ACTIVATION_FRACTION))
    offset = np.rint(np.asarray(bias, np.float64) / exact * (1 << ACTIVATION_FRACTION))
    if np.abs(offset).max(initial=0) > BIAS_LIMIT:
        raise ValueError(f"{name}: a bias of {np.abs(offset).max():g} accumulator steps is past 2**30")
    return Matrix(integers, offset.astype(np.int32), scale, multiplier, shift)


@dataclass(frozen=True)
class Checkpoint:
    """A model in integers. `header`: name, quantization (bits), provenance, wer or, of a stack, scores; the
    rest is derived. A stack has no tokenizer, and an embedding or a frontend: tokens or features."""

    topology: dict
    matrices: dict[str, Matrix]
    embedding: NDArray[np.int8] | None
    tokenizer: bytes
    frontend: FrontendParameters | None
    header: dict = field(default_factory=dict)

    def full_header(self) -> dict:
        """The JSON header as written: format, version, name, topology, frontend, vocabulary, sparsity, …"""
        text = {"vocabulary": {"blank": 0, "offset": 1}, "labels_per_frame": 2}  # label = piece + offset
        scores = "scores" if self.is_stack else "wer"
        return {
            "format": FORMAT,
            "version": VERSION,
            "name": self.header.get("name", "unnamed"),
            "topology": self.topology,
            **({} if self.is_stack else text),
            **({"frontend": self.frontend.to_dict()} if self.frontend else {}),
            "quantization": self.header.get("quantization", dict.fromkeys(self.matrices, 8)),
            "sparsity": {name: round(matrix.sparsity, 4) for name, matrix in self.matrices.items()},
            "provenance": self.header.get("provenance", {}),
            scores: self.header.get(scores, {}),
        }

    @property
    def is_stack(self) -> bool:
        """Whether it is a stack of layers; a transducer otherwise."""
        return self.topology.get("kind") == STACK


def verify(checkpoint: Checkpoint) -> None:
    """Raise ValueError, naming the first fault, unless shapes, types and ranges are those of the topology."""
    _check_topology(checkpoint.topology)
    shapes = matrix_shapes(checkpoint.topology)
    if set(shapes) != set(checkpoint.matrices):
        odd = sorted(set(shapes) ^ set(checkpoint.matrices))
        raise ValueError(f"checkpoint: matrices {odd} are missing or not of the topology")
    given = checkpoint.frontend.features if checkpoint.frontend else None
    if checkpoint.topology.get("features") != given:
        raise ValueError(f"checkpoint: the frontend gives {given} features a step")
    for name, shape in table_shapes(checkpoint.topology).items():
        _expect(name, checkpoint.embedding, np.int8, shape)
    for name, (rows, columns) in shapes.items():
        matrix = checkpoint.matrices[name]
        _expect(f"{name}.weight", matrix.weight, np.int8, (rows, columns))
        for part, kind in (
            ("bias", np.int32),
            ("scale", np.float32),
            ("multiplier", np.uint16),
            ("shift", np.uint8),
        ):
            _expect(f"{name}.{part}", getattr(matrix, part), kind, (rows,))
        if matrix.weight.min() < -127:
            raise ValueError(f"{name}.weight holds -128; weights are symmetric, -127..127")
        bits = checkpoint.full_header()["quantization"].get(name, 8)
        top, largest = (1 << (bits - 1)) - 1, int(np.abs(matrix.weight.astype(np.int64)).max(initial=0))
        if largest > top:
            raise ValueError(f"{name}.weight holds {largest}; its {bits} bits end at {top}")
        if np.abs(matrix.bias.astype(np.int64)).max() > BIAS_LIMIT:
            raise ValueError(f"{name}.bias is past 2**30")


def _check_topology(topology: dict) -> None:
    if topology.get("kind") == STACK:
        check_stack(topology)
    else:
        check_branch(topology)


def _expect(name: str, array: NDArray | None, kind: type, shape: tuple[int, ...]) -> None:
    if array is None:
        raise ValueError(f"{name} is missing")
    if array.dtype != kind or array.shape != shape:
        raise ValueError(
            f"{name} must be {np.dtype(kind)} {list(shape)}, not {array.dtype} {list(array.shape)}"
        )


def write_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Check and write. Raises ValueError where `verify` does; writes nothing then."""
    verify(checkpoint)
    tensors = {}
    if not checkpoint.is_stack:
        tensors["tokenizer"] = np.frombuffer(checkpoint.tokenizer, np.uint8)
    for name in table_shapes(checkpoint.topology):
        tensors[name] = checkpoint.embedding
    for name, matrix in checkpoint.matrices.items():
        for part in ("weight", "bias", "scale", "multiplier", "shift"):
            tensors[f"{name}.{part}"] = np.ascontiguousarray(getattr(matrix, part))
    header = json.dumps(checkpoint.full_header(), separators=(",", ":"))
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, str(path), metadata={"ossicle": header})
    Path(path).chmod(0o644)  # safetensors makes it readable by its owner alone


def read_checkpoint(path: Path) -> Checkpoint:
    """Read and check. Raises ValueError with one clear line on a file that is not a whole checkpoint."""
    try:
        with safe_open(str(path), framework="numpy") as file:
            metadata = file.metadata() or {}
            names = file.keys()
            tensors = {name: file.get_tensor(name) for name in names}
    except (OSError, SafetensorError) as error:
        raise ValueError(f"{path}: not a readable safetensors file ({error})") from error
    if "ossicle" not in metadata:
        raise ValueError(f"{path}: no 'ossicle' header; this is not an Ossicle checkpoint")
    header = json.loads(metadata["ossicle"])
    if (header.get("format"), header.get("version")) != (FORMAT, VERSION):
        raise ValueError(
            f"{path}: format {header.get('format')} {header.get('version')}, not {FORMAT} {VERSION}"
        )
    stack = header["topology"].get("kind") == STACK
    _check_topology(header["topology"])
    try:
        parts = ("weight", "bias", "scale", "multiplier", "shift")
        matrices = {
            name: Matrix(**{part: tensors[f"{name}.{part}"] for part in parts})
            for name in matrix_shapes(header["topology"])
        }
        tables = [tensors[name] for name in table_shapes(header["topology"])]
        on_tokens = "tokens" in header["topology"]
        checkpoint = Checkpoint(
            header["topology"],
            matrices,
            tables[0] if tables else None,
            b"" if stack else tensors["tokenizer"].tobytes(),
            None if on_tokens else FrontendParameters.from_dict(header["frontend"]),
            header,
        )
    except KeyError as error:
        raise ValueError(f"{path}: {error} is missing") from error
    verify(checkpoint)
    return checkpoint
