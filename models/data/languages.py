"""The languages of the synthesized corpus: how each is worded, and by whom it is spoken.

English is spoken by three synthesizers. German has espeak-ng's own voice alone, in the variants of voices.py,
and flite's English voices with an accent (accent.py): festival and flite have no German voice.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ossicle.models.data import german
from ossicle.models.data.grammar import Grammar
from ossicle.models.data.voices import ESPEAK_ACCENTS, FOREIGN, SHARES, Shares, check_installed, fingerprint

GERMAN_GRAMMAR = Path(__file__).with_name("grammar.de.toml")


@dataclass(frozen=True)
class Language:
    """A language by its ISO 639-1 code.

    shares: of each set, engines and voices; a set of the corpus tool that is not named is not made.
    accents: voices of espeak-ng for it.
    """

    code: str
    grammar: Callable[[], Grammar]
    shares: Shares
    accents: tuple[str, ...]

    def voices_fingerprint(self) -> str:
        """A hash that changes with the voices and what is drawn of them."""
        return fingerprint(self.shares, self.accents)

    def check_installed(self) -> None:
        """Raise ValueError, a line that says what to install, if a synthesizer or voice is missing."""
        check_installed(self.shares)


def _foreign(voice: str) -> str:
    return f"flite:{voice}{FOREIGN}de"


GERMAN_TRAINING = {"espeak": 0.7, _foreign("slt"): 0.1, _foreign("awb"): 0.1, _foreign("kal16"): 0.1}
GERMAN_SHARES: Shares = {
    "train": GERMAN_TRAINING,
    "dev": {"espeak": 1.0},
    "test-sentences": GERMAN_TRAINING,
    "test-voices": {"espeak": 1.0},
    "test-synthesizer": {_foreign("rms"): 1.0},
    "test-names": {"espeak": 0.7, _foreign("rms"): 0.3},
}
ENGLISH = Language("en", Grammar, SHARES, ESPEAK_ACCENTS)
GERMAN = Language("de", partial(Grammar, GERMAN_GRAMMAR, german.GENERATORS), GERMAN_SHARES, ("de",))
LANGUAGES = {language.code: language for language in (ENGLISH, GERMAN)}
