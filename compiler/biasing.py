"""Attention over context phrases beside a transducer: the adapter's checkpoint, and the Graph of both.

    entry  : every piece of every phrase has one: a key (what stands before it, and sounds from it on) and a
             value (what to add); made once a phrase, from its last piece to its first
    phrase(label.0 ... label.n)               -> entry           keys, values, Q4.11; a job a piece
    query_labels(label.0 ... label.c)         -> label_query     Q4.11; a job a context
    query(encoded, predicted, label_query)    -> query           Q4.11
    biased(encoded, predicted, attended)      -> logits          joint, with bias @ attended on `encoded`

The runtime takes the softmax over entries between `query` and `biased` (runtime/biasing.py). Routines and
weights of the transducer stay as they are (contextual adapters: Sathyendra et al. 2022, arXiv:2205.13660;
attention to the pieces of phrases: Munkhdalai et al. 2022, arXiv:2110.02220). The adapter's checkpoint is
described in models/biasing/checkpoint.py.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from ossicle.compiler.api import compile_graph
from ossicle.compiler.graph import (
    GATES,
    Add,
    Embedding,
    Format,
    Graph,
    Input,
    Linear,
    Lstm,
    Matrix,
    Op,
    Routine,
    Tensor,
    verify,
)
from ossicle.compiler.importer import (
    FORMAT,
    JOINT_CALLS,
    PREDICT_CALLS,
    TABLE,
    VERSION,
    CheckpointError,
    import_checkpoint,
    read_file,
    read_matrix,
    read_tensor,
)
from ossicle.compiler.optimize import Request, compile_for
from ossicle.compiler.plan import Options
from ossicle.compiler.program import Program
from ossicle.hw.config import NpuConfig
from ossicle.hw.isa import ARGUMENTS, Function

KIND = "biasing"
PHRASE, QUERY_LABELS, QUERY, BIASED = "phrase", "query_labels", "query", "biased"
ENTRY, LABEL_QUERY, ATTENDED = "entry", "label_query", "attended"
PIECES, NO_BIAS = "phrase.embedding", "no_bias.key"
LSTM, SPELLED, SOUNDS = "phrase.lstm", "phrase.spelled", "phrase.sounds"
OF_LABELS, OF_JOINT, BIAS = "query.labels", "query.joint", "bias"
SIZES = ("heads", "key", "value", "labels", "embedding", "hidden")
CORE_SIZES = ("vocabulary", "joint", "context", "table")
MOST_LABELS = ARGUMENTS - 2  # argument 0 is none, and the last is the slot of the result
PHRASE_CALLS = 0.1  # phrases are encoded once: their weights need not stay on the chip


class Arrays(Protocol):
    """What a matrix of the compiler's and one of the training's have in common."""

    weight: NDArray[np.int8]
    bias: NDArray[np.int32]
    multiplier: NDArray[np.uint16]
    shift: NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Adapter:
    """A checkpoint of kind "biasing". `header["core"]`: name and fingerprint of the recognizer it is for."""

    topology: dict
    matrices: dict[str, Matrix]
    pieces: NDArray[np.int8]
    """Embedding of each label in the catalogue's encoder."""
    no_bias: NDArray[np.int16]
    """Key of the entry that adds nothing, Q4.11."""
    header: dict


def biasing_shapes(topology: dict) -> dict[str, tuple[int, int]]:
    """Rows and columns of the adapter's matrices."""
    heads, key, value = topology["heads"], topology["key"], topology["value"]
    given, hidden = topology["labels"] * topology["embedding"], topology["hidden"]
    return {
        LSTM: (GATES * hidden, given + hidden),
        SPELLED: (heads * (key + value), given),
        SOUNDS: (heads * (key + value), hidden),
        OF_LABELS: (heads * key, topology["context"] * topology["table"]),
        OF_JOINT: (heads * key, topology["joint"]),
        BIAS: (topology["joint"], heads * value),
    }


def check_topology(topology: object) -> dict:
    """The topology of an adapter. Raises CheckpointError, one sentence, unless it is one."""
    if not isinstance(topology, dict) or topology.get("kind") != KIND:
        kind = topology.get("kind") if isinstance(topology, dict) else topology
        raise CheckpointError(f"a topology of kind {kind!r}; context biasing takes one of kind {KIND!r}")
    wanted = {"kind", *SIZES, *CORE_SIZES}
    if set(topology) != wanted:
        raise CheckpointError(f"the topology has the keys {sorted(set(topology) ^ wanted)} wrong")
    sizes = [topology[key] for key in (*SIZES, *CORE_SIZES)]
    wrong = [size for size in sizes if isinstance(size, bool) or not isinstance(size, int) or size < 1]
    if wrong:
        raise CheckpointError(f"every size of the topology must be a whole number of 1 or more, not {wrong}")
    if max(topology["labels"], topology["context"]) > MOST_LABELS:
        raise CheckpointError(f"a job has arguments for {MOST_LABELS} labels at most")
    return topology


