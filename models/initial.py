"""What a run starts from: the weights of a checkpoint, or of another run's state, with what belongs to them.

real weight = scale * integer    real bias = scale * 2**-7 * integer    embedding = 2**-7 * integer
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from pickle import UnpicklingError

import numpy as np
import torch
from ossicle.hw.numerics import ACTIVATION_FRACTION
from ossicle.models.encoder import FAST, branch_layers, check_branch
from ossicle.models.export import Checkpoint, read_checkpoint
from ossicle.models.network import Transducer
from ossicle.runtime.frontend import FrontendParameters
from torch import Tensor
from torch.nn import functional

STATE = ".pt"


@dataclass(frozen=True)
class Start:
    """Parameters of a transducer as `Transducer.state_dict` names them, its tokenizer and its frontend."""

    topology: dict
    tokenizer: bytes
    frontend: FrontendParameters
    parameters: dict[str, Tensor]
    masks: dict[str, Tensor]

    def load(self, network: Transducer) -> None:
        """Put the parameters into a network of the same topology; what is not there (CTC head, arbitrator)
        stays as it is."""
        network.load_state_dict({**network.state_dict(), **self.parameters})

    def network(self) -> Transducer:
        """A network of these parameters, pruned as they were."""
        network = Transducer(self.topology)
        self.load(network)
        network.masks = dict(self.masks)
        return network


def read_start(path: Path) -> Start:
    """Of a checkpoint (.safetensors) or a run's state.pt. Raises ValueError, one line, on anything else."""
    if Path(path).suffix == STATE:
        return _from_state(Path(path))
    checkpoint = read_checkpoint(path)
    if checkpoint.is_stack:
        raise ValueError(f"{path}: a stack of layers, not a transducer to start from")
    return from_checkpoint(checkpoint)


def from_checkpoint(checkpoint: Checkpoint) -> Start:
    """The real numbers that a checkpoint's integers stand for; its zeros are its masks."""
    unit = 2.0**-ACTIVATION_FRACTION
    parameters = {"embedding": torch.from_numpy(np.asarray(checkpoint.embedding, np.float32)) * unit}
    masks = {}
    for name, matrix in checkpoint.matrices.items():
        key, scale = name.replace(".", "_"), matrix.scale.astype(np.float64)
        parameters[f"weights.{key}"] = torch.from_numpy(matrix.weight * scale[:, None]).float()
        parameters[f"biases.{key}"] = torch.from_numpy(matrix.bias * scale * unit).float()
        masks[name] = torch.from_numpy((matrix.weight != 0).astype(np.float32))
    return Start(checkpoint.topology, checkpoint.tokenizer, checkpoint.frontend, parameters, masks)


def longer_context(start: Start, context: int) -> Start:
    """The same network with a prediction network that looks at more labels, whose weights are zero at first.

    A start that looks at as many labels, or more, is returned as it is.
    """
    prediction = start.topology["prediction"]
    columns = (context - prediction["context"]) * prediction["embedding"]
    if columns <= 0:
        return start
    key, name = "weights.prediction_hidden", "prediction.hidden"
    parameters, masks = dict(start.parameters), dict(start.masks)
    parameters[key] = functional.pad(parameters[key], (columns, 0))  # the oldest label is the first
    if name in masks:
        masks[name] = functional.pad(masks[name], (columns, 0), value=1.0)
    topology = {**start.topology, "prediction": {**prediction, "context": context}}
    return replace(start, topology=topology, parameters=parameters, masks=masks)


