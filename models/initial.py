"""What a run starts from: the weights of a checkpoint, or of another run's state, with what belongs to them.

real weight = scale * integer    real bias = scale * 2**-7 * integer    embedding = 2**-7 * integer
"""

from __future__ import annotations

import json
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
