"""The adapter as torch parameters: catalogue encoder, queries, attention, bias; the recognizer stays frozen.

    piece j of a phrase: x = embeddings of the pieces before it, and its own; h = LSTM from the last piece on
    [k_j; v_j] = W_x x + b_x + W_h h + b_h
    h(t, u)    = tanh(encoded(t) + predicted(u))
    q(t, u)    = W_j h(t, u) + b_j + W_l [embeddings of the last labels] + b_l
    a(t, u)    = sum_i softmax_2(q . k)_i v_i             Q0.7; of no phrase v is 0
    logits     = W tanh(encoded(t) + predicted(u) + B a(t, u)) + b

(Chang et al. 2021, arXiv:2111.03250, eq. 4 to 7, with a query of what was heard and of what was said.)
Activations are rounded to Q0.7 always, weights when `rounding` is set, as in network.py.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from ossicle.compiler.biasing import (
    BIAS,
    LSTM,
    OF_JOINT,
    OF_LABELS,
    SOUNDS,
    SPELLED,
    biasing_shapes,
)
from ossicle.hw.numerics import PREACTIVATION_FRACTION, saturate
from ossicle.models.biasing.checkpoint import AdapterIntegers
from ossicle.models.export import quantize_matrix
from ossicle.models.loss import lattice, next_labels
from ossicle.models.lstm import lstm
from ossicle.models.network import BLANK, Transducer
from ossicle.models.qat import ACTIVATION_UNIT, fake_activation, fake_weight, tanh_activation
from ossicle.runtime.phrases import Labels, steps_of
from torch import Tensor, nn
from torch.nn import functional

BITS = 8
LEAST_TAKEN = 1e-3  # of the paths' probability, that make a pair (t, u) worth attending in


@dataclass(frozen=True)
class Keys:
    """Entries of a catalogue, that of no phrase first: keys [heads, key, E], values [heads, E, value]."""

    keys: Tensor
    values: Tensor


class BiasingAdapter(nn.Module):
    """The parameters of a topology of kind "biasing"."""

    def __init__(self, topology: dict) -> None:
        super().__init__()
        self.topology, self.rounding = topology, False
        self.weights, self.biases = nn.ParameterDict(), nn.ParameterDict()
        for name, (rows, columns) in biasing_shapes(topology).items():
            bound = columns**-0.5
            weight, bias = torch.empty(rows, columns).uniform_(-bound, bound), torch.zeros(rows)
            if name == LSTM:
                bias[rows // 4 : rows // 2] = 1.0  # forget gates start open
                weight.mul_(2)
            self.weights[_key(name)] = nn.Parameter(weight)
            if name != BIAS:  # no attention, no bias: it has none of its own
                self.biases[_key(name)] = nn.Parameter(bias)
        self.pieces = nn.Parameter(
            torch.empty(topology["vocabulary"], topology["embedding"]).uniform_(-0.9, 0.9)
        )
        self.no_bias = nn.Parameter(torch.zeros(topology["heads"] * topology["key"]))

    def matrix(self, name: str) -> tuple[Tensor, Tensor | None]:
        """Weight [rows, columns] and bias [rows] as the forward pass uses them; BIAS has no bias."""
        weight = self.weights[_key(name)]
        bias = self.biases[_key(name)] if name != BIAS else None
        return fake_weight(weight, BITS) if self.rounding else weight, bias

    @torch.no_grad()
    def integers(self) -> AdapterIntegers:
        """The present parameters rounded; what the matrices give is Q4.11."""
        saved, self.rounding = self.rounding, False
        matrices = {}
        for name, (rows, _) in biasing_shapes(self.topology).items():
            weight, bias = self.matrix(name)
            offset = np.zeros(rows) if bias is None else bias.double().numpy()
            matrices[name] = quantize_matrix(name, weight.double().numpy(), offset, bits=BITS)
        self.rounding = saved
        pieces = np.clip(np.rint(self.pieces.numpy() * ACTIVATION_UNIT), -128, 127).astype(np.int8)
        no_bias = saturate(np.rint(self.no_bias.numpy() * (1 << PREACTIVATION_FRACTION)), 16)
        return AdapterIntegers(self.topology, matrices, pieces, no_bias.astype(np.int16))

    def catalogue(self, phrases: Sequence[Labels]) -> Keys:
        """Entries of phrases, in their order, first piece first, after that of no phrase."""
        heads, key = self.topology["heads"], self.topology["key"]
        given, places = padded_steps(phrases, self.topology["labels"])
        table = fake_activation(self.pieces.clamp(-1, 127 / 128))
        x = functional.embedding(given, table).flatten(2)
        hidden = lstm(x, *self.matrix(LSTM))
        x, hidden = (rows[places[:, 0], places[:, 1]] for rows in (x, hidden))
        made = functional.linear(x, *self.matrix(SPELLED)) + functional.linear(hidden, *self.matrix(SOUNDS))
        first = torch.cat([self.no_bias, made.new_zeros(made.shape[1] - heads * key)])
        made = torch.cat([first.unsqueeze(0), made])
        keys, values = made[:, : heads * key], made[:, heads * key :]
        return Keys(
            keys.unflatten(1, (heads, key)).permute(1, 2, 0),
            values.unflatten(1, (heads, self.topology["value"])).transpose(0, 1),
        )

    def label_query(self, embedded: Tensor) -> Tensor:
        """The last labels' embeddings [..., context * table] -> their part of q, [..., heads * key]."""
        return functional.linear(embedded, *self.matrix(OF_LABELS))

    def query(self, total: Tensor, label_query: Tensor) -> Tensor:
        """q of encoded + predicted [N, joint] and the labels' part [N, heads * key]."""
        return functional.linear(tanh_activation(total), *self.matrix(OF_JOINT)) + label_query

    def weights_of(self, query: Tensor, entries: Keys) -> Tensor:
        """softmax_2(q . k): [heads, N, E]."""
        heads, key = self.topology["heads"], self.topology["key"]
        scores = query.unflatten(1, (heads, key)).transpose(0, 1) @ entries.keys
        return torch.softmax(scores * math.log(2), dim=2)

    def bias(self, query: Tensor, entries: Keys) -> Tensor:
        """B a of queries [N, heads * key]: [N, joint]."""
        attended = self.weights_of(query, entries) @ entries.values
        rounded = fake_activation(attended.transpose(0, 1).flatten(1).clamp(-1, 127 / 128))
        return functional.linear(rounded, self.matrix(BIAS)[0])


