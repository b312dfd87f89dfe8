"""The transducer as torch parameters: streaming LSTM encoder, stateless prediction network, additive joint.

    features [T, 120] -> LSTM -> LSTM (two steps joined) -> LSTM -> projection ---+
    last labels -> embeddings -> linear, tanh -> projection ----------------------+-> tanh -> output [V]

(He et al. 2019, arXiv:1811.06621; a stateless predictor: Ghodsi et al. 2020.) Activations are rounded to Q0.7
always; weights are masked when pruning has begun and rounded when `rounding` is set. The encoder may have a
branch, see encoder.py, whose sides are mixed as its gate says, see mixture.py.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

import numpy as np
import torch
from ossicle.models.encoder import ARBITRATOR, FAST, SCORE, SLOW, branch_from
from ossicle.models.export import Checkpoint, matrix_shapes, quantize_matrix
from ossicle.models.lstm import lstm
from ossicle.models.mixture import Gate, mixed_lstm
from ossicle.models.product import linear
from ossicle.models.qat import fake_activation, fake_weight, tanh_activation
from ossicle.runtime.frontend import FrontendParameters
from torch import Tensor, nn
from torch.nn import functional

BLANK = 0
WIDER = 2.5


class Transducer(nn.Module):
    """The network of a topology (see `export.SMALL_TOPOLOGY`), with an auxiliary CTC head for training."""

    def __init__(self, topology: dict) -> None:
        super().__init__()
        self.topology = topology
        self.bits: dict[str, int] = {}  # of each matrix; 8 where none are given
        self.rounding = False
        self.reduced = False  # products of bfloat16
        self.gate = Gate()  # of a branch
        self.share: Tensor | None = None  # of the slow side at each encoder frame [T, B], as last encoded
        self.weights, self.biases, self.masks = nn.ParameterDict(), nn.ParameterDict(), {}
        for name, (rows, columns) in matrix_shapes(topology).items():
            key = name.replace(".", "_")
            bound = columns**-0.5
            weight, bias = torch.empty(rows, columns).uniform_(-bound, bound), torch.zeros(rows)
            if self._is_lstm(name):
                bias[rows // 4 : rows // 2] = 1.0  # forget gates start open
                # Features and hidden states have a deviation near 0.3, not 1: columns of x start wider.
                inner = (rows // 4) ** -0.5
                weight[:, -(rows // 4) :].uniform_(-inner, inner)
                weight[:, : -(rows // 4)].uniform_(-WIDER * inner, WIDER * inner)
            self.weights[key] = nn.Parameter(weight)
            self.biases[key] = nn.Parameter(bias)
        vocabulary, prediction = topology["vocabulary"], topology["prediction"]
        self.embedding = nn.Parameter(torch.empty(vocabulary, prediction["embedding"]).uniform_(-0.5, 0.5))
        self.ctc = nn.Linear(topology["encoder"][-1]["hidden"], vocabulary)

    @staticmethod
    def _is_lstm(name: str) -> bool:
        return name.startswith("encoder.") and name != "encoder.projection"

    def matrix(self, name: str) -> tuple[Tensor, Tensor]:
        """Weight [rows, columns] and bias [rows] as the forward pass uses them."""
        key = name.replace(".", "_")
        weight = self.weights[key]
        if name in self.masks:
            weight = weight * self.masks[name]
        if self.rounding:
            weight = fake_weight(weight, self.bits_of(name))
        return weight, self.biases[key]

    def bits_of(self, name: str) -> int:
        """Bits of a matrix's integers."""
        return self.bits.get(name, 8)

    def named_weights(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Name and weights [rows, columns] of each matrix."""
        for name in matrix_shapes(self.topology):
            yield name, self.weights[name.replace(".", "_")]

    def learn_alone(self, names: Collection[str]) -> None:
        """Only these matrices have gradients from now on."""
        kept = {f"{kind}.{name.replace('.', '_')}" for name in names for kind in ("weights", "biases")}
        for key, parameter in self.named_parameters():
            parameter.requires_grad_(key in kept)

    def encode(self, features: Tensor) -> Tensor:
        """features [B, T, 120] in [-1, 1) -> last hidden states [B, T / 2, 256]."""
        x = features.transpose(0, 1)
        for i, layer in enumerate(self.topology["encoder"]):
            steps, reduce = x.shape[0] // layer["reduce"], layer["reduce"]
            if reduce > 1:
                x = x[: steps * reduce].unflatten(0, (steps, reduce)).transpose(1, 2).flatten(2)
            if i == branch_from(self.topology):
                self.share = self.gate(self.score(x))
            if i >= branch_from(self.topology):
                sides = [self.matrix(f"encoder.{i}{side}") for side in (SLOW, FAST)]
                x = mixed_lstm(x, sides, self.share, self.reduced)
            else:
                x = lstm(x, *self.matrix(f"encoder.{i}"), self.reduced)
        return x.transpose(0, 1).contiguous()

    def score(self, front: Tensor) -> Tensor:
        """The arbitrator's scores [T, B] of what the first layer with two sides reads, [T, B, columns]."""
        hidden = tanh_activation(linear(front, *self.matrix(ARBITRATOR), self.reduced))
        return linear(hidden, *self.matrix(SCORE), self.reduced).squeeze(2)

    def predict(self, labels: Tensor) -> Tensor:
        """labels [B, U] -> projections [B, U + 1, 192]; context: the labels before each position."""
        table = fake_activation(self.embedding.clamp(-1, 127 / 128))
        context, positions = self.topology["prediction"]["context"], labels.shape[1] + 1
        embedded = _rows_of(table, functional.pad(labels, (context, 0), value=BLANK))
        x = torch.cat([embedded[:, age : age + positions] for age in range(context)], dim=2)
        x = tanh_activation(linear(x, *self.matrix("prediction.hidden"), self.reduced))
        return linear(x, *self.matrix("prediction.projection"), self.reduced)

    def forward(
        self, features: Tensor, labels: Tensor, frames: Tensor, counts: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Logits of the joint, packed, and of the CTC head, [B, T / 2, V].

        Args:
            features: [B, T, 120]; labels: [B, U]; frames, counts: [B], encoder frames and labels of each.
        Returns:
            The joint at every (t, u) of each utterance, t < frames, u <= counts, as `transducer_loss` takes.
        """
        hidden = self.encode(features)
        return self.joint(self.project(hidden), labels, frames, counts), self.ctc_logits(hidden)

    @staticmethod
    def after_context(hidden: Tensor, starts: Tensor) -> Tensor:
        """Hidden states [B, T, H] from frame `starts` [B] of each utterance on: [B, T - least start, H].

        The encoder's state, and its gradient, cross the boundary (Schwarz et al. 2021, arXiv:2011.10538).
        """
        if not starts.any():
            return hidden
        steps = hidden.shape[1]
        index = (starts.unsqueeze(1) + torch.arange(steps - int(starts.min()))).clamp_max(steps - 1)
        index = index.to(hidden.device).unsqueeze(2).expand(-1, -1, hidden.shape[2])
        return hidden.gather(1, index)

    def project(self, hidden: Tensor) -> Tensor:
        """Hidden states [B, T, 256] -> encoder projections [B, T, 192]."""
        return linear(hidden, *self.matrix("encoder.projection"), self.reduced)

    def ctc_logits(self, hidden: Tensor) -> Tensor:
        """Hidden states [B, T, 256] -> logits of the CTC head [B, T, V]."""
        return linear(hidden, self.ctc.weight, self.ctc.bias, self.reduced)

    def joint(self, encoded: Tensor, labels: Tensor, frames: Tensor, counts: Tensor) -> Tensor:
        """Logits at every (t, u) of each utterance, t < frames, u <= counts, as `transducer_loss` takes them.

        Args:
            encoded: encoder projections [B, T, 192]; labels: [B, U]; frames, counts: [B], on the CPU.
        """
        predicted = self.predict(labels)
        pairs = [
            (encoded[b, :steps].unsqueeze(1) + predicted[b, : count + 1]).flatten(0, 1)
            for b, (steps, count) in enumerate(zip(frames.tolist(), counts.tolist(), strict=True))
        ]
        joined = tanh_activation(torch.cat(pairs), self.reduced)
        return linear(joined, *self.matrix("joint.output"), self.reduced)

    def padded_joint(self, encoded: Tensor, labels: Tensor) -> Tensor:
        """Logits at every (t, u), [B, T, U + 1, V], of encoder projections [B, T, 192] and labels [B, U]."""
        pairs = encoded.unsqueeze(2) + self.predict(labels).unsqueeze(1)
        return linear(tanh_activation(pairs, self.reduced), *self.matrix("joint.output"), self.reduced)

    @torch.no_grad()
    def checkpoint(self, tokenizer: bytes, frontend: FrontendParameters, header: dict) -> Checkpoint:
        """The integers of the present parameters, in the bits of each matrix."""
        saved, self.rounding = self.rounding, False
        matrices = {}
        for name in matrix_shapes(self.topology):
            weight, bias = (part.double().cpu().numpy() for part in self.matrix(name))
            matrices[name] = quantize_matrix(name, weight, bias, bits=self.bits_of(name))
        self.rounding = saved
        embedding = np.clip(np.rint(self.embedding.cpu().numpy() * 128), -128, 127).astype(np.int8)
        header = {**header, "quantization": {name: self.bits_of(name) for name in matrices}}
        return Checkpoint(self.topology, matrices, embedding, tokenizer, frontend, header)


def _rows_of(table: Tensor, index: Tensor) -> Tensor:
    """Rows [..., columns] of a table [V, columns]; on a GPU by a product: a lookup's gradient sorts there."""
    if not table.is_cuda:
        return functional.embedding(index, table)
    places = torch.arange(len(table), device=table.device)
    return (index.unsqueeze(-1) == places).to(table.dtype) @ table
