"""A transducer's encoder in a topology: its matrices, and a branch of two sides.

    {"encoder": [{"hidden": 256, "reduce": 1}, …], …, "branch": {"from": 1, "hidden": 16}}

Layers from `from` on are there twice, slow (encoder.1) and fast (encoder.1.fast): equal sizes, one state. At
each frame the arbitrator (linear, tanh of `hidden` units, linear) scores what layer `from` is about to read,
and above 0 the slow side steps (AmNets: Macoskey et al. 2021, arXiv:2108.01553).
"""

from __future__ import annotations

PROJECTION = "encoder.projection"
ARBITRATOR, SCORE = "arbitrator.hidden", "arbitrator.output"
SLOW, FAST = "", ".fast"
"""What follows a layer's name in that of its matrix."""


def encoder_shapes(topology: dict) -> dict[str, tuple[int, int]]:
    """Name -> (rows, columns) of the encoder's matrices, in the order of evaluation."""
    shapes, width = {}, topology["features"]
    for i, layer in enumerate(topology["encoder"]):
        hidden, read = layer["hidden"], width * layer["reduce"]
        if i == branch_from(topology):
            units = topology["branch"]["hidden"]
            shapes |= {ARBITRATOR: (units, read), SCORE: (1, units)}
        shapes[f"encoder.{i}"] = (4 * hidden, read + hidden)
        width = hidden
    for i in branch_layers(topology):
        shapes[f"encoder.{i}{FAST}"] = shapes[f"encoder.{i}"]
    return {**shapes, PROJECTION: (topology["joint"], width)}


def branch_from(topology: dict) -> int:
    """The first layer with two sides; beyond the last without a branch."""
    return topology["branch"]["from"] if "branch" in topology else len(topology["encoder"])


def branch_layers(topology: dict) -> range:
    """Layers with two sides."""
    return range(branch_from(topology), len(topology["encoder"]))


def check_branch(topology: dict) -> None:
    """Raise ValueError, one line, unless the topology has no branch or one that fits its encoder."""
    branch, layers = topology.get("branch"), topology["encoder"]
    if "branch" not in topology:
        return
    sizes = [branch.get("from"), branch.get("hidden")] if isinstance(branch, dict) else [None]
    if any(isinstance(size, bool) or not isinstance(size, int) or size < 1 for size in sizes):
        raise ValueError(f"a branch has from and hidden, whole numbers of 1 or more; it is {branch}")
    if branch["from"] >= len(layers):
        raise ValueError(f"a branch from layer {branch['from']}; the encoder's last is {len(layers) - 1}")
    if any(layer["reduce"] != 1 for layer in layers[branch["from"] + 1 :]):
        raise ValueError(f"layers after the branch's first, {branch['from']}, must not join steps")
