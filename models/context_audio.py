"""What an encoder hears before the command of a clip that begins with a wake word, and what that changes.

    ossicle evaluate CHECKPOINT cache/synth.wake/test-wake.jsonl --context-audio all

    cold    nothing: its state is zero where the command begins
    own     the clip's own context, `wake_seconds` of it
    other   a row's `wake_other`: another speaker's
    noise   a row's `wake_noise`: nobody's

The command is the same feature vectors in all of them; predictor and search begin with it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from ossicle.models.data.pack import RATE, read_audio
from ossicle.models.data.split import Row, wake_seconds
from ossicle.runtime.frontend import FrontendParameters, features
from ossicle.runtime.recognizer import padding_before

if TYPE_CHECKING:
    from ossicle.models.evaluate import Evaluation

COLD, OWN, OTHER, NOISE = KINDS = ("cold", "own", "other", "noise")
ALL = "all"
FIELDS = {OTHER: "wake_other", NOISE: "wake_noise"}  # of a row: the recording


@dataclass(frozen=True)
class Heard:
    """Features [T, 120] of utterances; `begins`: the encoder frames of each that have no text."""

    features: list[NDArray[np.int8]]
    begins: list[int] | None = None


def kinds_of(asked: Sequence[str]) -> list[str]:
    """Kinds, in the order of KINDS. Raises ValueError on one that there is not."""
    if odd := [kind for kind in asked if kind not in (*KINDS, ALL)]:
        raise ValueError(f"--context-audio: there is no {odd[0]!r}; use {', '.join((*KINDS, ALL))}")
    return [kind for kind in KINDS if kind in asked or ALL in asked]


def hear(rows: list[Row], kind: str, frontend: FrontendParameters, topology: dict) -> Heard:
    """What is heard of rows with a context of this kind.

    Raises:
        ValueError: a row without `wake_seconds`, or without a context of this kind; an unreadable recording.
    """
    step = frontend.step_samples * math.prod(layer["reduce"] for layer in topology["encoder"])
    pairs = [_hear(row, kind, frontend, step) for row in rows]
    return Heard([vectors for vectors, _ in pairs], [begin for _, begin in pairs])


def _hear(row: Row, kind: str, frontend: FrontendParameters, step: int) -> tuple[NDArray[np.int8], int]:
    samples, begin = read_audio(row["path"]), round(wake_seconds(row) * RATE)
    if begin >= len(samples):
        raise ValueError(
            f"{row['path']}: `wake_seconds` is {wake_seconds(row)}, and the clip has {len(samples) / RATE} s"
        )
    context = samples[:0] if kind == COLD else samples[:begin] if kind == OWN else _other(row, kind)
    before = np.zeros(padding_before(len(context), step), np.int16)
    heard = np.concatenate([before, context, samples[begin:]])
    return features(heard, frontend), (len(before) + len(context)) // step


def _other(row: Row, kind: str) -> NDArray[np.int16]:
    if FIELDS[kind] not in row:
        raise ValueError(
            f"{row['path']}: its row has no `{FIELDS[kind]}`, a recording for --context-audio {kind}; "
            f"use {COLD} and {OWN}"
        )
    return read_audio(row[FIELDS[kind]])


@dataclass(frozen=True)
class Change:
    """By how many percent word errors fall, with the interval of 95 %; None where there were none before."""

    fewer: float | None
    low: float | None
    high: float | None


def change(before: Sequence[int], after: Sequence[int], seed: int = 0) -> Change:
    """From errors of some utterances to those of the same ones; 1000 paired bootstrap resamples of them."""
    counts = np.array([before, after], np.float64).T
    if not counts[:, 0].sum():
        return Change(None, None, None)
    chosen = np.random.default_rng(seed).integers(len(counts), size=(1000, len(counts)))
    sums = counts[chosen].sum(axis=1)
    rates = 100 * (1 - sums[:, 1] / np.maximum(sums[:, 0], 1))
    low, high = np.percentile(rates, [2.5, 97.5])
    fewer = 100 * (1 - counts[:, 1].sum() / counts[:, 0].sum())
    return Change(*(round(float(value), 2) for value in (fewer, low, high)))


def report(
    found: Mapping[str, Evaluation], sets: dict[str, list[int]], errors: int
) -> tuple[dict, list[dict]]:
    """What was found by kind, as JSON and as a table, and by how much that is better than cold.

    Args:
        sets: name -> indices of the rows of it.
        errors: utterances that went wrong, at most, of each kind.
    """
    made, table = {}, []
    for kind, one in found.items():
        changes = {}
        if COLD in found and len(found) > 1:
            before = found[COLD]
            changes = {name: change(before.counts(rows), one.counts(rows)) for name, rows in sets.items()}
        made[kind] = {"sets": one.to_dict(), "errors": one.errors(errors)}
        if changes and kind != COLD:
            made[kind]["fewer_errors"] = {name: vars(its) for name, its in changes.items()}
        for row in one.table():
            name = row.pop("set")
            more = {}
            if its := changes.get(name):
                its = Change(None, None, None) if kind == COLD else its
                more = {"fewer errors %": its.fewer, "from": its.low, "to": its.high}
            table.append({"set": name, "context audio": kind, **row, **more})
    return {"context_audio": made}, table
