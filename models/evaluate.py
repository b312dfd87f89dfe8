"""Word error rate of a checkpoint on a manifest, in the processor's integer arithmetic, greedy search.

    python -m ossicle.models.evaluate CHECKPOINT MANIFEST… [--by speaker] [--json OUT.json] [--errors 20]

Intervals: 95 %, 1000 bootstrap resamples of utterances (Bisani & Ney 2004).
"""

from __future__ import annotations

import argparse
import json
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from ossicle.models.data.pack import read_audio
from ossicle.models.data.split import read_manifest
from ossicle.models.exact import ExactTransducer
from ossicle.models.export import Checkpoint, read_checkpoint
from ossicle.runtime.frontend import features
from sentencepiece import SentencePieceProcessor

BATCH = 64
OFFSET = 1  # label = sentencepiece id + 1; label 0 is blank


@dataclass(frozen=True)
class Score:
    """Word errors over a set of utterances; rates in percent."""

    utterances: int
    words: int
    wer: float
    low: float
    high: float
    sentence_correct: float

    def __str__(self) -> str:
        return (
            f"WER {self.wer:5.1f} % [{self.low:.1f}, {self.high:.1f}]   sentences right "
            f"{self.sentence_correct:5.1f} %   {self.utterances} utterances, {self.words} words"
        )


def word_errors(reference: str, hypothesis: str) -> int:
    """Levenshtein distance in words."""
    right = hypothesis.split()
    row = list(range(len(right) + 1))
    for i, word in enumerate(reference.split(), 1):
        previous, row = row, [i]
        for j, other in enumerate(right, 1):
            row.append(min(previous[j] + 1, row[-1] + 1, previous[j - 1] + (word != other)))
    return row[-1]


def score(references: list[str], hypotheses: list[str], seed: int = 0) -> Score:
    """WER with its bootstrap interval. Raises ValueError if there are no words to count."""
    errors = np.array([word_errors(r, h) for r, h in zip(references, hypotheses, strict=True)])
    words = np.array([len(r.split()) for r in references])
    if words.sum() == 0:
        raise ValueError("no words in the references")
    chosen = np.random.default_rng(seed).integers(len(words), size=(1000, len(words)))
    rates = 100 * errors[chosen].sum(axis=1) / np.maximum(words[chosen].sum(axis=1), 1)
    low, high = np.percentile(rates, [2.5, 97.5])
    return Score(
        len(words), int(words.sum()), round(100 * errors.sum() / words.sum(), 2), round(float(low), 2),
        round(float(high), 2), round(100 * float(np.mean(errors == 0)), 2),
    )  # fmt: skip


def transcribe(checkpoint: Checkpoint, utterances: list[NDArray[np.int8]]) -> list[str]:
    """Greedy transcripts of features [T, 120], in the order given."""
    model, tokenizer = ExactTransducer(checkpoint), SentencePieceProcessor(model_proto=checkpoint.tokenizer)
    order = sorted(range(len(utterances)), key=lambda i: len(utterances[i]))
    texts = [""] * len(utterances)
    for start in range(0, len(order), BATCH):
        batch = order[start : start + BATCH]
        lengths = torch.tensor([len(utterances[i]) for i in batch])
        padded = torch.zeros(len(batch), int(lengths.max()), checkpoint.frontend.features, dtype=torch.int8)
        for row, i in enumerate(batch):
            padded[row, : len(utterances[i])] = torch.from_numpy(utterances[i])
        for i, labels in zip(batch, model.greedy(padded, lengths), strict=True):
            texts[i] = tokenizer.decode([label - OFFSET for label in labels])
    return texts


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("manifest", type=Path, nargs="+")
    parser.add_argument("--by", default="source", choices=["source", "speaker", "all"])
    parser.add_argument("--json", type=Path)
    parser.add_argument(
        "--errors", type=int, default=0, metavar="N", help="print N utterances that went wrong"
    )
    a = parser.parse_args()
    torch.set_num_threads(1)
    started = time.time()
    try:
        checkpoint = read_checkpoint(a.checkpoint)
        rows = [row for manifest in a.manifest for row in read_manifest(manifest)]
        audio = [features(read_audio(row["path"]), checkpoint.frontend) for row in rows]
        texts = transcribe(checkpoint, audio)
        sets = defaultdict(list)
        for i, row in enumerate(rows):
            sets["all" if a.by == "all" else row.get(a.by, "all")].append(i)
        scores = {
            name: score([rows[i]["text"] for i in indices], [texts[i] for i in indices])
            for name, indices in sorted(sets.items())
        }
    except ValueError as error:
        parser.error(str(error))
    for name, value in scores.items():
        print(f"{name:28s} {value}")
    wrong = [(row["text"], text) for row, text in zip(rows, texts, strict=True) if row["text"] != text]
    for reference, hypothesis in wrong[: a.errors]:
        print(f"  {reference!r} -> {hypothesis!r}")
    print(f"{len(rows)} utterances in {time.time() - started:.1f} s")
    if a.json:
        a.json.write_text(json.dumps({name: vars(value) for name, value in scores.items()}, indent=1) + "\n")


if __name__ == "__main__":
    main()
