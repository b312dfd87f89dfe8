"""Another language in the mouth of an English voice: its sounds, each as the nearest one of English.

flite has English voices alone, but speaks phones. espeak-ng says which phones a text has; what comes out has
the words, the rhythm and the order of sounds of the language, and an English accent: the only speech of it
here that is not espeak-ng's own.
"""

from __future__ import annotations

import re
import subprocess

SILENCE = "pau"
STRESS, UNSTRESSED = "1", "0"
MARKS = re.compile(r"\([a-z-]+\)|[!|%;]")  # a change of language, glottal stops and other signs
VOWELS = {  # of espeak-ng -> phones of flite; the first one bears the stress
    "a": "aa", "A:": "aa", "A": "aa", "a:": "aa", "V": "ah", "E": "eh", "E:": "eh", "E2": "eh", "e": "eh",
    "e:": "ey", "eI": "ey", "EI": "ey", "I": "ih", "I2": "ih", "i": "iy", "i:": "iy", "O": "ao", "O:": "ao",
    "0": "aa", "o": "ow", "o:": "ow", "oU": "ow", "U": "uh", "u": "uw", "u:": "uw", "y": "uh", "y:": "uw",
    "Y": "er", "Y:": "er", "W": "er", "@": "ax", "3": "ah", "3:": "er", "@L": "ax l", "aI": "ay", "aU": "aw",
    "OY": "oy", "UR": "uh r", "A@": "aa r", "i@": "ih r", "aI@": "ay ax", "i@3": "ih r", "o@": "ao r",
    "A~": "aa ng", "O~": "ao ng", "E~": "ae ng", "W~": "ah ng", "a#": "ah", "e@": "eh r", "U@": "uh r",
}  # fmt: skip
CONSONANTS = {
    "p": "p", "b": "b", "t": "t", "d": "d", "k": "k", "g": "g", "f": "f", "v": "v", "s": "s", "z": "z",
    "S": "sh", "Z": "zh", "C": "sh", "x": "k", "h": "hh", "m": "m", "n": "n", "N": "ng", "l": "l", "r": "r",
    "R": "r", "R2": "r", "j": "y", "w": "w", "T": "th", "D": "dh", "ts": "t s", "tS": "ch", "dZ": "jh",
    "pF": "p f", "l^": "l", "n^": "n y", "*": "r",
}  # fmt: skip


def phones(text: str, language: str) -> str:
    """Phones of flite, with silence around them, for a text of a language of espeak-ng."""
    command = ["espeak-ng", "-q", "-v", language, "-x", "--sep=_", text]
    said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    return " ".join([SILENCE, *(phone for sound in sounds(said) for phone in nearest(sound)), SILENCE])


def sounds(said: str) -> list[str]:
    """Sounds of espeak-ng's phoneme names, each with its stress mark, if it has one, before it."""
    return [sound for sound in re.split(r"[_\s]+", MARKS.sub("", said)) if sound.strip(",':")]


def nearest(sound: str) -> list[str]:
    """The nearest phones of English; none for a sound that is unknown."""
    name = sound.lstrip(",'")
    if name in CONSONANTS:
        return CONSONANTS[name].split()
    first, *rest = VOWELS.get(name, "").split() or [""]
    return [f"{first}{STRESS if sound[0] in ',' + chr(39) else UNSTRESSED}", *rest] if first else []
