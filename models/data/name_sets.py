"""Development sets of names that a recognizer never heard, of names that it knows, of none; lists of names.

    python -m ossicle.models.data.name_sets OUT --heard TRAIN.jsonl… [--more NAMES.json] [--count 300]
                                            [--seed 1] [--workers 1]

--heard: manifests of all sentences that it was trained on; audio is not read. Names with a word of these, or
of the test sets' names, are not drawn. --more: further names by kind, {"person": […], "surname": […],
"city": […]}, in small letters, the most common first. OUT gets, --count sentences each, of mishearings.jsonl
four times as many, of known-… half as many:

    mishearings   names never heard, training voices: what models/aliases.py learns from
    names-…       other names never heard; "context": they, others, and as many that were heard
    known-…       names that were heard; "context" likewise
    without-…     sentences without such names that were never trained on
    …-training, …-variants, …-shifted   voices that trained; espeak-ng's that neither train nor test; flite's
                  and festival's that train, their vocal tract longer or shorter than it ever is in training
    rare.txt, common.txt, short.txt     lists, half of names that were heard: with any others, with the most
                  common of --more, with the most common of these that have five letters at most

What models/name_weights.py reads. The same arguments give the same files, and go on where a run was stopped.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path

from ossicle.models.data.grammar import Grammar, Sentence, split_of
from ossicle.models.data.invented import invented_lists
from ossicle.models.data.listed import listed_names
from ossicle.models.data.make import BATCH, each, make_batch, pool_of
from ossicle.models.data.plan import CONTEXT, Utterance
from ossicle.models.data.split import read_manifest, write_manifest
from ossicle.models.data.voices import CENTRES, ESPEAK_DEV, Request, another_person, draw
from ossicle.runtime.console import progress_bar, write_whole

MISHEARINGS = 4
KINDS = {"person": 8, "surname": 3, "city": 4, "device": 3}
"""How many of a list are of each kind, as in the test sets' lists."""
VARIANTS = (
    *ESPEAK_DEV, "Mike", "Nguyen", "RicishayMax", "RicishayMax2", "RicishayMax3", "Storm", "anika",
    "announcer", "kaukovalta", "robosoft", "robosoft5",
)  # fmt: skip
SHIFTED = ("flite:slt", "flite:awb", "flite:kal16", "flite:kal", "festival:kal_diphone")
TRACTS = (0.66, 0.78), (1.3, 1.5)  # training has 0.82 to 1.22
DEVICES = (
    "waffle iron", "bread proofer", "salad spinner", "tea urn", "pasta roller", "rotisserie", "cheese cave",
    "egg topper", "ice shaver", "popcorn cart", "griddle", "tandoor", "wok burner", "samovar", "crepe pan",
    "raclette grill", "nut mill", "butter churn", "carillon", "accordion", "glockenspiel", "mellotron",
    "bagpipes", "cello stand", "zither", "vibraphone", "gong", "jukebox", "telescope dome", "seismograph",
    "barometer", "centrifuge", "autoclave", "microscope", "gyroscope", "sextant", "kaleidoscope", "loom",
    "potter's wheel", "bandsaw", "drill press", "soldering station", "spot welder", "forge", "anvil lamp",
    "wood chipper", "leaf shredder", "birdbath heater", "aquaponics tank", "compost tumbler", "mushroom tent",
    "chicken coop door", "hayloft hoist", "wind turbine", "rain barrel pump", "foghorn", "weather vane",
    "dartboard light", "foosball table", "trampoline net",
)  # fmt: skip
Names = dict[str, list[str]]
Endless = Callable[[random.Random], Iterator[Utterance]]


@dataclass(frozen=True)
class Pools:
    """Names by kind: never heard, the first of `common` the most common ones; and heard."""

    fresh: Names
    common: Names
    heard: Names


def pools(heard: set[str], more: Names, rng: random.Random) -> Pools:
    """Names to draw from.

    Args:
        heard: words that were trained on.
        more: further names by kind, in small letters.
    """
    grammar = Grammar()
    tested = {word for names in grammar.held_out.values() for name in names for word in name.split()}
    kinds, never = {kind: grammar.slots[kind] for kind in KINDS}, heard | tested

    def unheard(names: Sequence[str]) -> list[str]:
        return [name for name in dict.fromkeys(names) if never.isdisjoint(name.split())]

    common = {kind: unheard(more.get(kind, [])) for kind in KINDS}
    listed = {kind: unheard(listed_names(kind, tested)) for kind in KINDS}
    made = invented_lists(kinds, never, 300, rng)
    fresh = {k: [*_some(common[k], 600, rng), *_some(listed[k], 300, rng), *made[k]] for k in KINDS}
    fresh["device"] = [name for name in DEVICES if name not in grammar.held_out["device"] + kinds["device"]]
    return Pools({kind: sorted(set(names)) for kind, names in fresh.items()}, common, kinds)


def _some(names: Sequence[str], most: int, rng: random.Random) -> list[str]:
    return list(names) if len(names) <= most else rng.sample(names, most)


def halves(names: Names, rng: random.Random) -> tuple[Names, Names]:
    """Names for the table of mishearings, and others for the sets."""
    drawn = {kind: rng.sample(values, len(values)) for kind, values in names.items()}
    return tuple({kind: values[i::2] for kind, values in drawn.items()} for i in (0, 1))  # type: ignore[return-value]


