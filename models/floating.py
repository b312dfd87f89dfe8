"""The same network in float, nothing rounded: what the integers are measured against.

It stands where `exact.ExactTransducer` does for the search and for greedy decoding. The same int8 features
come in, and logits in the unit of Q7.8 go out, so that one search serves both.
"""

from __future__ import annotations

import torch
from ossicle.hw.numerics import LOGIT_FRACTION
from ossicle.models.encoder import branch_layers
from ossicle.models.exact import ExactTransducer, joined
from ossicle.models.export import Checkpoint
from ossicle.models.initial import Start
from ossicle.models.qat import ACTIVATION_UNIT
from torch import Tensor

LOGIT_UNIT = float(1 << LOGIT_FRACTION)
TOP = (ACTIVATION_UNIT - 1) / ACTIVATION_UNIT


class FloatTransducer(ExactTransducer):
    """Raises ValueError for a model with a branch: its decisions are the integers'."""

    def __init__(self, start: Start) -> None:
        if branch_layers(start.topology):
            raise ValueError("a model with a branch has no float reference; leave --float out")
        self.topology = start.topology
        self.context: int = start.topology["prediction"]["context"]
        network = start.network()
        with torch.no_grad():
            names = [name for name, _ in network.named_weights()]
            self.matrices = {name: tuple(part.detach() for part in network.matrix(name)) for name in names}
            self.embedding = network.embedding.detach().clamp(-1, TOP)

    def _linear(self, name: str, x: Tensor) -> Tensor:
        weight, bias = self.matrices[name]
        return x @ weight.T + bias

    @torch.no_grad()
    def encode(self, features: Tensor) -> Tensor:
        """int8 features [B, T, 120] -> encoder projections [B, T / 2, 192]."""
        x = features.float().transpose(0, 1) / ACTIVATION_UNIT
        for i, layer in enumerate(self.topology["encoder"]):
            x = float_lstm(joined(x, layer["reduce"]), *self.matrices[f"encoder.{i}"])
        return self._linear("encoder.projection", x).transpose(0, 1)

    @torch.no_grad()
    def predict(self, context: Tensor) -> Tensor:
        """The last labels [B, context], oldest first -> prediction projections [B, 192]."""
        x = torch.tanh(self._linear("prediction.hidden", self.embedding[context].flatten(1)))
        return self._linear("prediction.projection", x)

    @torch.no_grad()
    def logits(self, encoded: Tensor, predicted: Tensor) -> Tensor:
        """Logits [B, V], times 256, of encoder and prediction projections [B, 192]."""
        return self._linear("joint.output", torch.tanh(encoded + predicted)).double() * LOGIT_UNIT


def float_lstm(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Hidden states [T, B, H] of x [T, B, columns], from zero states; gates i, f, g, o."""
    hidden = len(weight) // 4
    inputs = x @ weight[:, :-hidden].T + bias
    recurrent = weight[:, -hidden:].T
    h, cell = x.new_zeros(x.shape[1], hidden), x.new_zeros(x.shape[1], hidden)
    out = x.new_empty(x.shape[0], x.shape[1], hidden)
    for t in range(x.shape[0]):
        i, f, g, o = (inputs[t] + h @ recurrent).chunk(4, dim=1)
        cell = torch.sigmoid(f) * cell + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(cell)
        out[t] = h
    return out


def transducer_of(model: Checkpoint | Start) -> ExactTransducer:
    """A checkpoint in integers, or what a run's state holds in float."""
    return FloatTransducer(model) if isinstance(model, Start) else ExactTransducer(model)
