"""The adapter's integers in batches, beside those of the recognizer: what the processor and the host make.

Entries of phrases, queries and biased logits are those of runtime/biasing.py on a device, word for word.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from ossicle.compiler.biasing import BIAS, LSTM, OF_JOINT, OF_LABELS, SOUNDS, SPELLED, Adapter
from ossicle.models.biasing.network import padded_steps
from ossicle.models.exact import ExactLinear, ExactTransducer, exact_lstm, squashed
from ossicle.runtime.biasing import Entries, attend, attention_weights
from ossicle.runtime.phrases import Labels
from torch import Tensor

BATCH = 512  # phrases that are encoded at a time


def saturate16(value: Tensor) -> Tensor:
    """Clamp to 16 bits."""
    return value.clamp(-(1 << 15), (1 << 15) - 1)


class ExactBiasing:
    """An adapter ready to run beside its recognizer. `core` must be the one that it was trained on."""

    def __init__(self, adapter: Adapter, core: ExactTransducer) -> None:
        self.topology, self.core = adapter.topology, core
        self.linear = {name: ExactLinear(matrix) for name, matrix in adapter.matrices.items()}
        self.pieces = torch.from_numpy(adapter.pieces.astype(np.float32))
        self.no_bias = adapter.no_bias
        self._made: dict[Labels, NDArray[np.float64]] = {}

    def entries(self, phrases: Sequence[tuple[str, Labels]]) -> Entries:
        """The catalogue of phrases and their labels. A phrase is encoded once."""
        new = [
            labels for labels in dict.fromkeys(labels for _, labels in phrases) if labels not in self._made
        ]
        for start in range(0, len(new), BATCH):
            self._encode(sorted(new[start : start + BATCH], key=len))
        texts, made = [text for text, _ in phrases], [self._made[labels] for _, labels in phrases]
        return Entries.build(self.topology, self.no_bias.tolist(), texts, made)

    @torch.no_grad()
    def _encode(self, phrases: list[Labels]) -> None:
        given, places = padded_steps(phrases, self.topology["labels"])
        x = self.pieces[given].flatten(2)
        hidden = exact_lstm(self.linear[LSTM], x, self.topology["hidden"])
        x, hidden = (rows[places[:, 0], places[:, 1]] for rows in (x, hidden))
        made = saturate16(self.linear[SPELLED](x) + self.linear[SOUNDS](hidden)).numpy()
        ends = np.cumsum([len(phrase) for phrase in phrases])
        self._made.update(zip(phrases, np.split(made, ends[:-1]), strict=True))

    @torch.no_grad()
    def label_query(self, context: Tensor) -> Tensor:
        """The last labels [B, context] -> their part of the query [B, heads * key], Q4.11."""
        return self.linear[OF_LABELS](self.core.embedding[context].flatten(1))

    @torch.no_grad()
    def logits(self, encoded: Tensor, predicted: Tensor, label_query: Tensor, entries: Entries) -> Tensor:
        """Q7.8 logits [B, V] of projections [B, joint] and the labels' part of the query [B, heads * key]."""
        hidden = squashed(saturate16(encoded + predicted))
        query = saturate16(self.linear[OF_JOINT](hidden) + label_query)
        attended = torch.from_numpy(attend(attention_weights(query.numpy(), entries), entries))
        biased = saturate16(encoded + self.linear[BIAS](attended.float()))
        return self.core.logits(biased, predicted)
