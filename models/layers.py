"""Topology kind "stack" of a checkpoint: layers one after another on the features.

    {"kind": "stack", "features": 120, "labels": ["voiced", "whispered"],
     "layers": [{"lstm": 64, "reduce": 2}, {"linear": 32, "function": "tanh"}, {"linear": 2}]}

`reduce` vectors of the features, or of the LSTM before, are joined into one. The function of a hidden layer
is relu, sigmoid or tanh; the last layer is linear and has none. `labels`, one an output, may be left out.
Matrices: layer.0, layer.1, ... and, of the last layer, output.
"""

from __future__ import annotations

STACK, OUTPUT = "stack", "output"
FUNCTIONS = ("relu", "sigmoid", "tanh")


def layer_names(topology: dict) -> list[str]:
    """Name of the matrix of each layer."""
    return [*(f"layer.{i}" for i in range(len(topology["layers"]) - 1)), OUTPUT]


def stack_shapes(topology: dict) -> dict[str, tuple[int, int]]:
    """Name -> (rows, columns) of every matrix, in the order of evaluation."""
    shapes, width = {}, topology["features"]
    for name, layer in zip(layer_names(topology), topology["layers"], strict=True):
        hidden = layer.get("lstm", 0)
        width *= layer.get("reduce", 1)
        shapes[name] = (4 * hidden, width + hidden) if hidden else (layer["linear"], width)
        width = hidden or layer["linear"]
    return shapes


def check_stack(topology: dict) -> None:
    """Raise ValueError, naming the first fault, unless a topology is one that this module describes."""
    layers = topology.get("layers")
    if not isinstance(layers, list) or not layers or not all(isinstance(layer, dict) for layer in layers):
        raise ValueError("a stack needs a list of one layer or more")
    sizes = [topology.get("features")]
    sizes += [value for layer in layers for key, value in layer.items() if key != "function"]
    wrong = [size for size in sizes if isinstance(size, bool) or not isinstance(size, int) or size < 1]
    if wrong:
        raise ValueError(f"every size of a stack must be a whole number of 1 or more, not {wrong}")
    for index in range(len(layers)):
        _check_layer(layers, index)
    labels, count = topology.get("labels"), layers[-1]["linear"]
    if labels is not None and (not isinstance(labels, list) or len(labels) != count):
        raise ValueError(f"labels {labels}: there must be one for each of {count} outputs, or none at all")


def _check_layer(layers: list[dict], index: int) -> None:
    layer, last = layers[index], index == len(layers) - 1
    kinds = set(layer) - {"reduce"}
    if last and kinds != {"linear"}:
        raise ValueError(f"layer {index}, the last, must be linear without a function, not {layer}")
    if not last and kinds not in ({"lstm"}, {"linear", "function"}):
        raise ValueError(f"layer {index} must be lstm, or linear with a function, not {layer}")
    if "function" in layer and layer["function"] not in FUNCTIONS:
        raise ValueError(f"layer {index}: a function {layer['function']!r}; there are {', '.join(FUNCTIONS)}")
    if index and layer.get("reduce", 1) > 1 and "lstm" not in layers[index - 1]:
        raise ValueError(f"layer {index}: only features and outputs of an LSTM can be joined")
