"""Names that nobody has: letters drawn one after another, as those of known names follow each other.

A recognizer that heard all names of a grammar has them by heart, and an adapter trained on the same names
finds nothing to mend (docs/decisions/0011). Of names that are drawn anew there is no end.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

ORDER = 3  # letters that the next one depends on
EDGE = "^"
SHORTEST, LONGEST = 4, 12  # letters


class Invented:
    """Draws words like some, none of which is one of them or of those in `never`.

    Args:
        like: phrases; the letters of their words are counted.
    Raises:
        ValueError: no word to count.
    """

    def __init__(self, like: Iterable[str], never: Iterable[str] = ()) -> None:
        words = sorted({word for phrase in like for word in phrase.lower().split() if word.isalpha()})
        if not words:
            raise ValueError("no words to draw names like")
        self._never = set(words) | {word for phrase in never for word in phrase.lower().split()}
        counts: dict[str, Counter[str]] = defaultdict(Counter)
        for word in words:
            padded = EDGE * ORDER + word + EDGE
            for i in range(ORDER, len(padded)):
                for known in range(ORDER + 1):
                    counts[padded[i - known : i]][padded[i]] += 1
        self._counts = {before: (list(after), list(after.values())) for before, after in counts.items()}

    def word(self, rng: random.Random) -> str:
        """A new one."""
        while True:
            made = self._draw(rng)
            if SHORTEST <= len(made) <= LONGEST and made not in self._never:
                return made

    def _draw(self, rng: random.Random) -> str:
        made = EDGE * ORDER
        while len(made) <= ORDER + LONGEST:
            # A letter in four forgets one of the letters before it, or most names would be old ones.
            before = made[-(ORDER - (rng.random() < 0.25)) :]
            letters, weights = self._counts.get(before) or self._counts[made[-1:]]
            letter = rng.choices(letters, weights)[0]
            if letter == EDGE:
                break
            made += letter
        return made[ORDER:]


def invented_lists(
    lists: dict[str, Sequence[str]], never: Iterable[str], count: int, rng: random.Random
) -> dict[str, list[str]]:
    """So many invented entries for each list, of as many words as its own entries have."""
    taken, made = list(never), {}
    for name, entries in lists.items():
        source = Invented(entries, taken)
        lengths = [len(entry.split()) for entry in entries]
        made[name] = [" ".join(source.word(rng) for _ in range(rng.choice(lengths))) for _ in range(count)]
    return made