def some_of(names: Names, count: int, rng: random.Random) -> list[str]:
    """So many names, each kind with its share, as far as there are some."""
    order = rng.choices(list(KINDS), list(KINDS.values()), k=4 * count)
    left = {kind: rng.sample(values, len(values)) for kind, values in names.items()}
    return list(dict.fromkeys(left[kind].pop() for kind in order if left[kind]))[:count]


def context_of(said: Sequence[str], others: Names, heard: Names, rng: random.Random) -> tuple[str, ...]:
    """CONTEXT phrases: what is said, others never heard, and as many that were heard."""
    found = list(dict.fromkeys([*said, *some_of(others, CONTEXT // 2, rng)]))[: CONTEXT // 2 + len(said)]
    found = list(dict.fromkeys([*found, *some_of(heard, CONTEXT, rng)]))[:CONTEXT]
    return tuple(rng.sample(found, len(found)))


def voice(kind: str, spoken: str, rng: random.Random) -> Request:
    """A voice of a kind of sets, see above."""
    if kind == "training":
        return draw(spoken, "train", rng)
    drawn = draw(spoken, "dev", rng)
    if kind == "variants":
        return replace(drawn, voice=f"{drawn.voice.partition('+')[0]}+{rng.choice(VARIANTS)}")
    engine, _, name = rng.choice(SHIFTED).partition(":")
    person = another_person(replace(drawn, engine=engine, voice=name, shift=1.0), random.Random(rng.random()))
    shift = round(rng.uniform(*rng.choice(TRACTS)), 3)
    f0 = CENTRES.get(name, CENTRES["kal16"]) * rng.uniform(0.8, 1.25) / shift**0.5
    return replace(person, shift=shift, f0=round(f0), stretch=round(rng.uniform(0.85, 1.2) * shift, 2))


def named(kind: str, names: Names, pool: Pools, rng: random.Random) -> Iterator[Utterance]:
    """Endless utterances with some names."""
    grammar = Grammar()
    while True:
        sentence = grammar.held_out_sentence(rng, names)
        context = context_of(sentence.names, pool.fresh, pool.heard, rng)
        yield Utterance(sentence, voice(kind, sentence.spoken, rng), (), context)


def without(kind: str, rng: random.Random) -> Iterator[Utterance]:
    """Endless utterances of sentences that are kept for development."""
    grammar, seen = Grammar(), set[str]()
    while True:
        sentence: Sentence = grammar.sentence(rng)
        if split_of(sentence.text) == "dev" and sentence.text not in seen:
            seen.add(sentence.text)
            yield Utterance(sentence, voice(kind, sentence.spoken, rng), ())


def sets(pool: Pools, seed: int, count: int) -> dict[str, list[Utterance]]:
    """What is said in each set."""
    misheard, fresh = halves(pool.fresh, random.Random(f"{seed} halves"))
    rest = Pools(fresh, pool.common, pool.heard)

    def some(name: str, make: Endless, size: int = count) -> list[Utterance]:
        return list(islice(make(random.Random(f"{seed} {name}")), size))

    learned_from = partial(named, "training", misheard, rest)
    made = {"mishearings": some("mishearings", learned_from, MISHEARINGS * count)}
    for kind in ("training", "variants", "shifted"):
        made[f"names-{kind}"] = some(f"names {kind}", partial(named, kind, fresh, rest))
        made[f"known-{kind}"] = some(f"known {kind}", partial(named, kind, pool.heard, rest), count // 2)
        made[f"without-{kind}"] = some(f"without {kind}", partial(without, kind))
    return made


def lists(pool: Pools, rng: random.Random) -> dict[str, list[str]]:
    """Lists of CONTEXT names, half of them heard."""
    first = {kind: [name for name in names if " " not in name][:200] for kind, names in pool.common.items()}
    short = {kind: [name for name in names if len(name) <= 5][:100] for kind, names in pool.common.items()}
    half = {"rare": pool.fresh, "common": first, "short": short}
    made = {name: some_of(names, CONTEXT // 2, rng) for name, names in half.items()}
    known = {name: [n for n in some_of(pool.heard, CONTEXT, rng) if n not in made[name]] for name in made}
    return {name: (made[name] + known[name])[:CONTEXT] for name in made if made[name]}


def speak(out: Path, made: dict[str, list[Utterance]], workers: int) -> None:
    """Audio and manifests."""
    with pool_of(workers) as pool, progress_bar() as bar:
        for name, utterances in made.items():
            (out / name).mkdir(parents=True, exist_ok=True)
            batches = [utterances[i : i + BATCH] for i in range(0, len(utterances), BATCH)]
            jobs = [partial(make_batch, batch, out / name, f"{i:04d}") for i, batch in enumerate(batches)]
            rows = [row for rows in each(pool, jobs, name, bar) for row in rows]
            write_manifest(out / f"{name}.jsonl", rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--heard", type=Path, nargs="+", required=True, metavar="MANIFEST")
    parser.add_argument("--more", type=Path, metavar="JSON")
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=1)
    a = parser.parse_args()
    try:
        heard = {word for path in a.heard for row in read_manifest(path) for word in row["text"].split()}
        more = json.loads(a.more.read_text()) if a.more else {}
        pool = pools(heard, more, random.Random(a.seed))
        a.out.mkdir(parents=True, exist_ok=True)
        for name, names in lists(pool, random.Random(f"{a.seed} lists")).items():
            write_whole(a.out / f"{name}.txt", "\n".join(names) + "\n")
        speak(a.out, sets(pool, a.seed, a.count), a.workers)
    except (ValueError, OSError) as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
