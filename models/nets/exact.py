"""The integers of a stack's checkpoint in batches: the processor's arithmetic, word for word."""

from __future__ import annotations

import torch
from ossicle.hw import numerics
from ossicle.models.exact import EVERY_INT16, ExactLinear, exact_lstm, look_up
from ossicle.models.export import Checkpoint
from ossicle.models.layers import layer_names
from ossicle.models.nets.stack import join
from torch import Tensor

_ACTIVATIONS = {
    "relu": numerics.preactivation_to_activation(numerics.relu(EVERY_INT16)),
    "sigmoid": numerics.gate_to_activation(numerics.sigmoid(EVERY_INT16)),
    "tanh": numerics.gate_to_activation(numerics.tanh(EVERY_INT16)),
}
_TABLES = {name: torch.from_numpy(values).float() for name, values in _ACTIVATIONS.items()}


class ExactStack:
    """A checkpoint of kind "stack", ready to run. Raises ValueError on a checkpoint of another kind."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        if not checkpoint.is_stack:
            raise ValueError(f"a stack of layers is wanted, not a {checkpoint.topology.get('kind')}")
        self.topology = checkpoint.topology
        self.table = None
        if checkpoint.embedding is not None:
            self.table = torch.from_numpy(checkpoint.embedding).float()
        self.linear = {name: ExactLinear(matrix) for name, matrix in checkpoint.matrices.items()}

    @torch.no_grad()
    def __call__(self, inputs: Tensor) -> Tensor:
        """int8 features [B, T, 120], or labels [B, T, labels] -> outputs [B, T / frames a step, rows].

        Outputs are Q7.8, in float64.
        """
        x = inputs.transpose(0, 1)
        x = x.float() if self.table is None else self.table[x.long()].flatten(2)
        for name, layer in zip(layer_names(self.topology), self.topology["layers"], strict=True):
            x = join(x, layer.get("reduce", 1))
            if "lstm" in layer:
                x = exact_lstm(self.linear[name], x, layer["lstm"])
            else:
                x = self.linear[name](x)
                x = look_up(_TABLES[layer["function"]], x) if "function" in layer else x
        return x.transpose(0, 1)
