"""Spoken commands from grammar.toml: text, intent and slots, where a speaker may pause, and the split.

A sentence's split is fixed by a hash of its text; names of the list `held_out` are drawn only when asked for.
"""

from __future__ import annotations

import hashlib
import random
import re
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

GRAMMAR = Path(__file__).with_name("grammar.toml")
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"  # upper case: spoken by name
ONES = [
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
]  # fmt: skip
TENS = ["", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
ORDINALS = [
    "first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth", "eleventh",
    "twelfth", "thirteenth", "fourteenth", "fifteenth", "sixteenth", "seventeenth", "eighteenth",
    "nineteenth", "twentieth",
]  # fmt: skip
MONTHS = [
    "january", "february", "march", "april", "may", "june", "july", "august", "september", "october",
    "november", "december",
]  # fmt: skip
CHOICE = re.compile(r"\(([^()]*)\)")
PHRASE = re.compile(r"<(\w+)>")  # in a template: the text of that name under [phrases]
SLOT = re.compile(r"\{(?:(\w+):)?(#?\w+)\}")  # {list}, {#kind}, {name:list}, {name:#kind}


def number(value: int) -> str:
    """0..999999 in words: 342 -> three hundred (and) forty two, without the 'and'."""
    if value < 20:
        return ONES[value]
    if value < 100:
        return TENS[value // 10] + (f" {ONES[value % 10]}" if value % 10 else "")
    for unit, name in ((1000, "thousand"), (100, "hundred")):
        if value >= unit:
            rest = f" {number(value % unit)}" if value % unit else ""
            return f"{number(value // unit)} {name}{rest}"
    raise AssertionError


def ordinal(value: int) -> str:
    """1..39 as an ordinal."""
    if value <= 20:
        return ORDINALS[value - 1]
    if value % 10 == 0:
        return f"{TENS[value // 10][:-1]}ieth"
    return f"{TENS[value // 10]} {ORDINALS[value % 10 - 1]}"


@dataclass(frozen=True)
class Sentence:
    """What is said, and what it means.

    spoken: letters, apostrophes and spaces; a letter spoken by its name is upper case.
    slots: name -> value, lower case, in the order of the text. Empty, as is `intent`, where nobody knows.
    breaks: words before which a speaker may pause.
    names: held-out names in it.
    """

    spoken: str
    intent: str | None = None
    slots: dict[str, str] = field(default_factory=dict)
    breaks: tuple[int, ...] = ()
    names: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The reference: lower case."""
        return self.spoken.lower()


def expansions(template: str) -> list[str]:
    """Every way to take the alternatives of a template; its slots stay."""
    choice = CHOICE.search(template)
    if not choice:
        return [" ".join(template.split())]
    taken = (template[: choice.start()] + way + template[choice.end() :] for way in choice[1].split("|"))
    return [one for way in taken for one in expansions(way)]


class Grammar:
    """Draws sentences.

    Args:
        generators: by the name that a template gives; English ones where none are given.

    Raises:
        ValueError: the file names a domain, list, phrase or generator that there is not, or a slot twice.
    """

    def __init__(self, path: Path = GRAMMAR, generators: Generators | None = None) -> None:
        self._generators = generators or GENERATORS
        tables = tomllib.loads(path.read_text())
        self.weights: dict[str, float] = tables["domains"]
        self.slots = {name: _listed(text) for name, text in tables["slots"].items()}
        self.held_out = {name: _listed(text) for name, text in tables["held_out"].items()}
        phrases = tables.get("phrases", {})
        for table in tables["intents"].values():
            table["templates"] = [_with_phrases(template, phrases, path) for template in table["templates"]]
        self.intents: dict[str, list[str]] = {n: table["templates"] for n, table in tables["intents"].items()}
        self._before, self._inside = set(tables["pauses"]["before"]), set(tables["pauses"]["inside"])
        self.domains: dict[str, list[tuple[str, str]]] = {}
        for name, table in tables["intents"].items():
            self.domains.setdefault(table["domain"], []).extend((name, t) for t in table["templates"])
        self._check(path)

    def _check(self, path: Path) -> None:
        if unknown := set(self.domains) ^ set(self.weights):
            raise ValueError(f"{path}: {sorted(unknown)} need both intents and a weight")
        sources = set(self.slots) | {f"#{kind}" for kind in self._generators}
        for template in (t for templates in self.intents.values() for t in templates):
            for one in expansions(template):
                names = [_name(match) for match in SLOT.finditer(one)]
                unknown = {match[2] for match in SLOT.finditer(one)} - sources
                if unknown or len(set(names)) < len(names):
                    fault = f"there is no {sorted(unknown)}" if unknown else "a slot occurs twice"
                    raise ValueError(f"{path}: {one!r}: {fault}")

    def fingerprint(self) -> str:
        """A hash that changes with the grammar and with what is drawn of it."""
        rng = random.Random(0)
        drawn = [self.sentence(rng) for _ in range(2000)]
        tables = (self.weights, self.slots, self.held_out, self.intents)
        return hashlib.sha256(repr((drawn, tables)).encode()).hexdigest()

    def skeletons(self, intent: str) -> set[str]:
        """Sentences of an intent with {name} in place of each slot's value."""
        ways = {one for template in self.intents[intent] for one in expansions(template)}
        return {SLOT.sub(lambda match: f"{{{_name(match)}}}", way) for way in ways}

    def phrases(self) -> Iterator[str]:
        """What training sentences are made of, but for what the generators say: words and list entries."""
        for templates in self.intents.values():
            for template in templates:
                yield from (part.strip() for one in expansions(template) for part in SLOT.split(one)[::3])
        for values in self.slots.values():
            yield from values

    def draw(self, rng: random.Random, domain: str | None = None) -> str:
        """What is said in one sentence."""
        return self.sentence(rng, domain).spoken

    def sentence(self, rng: random.Random, domain: str | None = None) -> Sentence:
        """One sentence, of a domain or of any."""
        domain = domain or _weighted(self.weights, rng)
        intent, template = rng.choice(self.domains[domain])
        return self._fill(intent, _take(template, rng), rng, {})

    def held_out_sentence(
        self, rng: random.Random, names: dict[str, list[str]] | None = None
    ) -> Sentence:
        """One sentence of two words or more, every name of a held-out kind in it of `names`, or held out."""
        names = names or self.held_out
        while True:
            intent, template = rng.choice(self.domains[_weighted(self.weights, rng)])
            skeleton = _take(template, rng)
            if {match[2] for match in SLOT.finditer(skeleton)} & set(names):
                sentence = self._fill(intent, skeleton, rng, names)
                if " " in sentence.spoken:
                    return sentence

    def call(self, rng: random.Random) -> str:
        """A wake word as one says it before a command: "hey marvin"."""
        calls = [t for t in self.intents["wake"] if [match[2] for match in SLOT.finditer(t)] == ["wake"]]
        return self._fill("wake", _take(rng.choice(calls), rng), rng, {}).spoken

    def _fill(self, intent: str, skeleton: str, rng: random.Random, names: dict[str, list[str]]) -> Sentence:
        words: list[str] = []
        slots: dict[str, str] = {}
        breaks, found, end = [], [], 0
        for match in SLOT.finditer(skeleton):
            # A suffix as in "{person}'s" belongs to the word before it, so places are counted in whole words.
            words = _join(words, skeleton[end : match.start()])
            source, first = match[2], len(words)
            value = self._value(source, rng, names)
            slots[_name(match)] = value.lower()
            breaks += [first] if source in self._before else []
            breaks += range(first + 1, first + len(value.split())) if source in self._inside else []
            found += [value] if source in names else []
            words = _join(words, f" {value}")
            end = match.end()
        words = _join(words, skeleton[end:])
        places = tuple(sorted({place for place in breaks if 0 < place < len(words)}))
        return Sentence(" ".join(words), intent, slots, places, tuple(found))

    def _value(self, source: str, rng: random.Random, names: dict[str, list[str]]) -> str:
        if source.startswith("#"):
            return self._generators[source[1:]](rng, self.slots)
        return rng.choice(names.get(source) or self.slots[source])


def split_of(text: str) -> str:
    """train, dev or test: fixed by the text alone. Texts of one or two words, which repeat, train."""
    if len(text.split()) < 3:
        return "train"
    bucket = hashlib.sha256(text.lower().encode()).digest()[0] % 16
    return {0: "test", 1: "dev"}.get(bucket, "train")


def _listed(text: str) -> list[str]:
    return [" ".join(entry.split()) for entry in text.split(",")]


def _with_phrases(template: str, phrases: dict[str, str], path: Path) -> str:
    if unknown := [name for name in PHRASE.findall(template) if name not in phrases]:
        raise ValueError(f"{path}: {template!r}: there is no phrase {unknown[0]}")
    return PHRASE.sub(lambda match: phrases[match[1]], template)


def _name(match: re.Match[str]) -> str:
    return match[1] or match[2].removeprefix("#")


def _weighted(weights: dict[str, float], rng: random.Random) -> str:
    return rng.choices(list(weights), list(weights.values()))[0]


def _take(template: str, rng: random.Random) -> str:
    while choice := CHOICE.search(template):
        way = rng.choice(choice[1].split("|"))
        template = template[: choice.start()] + way + template[choice.end() :]
    return " ".join(template.split())


def _join(words: list[str], text: str) -> list[str]:
    """Words and a text after them, whose first word continues the last one unless a space comes first."""
    if words and text and not text[0].isspace():
        head, *tail = text.split()
        return [*words[:-1], words[-1] + head, *tail]
    return [*words, *text.split()]


Slots = dict[str, list[str]]
Generators = dict[str, Callable[[random.Random, Slots], str]]


def _digits(rng: random.Random, count: int, oh: float = 0.3) -> str:
    zero = "oh" if rng.random() < oh else "zero"
    return " ".join(zero if d == 0 else ONES[d] for d in (rng.randrange(10) for _ in range(count)))


def _time(rng: random.Random, _: Slots) -> str:
    hour = ONES[rng.randint(1, 12)]
    past = [f" {number(rng.randint(10, 59))}", f" oh {ONES[rng.randint(1, 9)]}"]
    minute = rng.choice(["", "", "", " thirty", " fifteen", " forty five", " o'clock", *past])
    plain = f"{hour}{minute} {rng.choice(['', '', 'A M', 'P M', 'in the morning', 'tonight'])}".strip()
    round_hours = [f"half past {hour}", f"quarter to {hour}", f"quarter past {hour}", "noon", "midnight"]
    return rng.choice([plain, plain, plain, *round_hours])


def _duration(rng: random.Random, _: Slots) -> str:
    usual = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 15, 20, 25, 30, 40, 45, 50, 60, 90]
    count = rng.choice([*usual, rng.randint(1, 99)])
    unit = rng.choice(["second", "minute", "minute", "minute", "hour"])
    plain = f"{'an' if unit == 'hour' else 'one'} {unit}" if count == 1 else f"{number(count)} {unit}s"
    halves = ["half an hour", "an hour and a half", "two and a half minutes", "one hour and twenty minutes"]
    return plain if rng.random() < 0.9 else rng.choice(halves)


def _date(rng: random.Random, _: Slots) -> str:
    day = f"{rng.choice(MONTHS)} {ordinal(rng.randint(1, 31))}"
    year = f"{number(rng.choice([19, 19, 20]))} {number(rng.randint(10, 99))}"
    formal = f"the {ordinal(rng.randint(1, 31))} of {rng.choice(MONTHS)}"
    return rng.choice([day, day, f"{day} {year}", f"{day} {year}", formal])


def _number(rng: random.Random, _: Slots) -> str:
    top = rng.choice([20, 100, 100, 1000, 1000, 10000, 100000])
    return number(rng.randrange(top))


def _spelled(lists: list[str]) -> Callable[[random.Random, Slots], str]:
    def spell(rng: random.Random, slots: Slots) -> str:
        word = rng.choice([word for name in lists for word in slots[name]])
        return " ".join(word.replace(" ", "").replace("'", "").upper())

    return spell


def _letters(rng: random.Random, _: Slots) -> str:
    return " ".join(rng.choice(LETTERS) for _ in range(rng.randint(2, 7)))


def _alnum(rng: random.Random, _: Slots) -> str:
    parts = [rng.choice(LETTERS) for _ in range(rng.randint(1, 4))]
    tail = _digits(rng, rng.randint(1, 5)) if rng.random() < 0.7 else number(rng.randrange(20, 1000))
    return " ".join([*parts, tail])


def _money(rng: random.Random, _: Slots) -> str:
    cents = rng.choice(["", f" and {number(rng.randint(1, 99))} cents"])
    return f"{number(rng.randint(1, 999))} dollars{cents}"


def _temperature(rng: random.Random, _: Slots) -> str:
    return number(rng.choice([rng.randint(15, 30), rng.randint(50, 90), 350, 180, 200]))


COMMANDS = ["rubout", "erase", "enter", "help", "stop", "go", "start", "yes", "no", "repeat"]
GENERATORS: Generators = {
    "time": _time,
    "duration": _duration,
    "date": _date,
    "number": _number,
    "letters": _letters,
    "alnum": _alnum,
    "spell": _spelled(["surname", "person", "city", "rare"]),
    "spell_person": _spelled(["person"]),
    "letter": lambda rng, _: rng.choice(LETTERS),
    "digit": lambda rng, _: rng.choice(ONES[:10]),
    "digits": lambda rng, _: _digits(rng, rng.randint(2, 7)),
    "zip": lambda rng, _: _digits(rng, 5),
    "phone": lambda rng, _: _digits(rng, rng.choice([7, 10])),
    "small": lambda rng, _: number(rng.randint(1, 30)),
    "percent": lambda rng, _: number(rng.choice([*range(0, 101, 5), rng.randint(1, 100)])),
    "temperature": _temperature,
    "channel": lambda rng, _: number(rng.randint(1, 199)),
    "radio": lambda rng, _: f"{number(rng.randint(87, 107))} point {ONES[rng.randint(0, 9)]}",
    "money": _money,
    "ordinal": lambda rng, _: ordinal(rng.randint(1, 12)),
    "command": lambda rng, _: rng.choice(COMMANDS),
}
