"""Topology kind "stack": layers one after another on the features -> a Graph with one routine, `step`.

    {"kind": "stack", "features": 120, "labels": ["voiced", "whispered"],
     "layers": [{"lstm": 64, "reduce": 2}, {"linear": 32, "function": "tanh"}, {"linear": 2}]}

A step takes as many feature vectors as the layers' `reduce` multiply to, and gives the last layer's output,
int16 Q7.8. models/export.py describes the tensors.
"""

from __future__ import annotations

import math

from ossicle.compiler.graph import (
    GATES,
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
from ossicle.hw.isa import Function

STACK, STEP, FEATURES, OUTPUT = "stack", "step", "features", "output"
FUNCTIONS = {"relu": Function.RELU, "sigmoid": Function.SIGMOID, "tanh": Function.TANH}


def stack(name: str, topology: dict, matrices: dict[str, Matrix], meta: dict) -> Graph:
    """Graph of a checked topology with the routine step: features -> output."""
    names = _names(topology)
    states = {
        key: layer["lstm"] for key, layer in zip(names, topology["layers"], strict=True) if "lstm" in layer
    }
    graph = Graph(name, matrices, {}, states, {STEP: _step(topology)}, meta)
    verify(graph)
    return graph


def stack_shapes(topology: dict) -> dict[str, tuple[int, int]]:
    """Rows and columns of every matrix, in the order of evaluation."""
    shapes, width = {}, topology["features"]
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
    sizes = [topology.get("features")]
    sizes += [value for layer in layers for key, value in layer.items() if key != "function"]
    wrong = [size for size in sizes if isinstance(size, bool) or not isinstance(size, int) or size < 1]
    if wrong:
        raise GraphError(f"every size of the topology must be a whole number of 1 or more, not {wrong}")
    for index in range(len(layers)):
        _check_layer(layers, index)
    labels, count = topology.get("labels"), layers[-1]["linear"]
    if labels is not None and (not isinstance(labels, list) or len(labels) != count):
        raise GraphError(f"labels {labels}: there must be one for each of {count} outputs, or none at all")


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
