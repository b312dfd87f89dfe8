"""A checkpoint's integers, evaluated in batches: the same arithmetic as the processor, word for word.

Products of int8 sum to 2**24 at most in 1024 columns, so float32 matrix products are exact; what follows them
(bias, multiplier, shift) stays below 2**53 and is exact in float64, whose rint rounds half to even.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from ossicle.hw import numerics
from ossicle.models.encoder import ARBITRATOR, FAST, SCORE, branch_from, branch_layers
from ossicle.models.export import Checkpoint, Matrix
from torch import Tensor

Scorer = Callable[[Tensor, Tensor], Tensor]
"""(features [B, T, 120], front [T / 2, B, columns]) -> [T / 2, B]: above a threshold the slow side steps."""
LABELS_PER_FRAME = 2
FLOAT32_COLUMNS = 1 << 10  # more products of int8 may add up to more than 2**24
EVERY_INT16 = np.arange(-(1 << 15), 1 << 15)
_SIGMOID = torch.from_numpy(numerics.sigmoid(EVERY_INT16).astype(np.float64))
_TANH = torch.from_numpy(numerics.tanh(EVERY_INT16).astype(np.float64))
_TANH_ACTIVATION = torch.from_numpy(
    numerics.gate_to_activation(numerics.tanh(EVERY_INT16)).astype(np.float32)
)


def look_up(table: Tensor, value: Tensor) -> Tensor:
    """Entry of a table over every int16 for each value."""
    return table[value.long() + (1 << 15)]


def squashed(preactivation: Tensor) -> Tensor:
    """Q0.7 of tanh of Q4.11: int8 held in float32."""
    return look_up(_TANH_ACTIVATION, preactivation)


def _round_shift(value: Tensor, shift: int | Tensor) -> Tensor:
    return torch.round(value * 0.5**shift)


class ExactLinear:
    """requantize(W x + b): int8 activations [..., columns] in float32 -> int16 [..., rows] in float64."""

    def __init__(self, matrix: Matrix) -> None:
        kind = np.float32 if matrix.weight.shape[1] <= FLOAT32_COLUMNS else np.float64
        self.weight = torch.from_numpy(matrix.weight.astype(kind).T.copy())
        self.bias = torch.from_numpy(matrix.bias.astype(np.float64))
        self.scale = torch.from_numpy(matrix.multiplier * 0.5 ** matrix.shift.astype(np.float64))

    def accumulate(self, x: Tensor, part: slice = slice(None)) -> Tensor:
        """The sums of products of some columns, exact."""
        return x.to(self.weight.dtype) @ self.weight[part]

    def requantize(self, sums: Tensor) -> Tensor:
        """Bias, multiplier, shift, saturation to 16 bits."""
        return torch.round((sums.double() + self.bias) * self.scale).clamp_(-(1 << 15), (1 << 15) - 1)

    def __call__(self, x: Tensor) -> Tensor:
        return self.requantize(self.accumulate(x))


def exact_cell(gates: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
    """numerics.lstm_cell on gates [B, 4 H] (i, f, g, o) and cell [B, H], integers in float64."""
    width = cell.shape[1]
    i, f = look_up(_SIGMOID, gates[:, :width]), look_up(_SIGMOID, gates[:, width : 2 * width])
    g, o = look_up(_TANH, gates[:, 2 * width : 3 * width]), look_up(_SIGMOID, gates[:, 3 * width :])
    cell = _round_shift(f * cell * 16 + i * g, 19).clamp_(-(1 << 15), (1 << 15) - 1)
    hidden = _round_shift(o * look_up(_TANH, cell), 23).clamp_(-128, 127)
    return cell, hidden


def exact_lstm(linear: ExactLinear, x: Tensor, hidden: int) -> Tensor:
    """Hidden states [T, B, hidden] of x [T, B, columns], from zero states; int8 held in float32."""
    width = x.shape[2]
    sums = linear.accumulate(x, slice(0, width))
    h, cell = x.new_zeros(x.shape[1], hidden), torch.zeros(x.shape[1], hidden, dtype=torch.float64)
    out = x.new_empty(x.shape[0], x.shape[1], hidden)
    for t in range(x.shape[0]):
        gates = linear.requantize(sums[t] + linear.accumulate(h, slice(width, None)))
        cell, h = exact_cell(gates, cell)
        h = h.float()
        out[t] = h
    return out


def exact_branch(sides: Sequence[ExactLinear], slow: Tensor, x: Tensor, hidden: int) -> Tensor:
    """`exact_lstm` of a slow and a fast side with one state; slow [T, B]: which of them steps."""
    width = x.shape[2]
    sums = [side.accumulate(x, slice(0, width)) for side in sides]
    h, cell = x.new_zeros(x.shape[1], hidden), torch.zeros(x.shape[1], hidden, dtype=torch.float64)
    out = x.new_empty(x.shape[0], x.shape[1], hidden)
    for t in range(x.shape[0]):
        yes, no = (
            side.requantize(total[t] + side.accumulate(h, slice(width, None)))
            for side, total in zip(sides, sums, strict=True)
        )
        cell, h = exact_cell(torch.where(slow[t].unsqueeze(1), yes, no), cell)
        h = h.float()
        out[t] = h
    return out


def joined(x: Tensor, steps: int) -> Tensor:
    """[T, B, columns] -> [T / steps, B, steps * columns]: so many steps one after another."""
    whole = x.shape[0] // steps
    return x[: whole * steps].unflatten(0, (whole, steps)).transpose(1, 2).flatten(2) if steps > 1 else x


class ExactTransducer:
    """A checkpoint ready to run.

    Args:
        scorer: in place of the arbitrator of a branch, whose threshold is then `threshold`, not 0.
    """

    def __init__(self, checkpoint: Checkpoint, scorer: Scorer | None = None, threshold: float = 0) -> None:
        self.topology = checkpoint.topology
        self.scorer, self.threshold = scorer or self.arbitrate, threshold
        self.context: int = checkpoint.topology["prediction"]["context"]
        self.linear = {name: ExactLinear(matrix) for name, matrix in checkpoint.matrices.items()}
        if checkpoint.embedding is None:
            raise ValueError("a transducer is wanted; this checkpoint is a stack of layers")
        self.embedding = torch.from_numpy(checkpoint.embedding.astype(np.float32))

    @torch.no_grad()
    def encode(self, features: Tensor) -> Tensor:
        """int8 features [B, T, 120] -> encoder projections [B, T / 2, 192], Q4.11 in float64."""
        x, sided = self._front(features), branch_layers(self.topology)
        slow = self.scorer(features, x) > self.threshold if sided else None
        for i in sided:
            sides = self.linear[f"encoder.{i}"], self.linear[f"encoder.{i}{FAST}"]
            x = exact_branch(sides, slow, x, self.topology["encoder"][i]["hidden"])
        return self.linear["encoder.projection"](x).transpose(0, 1)

    def _front(self, features: Tensor) -> Tensor:
        """What the first layer with two sides is to read, [T, B, columns]; else what the last layer gives."""
        x = features.float().transpose(0, 1)
        for i, layer in enumerate(self.topology["encoder"]):
            x = joined(x, layer["reduce"])
            if i == branch_from(self.topology):
                break
            x = exact_lstm(self.linear[f"encoder.{i}"], x, layer["hidden"])
        return x

    @torch.no_grad()
    def scores(self, features: Tensor) -> Tensor:
        """The scorer's value at each frame, [B, T / 2], of a model with a branch."""
        return self.scorer(features, self._front(features)).transpose(0, 1)

    @torch.no_grad()
    def arbitrate(self, features: Tensor, front: Tensor) -> Tensor:
        """The arbitrator's scores, Q4.11, [T, B], of what the first layer with two sides is to read."""
        hidden = look_up(_TANH_ACTIVATION, self.linear[ARBITRATOR](front))
        return self.linear[SCORE](hidden).squeeze(2)

    @torch.no_grad()
    def predict(self, context: Tensor) -> Tensor:
        """The last labels [B, context], oldest first -> prediction projections [B, 192], Q4.11."""
        x = look_up(_TANH_ACTIVATION, self.linear["prediction.hidden"](self.embedding[context].flatten(1)))
        return self.linear["prediction.projection"](x)

    @torch.no_grad()
    def logits(self, encoded: Tensor, predicted: Tensor) -> Tensor:
        """Q7.8 logits [B, V] of encoder and prediction projections [B, 192]."""
        total = (encoded + predicted).clamp(-(1 << 15), (1 << 15) - 1)
        return self.linear["joint.output"](look_up(_TANH_ACTIVATION, total))

    @torch.no_grad()
    def greedy(self, features: Tensor, lengths: Tensor, begins: Tensor | None = None) -> list[list[int]]:
        """Best label at each step, two a frame at most, the lowest label of equals.

        Args:
            features: int8 [B, T, 120], padded; lengths: [B], feature vectors of each utterance.
            begins: [B], the encoder frame from which on each has a text; 0 where none are given.
        """
        begins = torch.zeros_like(lengths) if begins is None else begins
        encoded = self.encode(features)
        frames = lengths // (features.shape[1] // max(1, encoded.shape[1]))
        context = torch.zeros(len(features), self.context, dtype=torch.long)
        predicted, hypotheses = self.predict(context), [[] for _ in features]
        # Distinct keys: arg max is then the lowest of equal logits, on every machine.
        tie = torch.arange(self.topology["vocabulary"], dtype=torch.float64) / 1024
        for t in range(encoded.shape[1]):
            going = torch.nonzero((frames > t) & (begins <= t)).flatten()
            for _ in range(LABELS_PER_FRAME):
                if len(going) == 0:
                    break
                best = (self.logits(encoded[going, t], predicted[going]) - tie).argmax(dim=1)
                going, best = going[best != 0], best[best != 0]
                if len(going) == 0:
                    break
                for b, label in zip(going.tolist(), best.tolist(), strict=True):
                    hypotheses[b].append(label)
                context[going] = torch.cat([context[going, 1:], best.unsqueeze(1)], dim=1)
                predicted[going] = self.predict(context[going])
        return hypotheses
