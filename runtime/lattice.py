"""Lattices of words: from what the search kept to a small graph, its paths, posteriors and oracle error.

    search graph -> prune -> determinize labels -> fold them to words -> determinize words -> minimize

Every word sequence is there once, scored with the sum over its alignments and spellings, and everything
within the lattice beam of the best is there. An edge's score is the log-probability of its word after those
before. Where the search boosted phrases, scores are with their boosts, which edges and sentences also have
apart.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from ossicle.runtime.alias_evidence import Evidence
from ossicle.runtime.alias_lattice import with_aliases
from ossicle.runtime.aliases import Aliases, SoundTable
from ossicle.runtime.automaton import (
    EPSILON,
    NEVER,
    Arc,
    Automaton,
    DeterminizeOptions,
    backward,
    determinize,
    minimize,
    prune,
)
from ossicle.runtime.transducer import BLANK, SearchGraph, add_logs

WORD_BEGIN = "\u2581"
SPELLING_MARGIN, ALIGNMENT_MARGIN = 2.0, 4.0
"""Spellings, and alignments of them, may be this much worse than the lattice beam and count in the sums."""


@dataclass(frozen=True, slots=True)
class Edge:
    """A word from one node to another; `word` is empty where a sentence ends early. Times in seconds.

    `score` is all of it; of that, `boost` is what it brings or, below 0, takes back of the boost of a
    sentence, and `language` what a language model of words brings, where one has scored the lattice.
    """

    source: int
    destination: int
    word: str
    score: float
    start: float
    end: float
    boost: float = 0.0
    language: float = 0.0

    @property
    def acoustic(self) -> float:
        """What the transducer gives it."""
        return self.score - self.boost - self.language


@dataclass(frozen=True)
class Path:
    """A sentence: `score` is its log-probability, alignments summed, and its boost."""

    edges: tuple[Edge, ...]
    score: float

    @property
    def words(self) -> tuple[str, ...]:
        return tuple(e.word for e in self.edges if e.word)

    @property
    def text(self) -> str:
        return " ".join(self.words)

    @property
    def boost(self) -> float:
        """Of the phrases in it."""
        return sum(e.boost for e in self.edges)

    @property
    def language(self) -> float:
        """Of a language model of words."""
        return sum(e.language for e in self.edges)

    @property
    def acoustic(self) -> float:
        """Its log-probability as the transducer has it."""
        return self.score - self.boost - self.language


@dataclass(frozen=True)
class Lattice:
    """Nodes 0 (start) to len(times) - 1 (end), edges from lower to higher ones.

    A path's score is `total`, the log-probability of all of it, plus the scores of its edges.
    """

    times: tuple[float, ...]
    edges: tuple[Edge, ...]
    total: float = 0.0
    utterance: str = "utterance"

    @cached_property
    def leaving(self) -> tuple[tuple[Edge, ...], ...]:
        """Edges by source."""
        lists: list[list[Edge]] = [[] for _ in self.times]
        for edge in self.edges:
            lists[edge.source].append(edge)
        return tuple(tuple(edges) for edges in lists)

    @property
    def words(self) -> int:
        """Edges that carry a word."""
        return sum(bool(e.word) for e in self.edges)

    def best(self) -> Path:
        """The likeliest sentence."""
        return self.nbest(1)[0]

    def nbest(self, count: int) -> list[Path]:
        """The `count` likeliest sentences, or all there are; ties by their words."""
        after, serial = self._after(max), itertools.count()
        queue: list[tuple[float, tuple[str, ...], int, float, int, tuple[Edge, ...]]]
        queue = [(-after[0], (), 0, 0.0, next(serial), ())]
        found: list[Path] = []
        while queue and len(found) < count:
            _, words, node, score, _, edges = heapq.heappop(queue)
            if node == len(self.times) - 1:
                found.append(Path(edges, self.total + score))
                continue
            for edge in self.leaving[node]:
                made, node_after = score + edge.score, edge.destination
                rank = -(made + after[node_after])
                following = (*words, edge.word)
                heapq.heappush(queue, (rank, following, node_after, made, next(serial), (*edges, edge)))
        return found

    def posteriors(self) -> dict[Edge, float]:
        """Probability that the sentence goes through each edge, given that it is in the lattice."""
        before, after = [NEVER] * len(self.times), self._after(add_logs)
        before[0] = 0.0
        for edges in self.leaving:
            for edge in edges:
                reached = before[edge.source] + edge.score
                before[edge.destination] = add_logs(before[edge.destination], reached)
        return {e: math.exp(before[e.source] + e.score + after[e.destination] - after[0]) for e in self.edges}

    def oracle_errors(self, reference: Sequence[str]) -> int:
        """Least word edits (substitutions, insertions, deletions) from any path to the reference: exact."""
        columns = len(reference) + 1
        cost = [[math.inf] * columns for _ in self.times]
        cost[0][0] = 0
        for node, edges in enumerate(self.leaving):
            row = cost[node]
            for j in range(1, columns):
                row[j] = min(row[j], row[j - 1] + 1)
            for edge in edges:
                _step(row, cost[edge.destination], edge.word, reference)
        return int(cost[-1][-1])

    def _after(self, plus) -> list[float]:
        after = [NEVER] * len(self.times)
        after[-1] = 0.0
        for node in reversed(range(len(self.times) - 1)):
            for edge in self.leaving[node]:
                after[node] = plus(after[node], edge.score + after[edge.destination])
        return after


def _step(row: list[float], into: list[float], word: str, reference: Sequence[str]) -> None:
    """Edit costs over one edge: from the row of its source into the row of its destination."""
    for j, cost in enumerate(row):
        into[j] = min(into[j], cost + bool(word))
        if word and j < len(reference):
            into[j + 1] = min(into[j + 1], cost + (word != reference[j]))
        elif not word:
            into[j] = min(into[j], cost)


@dataclass(frozen=True, kw_only=True)
class LatticeOptions:
    """`beam`: sentences further below the best (natural log) go; `grid`: see `DeterminizeOptions`.

    `sounds`: how names are misheard; phrases that are boosted are found by their sound too, see aliases.py.
    """

    beam: float = 8.0
    grid: float = 0.25
    sounds: SoundTable | None = None

    def aliases(self, phrases: Iterable[str]) -> Aliases | None:
        """Phrases to be found by their sound, if they are to be."""
        return Aliases(phrases, self.sounds) if self.sounds is not None else None


def build_lattice(
    graph: SearchGraph,
    pieces: Sequence[str],
    options: LatticeOptions | None = None,
    frame_seconds: float = 0.06,
    utterance: str = "utterance",
    aliases: Aliases | None = None,
    evidence: Evidence | None = None,
) -> Lattice:
    """The word lattice of a search.

    Args:
        pieces: text of each label, blank's included (any text).
        frame_seconds: time from one frame of the search to the next.
        aliases: names that are put beside the words that sound like them.
        evidence: what the transducer says of the utterance, wanted with `aliases`.
    """
    options = options or LatticeOptions()
    small, total = words_of(graph, pieces, options)
    if aliases is not None and evidence is not None:
        named = with_aliases(small, aliases, graph.boost, evidence)
        total += backward(named)[0]
        small = _small(named, options)
    return _to_lattice(small, total, graph.boost, frame_seconds, utterance)


def words_of(graph: SearchGraph, pieces: Sequence[str], options: LatticeOptions) -> tuple[Automaton, float]:
    """(the words of a search, determinized; log of the sum over all that it found)."""
    spellings = DeterminizeOptions(beam=options.beam + SPELLING_MARGIN, grid=options.grid)
    aligned = prune(_from_search(graph), spellings.beam + ALIGNMENT_MARGIN)
    words = fold_words(determinize(aligned, spellings), pieces)
    return _small(words, options), backward(aligned)[0] + backward(words)[0]


def _small(words: Automaton, options: LatticeOptions) -> Automaton:
    """Each sentence once."""
    kept = DeterminizeOptions(beam=options.beam, grid=options.grid)
    return minimize(determinize(words, kept), options.grid)


def _from_search(graph: SearchGraph) -> Automaton:
    """Weights with their boosts."""
    boost, ends = graph.boost, graph.final_credits
    finals = {node: boost * ends.get(node, 0) for node in graph.finals}
    automaton = Automaton([[] for _ in graph.frames], finals, ends)
    for (source, destination, label, weight), credit in zip(
        graph.arcs, graph.credits or itertools.repeat(0), strict=False
    ):
        frame = graph.frames[source]
        name = EPSILON if label == BLANK else label
        boosted = weight + boost * credit
        automaton.add_arc(Arc(source, destination, name, boosted, frame, frame + 1, credit))
    return automaton


def fold_words(labels: Automaton, pieces: Sequence[str]) -> Automaton:
    """Arcs of subwords -> arcs of words, which begin at a piece with the word-begin mark, or at the start."""
    begins = [[a for a in arcs if _begins(a, pieces)] for arcs in labels.arcs]
    words = Automaton([[] for _ in labels.arcs])
    reached = {0}
    for state in range(len(labels.arcs)):
        if state not in reached:
            continue
        if state in labels.finals:
            words.finals[state] = labels.finals[state]
            words.final_credits[state] = labels.final_credits.get(state, 0)
        for first in labels.arcs[state] if state == 0 else begins[state]:
            for arc in _words_from(labels, begins, first, pieces):
                words.add_arc(arc)
                reached.add(arc.destination)
    return prune(words, math.inf)


def _begins(arc: Arc, pieces: Sequence[str]) -> bool:
    return pieces[int(arc.label)].startswith(WORD_BEGIN)


def _words_from(labels: Automaton, begins: list[list[Arc]], first: Arc, pieces: Sequence[str]) -> list[Arc]:
    """Arcs of the words whose first piece is `first`, to every state where they can end."""
    found, open_words = [], [(first, pieces[int(first.label)], first.weight, first.credit)]
    while open_words:
        last, text, weight, credit = open_words.pop()
        state = last.destination
        if begins[state] or state in labels.finals:
            word = text.replace(WORD_BEGIN, " ").strip()
            found.append(Arc(first.source, state, word or EPSILON, weight, first.start, last.end, credit))
        inner = [arc for arc in labels.arcs[state] if not _begins(arc, pieces)]
        open_words += [
            (arc, text + pieces[int(arc.label)], weight + arc.weight, credit + arc.credit) for arc in inner
        ]
    return found


def _to_lattice(
    words: Automaton, total: float, boost: float, frame_seconds: float, utterance: str
) -> Lattice:
    """One end node: ends that nothing follows are it, the others reach it by an edge without a word."""
    ends = {s for s in words.finals if not words.arcs[s]}
    inner = [s for s in range(len(words.arcs)) if s not in ends]
    last = max(1, len(inner))
    number = dict.fromkeys(ends, last) | {state: i for i, state in enumerate(inner or [0])}
    times, edges = [0.0] * (last + 1), []
    for state in inner or [0]:
        if state in words.finals:
            now = times[number[state]]
            taken = boost * words.final_credits.get(state, 0)
            edges.append(Edge(number[state], last, "", words.finals[state], now, now, taken))
        for arc in words.arcs[state]:
            destination = number[arc.destination]
            score, credit = arc.weight, arc.credit
            if arc.destination in ends:
                score += words.finals[arc.destination]
                credit += words.final_credits.get(arc.destination, 0)
            start, end = round(arc.start * frame_seconds, 3), round(arc.end * frame_seconds, 3)
            edge = Edge(number[state], destination, str(arc.label), score, start, end, boost * credit)
            edges.append(edge)
            times[destination] = max(times[destination], end)
    times[last] = max(times)
    return Lattice(tuple(times), tuple(edges), total, utterance)
