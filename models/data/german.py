"""What the German grammar generates: numbers, times, dates, money and spelled words, as they are said.

A number is one word, as it is written: 345 -> dreihundertfünfundvierzig. A letter spoken by its name is upper
case, ß too: ẞ.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from ossicle.models.data.grammar import Slots

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÜ"
ONES = [
    "null", "eins", "zwei", "drei", "vier", "fünf", "sechs", "sieben", "acht", "neun", "zehn", "elf", "zwölf",
    "dreizehn", "vierzehn", "fünfzehn", "sechzehn", "siebzehn", "achtzehn", "neunzehn",
]  # fmt: skip
TENS = ["", "", "zwanzig", "dreißig", "vierzig", "fünfzig", "sechzig", "siebzig", "achtzig", "neunzig"]
IRREGULAR = {1: "erste", 3: "dritte", 7: "siebte", 8: "achte"}
MONTHS = [
    "januar", "februar", "märz", "april", "mai", "juni", "juli", "august", "september", "oktober", "november",
    "dezember",
]  # fmt: skip
COMMANDS = ["löschen", "eingabe", "hilfe", "stopp", "los", "start", "ja", "nein", "wiederholen", "weiter"]
UPPER = str.maketrans({"ß": "ẞ"})  # str.upper would make SS of it
ZWO = 0.1  # share of digit strings in which two is said so as not to be taken for three


def number(value: int) -> str:
    """0..999999 as a word."""
    return f"{_stem(value)}s" if value % 100 == 1 else _stem(value)


def _stem(value: int) -> str:
    """A number as it begins a longer word, or comes before a noun: 1 -> ein, 101 -> einhundertein."""
    if value == 1:
        return "ein"
    if value < 20:
        return ONES[value]
    if value < 100:
        tens, ones = divmod(value, 10)
        return f"{_stem(ones)}und{TENS[tens]}" if ones else TENS[tens]
    for unit, name in ((1000, "tausend"), (100, "hundert")):
        if value >= unit:
            rest = value % unit
            return f"{_stem(value // unit)}{name}{_stem(rest) if rest else ''}"
    raise AssertionError


def count(value: int) -> str:
    """A number before a masculine or neuter noun: ein, zwei, drei."""
    return _stem(value)


def ordinal(value: int) -> str:
    """1..999 as an ordinal after an article: erste, zweite, zwanzigste."""
    if value in IRREGULAR:
        return IRREGULAR[value]
    if value % 100 in IRREGULAR and value > 100:
        return f"{_stem(value - value % 100)}{IRREGULAR[value % 100]}"
    return f"{_stem(value)}{'te' if 0 < value % 100 < 20 else 'ste'}"


def year(value: int) -> str:
    """1100..2099 as a year: neunzehnhundertachtundachtzig, zweitausenddrei."""
    if value >= 2000:
        return number(value)
    rest = value % 100
    return f"{_stem(value // 100)}hundert{number(rest) if rest else ''}"


def upper(word: str) -> str:
    """Letters of a word, each by its name."""
    return " ".join(word.replace(" ", "").replace("'", "").translate(UPPER).upper())


def _digits(rng: random.Random, length: int) -> str:
    names = ONES[:10]
    if rng.random() < ZWO:
        names = [*names[:2], "zwo", *names[3:]]
    return " ".join(rng.choice(names) for _ in range(length))


def _time(rng: random.Random, _: Slots) -> str:
    hour = rng.randint(1, 24) if rng.random() < 0.4 else rng.randint(1, 12)
    minute = rng.choice(
        ["", "", "", " dreißig", " fünfzehn", " fünfundvierzig", f" {number(rng.randint(1, 59))}"]
    )
    spoken = f"{_stem(hour)} uhr{minute}"
    if hour <= 12 and not minute and rng.random() < 0.4:
        spoken += rng.choice([" morgens", " abends", " nachts", " nachmittags"])
    name = ONES[rng.randint(1, 12)]
    some = number(rng.choice([5, 10, 20]))
    by_ear = [
        f"halb {name}", f"halb {name}", f"viertel nach {name}", f"viertel vor {name}", f"dreiviertel {name}",
        f"{some} nach {name}", f"{some} vor {name}", f"fünf vor halb {name}", f"fünf nach halb {name}",
    ]  # fmt: skip
    return rng.choice([spoken, spoken, rng.choice(by_ear)])


def _lasting(rng: random.Random, dative: bool) -> str:
    if rng.random() < 0.1:
        halves = ["eine halbe stunde", "anderthalb stunden", "eineinhalb stunden", "zweieinhalb minuten"]
        chosen = rng.choice([*halves, "eine dreiviertel stunde", "eine stunde und zwanzig minuten"])
        return chosen.replace("eine halbe", "einer halben").replace("eine ", "einer ") if dative else chosen
    usual = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 15, 20, 25, 30, 40, 45, 50, 60, 90]
    value = rng.choice([*usual, rng.randint(2, 99)])
    unit = rng.choice(
        ["sekunde", "minute", "minute", "minute", "stunde", "tag" if rng.random() < 0.3 else "stunde"]
    )
    if value == 1:
        article = ("einem" if dative else "einen") if unit == "tag" else ("einer" if dative else "eine")
        return f"{article} {unit}"
    plural = ("tagen" if dative else "tage") if unit == "tag" else f"{unit}n"
    return f"{count(value)} {plural}"


def _date(ending: str) -> Callable[[random.Random, Slots], str]:
    def date(rng: random.Random, _: Slots) -> str:
        day = f"{ordinal(rng.randint(1, 31))}{ending} {rng.choice(MONTHS)}"
        return rng.choice(
            [day, day, f"{day} {year(rng.choice([rng.randint(1910, 1999), rng.randint(2000, 2035)]))}"]
        )

    return date


def _number(rng: random.Random, _: Slots) -> str:
    return number(rng.randrange(rng.choice([20, 100, 100, 100, 1000, 1000, 10000])))


def _spelled(lists: list[str]) -> Callable[[random.Random, Slots], str]:
    def spell(rng: random.Random, slots: Slots) -> str:
        return upper(rng.choice([word for name in lists for word in slots[name]]))

    return spell


def _letters(rng: random.Random, _: Slots) -> str:
    return " ".join(rng.choice(LETTERS) for _ in range(rng.randint(2, 7)))


def _alnum(rng: random.Random, _: Slots) -> str:
    parts = [rng.choice(LETTERS) for _ in range(rng.randint(1, 4))]
    tail = _digits(rng, rng.randint(1, 5)) if rng.random() < 0.7 else number(rng.randrange(20, 1000))
    return " ".join([*parts, tail])


def _money(rng: random.Random, _: Slots) -> str:
    euros, cents = count(rng.randint(1, 999)), rng.randint(1, 99)
    return euros + " euro" + rng.choice(["", f" {number(cents)}", f" und {count(cents)} cent"])


def _temperature(rng: random.Random, _: Slots) -> str:
    return count(rng.choice([rng.randint(4, 30), rng.randint(15, 25), rng.randint(30, 90), 180, 200]))


GENERATORS: dict[str, Callable[[random.Random, Slots], str]] = {
    "time": _time,
    "duration": lambda rng, _: _lasting(rng, dative=False),
    "duration_dative": lambda rng, _: _lasting(rng, dative=True),
    "date": _date("n"),
    "date_nominative": _date(""),
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
    "count": lambda rng, _: count(rng.randint(1, 30)),
    "percent": lambda rng, _: count(rng.choice([*range(0, 101, 5), rng.randint(1, 100)])),
    "temperature": _temperature,
    "channel": lambda rng, _: number(rng.randint(1, 199)),
    "radio": lambda rng, _: f"{number(rng.randint(87, 107))} komma {ONES[rng.randint(0, 9)]}",
    "money": _money,
    "ordinal": lambda rng, _: ordinal(rng.randint(1, 12)),
    "command": lambda rng, _: rng.choice(COMMANDS),
}
