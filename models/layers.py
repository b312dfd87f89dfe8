"""Topology kind "stack" of a checkpoint: layers one after another on the features, or on tokens.

    {"kind": "stack", "features": 120, "labels": ["voiced", "whispered"],
     "layers": [{"lstm": 64, "reduce": 2}, {"linear": 32, "function": "tanh"}, {"linear": 2}]}

In place of `features`, `"tokens": {"labels": 5, "buckets": 1024, "embedding": 24}`: a step takes so many
labels, each a row of one table of so many rows; the rows side by side are the first layer's input.

`"kept": 32` gives so many slots where the processor can keep its states, to go on from them later.
`reduce` vectors of the features, or of the LSTM before, are joined into one; tokens are not. The function of
a hidden layer is relu, sigmoid or tanh; the last layer is linear and has none. `labels`, one an output, may
be left out.
Matrices: layer.0, layer.1, ... and, of the last layer, output.
"""

from __future__ import annotations

STACK, OUTPUT = "stack", "output"
FUNCTIONS = ("relu", "sigmoid", "tanh")
MOST_LABELS, MOST_BUCKETS = 6, 1 << 16  # a job's argument registers for labels, and what one can hold


def layer_names(topology: dict) -> list[str]:
    """Name of the matrix of each layer."""
    return [*(f"layer.{i}" for i in range(len(topology["layers"]) - 1)), OUTPUT]


def input_width(topology: dict) -> int:
    """Columns of what the first layer takes a step."""
    tokens = topology.get("tokens")
    return tokens["labels"] * tokens["embedding"] if tokens else topology["features"]


def stack_shapes(topology: dict) -> dict[str, tuple[int, int]]:
    """Name -> (rows, columns) of every matrix, in the order of evaluation."""
    shapes, width = {}, input_width(topology)
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
    sizes = [*_input_sizes(topology), *([topology["kept"]] if "kept" in topology else [])]
    sizes += [value for layer in layers for key, value in layer.items() if key != "function"]
    wrong = [size for size in sizes if isinstance(size, bool) or not isinstance(size, int) or size < 1]
    if wrong:
        raise ValueError(f"every size of a stack must be a whole number of 1 or more, not {wrong}")
    for index in range(len(layers)):
        _check_layer(layers, index)
    if "tokens" in topology:
        _check_tokens(topology["tokens"], layers)
    if "kept" in topology:
        _check_kept(topology["kept"], layers)
    labels, count = topology.get("labels"), layers[-1]["linear"]
    if labels is not None and (not isinstance(labels, list) or len(labels) != count):
        raise ValueError(f"labels {labels}: there must be one for each of {count} outputs, or none at all")


def _input_sizes(topology: dict) -> list:
    tokens = topology.get("tokens")
    if "tokens" not in topology:
        return [topology.get("features")]
    if not isinstance(tokens, dict) or set(tokens) != {"labels", "buckets", "embedding"}:
        raise ValueError(f"tokens need labels, buckets and embedding, not {tokens}")
    if "features" in topology:
        raise ValueError("a stack takes features or tokens, not both")
    return list(tokens.values())


def _check_tokens(tokens: dict, layers: list[dict]) -> None:
    if tokens["labels"] > MOST_LABELS or tokens["buckets"] > MOST_BUCKETS:
        raise ValueError(f"tokens of {MOST_LABELS} labels and {MOST_BUCKETS} buckets at most, not {tokens}")
    if any("reduce" in layer for layer in layers):
        raise ValueError("tokens are not joined: no layer can have reduce")


def _check_kept(slots: int, layers: list[dict]) -> None:
    if not any("lstm" in layer for layer in layers):
        raise ValueError("states are to be kept, but no layer has one")
    if slots > MOST_BUCKETS:
        raise ValueError(f"states are kept in {MOST_BUCKETS} slots at most, not {slots}")


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
