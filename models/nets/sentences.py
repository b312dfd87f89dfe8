"""Sentences as an NLU net learns them: words with a tag each; what recognition may do to them; new names."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from ossicle.models.data.grammar import Grammar, Sentence, split_of
from ossicle.runtime.nlu import BEGIN, INSIDE, OUTSIDE, spans_of
from ossicle.runtime.words import split_words

DROPPED, ADDED = 0.35, 0.15  # share of the errors; the others put a word in place of another
NEW_WORD = 0.5  # share of the wrong words that are no words


@dataclass(frozen=True)
class Tagged:
    """Words and a tag of each: outside, begin.SLOT or inside.SLOT."""

    words: tuple[str, ...]
    tags: tuple[str, ...]
    intent: str

    @property
    def spans(self) -> set[tuple[str, int, int]]:
        """(slot, first word, past the last)."""
        return set(spans_of(self.tags))

    @property
    def slots(self) -> set[tuple[str, str]]:
        """(slot, value), the words of a value apart by a space."""
        return {(slot, " ".join(self.words[first:past])) for slot, first, past in self.spans}


def tagged(text: str, intent: str, slots: Mapping[str, str]) -> Tagged | None:
    """A text with its slots, in the order of the text; None where a value is not in what follows the last."""
    words = [word.text for word in split_words(text)]
    tags, at = [OUTSIDE] * len(words), 0
    for slot, value in slots.items():
        wanted = [word.text for word in split_words(value)]
        places = (i for i in range(at, len(words) - len(wanted) + 1) if words[i : i + len(wanted)] == wanted)
        first = next(places, None)
        if first is None or not wanted:
            return None
        at = first + len(wanted)
        tags[first:at] = [f"{BEGIN}.{slot}", *[f"{INSIDE}.{slot}"] * (len(wanted) - 1)]
    return Tagged(tuple(words), tuple(tags), intent)


def drawn(grammar: Grammar, rng: random.Random, split: str) -> Iterator[Tagged]:
    """Sentences of a split without end; of "names", those of names held out of training."""
    while True:
        sentence = grammar.held_out_sentence(rng) if split == "names" else grammar.sentence(rng)
        if split in ("names", split_of(sentence.text)) and (made := _known(sentence)):
            yield made


def _known(sentence: Sentence) -> Tagged | None:
    return tagged(sentence.text, sentence.intent, sentence.slots) if sentence.intent else None


def vocabulary(grammar: Grammar) -> list[str]:
    """The words of the grammar's templates and lists."""
    return sorted({word.text for phrase in grammar.phrases() for word in split_words(phrase)})


def renamed(
    sentence: Tagged, slots: Sequence[str], share: float, rng: random.Random, words: list[str]
) -> Tagged:
    """Some values of the named slots become new names, made of the grammar's words."""
    made = list(sentence.words)
    for slot, first, past in spans_of(sentence.tags):
        if slot in slots and rng.random() < share:
            made[first:past] = [blend(rng.choice(words), rng.choice(words), rng) for _ in range(past - first)]
    return replace(sentence, words=tuple(made))


def blend(first: str, second: str, rng: random.Random) -> str:
    """A word that begins as one and ends as another."""
    head, tail = (rng.randint(1, max(2, len(word) - 1)) for word in (first, second))
    return first[:head] + second[-tail:]


def corrupted(sentence: Tagged, rate: float, rng: random.Random, words: list[str]) -> Tagged:
    """With so many errors a word: words left out, put in, or in place of others. One word is left."""
    pairs: list[tuple[str, str]] = []
    for word, tag in zip(sentence.words, sentence.tags, strict=True):
        kind = rng.random() / rate if rate else 1.0
        wrong = rng.choice(words)
        wrong = blend(word, wrong, rng) if rng.random() < NEW_WORD else wrong
        if kind >= 1:
            pairs.append((word, tag))
        elif kind < ADDED:
            pairs += [(word, tag), (wrong, tag.replace(BEGIN, INSIDE, 1))]
        elif kind >= ADDED + DROPPED:
            pairs.append((wrong, tag))
    pairs = pairs or [(sentence.words[0], sentence.tags[0])]
    return Tagged(tuple(word for word, _ in pairs), tuple(_valid([tag for _, tag in pairs])), sentence.intent)


def _valid(tags: Sequence[str]) -> Iterator[str]:
    """Where a value's first word was left out, it begins with the next."""
    before = OUTSIDE
    for tag in tags:
        kind, _, slot = tag.partition(".")
        begins = kind == INSIDE and before.partition(".")[2] != slot
        before = f"{BEGIN}.{slot}" if begins else tag
        yield before