def core_sizes(topology: dict) -> dict[str, int]:
    """What an adapter's topology says of the recognizer with this topology."""
    prediction = topology["prediction"]
    return {
        "vocabulary": topology["vocabulary"], "joint": topology["joint"],
        "context": prediction["context"], "table": prediction["embedding"],
    }  # fmt: skip


def fingerprint(matrices: Mapping[str, Arrays], table: NDArray[np.int8], tokenizer: bytes) -> str:
    """SHA-256 of a recognizer's integers and tokenizer: an adapter is for the one that it was trained on."""
    made = hashlib.sha256()
    for name in sorted(matrices):
        matrix = matrices[name]
        made.update(f"{name} {matrix.weight.shape}".encode())
        for array in (matrix.weight, matrix.bias, matrix.multiplier, matrix.shift):
            made.update(np.ascontiguousarray(array).tobytes())
    made.update(np.ascontiguousarray(table).tobytes())
    made.update(tokenizer)
    return made.hexdigest()


def read_adapter(path: str | Path) -> Adapter:
    """Read and check an adapter's checkpoint.

    Raises:
        CheckpointError: unreadable, foreign, of another version or kind, or with a wrong shape or value.
    """
    header, tensors = read_file(path)
    try:
        return _adapter(header, tensors)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None


def _adapter(header: dict, tensors: dict[str, NDArray]) -> Adapter:
    if not isinstance(header, dict) or (header.get("format"), header.get("version")) != (FORMAT, VERSION):
        raise CheckpointError(f"the header's format and version are not {FORMAT} and {VERSION}")
    topology, core = check_topology(header.get("topology")), header.get("core")
    if not isinstance(core, dict) or not isinstance(core.get("fingerprint"), str):
        raise CheckpointError("the header does not say which recognizer it is for (core.fingerprint)")
    matrices = {key: read_matrix(key, shape, tensors) for key, shape in biasing_shapes(topology).items()}
    if matrices[BIAS].bias.any():
        raise CheckpointError(f"{BIAS}.bias is not all zeros: attending to no phrase would change something")
    pieces = read_tensor(PIECES, np.int8, (topology["vocabulary"], topology["embedding"]), tensors)
    no_bias = read_tensor(NO_BIAS, np.int16, (topology["heads"] * topology["key"],), tensors)
    return Adapter(topology, matrices, pieces, no_bias, header)


def check_core(adapter: Adapter, core: Graph) -> None:
    """Raises CheckpointError unless the adapter was trained on this recognizer."""
    if "tokenizer" not in core.meta:
        raise CheckpointError(f"{core.name} is no recognizer; context biasing needs one")
    found = fingerprint(core.matrices, core.tables[TABLE], base64.b64decode(core.meta["tokenizer"]))
    said = adapter.header["core"]
    if found != said["fingerprint"]:
        raise CheckpointError(
            f"the biasing checkpoint is for the recognizer {said.get('name', 'unnamed')!r} "
            f"({said['fingerprint'][:12]}), not for this {core.name!r} ({found[:12]}): train it on this one"
        )


def with_biasing(core: Graph, adapter: Adapter) -> Graph:
    """The Graph of a recognizer and its adapter. Raises CheckpointError if they do not belong together."""
    check_core(adapter, core)
    topology = adapter.topology
    routines = [_phrase(topology), _query_labels(topology), _query(topology), _biased(core, topology)]
    graph = Graph(
        core.name,
        {**core.matrices, **adapter.matrices},
        {**core.tables, PIECES: adapter.pieces},
        {**core.states, LSTM: topology["hidden"]},
        {**core.routines, **{routine.name: routine for routine in routines}},
        {**core.meta, KIND: {**topology, NO_BIAS: adapter.no_bias.tolist()}},
    )
    verify(graph)
    return graph