def wider_encoder(start: Start, layers: list[dict], seed: int) -> Start:
    """The same network with wider encoder layers: it says what it said until the new units have learned.

    A new unit reads at random; what reads it has weights of zero at first (after Net2WiderNet, Chen et al.
    2016, arXiv:1511.05641). A start whose encoder is as wide is returned as it is.

    Args:
        layers: of the new topology's encoder.
    Raises:
        ValueError: a layer would be narrower, join other steps, or be another's.
    """
    old = start.topology["encoder"]
    if layers == old:
        return start
    alike = len(layers) == len(old) and "branch" not in start.topology and all(
        new["reduce"] == own["reduce"] and new["hidden"] >= own["hidden"]
        for new, own in zip(layers, old, strict=True)
    )  # fmt: skip
    if not alike:
        raise ValueError(f"its encoder is {old}; the recipe's, {layers}, may be wider, and no more")
    topology = {**start.topology, "encoder": layers}
    torch.manual_seed(seed)
    fresh = Transducer(topology)
    parameters, masks = dict(start.parameters), dict(start.masks)
    for name, rows, columns in _old_places(start.topology, layers):
        key = name.replace(".", "_")
        made = {"weights": fresh.weights[key].detach().clone(), "biases": fresh.biases[key].detach().clone()}
        unread = torch.ones(made["weights"].shape[1], dtype=torch.bool)
        unread[columns] = False
        if name in masks:
            masks[name] = torch.ones_like(made["weights"]).index_put(
                (rows[:, None], columns), start.masks[name]
            )
        weight = made["weights"]
        weight[rows[:, None], unread.nonzero().squeeze(1)] = 0.0
        weight[rows[:, None], columns] = start.parameters[f"weights.{key}"]
        made["biases"][rows] = start.parameters[f"biases.{key}"]
        parameters |= {f"{kind}.{key}": value for kind, value in made.items()}
    if "ctc.weight" in parameters:
        width = layers[-1]["hidden"] - old[-1]["hidden"]
        parameters["ctc.weight"] = functional.pad(parameters["ctc.weight"], (0, width))
    return replace(start, topology=topology, parameters=parameters, masks=masks)


def _old_places(topology: dict, layers: list[dict]) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Name, and where its old rows and columns lie in a wider one, of each matrix of the encoder."""
    old = topology["encoder"]
    width = wide = topology["features"]
    for i, (own, new) in enumerate(zip(old, layers, strict=True)):
        hidden, larger = own["hidden"], new["hidden"]
        rows = torch.cat([gate * larger + torch.arange(hidden) for gate in range(4)])
        read = [step * wide + torch.arange(width) for step in range(own["reduce"])]
        state = own["reduce"] * wide + torch.arange(hidden)
        yield f"encoder.{i}", rows, torch.cat([*read, state])
        width, wide = hidden, larger
    yield "encoder.projection", torch.arange(topology["joint"]), torch.arange(width)


def branched(start: Start, branch: dict) -> Start:
    """The same network with a branch (see encoder.py), both sides of it as the layers were.

    A start that has this branch is returned as it is. Raises ValueError if it has another one.
    """
    found = start.topology.get("branch")
    if found == branch:
        return start
    if found is not None:
        raise ValueError(f"its branch is {found}, the recipe's {branch}")
    topology = {**start.topology, "branch": branch}
    check_branch(topology)
    parameters, masks = dict(start.parameters), dict(start.masks)
    for name in (f"encoder.{i}" for i in branch_layers(topology)):
        key = name.replace(".", "_")
        for kind in ("weights", "biases"):
            parameters[f"{kind}.{(name + FAST).replace('.', '_')}"] = parameters[f"{kind}.{key}"].clone()
        if name in masks:
            masks[name + FAST] = masks[name]
    return replace(start, topology=topology, parameters=parameters, masks=masks)


def describe(topology: dict, tokenizer: bytes, frontend: FrontendParameters) -> dict:
    """What a saved state says of its network, so that it can be read alone."""
    said = json.dumps({"topology": topology, "frontend": frontend.to_dict()})
    return {"description": said, "tokenizer": torch.from_numpy(np.frombuffer(tokenizer, np.uint8).copy())}


def _from_state(path: Path) -> Start:
    try:
        saved = torch.load(path, weights_only=True, map_location="cpu")
        said = json.loads(saved["description"])
        frontend = FrontendParameters.from_dict(said["frontend"])
        tokenizer = saved["tokenizer"].numpy().tobytes()
        return Start(said["topology"], tokenizer, frontend, saved["network"], saved["masks"])
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from error
    except (EOFError, KeyError, RuntimeError, TypeError, UnpicklingError, ValueError) as error:
        raise ValueError(f"{path}: not the state of a training run") from error