def padded_steps(phrases: Sequence[Labels], width: int) -> tuple[Tensor, Tensor]:
    """(labels of each step [longest, P, width], last piece first; (step, phrase) of each entry [E, 2])."""
    longest = max((len(phrase) for phrase in phrases), default=1)
    given = torch.full((longest, max(1, len(phrases)), width), BLANK)
    places = []
    for column, phrase in enumerate(phrases):
        given[: len(phrase), column] = torch.tensor(steps_of(phrase, width))
        places += [(step, column) for step in reversed(range(len(phrase)))]
    return given, torch.tensor(places, dtype=torch.long).reshape(-1, 2)


def embedded_context(core: Transducer, labels: Tensor) -> Tensor:
    """Embeddings of the labels before each position: [B, U + 1, context * table] of labels [B, U]."""
    context, positions = core.topology["prediction"]["context"], labels.shape[1] + 1
    table = fake_activation(core.embedding.clamp(-1, 127 / 128))
    embedded = functional.embedding(functional.pad(labels, (context, 0), value=BLANK), table)
    return torch.cat([embedded[:, age : age + positions] for age in range(context)], dim=2)


def biased_joint(
    core: Transducer, adapter: BiasingAdapter, encoded: Tensor, labels: Tensor,
    frames: Tensor, counts: Tensor, entries: Keys,
) -> tuple[Tensor, float]:  # fmt: skip
    """`Transducer.joint` with the bias of a catalogue: logits at every (t, u), packed as there, and the
    transducer loss an utterance without it.

    Pairs that hardly any path of the recognizer's own goes through keep its logits: attention is for those
    near its paths (as in pruned RNN-T, Kuang et al. 2022, arXiv:2206.13236).

    Args:
        encoded: encoder projections [B, T, joint]; labels: [B, U]; frames, counts: [B].
    """
    with torch.no_grad():
        predicted, context = core.predict(labels), embedded_context(core, labels)
        rows = [_cells(steps, count, b) for b, (steps, count) in enumerate(zip(frames, counts, strict=True))]
        b, t, u = torch.cat(rows, dim=1)
        total = encoded[b, t] + predicted[b, u]
        logits = functional.linear(tanh_activation(total), *core.matrix("joint.output"))
        kept, unbiased = near_paths(logits, labels, frames, counts)
    asked = adapter.label_query(context)[b[kept], u[kept]]
    total = total[kept]
    biased = total + adapter.bias(adapter.query(total, asked), entries)
    made = functional.linear(tanh_activation(biased), *core.matrix("joint.output"))
    return logits.index_put((kept,), made), unbiased


def _cells(steps: Tensor, count: Tensor, b: int) -> Tensor:
    """(b, t, u) of the pairs of an utterance, [3, steps * (count + 1)]."""
    t, u = torch.meshgrid(torch.arange(int(steps)), torch.arange(int(count) + 1), indexing="ij")
    return torch.stack([torch.full_like(t, b), t, u]).flatten(1)


def near_paths(logits: Tensor, labels: Tensor, frames: Tensor, counts: Tensor) -> tuple[Tensor, float]:
    """(rows [kept] of packed logits [N, V] that paths go through, and their neighbours; mean loss)."""
    log_probs = logits.log_softmax(1)
    upcoming = next_labels(labels, frames.tolist(), counts.tolist()).unsqueeze(1)
    blank, label = log_probs[:, BLANK].numpy(), log_probs.gather(1, upcoming).squeeze(1).numpy()
    d_blank, d_label = np.empty_like(blank), np.empty_like(label)
    loss = np.zeros(len(frames))
    lattice(blank, label, frames.numpy(), counts.numpy(), loss, d_blank, d_label)
    taken, kept, start = torch.from_numpy(-(d_blank + d_label)), [], 0
    for steps, count in zip(frames.tolist(), counts.tolist(), strict=True):
        size = steps * (count + 1)
        near = functional.max_pool2d(taken[start : start + size].view(1, 1, steps, -1), 3, 1, 1)
        kept.append(start + torch.nonzero(near.flatten() > LEAST_TAKEN).flatten())
        start += size
    return torch.cat(kept), float(loss.mean())


def _key(name: str) -> str:
    return name.replace(".", "_")
