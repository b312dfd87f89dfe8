"""Names that people and places have, thousands of them, from the lists of Faker (MIT licence).

What invented names (invented.py) lack: Ulysses, Xavier, Tomasz are not spelled as they sound.
"""

from __future__ import annotations

import importlib.util
import re
import unicodedata
from collections.abc import Iterable, Iterator
from typing import Any

LOCALES = (
    "en_US", "en_GB", "en_AU", "en_CA", "en_IE", "en_IN", "en_NZ", "de_DE", "fr_FR", "es_ES", "it_IT",
    "pl_PL", "nl_NL", "sv_SE", "fi_FI", "pt_BR", "tr_TR", "ro_RO", "hr_HR", "cs_CZ", "no_NO", "da_DK",
    "hu_HU",
)  # fmt: skip
LISTS = {
    "person": ("first_names_male", "first_names_female"),
    "surname": ("last_names",),
    "city": ("cities", "countries", "states"),
}
"""Attributes of Faker's providers, by kind of name."""
ENGLISH_TIMES = 4  # a name of an English locale is drawn as often as this many of another
LONGEST = 14  # letters of a word
LETTERS = str.maketrans({"ß": "ss", "ø": "o", "ł": "l", "đ": "d", "ı": "i", "æ": "ae", "-": " ", ".": " "})


def listed_names(kind: str, never: Iterable[str]) -> list[str]:
    """Names of a kind in small letters, those of English locales several times, none with a word of `never`.

    A kind that Faker doesn't list has none. The same version of Faker gives the same.

    Raises:
        ValueError: Faker is missing.
    """
    taken = {word for phrase in never for word in phrase.lower().split()}
    names: list[str] = []
    for locale in LOCALES if kind in LISTS else ():
        spelled = {_spelled(name) for provider in _providers(locale) for name in _entries(provider, kind)}
        fresh = sorted(name for name in spelled if name and taken.isdisjoint(name.split()))
        names += fresh * (ENGLISH_TIMES if locale.startswith("en") else 1)
    return names


def _providers(locale: str) -> list[Any]:
    if importlib.util.find_spec("faker") is None:
        raise ValueError("--listed: the lists are Faker's: pip install 'ossicle[train]'")
    from faker import Faker

    return Faker(locale).get_providers()


def _entries(provider: Any, kind: str) -> Iterator[str]:
    for attribute in LISTS[kind]:
        for entry in getattr(provider, attribute, ()):
            if isinstance(entry, str):
                yield entry


def _spelled(name: str) -> str:
    """In the 26 letters; "" for one that can't be, or that is too short or too long to be said."""
    plain = unicodedata.normalize("NFKD", name.lower().translate(LETTERS))
    words = "".join(letter for letter in plain if not unicodedata.combining(letter)).split()
    whole = " ".join(words)
    fits = re.fullmatch(r"[a-z ]{3,}", whole) and len(words) <= 3
    return whole if fits and all(2 <= len(word) <= LONGEST for word in words) else ""
