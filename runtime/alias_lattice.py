"""Names in a lattice, where its words sound like them: each beside what was heard, to compete with it.

    weight(name) = weight(words heard) + boost * letters(name) - what is doubted more in a long list
                   + what speaks for the name, weighed: alias_weights.py

That composes the lattice with an edit transducer of the names: shallow fusion over aliases. Determinized, a
sentence has the sum over all that it was heard as, so that a name gains where the recognizer wavers among
spellings of it. A name that was heard as it is written is a phrase already, and stays as it is, with the
words beside it. One that the recognizer was trained on is heard as it is written more often than others:
what was heard otherwise is less likely to be it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import inf

from ossicle.runtime.alias_evidence import Evidence
from ossicle.runtime.alias_weights import Audio, Letters, Weights
from ossicle.runtime.aliases import BEGIN, END, Aliases
from ossicle.runtime.automaton import Arc, Automaton, backward, forward

MOST_WORDS = 3
"""Words heard that may be one name."""
HEARD_BEAM, NAME_BEAM = 4.0, 4.0
"""What is heard so far below the best sentence is not looked at, nor names so far below what is heard."""
MOST_NAMED = 12
"""Names of a lattice that the transducer is asked of: the best at first sight."""
SIGHT, SIGHT_DOUBT = (0.6, 0.6, 0.6), 7.5
"""What counts at first sight of the odds, of how usual the words heard are, and of the place; the doubt."""


@dataclass(frozen=True)
class Span:
    """Words from one state of a lattice to another."""

    arcs: tuple[Arc, ...]

    @property
    def words(self) -> tuple[str, ...]:
        return tuple(str(arc.label) for arc in self.arcs)

    @property
    def weight(self) -> float:
        return sum(arc.weight for arc in self.arcs)


@dataclass(frozen=True)
class Candidate:
    """A name that may have been said where some words were heard.

    given: what it has whatever speaks for it: its boost, less what is doubted more in a long list.
    """

    span: Span
    name: str
    letters: Letters
    given: float
    audio: Audio | None = None

    def at_first_sight(self) -> float:
        """What speaks for the name before the transducer is asked."""
        odds, usual, place = SIGHT
        one = self.letters
        return odds * one.odds - usual * one.usual + place * one.place - SIGHT_DOUBT + self.given

    def gain(self, weights: Weights) -> float:
        """What speaks for the name; -inf where the transducer can't say it."""
        if self.audio is None:
            return -inf
        return weights.of_letters(self.letters) + self.given + weights.of_audio(self.audio)


def with_aliases(heard: Automaton, aliases: Aliases, boost: float, evidence: Evidence) -> Automaton:
    """The lattice and, where they may be, the names; states are renumbered.

    Args:
        heard: words, determinized.
        boost: of a letter of a name, natural log.
        evidence: what the transducer says of the utterance.
    """
    added: list[list[list[Arc]]] = [[] for _ in heard.arcs]
    for one in candidates(heard, aliases, boost, evidence):
        gain = one.gain(aliases.table.weights)
        if gain > -NAME_BEAM:
            added[one.span.arcs[0].source].append(_named(one.span, one.name, gain))
    return _joined(heard, added)


def candidates(heard: Automaton, aliases: Aliases, boost: float, evidence: Evidence) -> list[Candidate]:
    """The names likeliest at first sight, and what the transducer says of them; see `with_aliases`."""
    sights = [(one.at_first_sight(), one) for one in _near(heard, aliases, boost)]
    likely = sorted((pair for pair in sights if pair[0] > -NAME_BEAM), key=lambda pair: -pair[0])[:MOST_NAMED]
    ways = ways_to(heard) if likely else []

    def asked(one: Candidate) -> Candidate:
        first, last = one.span.arcs[0], one.span.arcs[-1]
        said = evidence.of(one.name, one.span.words, ways[first.source], first.start, last.end)
        return replace(one, audio=said)

    return [asked(one) for _, one in likely]


