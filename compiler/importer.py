"""A checkpoint file -> Graph. models/export.py lists its tensors; every size comes from its topology."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from ossicle.compiler.encoder import check_branch, encoder, encoder_shapes
from ossicle.compiler.graph import (
    Add,
    Embedding,
    Format,
    Graph,
    GraphError,
    Input,
    Linear,
    Matrix,
    Op,
    Routine,
    Tensor,
    verify,
)
from ossicle.compiler.stack import STACK, check_stack, stack, stack_shapes, table_shapes
from ossicle.hw.isa import ARGUMENTS, Function
from ossicle.hw.numerics import SHIFT_MAX
from safetensors import SafetensorError, safe_open

FORMAT, VERSION = "ossicle-checkpoint", 1
TABLE = "prediction.embedding"
BIAS_LIMIT = 1 << 30
LONGEST_CONTEXT = ARGUMENTS - 2  # argument 0 is none, and the last is the slot of the result
PARTS = {"weight": np.int8, "bias": np.int32, "multiplier": np.uint16, "shift": np.uint8}
# Jobs for each job of the encoder in a beam search with two labels a frame: weighs what stays on the chip.
JOINT_CALLS, PREDICT_CALLS = 8.0, 4.0


class CheckpointError(ValueError):
    """A file that is not a checkpoint this compiler can use; one sentence that says why."""


def import_checkpoint(path: str | Path) -> Graph:
    """Read and check a checkpoint.

    Raises:
        CheckpointError: unreadable, foreign, of another version, or with a wrong shape or value.
    """
    header, tensors = read_file(path)
    try:
        return _import(header, tensors)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None


def transducer(name: str, topology: dict, matrices: dict[str, Matrix], table: NDArray, meta: dict) -> Graph:
    """Graph of an RNN-T with routines encode, predict and joint."""
    states = {f"encoder.{i}": layer["hidden"] for i, layer in enumerate(topology["encoder"])}
    routines = [encoder(topology), _prediction(topology), _joint(topology)]
    graph = Graph(name, matrices, {TABLE: table}, states, {r.name: r for r in routines}, meta)
    verify(graph)
    return graph


def matrix_shapes(topology: dict) -> dict[str, tuple[int, int]]:
    """Rows and columns of every matrix of a topology, in the order of evaluation."""
    if topology["kind"] == STACK:
        return stack_shapes(topology)
    shapes = encoder_shapes(topology)
    prediction, joint = topology["prediction"], topology["joint"]
    shapes["prediction.hidden"] = (prediction["hidden"], prediction["context"] * prediction["embedding"])
    shapes["prediction.projection"] = (joint, prediction["hidden"])
    shapes["joint.output"] = (topology["vocabulary"], joint)
    return shapes


def _prediction(topology: dict) -> Routine:
    shape, context = topology["prediction"], topology["prediction"]["context"]
    names = ["older", "newer"] if context == 2 else [f"label.{k}" for k in range(context)]
    labels = [Tensor(name, 1, Format.LABEL) for name in names]
    embedded = [Tensor(f"embedding.{name}", shape["embedding"], Format.ACTIVATION) for name in names]
    hidden = Tensor("prediction.hidden", shape["hidden"], Format.ACTIVATION)
    predicted = Tensor("predicted", topology["joint"], Format.PREACTIVATION)
    ops: list[Op] = [Embedding(e.name, (label,), e, TABLE) for label, e in zip(labels, embedded, strict=True)]
    ops.append(Linear("prediction.hidden", tuple(embedded), hidden, "prediction.hidden", Function.TANH))
    last = "prediction.projection"
    ops.append(Linear(last, (hidden,), predicted, last, Function.IDENTITY))
    inputs = tuple(Input(label.name, (label,)) for label in labels)
    return Routine("predict", inputs, tuple(ops), predicted, PREDICT_CALLS)


def _joint(topology: dict) -> Routine:
    encoded = Tensor("encoded", topology["joint"], Format.PREACTIVATION)
    predicted = Tensor("predicted", topology["joint"], Format.PREACTIVATION)
    hidden = Tensor("joint.hidden", topology["joint"], Format.ACTIVATION)
    logits = Tensor("logits", topology["vocabulary"], Format.LOGIT)
    ops = (
        Add("joint.add", (encoded, predicted), hidden, Function.TANH),
        Linear("joint.output", (hidden,), logits, "joint.output", Function.IDENTITY),
    )
    inputs = (Input("encoded", (encoded,)), Input("predicted", (predicted,)))
    return Routine("joint", inputs, ops, logits, JOINT_CALLS)


def read_file(path: str | Path) -> tuple[dict, dict[str, NDArray]]:
    """(header, tensors by name) of a file. Raises CheckpointError, which names it, where it has none."""
    if not Path(path).is_file():
        raise CheckpointError(f"{path}: no such file")
    try:
        with safe_open(str(path), framework="numpy") as file:
            text = (file.metadata() or {}).get("ossicle")
            names = file.keys()
            tensors = {name: file.get_tensor(name) for name in names}
    except (OSError, SafetensorError, TypeError) as error:
        raise CheckpointError(f"{path}: not a readable safetensors file ({error})") from None
    if text is None:
        raise CheckpointError(f"{path}: no 'ossicle' header; this safetensors file is of another program")
    try:
        header = json.loads(text)
    except json.JSONDecodeError as error:
        raise CheckpointError(f"{path}: the header is not JSON ({error})") from None
    return header, tensors


def _import(header: dict, tensors: dict[str, NDArray]) -> Graph:
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise CheckpointError(f"the header's format is not {FORMAT}")
    if header.get("version") != VERSION:
        version = header.get("version")
        raise CheckpointError(f"checkpoint of version {version}; this Ossicle reads version {VERSION}")
    topology, name = _check_topology(header.get("topology")), header.get("name", "unnamed")
    matrices = {key: read_matrix(key, shape, tensors) for key, shape in matrix_shapes(topology).items()}
    if topology["kind"] == STACK:
        tables = {
            key: read_tensor(key, np.int8, shape, tensors) for key, shape in table_shapes(topology).items()
        }
        return stack(name, topology, matrices, tables, header)
    table = read_tensor(
        TABLE, np.int8, (topology["vocabulary"], topology["prediction"]["embedding"]), tensors
    )
    if "tokenizer" not in tensors:
        raise CheckpointError("tensor tokenizer is missing")
    tokenizer = base64.b64encode(tensors["tokenizer"].tobytes()).decode("ascii")
    meta = {**header, "tokenizer": tokenizer}
    return transducer(name, topology, matrices, table, meta)


def _check_topology(topology: object) -> dict:
    """The topology, if it is a stack's, or a transducer's with sizes of 1 or more."""
    kind = topology.get("kind") if isinstance(topology, dict) else topology
    if not isinstance(topology, dict) or kind not in ("rnnt", STACK):
        raise CheckpointError(f"a topology of kind {kind!r}; this compiler knows 'rnnt' and 'stack'")
    if kind == STACK:
        _reworded(check_stack, topology)
        return topology
    try:
        prediction, layers = topology["prediction"], topology["encoder"]
        sizes = [topology["features"], topology["joint"], topology["vocabulary"]]
        sizes += [prediction["context"], prediction["embedding"], prediction["hidden"]]
        sizes += [layer[key] for layer in layers for key in ("hidden", "reduce")]
    except (KeyError, TypeError) as error:
        raise CheckpointError(f"the topology lacks {error}") from None
    wrong = [size for size in sizes if isinstance(size, bool) or not isinstance(size, int) or size < 1]
    if wrong or not layers:
        raise CheckpointError(f"every size of the topology must be a whole number of 1 or more, not {wrong}")
    if prediction["context"] > LONGEST_CONTEXT:
        raise CheckpointError(
            f"a prediction network after {prediction['context']} labels; a job has arguments for "
            f"{LONGEST_CONTEXT} at most"
        )
    _reworded(check_branch, topology)
    return topology


def _reworded(check: Callable[[dict], None], topology: dict) -> None:
    try:
        check(topology)
    except GraphError as error:
        raise CheckpointError(str(error)) from None


def read_matrix(name: str, shape: tuple[int, int], tensors: dict[str, NDArray]) -> Matrix:
    """The matrix of that name. Raises CheckpointError where a part is missing, of another shape or range."""
    made = Matrix(
        **{
            part: read_tensor(f"{name}.{part}", kind, shape if part == "weight" else shape[:1], tensors)
            for part, kind in PARTS.items()
        }
    )
    if made.weight.min() < -127:
        raise CheckpointError(f"{name}.weight holds -128; weights are symmetric, -127 to 127")
    largest = int(np.abs(made.bias.astype(np.int64)).max())
    if largest > BIAS_LIMIT:
        raise CheckpointError(f"{name}.bias holds {largest}; 2**30 is the limit")
    if made.shift.max() > SHIFT_MAX:
        raise CheckpointError(f"{name}.shift holds {made.shift.max()}; shifts are 0 to {SHIFT_MAX}")
    return made


def read_tensor(name: str, kind: type, shape: tuple[int, ...], tensors: dict[str, NDArray]) -> NDArray:
    """The tensor of that name. Raises CheckpointError where it is missing, or of another type or shape."""
    if name not in tensors:
        raise CheckpointError(f"tensor {name} is missing")
    array = tensors[name]
    if array.dtype != kind or array.shape != shape:
        raise CheckpointError(
            f"{name} is {array.dtype} {list(array.shape)}; the topology needs {np.dtype(kind)} {list(shape)}"
        )
    return array
