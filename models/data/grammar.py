"""Texts of spoken commands from grammar.toml, split into train, dev and test by a hash of the sentence."""

from __future__ import annotations

import hashlib
import random
import re
import tomllib
from collections.abc import Callable
from pathlib import Path

GRAMMAR = Path(__file__).with_name("grammar.toml")
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"  # upper case: spoken by name
ONES = [
    *(
        "zero",
        "one",
        "two",
        "three",
        "four",
        "five",
        "six",
        "seven",
        "eight",
        "nine",
        "ten",
        "eleven",
        "twelve",
    ),
    *("thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
]
TENS = ["", "", *["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]]
ORDINALS = [
    *(
        "first",
        "second",
        "third",
        "fourth",
        "fifth",
        "sixth",
        "seventh",
        "eighth",
        "ninth",
        "tenth",
        "eleventh",
    ),
    *("twelfth", "thirteenth", "fourteenth", "fifteenth", "sixteenth", "seventeenth", "eighteenth"),
    *("nineteenth", "twentieth"),
]
MONTHS = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
]


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
    return (
        TENS[value // 10][:-1] + "ieth"
        if value % 10 == 0
        else f"{TENS[value // 10]} {ORDINALS[value % 10 - 1]}"
    )


class Grammar:
    """Draws sentences in letters, apostrophes and spaces; a letter spoken by its name is upper case."""

    def __init__(self, path: Path = GRAMMAR) -> None:
        tables = tomllib.loads(path.read_text())
        self.templates: dict[str, list[str]] = tables["templates"]
        self.slots: dict[str, list[str]] = tables["slots"]
        self.weights: dict[str, float] = tables["weights"]
        missing = set(self.templates) ^ set(self.weights)
        if missing:
            raise ValueError(f"{path}: {sorted(missing)} need both templates and a weight")

    def draw(self, rng: random.Random, domain: str | None = None) -> str:
        """One sentence."""
        domains = list(self.templates)
        domain = domain or rng.choices(domains, [self.weights[d] for d in domains])[0]
        text = rng.choice(self.templates[domain])
        while True:
            choice = re.search(r"\(([^()]*)\)", text)
            if not choice:
                break
            text = text[: choice.start()] + rng.choice(choice[1].split("|")) + text[choice.end() :]
        text = re.sub(r"\{(#?)(\w+)\}", lambda m: self._fill(m, rng), text)
        return " ".join(text.split())

    def _fill(self, match: re.Match, rng: random.Random) -> str:
        if match[1]:
            return GENERATORS[match[2]](rng, self.slots)
        return rng.choice(self.slots[match[2]])


def split_of(text: str) -> str:
    """train, dev or test: fixed by the text alone. Texts of one or two words, which repeat, train."""
    if len(text.split()) < 3:
        return "train"
    bucket = hashlib.sha256(text.lower().encode()).digest()[0] % 16
    return {0: "test", 1: "dev"}.get(bucket, "train")


Slots = dict[str, list[str]]


def _digits(rng: random.Random, count: int, oh: float = 0.3) -> str:
    zero = "oh" if rng.random() < oh else "zero"
    return " ".join(zero if d == 0 else ONES[d] for d in (rng.randrange(10) for _ in range(count)))


def _time(rng: random.Random, _: Slots) -> str:
    hour = ONES[rng.randint(1, 12)]
    minute = rng.choice(["", "", "", " thirty", " fifteen", " forty five", " o'clock",
                         f" {number(rng.randint(10, 59))}",
                         f" oh {ONES[rng.randint(1, 9)]}"])  # fmt: skip
    plain = f"{hour}{minute} {rng.choice(['', '', 'A M', 'P M', 'in the morning', 'tonight'])}".strip()
    return rng.choice(
        [
            plain,
            plain,
            plain,
            f"half past {hour}",
            f"quarter to {hour}",
            f"quarter past {hour}",
            "noon",
            "midnight",
        ]
    )


def _duration(rng: random.Random, _: Slots) -> str:
    count = rng.choice(
        [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 15, 20, 25, 30, 40, 45, 50, 60, 90, rng.randint(1, 99)]
    )
    unit = rng.choice(["second", "minute", "minute", "minute", "hour"])
    plain = f"{'an' if unit == 'hour' else 'one'} {unit}" if count == 1 else f"{number(count)} {unit}s"
    half = rng.choice(
        ["half an hour", "an hour and a half", "two and a half minutes", "one hour and twenty minutes"]
    )
    return plain if rng.random() < 0.9 else half


def _date(rng: random.Random, _: Slots) -> str:
    day = f"{rng.choice(MONTHS)} {ordinal(rng.randint(1, 31))}"
    year = f"{number(rng.choice([19, 19, 20]))} {number(rng.randint(10, 99))}"
    return rng.choice(
        [
            day,
            day,
            f"{day} {year}",
            f"{day} {year}",
            f"the {ordinal(rng.randint(1, 31))} of {rng.choice(MONTHS)}",
        ]
    )


def _number(rng: random.Random, _: Slots) -> str:
    top = rng.choice([20, 100, 100, 1000, 1000, 10000, 100000])
    return number(rng.randrange(top))


def _spelled(words: list[str]) -> Callable[[random.Random, Slots], str]:
    return lambda rng, slots: " ".join(
        rng.choice([w for s in words for w in slots[s]]).replace(" ", "").replace("'", "").upper()
    )


def _letters(rng: random.Random, _: Slots) -> str:
    return " ".join(rng.choice(LETTERS) for _ in range(rng.randint(2, 7)))


def _alnum(rng: random.Random, _: Slots) -> str:
    parts = [rng.choice(LETTERS) for _ in range(rng.randint(1, 4))]
    tail = _digits(rng, rng.randint(1, 5)) if rng.random() < 0.7 else number(rng.randrange(20, 1000))
    return " ".join([*parts, tail])


GENERATORS: dict[str, Callable[[random.Random, Slots], str]] = {
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
    "temperature": lambda rng, _: number(
        rng.choice([rng.randint(15, 30), rng.randint(50, 90), 350, 180, 200])
    ),
    "channel": lambda rng, _: number(rng.randint(1, 199)),
    "radio": lambda rng, _: f"{number(rng.randint(87, 107))} point {ONES[rng.randint(0, 9)]}",
    "money": lambda rng, _: (
        f"{number(rng.randint(1, 999))} dollars"
        + rng.choice(["", f" and {number(rng.randint(1, 99))} cents"])
    ),
    "ordinal": lambda rng, _: ordinal(rng.randint(1, 12)),
    "command": lambda rng, _: rng.choice(
        ["rubout", "erase", "enter", "help", "stop", "go", "start", "yes", "no", "repeat"]
    ),
}
