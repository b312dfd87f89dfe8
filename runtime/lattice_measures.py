"""How good and how large the lattices of a set of recordings are, with intervals.

    WER           word edits of the best sentence to what was said / words said
    oracle WER    the same of the sentence of the lattice with the fewest edits
    edges a word  edges with a word / words said (lattice density)
    rescored WER  of the sentence that a language model prefers, in the lattice as it arrives
    reduction     of the WER by rescoring, relative

Rates in percent. Intervals: 95 %, 1000 bootstrap resamples of utterances, the same for every rate, so that
those of ratios are of pairs (Bisani & Ney 2004, "Bootstrap estimates for confidence intervals in ASR").
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from ossicle.runtime.console import plotting
from ossicle.runtime.lattice import Lattice
from ossicle.runtime.lattice_budget import within
from ossicle.runtime.lattice_prune import prune
from ossicle.runtime.lattice_wire import decode, encode
from ossicle.runtime.rescoring import Rescorer

RESAMPLES, SEED = 1000, 0
POSTERIORS = (0.0, 1e-6, 1e-5, 1e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3)
GOAL_PERCENT = 1.0
"""Of the audio's bytes, that a message is to stay below."""


@dataclass(frozen=True)
class Counts:
    """Of one utterance: words said, word edits of the best sentence, of the oracle and after rescoring, edges
    with a word, bytes of its lattice as a message and of its audio as 16-bit samples."""

    words: int
    errors: int
    oracle: int
    rescored: int | None
    edges: int
    message_bytes: int
    audio_bytes: int


def word_errors(reference: str, hypothesis: str) -> int:
    """Levenshtein distance in words; a letter and its accent are one letter, however they are encoded."""
    reference, hypothesis = (unicodedata.normalize("NFC", text) for text in (reference, hypothesis))
    right = hypothesis.split()
    row = list(range(len(right) + 1))
    for i, word in enumerate(reference.split(), 1):
        previous, row = row, [i]
        for j, other in enumerate(right, 1):
            row.append(min(previous[j] + 1, row[-1] + 1, previous[j - 1] + (word != other)))
    return row[-1]


def count(
    lattice: Lattice, text: str, audio_bytes: int, rescorer: Rescorer | None = None, posterior: float = 0.0,
    most_bytes: int | None = None,
) -> Counts:  # fmt: skip
    """Measure the lattice of an utterance.

    Args:
        text: what was said.
        rescorer: rescores the lattice after its way over the network.
        posterior: edges below it are pruned first.
        most_bytes: of its message; what is longer is pruned further.
    Raises:
        ValueError: a posterior out of range.
    """
    words = unicodedata.normalize("NFC", text).split()
    sent = prune(lattice, posterior) if posterior else lattice
    sent = sent if most_bytes is None else within(sent, most_bytes)
    message = encode(sent)
    rescored = word_errors(text, rescorer.rescore(decode(message))[0].text) if rescorer else None
    return Counts(
        len(words), word_errors(text, sent.best().text), sent.oracle_errors(words), rescored, sent.words,
        len(message), audio_bytes,
    )  # fmt: skip


def summary(counts: Sequence[Counts], seed: int = SEED) -> dict[str, Any]:
    """The measures of the head of this file, over utterances; {} of none, or of no words."""
    words = _column(counts, lambda c: c.words)
    if not words.sum():
        return {}
    chosen = np.random.default_rng(seed).integers(len(counts), size=(RESAMPLES, len(counts)))

    def rate(above: NDArray, below: NDArray, of: Callable[[float], float] = lambda x: x) -> dict[str, Any]:
        """100 * above / below, of all and its interval; None where there is nothing below."""
        if not below.sum():
            return {"value": None, "low": None, "high": None}
        drawn = below[chosen].sum(axis=1)
        rates = [of(100 * a / b) for a, b in zip(above[chosen].sum(axis=1), drawn, strict=True) if b]
        low, high = np.percentile(rates, [2.5, 97.5])
        return _rounded({"value": of(100 * above.sum() / below.sum()), "low": low, "high": high})

    errors, oracle = _column(counts, lambda c: c.errors), _column(counts, lambda c: c.oracle)
    made: dict[str, Any] = {
        "utterances": len(counts), "words": int(words.sum()), "wer": rate(errors, words),
        "oracle_wer": rate(oracle, words), "oracle_percent_of_wer": rate(oracle, errors),
        "edges_per_word": round(float(_column(counts, lambda c: c.edges).sum() / words.sum()), 2),
        "message_bytes": _spread(_column(counts, lambda c: c.message_bytes)), **_upload(counts),
    }  # fmt: skip
    if all(c.rescored is not None for c in counts):
        rescored = _column(counts, lambda c: c.rescored or 0)
        made["rescored_wer"] = rate(rescored, words)
        made["reduction_percent"] = rate(rescored, errors, lambda percent: 100 - percent)
    return made


