"""Meaning of a sentence: an intent and slots, by an LSTM on hashed words that reads the sentence twice.

Sentences are drawn from the grammar, anew for each batch; the hash of a text keeps those of the test out of
the training. Some names become new ones, and some words are wrong, as a recognizer's are. What its outputs
stand for, and how they are read, is runtime/nlu.py; joint intent and slots: Hakkani-Tur et al. 2016,
Interspeech.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from ossicle.models.data.grammar import SLOT, Grammar
from ossicle.models.data.split import read_manifest
from ossicle.models.export import Checkpoint
from ossicle.models.nets.exact import ExactStack
from ossicle.models.nets.recipe import NetRecipe
from ossicle.models.nets.sentences import Tagged, corrupted, drawn, renamed, tagged, vocabulary
from ossicle.models.nets.stack import Stack
from ossicle.models.nets.task import UNIT, Scores, Task, interval
from ossicle.runtime.nlu import Meanings, output_labels
from ossicle.runtime.words import labels_of, split_words
from torch import Tensor
from torch.nn import functional

DEV_SENTENCES, TEST_SENTENCES = 600, 3000
WRONG_WORDS = 0.15  # errors a word of test-corrupted
IGNORED = -100
NOTHING = Tagged((), (), "")  # what no words mean
RECOGNIZED = "test-recognized"
BATCH = 256


@dataclass(frozen=True)
class Case:
    """A sentence to test on. `heard`: the words that the net gets; `wanted`: its slots, see `Nlu.cases`."""

    heard: tuple[str, ...]
    intent: str
    wanted: frozenset[tuple]
    places: bool


class Nlu(Task):
    """[data]: new_names, slots whose values are renamed; renamed, the share of them; wrong, errors a word of
    sentences that are not clean; clean, the share that are; recognized, a manifest with `hypothesis`,
    `intent` and `slots`, if there is one."""

    def __init__(self, recipe: NetRecipe) -> None:
        super().__init__(recipe)
        self.grammar = Grammar()
        self.words = vocabulary(self.grammar)
        self.meanings = Meanings(meanings_of(self.grammar))
        self.numbers = {name: i for i, name in enumerate(self.meanings.intents)}
        self.tags = {name: i for i, name in enumerate(self.meanings.tags)}
        self.TEST = ("test-sentences", "test-names", "test-corrupted")
        self.TEST += (RECOGNIZED,) if "recognized" in self.data else ()

    @property
    def topology(self) -> dict:
        """The recipe's, with the labels of the grammar's intents and slots."""
        return {**self.recipe.topology, "labels": self.meanings.labels}

    def prepare(self) -> None:
        """Nothing: sentences are drawn. Raises ValueError unless there are as many outputs as labels."""
        outputs, count = self.recipe.topology["layers"][-1]["linear"], len(self.meanings.labels)
        if outputs != count:
            raise ValueError(
                f"{self.recipe.name}: the last layer has {outputs} outputs; the grammar needs {count}"
            )

    def cases(self, name: str) -> list[Case]:
        """The sentences of a set, each once.

        Slots are (name, first word, past the last); of recognized ones (name, value), as said.
        """
        if name == RECOGNIZED:
            return [_recognized(row) for row in read_manifest(Path(self.data["recognized"]))]
        rng, split = random.Random(name), name.removeprefix("test-")
        drawing = drawn(self.grammar, rng, split if split in ("names", "dev") else "test")
        count = DEV_SENTENCES if split == "dev" else TEST_SENTENCES
        distinct: dict[Tagged, None] = {}
        while len(distinct) < count:
            distinct.setdefault(next(drawing))
        rate = WRONG_WORDS if split == "corrupted" else 0.0
        made = [corrupted(sentence, rate, rng, self.words) for sentence in distinct]
        return [Case(one.words, one.intent, frozenset(one.spans), True) for one in made]

    def batch(self, rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Labels [B, T, labels], steps [B], intents [B], tags [B, T] (IGNORED but at the second reading)."""
        draw = random.Random(int(rng.integers(1 << 31)))
        sentences = islice(drawn(self.grammar, draw, "train"), self.recipe.schedule.batch)
        return self.collate([self._spoiled(sentence, draw) for sentence in sentences])

    def _spoiled(self, sentence: Tagged, draw: random.Random) -> Tagged:
        sentence = renamed(sentence, self.data["new_names"], self.data["renamed"], draw, self.words)
        if draw.random() < self.data["clean"]:
            return sentence
        return corrupted(sentence, self.data["wrong"], draw, self.words)

    def collate(self, sentences: list[Tagged]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Sentences as `loss` takes them, see `batch`."""
        labels, steps = self._labels([sentence.words for sentence in sentences])
        tags = torch.full(labels.shape[:2], IGNORED)
        for row, sentence, last in zip(tags, sentences, steps.tolist(), strict=True):
            numbers = torch.tensor([self.tags[tag] for tag in sentence.tags])
            row[last - len(numbers) : last] = numbers
        return labels, steps, torch.tensor([self.numbers[s.intent] for s in sentences]), tags

    def _labels(self, sentences: list[tuple[str, ...]]) -> tuple[Tensor, Tensor]:
        """Labels [B, T, labels], 0 past the end, and steps [B]."""
        buckets = self.recipe.topology["tokens"]["buckets"]
        made = [torch.from_numpy(labels_of(words, buckets)) for words in sentences]
        padded = torch.nn.utils.rnn.pad_sequence(made, batch_first=True)
        return padded, torch.tensor([len(one) for one in made])

    def loss(self, network: Stack, batch: tuple[Tensor, Tensor, Tensor, Tensor]) -> Tensor:
        """Cross entropy of the intents at the last step, and of the tags, summed over a sentence's words."""
        labels, steps, intents, tags = batch
        outputs, count = network(labels), len(self.numbers)
        last = outputs[torch.arange(len(steps)), steps - 1, :count]
        words = functional.cross_entropy(
            outputs[..., count:].flatten(0, 1), tags.flatten(), ignore_index=IGNORED, reduction="sum"
        )
        return functional.cross_entropy(last, intents) + words / len(steps)

    def score(self, checkpoint: Checkpoint, names: tuple[str, ...]) -> Scores:
        """Intents right, F1 of the slots, sentences with anything wrong: percent, with intervals."""
        model, scores = ExactStack(checkpoint), {}
        for name in names:
            cases = self.cases(name)
            found = self._read(model, [case.heard for case in cases if case.heard])
            meanings = [next(found) if case.heard else NOTHING for case in cases]
            scores[name] = measures(cases, meanings)
        return scores

    def _read(self, model: ExactStack, sentences: list[tuple[str, ...]]) -> Iterator[Tagged]:
        """What the net makes of sentences of a word or more, in their order."""
        for start in range(0, len(sentences), BATCH):
            chosen = sentences[start : start + BATCH]
            labels, steps = self._labels(chosen)
            outputs = model(labels).numpy() * UNIT
            for words, rows, last in zip(chosen, outputs, steps.tolist(), strict=True):
                tags = self.meanings.tag(rows[last - len(words) : last])
                yield Tagged(words, tuple(tags), self.meanings.intent(rows[last - 1])[0])


def meanings_of(grammar: Grammar) -> list[str]:
    """Labels of the outputs of a net that knows a grammar's intents and slots."""
    templates = [template for templates in grammar.intents.values() for template in templates]
    slots = {found[1] or found[2].removeprefix("#") for one in templates for found in SLOT.finditer(one)}
    return output_labels(sorted(grammar.intents), sorted(slots))


def measures(cases: list[Case], found: list[Tagged]) -> dict[str, float]:
    """Of sentences and what was found in them. Slots count where name and place, or name and value, agree."""
    slots = [one.spans if case.places else one.slots for case, one in zip(cases, found, strict=True)]
    intents = np.array([case.intent == one.intent for case, one in zip(cases, found, strict=True)])
    counts = np.array(
        [[len(case.wanted & own), len(case.wanted), len(own)] for case, own in zip(cases, slots, strict=True)]
    )
    right = intents & (counts == counts[:, :1]).all(axis=1)
    low, high = interval(intents)
    f1_low, f1_high = f1_interval(counts)
    best, worst = interval(~right)
    return {
        "intent": _percent(intents), "low": low, "high": high,
        "slot_f1": round(float(f1(counts.sum(axis=0))), 2), "f1_low": f1_low, "f1_high": f1_high,
        "semantic_error": _percent(~right), "error_low": best, "error_high": worst, "sentences": len(cases),
    }  # fmt: skip


def f1(counts: NDArray) -> float:
    """Percent, of counts [..., (right, wanted, found)]; 100 where nothing was wanted and nothing found."""
    right, wanted, found = np.moveaxis(np.asarray(counts, float), -1, 0)
    return np.where(wanted + found > 0, 200 * right / np.maximum(wanted + found, 1), 100.0)[()]


def f1_interval(counts: NDArray, seed: int = 0) -> tuple[float, float]:
    """95 % of the F1 of 1000 bootstrap resamples of sentences, counts [sentences, 3]."""
    chosen = np.random.default_rng(seed).integers(len(counts), size=(1000, len(counts)))
    low, high = np.percentile(f1(counts[chosen].sum(axis=1)), [2.5, 97.5])
    return round(float(low), 2), round(float(high), 2)


def _percent(value: NDArray[np.bool_]) -> float:
    return round(100 * float(np.mean(value)), 2)


def _recognized(row: dict) -> Case:
    said = tagged(row["text"], row["intent"], row["slots"])
    heard = tuple(word.text for word in split_words(row["hypothesis"]))
    return Case(heard, row["intent"], frozenset(said.slots if said else ()), False)