def compile_biased(
    core: str | Path, adapter: str | Path, config: NpuConfig, request: Request | None = None
) -> Program:
    """Compile a recognizer's checkpoint with an adapter's.

    Args:
        request: what the schedule is for; None: as the compiler does by itself.
    Raises:
        CheckpointError: a file that is no checkpoint, or an adapter for another recognizer.
        CompileError: a model that the configuration cannot hold.
    """
    options = Options()
    slots = {**options.slots, LABEL_QUERY: options.slots["predicted"]}
    graph = with_biasing(import_checkpoint(core), read_adapter(adapter))
    if request is not None:
        return compile_for(graph, config, request, Options(slots=slots))
    return compile_graph(graph, config, Options(slots=slots))


def _embedded(count: int, width: int, table: str) -> tuple[list[Tensor], list[Op]]:
    """Labels of a job's arguments, and their rows of a table."""
    labels = [Tensor(f"label.{k}", 1, Format.LABEL) for k in range(count)]
    rows = [Tensor(f"embedding.{label.name}", width, Format.ACTIVATION) for label in labels]
    return labels, [
        Embedding(row.name, (label,), row, table) for label, row in zip(labels, rows, strict=True)
    ]


def _phrase(topology: dict) -> Routine:
    labels, ops = _embedded(topology["labels"], topology["embedding"], PIECES)
    rows, width = tuple(op.output for op in ops), topology["heads"] * (topology["key"] + topology["value"])
    hidden = Tensor(f"{LSTM}@0", topology["hidden"], Format.ACTIVATION)
    spelled, sounds, entry = (Tensor(k, width, Format.PREACTIVATION) for k in (SPELLED, SOUNDS, ENTRY))
    ops += [
        Lstm(hidden.name, rows, hidden, LSTM, LSTM),
        Linear(SPELLED, rows, spelled, SPELLED, Function.IDENTITY),
        Linear(SOUNDS, (hidden,), sounds, SOUNDS, Function.IDENTITY),
        Add("phrase.add", (spelled, sounds), entry, Function.IDENTITY),
    ]
    inputs = tuple(Input(label.name, (label,)) for label in labels)
    return Routine(PHRASE, inputs, tuple(ops), entry, PHRASE_CALLS)


def _query_labels(topology: dict) -> Routine:
    labels, ops = _embedded(topology["context"], topology["table"], TABLE)
    made = Tensor(LABEL_QUERY, topology["heads"] * topology["key"], Format.PREACTIVATION)
    ops.append(Linear(OF_LABELS, tuple(op.output for op in ops), made, OF_LABELS, Function.IDENTITY))
    inputs = tuple(Input(label.name, (label,)) for label in labels)
    return Routine(QUERY_LABELS, inputs, tuple(ops), made, PREDICT_CALLS)


def _query(topology: dict) -> Routine:
    width = topology["heads"] * topology["key"]
    encoded, predicted = (
        Tensor(k, topology["joint"], Format.PREACTIVATION) for k in ("encoded", "predicted")
    )
    labels, sounds = (Tensor(name, width, Format.PREACTIVATION) for name in (LABEL_QUERY, OF_JOINT))
    hidden, made = (
        Tensor("joint.hidden", topology["joint"], Format.ACTIVATION),
        Tensor(QUERY, width, labels.format),
    )
    ops = (
        Add("joint.add", (encoded, predicted), hidden, Function.TANH),
        Linear(OF_JOINT, (hidden,), sounds, OF_JOINT, Function.IDENTITY),
        Add("query.add", (sounds, labels), made, Function.IDENTITY),
    )
    return Routine(QUERY, _inputs(encoded, predicted, labels), ops, made, JOINT_CALLS)


def _biased(core: Graph, topology: dict) -> Routine:
    joint = core.routines["joint"]
    encoded, predicted = (
        Tensor(k, topology["joint"], Format.PREACTIVATION) for k in ("encoded", "predicted")
    )
    attended = Tensor(ATTENDED, topology["heads"] * topology["value"], Format.ACTIVATION)
    bias, sum_ = (Tensor(name, topology["joint"], Format.PREACTIVATION) for name in (BIAS, "encoded.biased"))
    added, *rest = joint.ops
    assert isinstance(added, Add), "a joint begins with the sum of what was encoded and predicted"
    ops = (
        Linear(BIAS, (attended,), bias, BIAS, Function.IDENTITY),
        Add("bias.add", (encoded, bias), sum_, Function.IDENTITY),
        Add(added.name, (sum_, predicted), added.output, added.function),
        *rest,
    )
    return Routine(BIASED, _inputs(encoded, predicted, attended), ops, joint.output, JOINT_CALLS)


def _inputs(*tensors: Tensor) -> tuple[Input, ...]:
    return tuple(Input(tensor.name, (tensor,)) for tensor in tensors)
