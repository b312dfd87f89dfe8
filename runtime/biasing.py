"""Attention over a catalogue of phrases: contacts, devices, whatever the speaker may name.

    s_i   = q . k_i                                       for each entry i and head, exact
    w_i   = 2^(s_i - max s)                               15 bits, from a table: exact on every machine
    a     = sum_i w_i v_i / sum_i w_i                     Q0.7, rounded once, half to even
    logits = W tanh(encoded + B a + predicted) + b        on the processor: the routine `biased`

(Chang et al. 2021, arXiv:2111.03250, with a base of 2 in the softmax.) A phrase has an entry for each of its
pieces, and one entry more stands for no phrase: its value is 0. With no phrases the plain joint is run.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from ossicle.compiler.biasing import (
    ATTENDED,
    BIASED,
    ENTRY,
    KIND,
    LABEL_QUERY,
    NO_BIAS,
    PHRASE,
    QUERY,
    QUERY_LABELS,
)
from ossicle.compiler.program import Program
from ossicle.hw.numerics import (
    ACTIVATION_FRACTION,
    ACTIVATION_MAX,
    ACTIVATION_MIN,
    PREACTIVATION_FRACTION,
)
from ossicle.runtime.driver import LOGITS, RESET, Cycles, Driver, Observer
from ossicle.runtime.phrases import Labels, steps_of
from ossicle.runtime.transducer import Context
from ossicle.sim.device import Device

SCORE_FRACTION, WEIGHT_FRACTION = 8, 15
POWERS = np.array([round(2 ** (WEIGHT_FRACTION - f / 2**SCORE_FRACTION)) for f in range(1 << SCORE_FRACTION)])
_SCORE_UNIT = 2.0 ** (SCORE_FRACTION - 2 * PREACTIVATION_FRACTION)
_VALUE_UNIT = 2.0 ** (ACTIVATION_FRACTION - PREACTIVATION_FRACTION)
Progress = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class Entries:
    """A catalogue ready to attend to: integers in float64, so that sums are exact and fast.

    keys [heads, key, E], values [heads, E, value], phrase [E]: whose entry each is, 0 of no phrase, then
    1, 2, ... as in `phrases`.
    """

    phrases: tuple[str, ...]
    keys: NDArray[np.float64]
    values: NDArray[np.float64]
    phrase: NDArray[np.int64]

    @classmethod
    def build(
        cls, topology: dict, no_bias: Sequence[int], phrases: Sequence[str], made: Sequence[NDArray]
    ) -> Entries:
        """Of what `phrase` gave for each phrase, int16 [pieces, heads * (key + value)], first piece first."""
        heads, key, value = topology["heads"], topology["key"], topology["value"]
        width = heads * (key + value)
        first = np.concatenate([np.asarray(no_bias), np.zeros(heads * value)])[None]
        rows = np.concatenate([first, *(np.asarray(m).reshape(-1, width) for m in made)]).astype(np.float64)
        keys = rows[:, : heads * key].reshape(-1, heads, key).transpose(1, 2, 0)
        values = rows[:, heads * key :].reshape(-1, heads, value).transpose(1, 0, 2)
        owner = np.repeat(np.arange(len(made) + 1), [1, *(len(m) for m in made)])
        return cls(tuple(phrases), np.ascontiguousarray(keys), np.ascontiguousarray(values), owner)

    def __len__(self) -> int:
        return len(self.phrase)


def attention_weights(query: NDArray, entries: Entries) -> NDArray[np.float64]:
    """w_i of queries int16 [B, heads * key], Q4.11: whole numbers, [heads, B, E]."""
    heads, key, _ = entries.keys.shape
    given = np.asarray(query, np.float64).reshape(len(query), heads, key).transpose(1, 0, 2)
    scores = np.rint(given @ entries.keys * _SCORE_UNIT).astype(np.int64)
    below = scores.max(axis=2, keepdims=True) - scores
    whole = np.minimum(below >> SCORE_FRACTION, WEIGHT_FRACTION + 1)
    return (POWERS[below & ((1 << SCORE_FRACTION) - 1)] >> whole).astype(np.float64)


def attend(weights: NDArray[np.float64], entries: Entries) -> NDArray[np.int8]:
    """a of weights [heads, B, E]: Q0.7, [B, heads * value], saturated."""
    total = weights.sum(axis=2, keepdims=True)
    made = np.rint((weights @ entries.values) * _VALUE_UNIT / total)  # sums below 2**53: one rounding
    made = made.clip(ACTIVATION_MIN, ACTIVATION_MAX).transpose(1, 0, 2)
    return made.reshape(weights.shape[1], -1).astype(np.int8)


def attention_by_phrase(weights: NDArray[np.float64], entries: Entries) -> NDArray[np.float64]:
    """Shares [B, phrases + 1] of the attention, the mean of the heads; the first is that of no phrase."""
    shares = (weights / weights.sum(axis=2, keepdims=True)).mean(axis=0)
    starts = np.flatnonzero(np.diff(entries.phrase, prepend=-1))
    return np.add.reduceat(shares, starts, axis=1)


@dataclass(frozen=True)
class Glance:
    """What was attended to in a frame after a context: shares by phrase, and the logits that came of it."""

    shares: NDArray[np.float64]
    logits: NDArray[np.int16]


class BiasedDriver(Driver):
    """A driver whose joint looks at a catalogue of phrases, once one is set.

    Args:
        program: of `compile_biased`.
    Raises:
        ValueError: the program has no biasing.
    """

    def __init__(self, device: Device, program: Program, observer: Observer | None = None) -> None:
        if KIND not in program.meta:
            raise ValueError(f"{program.meta['name']}: no context biasing in it; compile it with an adapter")
        super().__init__(device, program, observer)
        self.shape: dict = program.meta[KIND]
        self.entries: Entries | None = None
        self.watching = False
        self.glances: dict[tuple[int, Context], Glance] = {}
        """By frame and context, of the utterance at hand, while `watching`."""
        self._made: dict[Labels, NDArray[np.int16]] = {}
        self._asked: OrderedDict[Context, int] = OrderedDict()

    def set_catalogue(
        self, phrases: Sequence[tuple[str, Labels]], progress: Progress | None = None
    ) -> Cycles:
        """Attend to these phrases, and their labels, from now on; to nothing if there are none.

        Between utterances: phrases are encoded on the processor, in its state. One that was met before is
        known. Returns what that took.
        """
        self._count_anew()
        for done, (_, labels) in enumerate(phrases, 1):
            if labels not in self._made:
                self._made[labels] = self._encode_phrase(labels)
            if progress:
                progress(done, len(phrases))
        texts, made = [text for text, _ in phrases], [self._made[labels] for _, labels in phrases]
        self.entries = Entries.build(self.shape, self.shape[NO_BIAS], texts, made) if phrases else None
        return self.cycles

    def reset(self) -> None:
        """See `Driver.reset`."""
        super().reset()
        self.glances = {}

    def joint(self, encoded_slot: int, context: Context) -> NDArray[np.int16]:
        """See `Driver.joint`: the same, biased toward the phrases of the catalogue if there is one."""
        if self.entries is None:
            return super().joint(encoded_slot, context)
        self._turn_to(encoded_slot)
        predicted, slot = self._predict(context), 0
        self._run(QUERY, {1: encoded_slot, 2: predicted, 3: self._ask(context), 4: slot})
        weights = attention_weights(self.device.read(QUERY, slot)[None], self.entries)
        self.device.write(ATTENDED, attend(weights, self.entries)[0], slot)
        self._run(BIASED, {1: encoded_slot, 2: predicted, 3: slot, 4: slot})
        logits = self.device.read(LOGITS, slot, self.vocabulary)
        if self.watching:
            shares = attention_by_phrase(weights, self.entries)[0]
            self.glances[self._frame, context] = Glance(shares, logits)
        return logits

    def _ask(self, context: Context) -> int:
        """Slot of a context's part of the query; kept while it is among the last used."""
        if context in self._asked:
            self._asked.move_to_end(context)
            return self._asked[context]
        slot = len(self._asked)
        if slot == self._slots[LABEL_QUERY]:
            _, slot = self._asked.popitem(last=False)
        self._run(QUERY_LABELS, dict(enumerate((*context, slot), 1)))
        self._asked[context] = slot
        return slot

    def _encode_phrase(self, labels: Labels) -> NDArray[np.int16]:
        """Entries of a phrase, first piece first. It takes the processor's state: not in an utterance."""
        self._run(RESET)
        made = []
        for step in steps_of(labels, self.shape["labels"]):
            self._run(PHRASE, dict(enumerate((*step, 0), 1)))
            made.append(self.device.read(ENTRY, 0))
        return np.array(made[::-1])
