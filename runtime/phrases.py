"""Context phrases: read from a list or a file, and spelled in a recognizer's pieces."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from ossicle.runtime.transducer import BLANK
from sentencepiece import SentencePieceProcessor

MOST_PHRASES, MOST_PIECES = 1 << 16, 64
Labels = tuple[int, ...]


def read_phrases(given: str, option: str = "--context") -> list[str]:
    """Phrases of a file, a line each, or between the commas of a text that is no file's name.

    Args:
        option: that they were given to, for errors.
    Raises:
        ValueError: a file that there is not, or that holds no text, or no phrases at all.
    """
    path = Path(given)
    if len(given) < 4096 and path.is_file():
        try:
            lines = path.read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"{given}: not a list of phrases, a line each, in UTF-8 ({error})") from None
    elif path.suffix in (".txt", ".csv", ".list") or "/" in given:
        raise ValueError(f"{given}: no such file; {option} takes a file of phrases, or phrases and commas")
    else:
        lines = given.split(",")
    phrases = [phrase for phrase in (line.strip() for line in lines) if phrase]
    if not phrases:
        raise ValueError(
            f"{given!r}: no phrases for {option}; give a file, one a line, or phrases and commas"
        )
    return phrases


@lru_cache(maxsize=MOST_PHRASES)
def normalized(phrase: str) -> str:
    """As texts are written: lower case, no accents, single spaces."""
    plain = unicodedata.normalize("NFKD", phrase.replace("’", "'"))
    return " ".join("".join(c for c in plain if not unicodedata.combining(c)).lower().split())


def normalized_all(phrases: Iterable[str]) -> set[str]:
    """`normalized` of each, without those of no text; of plain ones all at once, ten times as fast."""
    phrases = list(phrases)
    plain = phrases if "".join(phrases).isascii() else [phrase for phrase in phrases if phrase.isascii()]
    lines = "\n".join(plain)
    if not _is_plain(lines) or lines.count("\n") >= max(1, len(plain)):
        plain, lines = [], ""
    made = set(lines.lower().split("\n"))
    if len(plain) < len(phrases):
        made |= {normalized(phrase) for phrase in phrases if not plain or not phrase.isascii()}
    made.discard("")
    return made


def _is_plain(lines: str) -> bool:
    """Whether normalizing is lower case alone: ASCII, and single spaces within lines."""
    spaced = f"\n{lines}\n"
    odd = any(space in spaced for space in ("  ", "\n ", " \n"))
    return lines.isascii() and not odd and lines.replace("\n", "").isprintable()


def steps_of(labels: Labels, width: int) -> list[Labels]:
    """The jobs that encode a phrase, its last piece first: each piece after those before it, `width` labels.

    Blanks stand before the first.
    """
    padded = (BLANK,) * (width - 1) + tuple(labels)
    return [padded[i : i + width] for i in reversed(range(len(labels)))]


class Speller:
    """Phrases to labels, by a recognizer's tokenizer."""

    def __init__(self, tokenizer: bytes, offset: int = 1) -> None:
        self._processor, self._offset = SentencePieceProcessor(model_proto=tokenizer), offset

    def labels(self, phrase: str) -> Labels | None:
        """Labels of a phrase; None of one with letters that no piece has, of none, or a very long one."""
        pieces = self._processor.encode(normalized(phrase))
        if not pieces or len(pieces) > MOST_PIECES or self._processor.unk_id() in pieces:
            return None
        return tuple(piece + self._offset for piece in pieces)

    def spell(self, phrases: Iterable[str]) -> tuple[list[tuple[str, Labels]], list[str]]:
        """(phrase and its labels, each once; those that can't be spelled).

        Raises:
            ValueError: more than MOST_PHRASES.
        """
        known: dict[str, Labels] = {}
        left: list[str] = []
        for phrase in dict.fromkeys(normalized(phrase) for phrase in phrases):
            labels = self.labels(phrase)
            if labels is None:
                left += [phrase] if phrase else []
            else:
                known[phrase] = labels
        if len(known) > MOST_PHRASES:
            raise ValueError(f"{len(known)} context phrases; {MOST_PHRASES} is the most")
        return list(known.items()), left