def _near(heard: Automaton, aliases: Aliases, boost: float) -> Iterator[Candidate]:
    """Names that sound like words of the lattice, by letters and places."""
    spans, table = list(_spans(heard)), aliases.table
    texts = list(dict.fromkeys("".join(span.words) for span in spans))
    near = dict(zip(texts, aliases.near(texts), strict=True)) if texts else {}
    before, after = ways_to(heard), _words_after(heard)
    for span in spans:
        usual = table.usual(span.words)
        way = before[span.arcs[0].source]
        place = table.place(way[-1] if way else BEGIN, after[span.arcs[-1].destination])
        for name, odds in near["".join(span.words)]:
            if not _within(name.split(), span.words):
                letters = Letters(odds, usual, place, len(span.arcs), table.usual(name.split()))
                yield Candidate(span, name, letters, boost * _letters(name) - aliases.doubt)


def _within(name: Sequence[str], words: Sequence[str]) -> bool:
    """Whether words have a name among them as it is written."""
    width = len(name)
    return any(list(words[i : i + width]) == name for i in range(len(words) - width + 1))


def _spans(heard: Automaton) -> Iterator[Span]:
    """Runs of words that lie on a sentence not much worse than the best."""
    before, after = forward(heard, max), backward(heard, max)
    floor = after[0] - HEARD_BEAM
    for state, arcs in enumerate(heard.arcs):
        open_spans = [Span((arc,)) for arc in arcs]
        while open_spans:
            span = open_spans.pop()
            end = span.arcs[-1].destination
            if before[state] + span.weight + after[end] < floor:
                continue
            yield span
            if len(span.arcs) < MOST_WORDS:
                open_spans += [Span((*span.arcs, arc)) for arc in heard.arcs[end]]


def ways_to(heard: Automaton) -> list[tuple[str, ...]]:
    """Of each state the words on the best way to it."""
    best = forward(heard, max)
    ways: list[tuple[str, ...]] = [()] * len(heard.arcs)
    for state, arcs in enumerate(heard.arcs):
        for arc in arcs:
            if best[state] + arc.weight == best[arc.destination]:
                ways[arc.destination] = (*ways[state], str(arc.label))
    return ways


def _words_after(heard: Automaton) -> list[str]:
    """Of each state the word after it on the best way from it."""
    best, words = backward(heard, max), []
    for state, arcs in enumerate(heard.arcs):
        going = (str(arc.label) for arc in arcs if arc.weight + best[arc.destination] == best[state])
        words.append(next(going, END))
    return words


def _letters(name: str) -> int:
    return len(name.replace(" ", ""))


def _named(span: Span, name: str, gain: float) -> list[Arc]:
    """Arcs of a name's words in place of those heard: all the weight on the first, times by their letters."""
    words, letters, done = name.split(), _letters(name), 0
    start, end = span.arcs[0].start, span.arcs[-1].end
    credit = sum(arc.credit for arc in span.arcs) + letters
    made = []
    for i, word in enumerate(words):
        begun = start + (end - start) * done // letters
        done += len(word)
        ended = start + (end - start) * done // letters
        first = not i
        weight, own = (span.weight + gain, credit) if first else (0.0, 0)
        made.append(Arc(span.arcs[0].source, span.arcs[-1].destination, word, weight, begun, ended, own))
    return made


def _joined(heard: Automaton, added: list[list[list[Arc]]]) -> Automaton:
    """The arcs of a lattice and of names; states within names come after the one that a name begins at."""
    number, count = [], 0
    for names in added:
        number.append(count)
        count += 1 + sum(len(arcs) - 1 for arcs in names)
    made = Automaton([[] for _ in range(count)])
    made.finals = {number[state]: weight for state, weight in heard.finals.items()}
    made.final_credits = {number[state]: credit for state, credit in heard.final_credits.items()}
    for state, arcs in enumerate(heard.arcs):
        at = inner = number[state]
        for arc in arcs:
            made.add_arc(replace(arc, source=at, destination=number[arc.destination]))
        for name in added[state]:
            last = at
            for arc in name[:-1]:
                inner += 1
                made.add_arc(replace(arc, source=last, destination=inner))
                last = inner
            made.add_arc(replace(name[-1], source=last, destination=number[name[-1].destination]))
    return made
