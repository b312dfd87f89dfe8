"""What is said in a set of the corpus, by which voice, with which pauses: drawn before it is spoken."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from ossicle.models.data.grammar import Grammar, Sentence, split_of
from ossicle.models.data.invented import invented_lists
from ossicle.models.data.languages import ENGLISH, Language
from ossicle.models.data.listed import listed_names
from ossicle.models.data.pauses import Pause, draw_pauses
from ossicle.models.data.voices import Request, draw
from ossicle.models.data.wake import Wake, draw_wake

PHRASES = 0.15  # share of training sentences cut from a manifest of texts
INVENTED = 2000  # names of each kind
VOICES_OF = {"test-wake-clean": "test-names"}  # sets that the voices of another speak
CONTEXT = 100  # phrases of a test sentence's context, its own among them


@dataclass(frozen=True)
class Utterance:
    """A sentence for a voice, with its pauses, and the wake word that the voice says before it."""

    sentence: Sentence
    request: Request
    pauses: tuple[Pause, ...]
    context: tuple[str, ...] = ()
    wake: Wake | None = None


def phrases(manifest: Path, rng: random.Random, never: list[str]) -> Iterator[str]:
    """Endless runs of 3 to 7 words from the texts of a manifest, without the names of `never`."""
    texts = [json.loads(line)["text"].split() for line in manifest.read_text().splitlines()]
    texts = [words for words in texts if len(words) >= 6]
    while True:
        words = rng.choice(texts)
        start, length = rng.randrange(len(words) - 2), rng.randint(3, 7)
        phrase = " ".join(words[start : start + length])
        if not any(f" {name} " in f" {phrase.lower()} " for name in never):
            yield phrase


def sentences(
    name: str, rng: random.Random, texts: Path | None, language: Language = ENGLISH, invented: float = 0,
    listed: bool = False,
) -> Iterator[Sentence]:  # fmt: skip
    """Endless sentences of a set; those of a test set differ from each other.

    Args:
        invented: share of the training sentences that have names which nobody has.
        listed: people and places among those names are of public lists instead.
    """
    grammar, seen = language.grammar(), set()
    names = [entry for values in grammar.held_out.values() for entry in values]
    extra = phrases(texts, rng, names) if texts and name == "train" else None
    split = name.partition("-")[0]
    fresh = _fresh(grammar, names, rng, listed) if invented and name == "train" else {}
    while True:
        if name == "test-names":
            sentence = grammar.held_out_sentence(rng)
        elif fresh and rng.random() < invented:
            sentence = replace(grammar.held_out_sentence(rng, fresh), names=())
        elif extra and rng.random() < PHRASES:
            sentence = Sentence(next(extra))
        else:
            sentence = grammar.sentence(rng)
        fits = name == "test-names" or split_of(sentence.text) == split
        if fits and (name == "train" or sentence.text not in seen):
            seen.add(sentence.text)
            yield sentence


def utterances(
    name: str, seed: int, texts: Path | None = None, language: Language = ENGLISH, invented: float = 0,
    wake: bool = False, listed: bool = False,
) -> Iterator[Utterance]:  # fmt: skip
    """Endless utterances of a set; the same seed gives the same ones.

    Args:
        wake: each after a wake word; other sentences then, so that such a corpus adds to one without.
    """
    rng = random.Random(f"{seed} {name}{' after a wake word' if wake else ''}")
    grammar, voices = language.grammar(), VOICES_OF.get(name, name)
    for sentence in sentences(name, rng, texts, language, invented, listed):
        request = draw(sentence.spoken, voices, rng, language.shares, language.accents)
        context = context_phrases(sentence.names, grammar, rng) if sentence.names else ()
        pauses = draw_pauses(sentence, rng)
        yield Utterance(sentence, request, pauses, context, draw_wake(grammar, rng) if wake else None)


def _fresh(grammar: Grammar, never: list[str], rng: random.Random, listed: bool) -> dict[str, list[str]]:
    """Names of the kinds that are held out of training."""
    kinds = {kind: grammar.slots[kind] for kind in grammar.held_out}
    known = [name for names in kinds.values() for name in names]
    found = {kind: listed_names(kind, never) for kind in kinds} if listed else {}
    missing = {kind: names for kind, names in kinds.items() if not found.get(kind)}
    made = invented_lists(missing, [*never, *known], INVENTED, rng)
    return {kind: made.get(kind) or found[kind] for kind in kinds}


def context_phrases(names: tuple[str, ...], grammar: Grammar, rng: random.Random) -> tuple[str, ...]:
    """CONTEXT phrases: the names, and others of the same lists, half of which were trained on."""
    chosen = list(dict.fromkeys(names))
    trained = {name: grammar.slots[name] for name in grammar.held_out}
    for lists, count in ((grammar.held_out, (CONTEXT + len(chosen)) // 2), (trained, CONTEXT)):
        pool = sorted({entry for values in lists.values() for entry in values} - set(chosen))
        chosen += rng.sample(pool, count - len(chosen))
    return tuple(rng.sample(chosen, len(chosen)))
