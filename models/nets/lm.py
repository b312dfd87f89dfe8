"""Language model of whole sentences: an LSTM over the recognizer's word pieces, to rescore its lattices with.

    P(w) = P(piece 1 | begin) P(piece 2 | begin, piece 1) ... P(end | begin, all pieces)

Inputs and outputs are numbered as the recognizer's labels; label 0, its blank, is the begin and the end. A
batch is drawn anew from the grammar's training sentences. So that words it never reads do not become
impossible, some names are new words, some sentences are words in no order, and some, where there are such
texts, a part of a text from elsewhere. What it is for is runtime/rescoring.py; LSTM language models:
Sundermeyer et al. 2012, Interspeech.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from ossicle.models.data.grammar import Grammar, Sentence, split_of
from ossicle.models.data.split import read_manifest
from ossicle.models.export import Checkpoint, read_checkpoint
from ossicle.models.nets.exact import ExactStack
from ossicle.models.nets.recipe import NetRecipe
from ossicle.models.nets.sentences import blend, renamed, tagged, vocabulary
from ossicle.models.nets.stack import Stack
from ossicle.models.nets.task import UNIT, Scores, Task
from ossicle.models.search import pieces_of
from sentencepiece import SentencePieceProcessor
from torch import Tensor
from torch.nn import functional

BOUNDARY, OFFSET = 0, 1  # label of begin and end; of sentencepiece's piece 0
DEV_SENTENCES, TEST_SENTENCES = 600, 3000
BATCH = 128
IGNORED = -100
MEAN_PIECES = 11  # of a sentence and its end: a loss of about 1 nat, whatever the batch
POOL = 4  # a batch is the sentences of like length of so many batches
LONGEST = 8  # words of a sequence in no order, or of a part of a text


@dataclass(frozen=True)
class _Texts:
    """Texts from elsewhere: the share of all sentences, and of these the share that are a part of a text."""

    texts: list[str]
    share: float
    parts: float

    def draw(self, draw: random.Random) -> str:
        text = draw.choice(self.texts)
        if draw.random() >= self.parts:
            return text
        words = text.split()
        first = draw.randrange(len(words))
        return " ".join(words[first : first + draw.randint(1, LONGEST)])


def _read_texts(table: dict) -> _Texts:
    """Raises ValueError, one line, on a table of other keys, or a manifest that is none, or empty."""
    if set(table) != {"manifest", "share", "parts"}:
        raise ValueError(f"data.texts has manifest, share and parts, not {', '.join(sorted(table))}")
    texts = [row["text"] for row in read_manifest(Path(table["manifest"])) if row["text"].strip()]
    if not texts:
        raise ValueError(f"{table['manifest']}: no texts")
    return _Texts(texts, table["share"], table["parts"])


class Lm(Task):
    """[data]: tokenizer, the recognizer's checkpoint; new_names, slots whose values are renamed; renamed, the
    share of sentences that it happens to; loose, the share that are words in no order; texts (optional),
    tables of a manifest with `text`, the share that are of it, and parts, the share of those that are a part
    of one."""

    TEST = ("test-sentences", "test-names")

    def __init__(self, recipe: NetRecipe) -> None:
        super().__init__(recipe)
        tokenizer = read_checkpoint(Path(self.data["tokenizer"])).tokenizer
        if not tokenizer:
            raise ValueError(f"{self.data['tokenizer']}: no recognizer, it has no tokenizer")
        self.pieces = pieces_of(tokenizer)
        self.tokenizer = SentencePieceProcessor(model_proto=tokenizer)
        self.grammar = Grammar()
        self.words = vocabulary(self.grammar)
        self.texts = [_read_texts(one) for one in self.data.get("texts", [])]

    @property
    def topology(self) -> dict:
        """The recipe's, with the text of each label."""
        return {**self.recipe.topology, "labels": self.pieces}

    def prepare(self) -> None:
        """Nothing: sentences are drawn. Raises ValueError unless the net is one of the tokenizer's labels."""
        tokens = self.recipe.topology.get("tokens", {})
        found = (tokens.get("labels"), tokens.get("buckets"), self.recipe.topology["layers"][-1]["linear"])
        wanted = (1, len(self.pieces), len(self.pieces))
        if found != wanted:
            raise ValueError(
                f"{self.recipe.name}: labels, buckets and outputs are {found}; the tokenizer needs {wanted}"
            )

    def sentences(self, name: str) -> list[str]:
        """The texts of a set, each once, in the order drawn."""
        rng, split = random.Random(name), name.removeprefix("test-")
        count = DEV_SENTENCES if split == "dev" else TEST_SENTENCES
        distinct: dict[str, None] = {}
        while len(distinct) < count:
            if split == "names":
                distinct.setdefault(self.grammar.held_out_sentence(rng).text)
            else:
                distinct.setdefault(self._drawn(rng, "dev" if split == "dev" else "test").text)
        return list(distinct)

    def batch(self, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Inputs [B, T] and targets [B, T] (IGNORED past the end) of sentences of like length."""
        draw = random.Random(int(rng.integers(1 << 31)))
        size = self.recipe.schedule.batch
        texts = sorted((self.text(draw) for _ in range(POOL * size)), key=len)
        first = draw.randrange(POOL) * size
        return self.collate(texts[first : first + size])

    def text(self, draw: random.Random) -> str:
        """A sentence to train on."""
        kind = draw.random() - self.data["loose"]
        if kind < 0:
            return " ".join(self._word(draw) for _ in range(draw.randint(1, LONGEST)))
        for texts in self.texts:
            kind -= texts.share
            if kind < 0:
                return texts.draw(draw)
        sentence = self._drawn(draw, "train")
        return self._renamed(sentence, draw) if draw.random() < self.data["renamed"] else sentence.text

    def _word(self, draw: random.Random) -> str:
        word = draw.choice(self.words)
        return word if draw.random() < 0.5 else blend(word, draw.choice(self.words), draw)

    def _drawn(self, draw: random.Random, split: str) -> Sentence:
        while True:
            sentence = self.grammar.sentence(draw)
            if split_of(sentence.text) == split:
                return sentence

    def _renamed(self, sentence: Sentence, draw: random.Random) -> str:
        made = tagged(sentence.text, sentence.intent or "", sentence.slots)
        if made is None:
            return sentence.text
        return " ".join(renamed(made, self.data["new_names"], 1.0, draw, self.words).words).replace(" '", "'")

    def collate(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        """Texts as `loss` takes them, see `batch`."""
        rows = [[piece + OFFSET for piece in pieces] for pieces in self.tokenizer.encode(texts)]
        pad = torch.nn.utils.rnn.pad_sequence
        inputs = pad([torch.tensor([BOUNDARY, *row]) for row in rows], batch_first=True)
        targets = [torch.tensor([*row, BOUNDARY]) for row in rows]
        return inputs, pad(targets, batch_first=True, padding_value=IGNORED)

    def loss(self, network: Stack, batch: tuple[Tensor, Tensor]) -> Tensor:
        """Cross entropy of pieces and ends, summed over a sentence, over MEAN_PIECES."""
        inputs, targets = batch
        return _entropy(network(inputs.unsqueeze(2)), targets) / (MEAN_PIECES * len(inputs))

    def score(self, checkpoint: Checkpoint, names: tuple[str, ...]) -> Scores:
        """Perplexities, in the processor's integers: of words and ends, and of pieces and ends."""
        model, scores = ExactStack(checkpoint), {}
        for name in names:
            texts = sorted(self.sentences(name), key=len)
            nats = sum(self._nats(model, texts))
            words = sum(len(text.split()) + 1 for text in texts)
            pieces = sum(len(row) + 1 for row in self.tokenizer.encode(texts))
            scores[name] = {
                "perplexity": round(float(np.exp(nats / words)), 2),
                "piece_perplexity": round(float(np.exp(nats / pieces)), 3),
                "sentences": len(texts),
                "words": words - len(texts),
            }
        return scores

    def _nats(self, model: ExactStack, texts: list[str]) -> Iterator[float]:
        for start in range(0, len(texts), BATCH):
            inputs, targets = self.collate(texts[start : start + BATCH])
            yield _entropy(model(inputs.unsqueeze(2)) * UNIT, targets).item()


def _entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    """Nats of all targets [B, T] under outputs [B, T, labels]."""
    return functional.cross_entropy(
        outputs.flatten(0, 1), targets.flatten(), ignore_index=IGNORED, reduction="sum"
    )