def curve(
    lattices: Sequence[Lattice], texts: Sequence[str], progress: Callable[[int, int], None] | None = None
) -> list[dict[str, float]]:
    """A row a posterior that is pruned at: edges a word, oracle WER, mean bytes of a message."""
    rows = []
    for done, posterior in enumerate(POSTERIORS, 1):
        counts = [
            count(lattice, text, 0, None, posterior) for lattice, text in zip(lattices, texts, strict=True)
        ]
        words = max(1, sum(c.words for c in counts))
        rows.append({
            "posterior": posterior, "edges_per_word": round(sum(c.edges for c in counts) / words, 3),
            "oracle_wer": round(100 * sum(c.oracle for c in counts) / words, 3),
            "wer": round(100 * sum(c.errors for c in counts) / words, 3),
            "message_bytes": round(sum(c.message_bytes for c in counts) / max(1, len(counts)), 1),
        })  # fmt: skip
        if progress:
            progress(done, len(POSTERIORS))
    return rows


def draw(curves: dict[str, list[dict[str, float]]], path: Path) -> None:
    """Oracle WER against density and against bytes, a line a set, as a picture.

    Raises:
        Failure: matplotlib is not installed.
    """
    pyplot = plotting()
    figure, axes = pyplot.subplots(1, 2, figsize=(10, 4), sharey=True)
    for axis, key, label in zip(
        axes, ("edges_per_word", "message_bytes"), ("edges a word", "bytes of a message, mean"), strict=True
    ):
        for name, rows in curves.items():
            (line,) = axis.plot([r[key] for r in rows], [r["oracle_wer"] for r in rows], ".-", label=name)
            axis.axhline(rows[0]["wer"], color=line.get_color(), lw=0.8, ls=":")
        axis.set(xlabel=label, xlim=(0, None), ylim=(0, None))
        axis.grid(alpha=0.3)
    axes[0].set(ylabel="oracle WER, %; dotted: of the best sentence")
    axes[0].legend()
    figure.tight_layout()
    figure.savefig(path, dpi=100)
    pyplot.close(figure)


def _upload(counts: Sequence[Counts]) -> dict[str, Any]:
    """Bytes of the messages against those of the audio: of all, by utterance, and how many stay small."""
    sent, audio = _column(counts, lambda c: c.message_bytes), _column(counts, lambda c: c.audio_bytes)
    if not audio.all():
        return {"percent_of_audio": None, "within_goal_percent": None}
    shares = 100 * sent / audio
    return {
        "percent_of_audio": {"all": round(float(100 * sent.sum() / audio.sum()), 3), **_spread(shares)},
        "within_goal_percent": round(100 * float(np.mean(shares <= GOAL_PERCENT)), 2),
    }


def _column(counts: Sequence[Counts], value: Callable[[Counts], float]) -> NDArray[np.float64]:
    return np.array([value(c) for c in counts], np.float64)


def _spread(values: NDArray[np.float64]) -> dict[str, float]:
    p50, p90, p99 = np.percentile(values, [50, 90, 99])
    return _rounded({"mean": values.mean(), "p50": p50, "p90": p90, "p99": p99, "max": values.max()}, 3)


def _rounded(values: dict[str, float], digits: int = 2) -> dict[str, float]:
    return {name: round(float(value), digits) for name, value in values.items()}
