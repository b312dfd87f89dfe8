"""A transducer's encoder -> the routine `encode`: LSTM layers, and a branch if the topology has one.

    {"encoder": [{"hidden": 256, "reduce": 1}, {"hidden": 256, "reduce": 2}, …], …}
    {…, "branch": {"from": 1, "hidden": 16}}

With a branch, layers from `from` on are there twice, slow (encoder.1) and fast (encoder.1.fast), with one
state. In each job the arbitrator (linear, tanh of `hidden` units, linear) scores what layer `from` is about
to read: above 0 the slow layers step, else the fast ones (Macoskey et al. 2021, arXiv:2108.01553).
"""

from __future__ import annotations

from math import prod

from ossicle.compiler.graph import (
    GATES,
    Branch,
    Format,
    GraphError,
    Input,
    Linear,
    Lstm,
    Op,
    Routine,
    Tensor,
)
from ossicle.hw.isa import Function

PROJECTION = "encoder.projection"
ARBITRATOR, SCORE = "arbitrator.hidden", "arbitrator.output"
SLOW, FAST = "", ".fast"
"""What follows a layer's name in that of its matrix."""


def encoder_shapes(topology: dict) -> dict[str, tuple[int, int]]:
    """Rows and columns of the encoder's matrices, in the order of evaluation."""
    width, layers, branch = topology["features"], {}, topology.get("branch")
    for i, layer in enumerate(topology["encoder"]):
        layers[f"encoder.{i}"] = (GATES * layer["hidden"], width * layer["reduce"] + layer["hidden"])
        width = layer["hidden"]
    if not branch:
        return {**layers, PROJECTION: (topology["joint"], width)}
    begin, hidden = branch["from"], branch["hidden"]
    names = list(layers)
    read = topology["encoder"][begin - 1]["hidden"] * topology["encoder"][begin]["reduce"]
    return {
        **{name: layers[name] for name in names[:begin]},
        ARBITRATOR: (hidden, read),
        SCORE: (1, hidden),
        **{name + side: layers[name] for side in (SLOW, FAST) for name in names[begin:]},
        PROJECTION: (topology["joint"], width),
    }


def check_branch(topology: dict) -> None:
    """Raises GraphError, one sentence, unless the topology's branch, if it has one, fits its encoder."""
    branch, layers = topology.get("branch"), topology["encoder"]
    if branch is None:
        return
    if not isinstance(branch, dict) or set(branch) != {"from", "hidden"}:
        raise GraphError(f"a branch has the keys from and hidden, not {branch}")
    begin, hidden = branch["from"], branch["hidden"]
    if any(isinstance(size, bool) or not isinstance(size, int) or size < 1 for size in (begin, hidden)):
        raise GraphError(f"from and hidden of a branch must be whole numbers of 1 or more, not {branch}")
    if begin >= len(layers):
        raise GraphError(f"a branch from layer {begin}; the encoder's last is {len(layers) - 1}")
    if prod(layer["reduce"] for layer in layers[begin + 1 :]) != 1:
        raise GraphError(f"layers after the branch's first, {begin}, must not join steps")


def encoder(topology: dict) -> Routine:
    """The routine, of a checked topology: as many feature vectors as the layers join -> `encoded`."""
    layers, branch = topology["encoder"], topology.get("branch")
    frames = prod(layer["reduce"] for layer in layers)
    features = tuple(Tensor(f"features.{k}", topology["features"], Format.ACTIVATION) for k in range(frames))
    ops, made = _layers(layers[: branch["from"]] if branch else layers, features)
    if branch:
        ops += _branch(layers, branch, tuple(made))
    encoded = Tensor("encoded", topology["joint"], Format.PREACTIVATION)
    ops.append(Linear(PROJECTION, (ops[-1].output,), encoded, PROJECTION, Function.IDENTITY))
    return Routine("encode", (Input("features", features),), tuple(ops), encoded)


def _layers(layers: list[dict], features: tuple[Tensor, ...]) -> tuple[list[Op], list[Tensor]]:
    """Steps of LSTM layers on feature vectors, each as soon as it can be taken, and what the last gives."""
    ops: list[Op] = []
    waiting: list[list[Tensor]] = [[] for _ in range(len(layers) + 1)]

    def push(index: int, tensor: Tensor) -> None:
        """Hand a tensor to a layer, which steps as soon as it has `reduce` of them."""
        waiting[index].append(tensor)
        if index == len(layers) or len(waiting[index]) < layers[index]["reduce"]:
            return
        name = f"encoder.{index}"
        count = sum(isinstance(op, Lstm) and op.matrix == name for op in ops)
        made = Tensor(f"{name}@{count}", layers[index]["hidden"], Format.ACTIVATION)
        ops.append(Lstm(made.name, tuple(waiting[index]), made, name, name))
        waiting[index].clear()
        push(index + 1, made)

    for tensor in features:
        push(0, tensor)
    return ops, waiting[-1]


def _branch(layers: list[dict], branch: dict, read: tuple[Tensor, ...]) -> list[Op]:
    """The arbitrator on what layer `from` reads, and both sides."""
    hidden = Tensor(ARBITRATOR, branch["hidden"], Format.ACTIVATION)
    score = Tensor(SCORE, 1, Format.PREACTIVATION)
    slow, fast = (_side(layers, branch["from"], read, side) for side in (SLOW, FAST))
    return [
        Linear(ARBITRATOR, read, hidden, ARBITRATOR, Function.TANH),
        Linear(SCORE, (hidden,), score, SCORE, Function.IDENTITY),
        Branch("branch", (score,), slow[-1].output, slow, fast),
    ]


def _side(layers: list[dict], begin: int, read: tuple[Tensor, ...], side: str) -> tuple[Op, ...]:
    ops: list[Op] = []
    for index in range(begin, len(layers)):
        name = f"encoder.{index}"
        made = Tensor(f"{name}@0", layers[index]["hidden"], Format.ACTIVATION)
        ops.append(Lstm(f"{name}{side}@0", read, made, name + side, name))
        read = (made,)
    return tuple(ops)
