"""Language identification: an LSTM whose outputs are a score a language and how much the step counts.

What it decides from the first step on, and why, is ossicle.runtime.language. A net of its own and not a head
on the recognizer's encoder: it stays as it is when the recognizer is trained anew.

A net must not learn which synthesizer speaks in place of the language. English and German clips are drawn as
often, and each kind of voice as often in either: espeak-ng's own German, and flite's voices with the sounds
of German as near as English has them (data/accent.py). People's speech is English alone, and rare in a batch;
vocal tracts, channels, rooms and noise are drawn anew.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile
import soxr
import torch
from numpy.typing import NDArray
from ossicle.models.data.pack import RATE, read_audio
from ossicle.models.data.split import Row, read_manifest
from ossicle.models.export import Checkpoint
from ossicle.models.nets.pack import Clip, Shaper, collate, crop
from ossicle.models.nets.recipe import NetRecipe
from ossicle.models.nets.stack import Stack
from ossicle.models.nets.task import AudioTask, Scores, interval, outputs
from ossicle.runtime.language import LEAST, evidence, languages_of
from torch import Tensor
from torch.nn import functional

ENGLISH, GERMAN = 0, 1
KINDS = {"espeak": "espeak", "flite": "flite", "festival": "flite"}  # of a source; any other: people
SHARES = {"espeak": 0.6, "flite": 0.3, "people": 0.1}  # of a language's clips in a batch, where it has them
CROP_FRAMES = (60, 360)  # of 10 ms
AUGMENTED = 0.5  # share of the training clips
TILT_DB = 6.0
EARLIEST = 5  # steps before which a belief bears no loss
SECONDS = (0.5, 1.0, 2.0)
SHORTEST, LONGEST = 3200, 80000  # samples
GAP = 1600  # samples of silence between the words of a joined clip
JOINED, JOINS = 3, 60  # words in a joined clip; joined clips of a language


class Language(AudioTask):
    """[data]: english, german, human (corpora), clips (of a language by kind), noise, rir, people.

    people: a folder of recorded words, EN/*.ogg and DE/*.ogg, of one person a language; tested on only.
    """

    TEST = ("test-voices", "test-flite", "test-noisy", "test-names", "test-human")
    PEOPLE = ("test-people-words", "test-people-joined")

    def __init__(self, recipe: NetRecipe) -> None:
        super().__init__(recipe)
        self.shape = Shaper(self.frontend, TILT_DB)
        self.languages = languages_of(recipe.name, recipe.topology)
        if "people" in self.data:
            self.TEST = (*self.TEST, *self.PEOPLE)
        self._groups: list[tuple[list[NDArray[np.int64]], NDArray[np.float64]]] = []

    def clips(self, name: str) -> Iterator[Clip]:
        """Audio with its label, kind and source."""
        if name in self.PEOPLE:
            yield from _people(Path(self.data["people"]), self.languages, joined=name.endswith("joined"))
            return
        rows = self._rows(name)
        noisy = name in ("train", "test-noisy")
        rng = np.random.default_rng(len(name))
        augment = self.augmenter([row["path"] for row in rows]) if noisy else None
        for row in rows:
            samples = read_audio(row["path"])[:LONGEST]
            if len(samples) < SHORTEST:
                continue
            if augment and (name != "train" or rng.random() < AUGMENTED):
                samples = augment(samples, rng)
            kept = ("label", "kind", "source", "speaker")
            yield samples, {key: row[key] for key in kept}

    def _rows(self, name: str) -> list[Row]:
        """Rows of a set, of both languages, as many of each where both have them."""
        folders = [Path(self.data[key]) for key in ("english", "german")]
        human = Path(self.data["human"])
        if name == "test-human":
            return _labelled(read_manifest(human / "test.jsonl"), ENGLISH)
        if name in ("train", "dev"):
            counts = self.data["clips"] if name == "train" else dict.fromkeys(SHARES, self.data["dev_clips"])
            found = [
                row
                for label, folder in enumerate(folders)
                for row in _beginning(folder / f"{name}.jsonl", counts, label)
            ]
            return found + _labelled(
                _spread(read_manifest(human / f"{name}.jsonl"), counts["people"]), ENGLISH
            )
        source = {"test-flite": "test-synthesizer", "test-noisy": "test-voices"}.get(name, name)
        wanted = {"test-flite": "flite"}.get(name)
        sets = [read_manifest(folder / f"{source}.jsonl") for folder in folders]
        sets = [[row for row in rows if wanted in (None, row["source"])] for rows in sets]
        count = min(map(len, sets))
        return [row for label, rows in enumerate(sets) for row in _labelled(rows[:count], label)]

    def batch(self, rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Features [B, T, 120] in [-1, 1), lengths in features [B], labels [B]."""
        pack = self.pack("train")
        groups = self._groups = self._groups or _groups(pack.rows, len(self.languages))
        chosen, labels = [], []
        for i in range(self.recipe.schedule.batch):
            label = i % len(groups)
            kinds, shares = groups[label]
            kind = kinds[rng.choice(len(kinds), p=shares)]
            chosen.append(int(kind[rng.integers(len(kind))]))
            labels.append(label)
        clips = [
            self.shape(
                crop(pack.frames(i), int(rng.integers(*CROP_FRAMES)), rng),
                rng,
                int(rng.integers(self.shape.warps)),
            )
            for i in chosen
        ]
        features, lengths = collate(clips)
        return features / 128, lengths, torch.tensor(labels)

    def loss(self, network: Stack, batch: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        """Cross entropy of what is believed at the end of a clip, and of the beliefs on the way there."""
        features, lengths, labels = batch
        values = network(features)
        ends = lengths * values.shape[1] // features.shape[1]
        beliefs = believed(values)
        targets = labels[:, None].expand(-1, beliefs.shape[1])
        each = functional.cross_entropy(beliefs.transpose(1, 2), targets, reduction="none")
        steps = torch.arange(each.shape[1])
        counted = ((steps >= EARLIEST) & (steps < ends[:, None])).float()
        on_the_way = (each * counted).sum(1) / counted.sum(1).clamp(min=1)
        at_the_end = each.gather(1, (ends - 1).clamp(min=0)[:, None])[:, 0]
        return (at_the_end + on_the_way).mean()

    def score(self, checkpoint: Checkpoint, names: tuple[str, ...]) -> Scores:
        """Percent right: all with its interval, by language, and by seconds heard from the beginning."""
        scores = {}
        for name in names:
            pack = self.pack(name)
            made = outputs(checkpoint, [pack.frames(i) for i in range(len(pack))])
            labels = np.array([row["label"] for row in pack.rows])
            step = 0.01 * len(pack.frames(0)) / max(1, len(made[0]))
            right = {seconds: decisions(made, seconds, step) == labels for seconds in (*SECONDS, np.inf)}
            scores[name] = _rates(right, labels, self.languages)
            if name == "test-human":
                sources = np.array([row["source"] for row in pack.rows])
                for source in sorted(set(sources)):
                    here = sources == source
                    part = {seconds: values[here] for seconds, values in right.items()}
                    scores[f"{name}: {source}"] = _rates(part, labels[here], self.languages)
        return scores


def believed(values: Tensor) -> Tensor:
    """`runtime.language.evidence` of outputs [B, T, languages + 1], in the training graph."""
    weights = torch.sigmoid(values[..., -1:]) + LEAST
    return (weights * values[..., :-1]).cumsum(1) / weights.cumsum(1)


def decisions(made: list[NDArray], seconds: float, step: float) -> NDArray[np.int64]:
    """The language of each clip's outputs [T, rows], a step so many seconds, after so many seconds of it."""
    found = []
    for values in made:
        last = len(values) if np.isinf(seconds) else min(len(values), max(1, round(seconds / step)))
        found.append(int(evidence(values[:last])[-1].argmax()))
    return np.array(found)


def _rates(
    right: dict[float, NDArray[np.bool_]], labels: NDArray[np.int64], languages: list[str]
) -> dict[str, float]:
    whole = right[np.inf]
    low, high = interval(whole)
    made = {"accuracy": _percent(whole), "low": low, "high": high}
    for label, code in enumerate(languages):
        if (labels == label).any():
            made[code] = _percent(whole[labels == label])
    made |= {f"{seconds:g} s": _percent(right[seconds]) for seconds in SECONDS}
    return {**made, "clips": len(labels)}


def _percent(right: NDArray[np.bool_]) -> float:
    return round(100 * float(np.mean(right)), 2)


def _kind(row: Row) -> str:
    return KINDS.get(row["source"], "people")


def _labelled(rows: list[Row], label: int) -> list[Row]:
    return [{**row, "label": label, "kind": _kind(row)} for row in rows]


def _beginning(path: Path, counts: dict[str, int], label: int) -> list[Row]:
    """The first so many rows of each kind: a synthesized corpus is in no order, and may be a large one.

    Raises:
        ValueError: there is no such manifest.
    """
    left, found = {kind: count for kind, count in counts.items() if kind != "people"}, []
    try:
        with path.open() as lines:
            for line in lines:
                row = json.loads(line)
                if left.get(_kind(row), 0) > 0:
                    left[_kind(row)] -= 1
                    found.append({**row, "path": str(path.parent / row["path"])})
                if not any(left.values()):
                    break
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}; models/README.md says how it is made") from error
    return _labelled(found, label)


def _spread(rows: list[Row], count: int) -> list[Row]:
    """So many rows, spread over all of a manifest."""
    return [rows[i * len(rows) // count] for i in range(count)] if count < len(rows) else rows


def _groups(rows: list[Row], languages: int) -> list[tuple[list[NDArray[np.int64]], NDArray[np.float64]]]:
    """Of each language the numbers of its clips by kind, and the share of each kind."""
    made = []
    for label in range(languages):
        numbers = {
            kind: np.array([i for i, r in enumerate(rows) if (r["label"], r["kind"]) == (label, kind)])
            for kind in SHARES
        }
        there = [kind for kind, found in numbers.items() if len(found)]
        shares = np.array([SHARES[kind] for kind in there])
        made.append(([numbers[kind] for kind in there], shares / shares.sum()))
    return made


def _people(folder: Path, languages: list[str], joined: bool) -> Iterator[Clip]:
    """Words of a person a language, one by one, or some of them one after another.

    Raises:
        ValueError: a language has no recordings there.
    """
    rng = np.random.default_rng(0)
    for label, code in enumerate(languages):
        words = [_resampled(path) for path in sorted((folder / code).glob("*.ogg"))]
        if not words:
            raise ValueError(f"no recordings in {folder / code}; apt-get install ktuberling-data has them")
        row = {"label": label, "kind": "people", "source": folder.name, "speaker": f"{folder.name}:{code}"}
        clips = (_join([words[i] for i in rng.permutation(len(words))[:JOINED]]) for _ in range(JOINS))
        for samples in clips if joined else words:
            yield samples, row


def _resampled(path: Path) -> NDArray[np.int16]:
    audio, rate = soundfile.read(path, dtype="float32", always_2d=True)
    made = soxr.resample(audio.mean(axis=1), rate, RATE, quality="HQ")
    return np.clip(np.rint(made * 32767), -32768, 32767).astype(np.int16)


def _join(words: list[NDArray[np.int16]]) -> NDArray[np.int16]:
    silence = np.zeros(GAP, np.int16)
    return np.concatenate([part for word in words for part in (word, silence)])
