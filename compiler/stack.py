"""Topology kind "stack": layers one after another on features, or tokens -> a Graph of one routine, `step`.

    {"kind": "stack", "features": 120, "labels": ["voiced", "whispered"],
     "layers": [{"lstm": 64, "reduce": 2}, {"linear": 32, "function": "tanh"}, {"linear": 2}]}

or, in place of features, "tokens": {"labels": 5, "buckets": 1024, "embedding": 24}: a step takes so many
labels in its argument registers, rows of one table that lie side by side before the first layer.
A step on features takes as many vectors as the layers' `reduce` multiply to. It gives the last layer's
output, int16 Q7.8. models/export.py describes the tensors. "kept": 32 gives so many slots of DRAM where the
states can be kept, to go on from them later.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from ossicle.compiler.graph import (
    GATES,
    Embedding,
    Format,
    Graph,
    GraphError,
    Input,
    Linear,
    Lstm,
    Matrix,
    Op,
    Routine,
    Tensor,
    verify,
)
from ossicle.hw.isa import ARGUMENTS, Function

STACK, STEP, FEATURES, OUTPUT = "stack", "step", "features", "output"
TOKENS = "tokens.embedding"
MOST_LABELS = ARGUMENTS - 2  # argument 0 is none, and the last is the slot of the result
MOST_BUCKETS = 1 << 16  # an argument register has 16 bits
FUNCTIONS = {"relu": Function.RELU, "sigmoid": Function.SIGMOID, "tanh": Function.TANH}


def stack(
    name: str, topology: dict, matrices: dict[str, Matrix], tables: dict[str, NDArray[np.int8]], meta: dict
) -> Graph:
    """Graph of a checked topology with the routine step: features, or labels -> output."""
    names = _names(topology)
    states = {
        key: layer["lstm"] for key, layer in zip(names, topology["layers"], strict=True) if "lstm" in layer
    }
    step = _token_step(topology) if "tokens" in topology else _step(topology)
    graph = Graph(name, matrices, tables, states, {STEP: step}, meta, topology.get("kept", 0))
    verify(graph)
    return graph


def table_shapes(topology: dict) -> dict[str, tuple[int, int]]:
    """Rows and columns of the embedding table, of a topology that has tokens."""
    tokens = topology.get("tokens")
    return {TOKENS: (tokens["buckets"], tokens["embedding"])} if tokens else {}


def stack_shapes(topology: dict) -> dict[str, tuple[int, int]]:
    """Rows and columns of every matrix, in the order of evaluation."""
    tokens = topology.get("tokens")
    shapes, width = {}, tokens["labels"] * tokens["embedding"] if tokens else topology["features"]
    for name, layer in zip(_names(topology), topology["layers"], strict=True):
        hidden = layer.get("lstm", 0)
        width *= layer.get("reduce", 1)
        shapes[name] = (GATES * hidden, width + hidden) if hidden else (layer["linear"], width)
        width = hidden or layer["linear"]
    return shapes


def check_stack(topology: dict) -> None:
    """Raises GraphError, naming the first fault, unless layers, sizes, functions and labels make sense."""
    layers = topology.get("layers")
    if not isinstance(layers, list) or not layers or not all(isinstance(layer, dict) for layer in layers):
        raise GraphError("the stack needs a list of one layer or more")
    sizes = [*_input_sizes(topology), *([topology["kept"]] if "kept" in topology else [])]
    sizes += [value for layer in layers for key, value in layer.items() if key != "function"]
    wrong = [size for size in sizes if isinstance(size, bool) or not isinstance(size, int) or size < 1]
    if wrong:
        raise GraphError(f"every size of the topology must be a whole number of 1 or more, not {wrong}")
    for index in range(len(layers)):
        _check_layer(layers, index)
    if "tokens" in topology:
        _check_tokens(topology["tokens"], layers)
    if "kept" in topology:
        _check_kept(topology["kept"], layers)
    labels, count = topology.get("labels"), layers[-1]["linear"]
    if labels is not None and (not isinstance(labels, list) or len(labels) != count):
        raise GraphError(f"labels {labels}: there must be one for each of {count} outputs, or none at all")


def _input_sizes(topology: dict) -> list:
    tokens = topology.get("tokens")
    if "tokens" not in topology:
        return [topology.get("features")]
    if not isinstance(tokens, dict) or set(tokens) != {"labels", "buckets", "embedding"}:
        raise GraphError(f"tokens need labels, buckets and embedding, not {tokens}")
    if "features" in topology:
        raise GraphError("a stack takes features or tokens, not both")
    return list(tokens.values())


def _check_tokens(tokens: dict, layers: list[dict]) -> None:
    if tokens["labels"] > MOST_LABELS or tokens["buckets"] > MOST_BUCKETS:
        raise GraphError(f"tokens of {MOST_LABELS} labels and {MOST_BUCKETS} buckets at most, not {tokens}")
    if any("reduce" in layer for layer in layers):
        raise GraphError("tokens are not joined: no layer can have reduce")


def _check_kept(slots: int, layers: list[dict]) -> None:
    if not any("lstm" in layer for layer in layers):
        raise GraphError("states are to be kept, but no layer has one")
    if slots > MOST_BUCKETS:
        raise GraphError(f"states are kept in {MOST_BUCKETS} slots at most, not {slots}")


def _check_layer(layers: list[dict], index: int) -> None:
    layer, last = layers[index], index == len(layers) - 1
    kinds = set(layer) - {"reduce"}
    if last and kinds != {"linear"}:
        raise GraphError(f"layer {index}, the last, must be linear without a function, not {layer}")
    if not last and kinds not in ({"lstm"}, {"linear", "function"}):
        raise GraphError(f"layer {index} must be lstm, or linear with a function, not {layer}")
    if "function" in layer and layer["function"] not in FUNCTIONS:
        known = ", ".join(FUNCTIONS)
        raise GraphError(f"layer {index}: a function {layer['function']!r}; there are {known}")
    if index and layer.get("reduce", 1) > 1 and "lstm" not in layers[index - 1]:
        raise GraphError(f"layer {index}: only features and outputs of an LSTM can be joined")


def _names(topology: dict) -> list[str]:
    return [*(f"layer.{i}" for i in range(len(topology["layers"]) - 1)), OUTPUT]


def _step(topology: dict) -> Routine:
    layers, names = topology["layers"], _names(topology)
    frames = math.prod(layer.get("reduce", 1) for layer in layers)
    features = tuple(Tensor(f"features.{k}", topology["features"], Format.ACTIVATION) for k in range(frames))
    made: list[list[Tensor]] = [[] for _ in layers]
    waiting: list[list[Tensor]] = [[] for _ in layers]
    ops: list[Op] = []

    def push(index: int, tensor: Tensor) -> None:
        """Hand a tensor to a layer, which steps as soon as it has `reduce` of them."""
        if index == len(layers):
            return
        waiting[index].append(tensor)
        if len(waiting[index]) < layers[index].get("reduce", 1):
            return
        op = _op(names[index], len(made[index]), layers[index], tuple(waiting[index]))
        ops.append(op)
        made[index].append(op.output)
        waiting[index].clear()
        push(index + 1, op.output)

    for tensor in features:
        push(0, tensor)
    return Routine(STEP, (Input(FEATURES, features),), tuple(ops), ops[-1].output)


def _token_step(topology: dict) -> Routine:
    width = topology["tokens"]["embedding"]
    labels = [Tensor(f"label.{k}", 1, Format.LABEL) for k in range(topology["tokens"]["labels"])]
    rows = tuple(Tensor(f"embedding.{label.name}", width, Format.ACTIVATION) for label in labels)
    pairs, inputs = zip(labels, rows, strict=True), rows
    ops: list[Op] = [Embedding(row.name, (label,), row, TOKENS) for label, row in pairs]
    for name, layer in zip(_names(topology), topology["layers"], strict=True):
        ops.append(_op(name, 0, layer, inputs))
        inputs = (ops[-1].output,)
    return Routine(STEP, tuple(Input(label.name, (label,)) for label in labels), tuple(ops), ops[-1].output)


def _op(name: str, count: int, layer: dict, inputs: tuple[Tensor, ...]) -> Op:
    if name == OUTPUT:
        output = Tensor(OUTPUT, layer["linear"], Format.LOGIT)
        return Linear(OUTPUT, inputs, output, OUTPUT, Function.IDENTITY)
    key = f"{name}@{count}"
    if "lstm" in layer:
        return Lstm(key, inputs, Tensor(key, layer["lstm"], Format.ACTIVATION), name, name)
    return Linear(
        key, inputs, Tensor(key, layer["linear"], Format.ACTIVATION), name, FUNCTIONS[layer["function"]]
    )
