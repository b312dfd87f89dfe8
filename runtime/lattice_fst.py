"""Lattices as the texts of weighted automata: Kaldi's CompactLattice, OpenFst's acceptor; written and read.

Both hold costs (negated log-probabilities) and no times. The score of a path is that of the sentence: the
lattice's total is the cost of the final state. What is read may number its states in any order; states that
no sentence goes through are left out, and times are 0.
"""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass, field, replace

from ossicle.runtime.lattice import Edge, Lattice
from ossicle.runtime.lattice_io import LatticeError
from ossicle.runtime.lattice_prune import connected

EPSILON = "<eps>"
NONE = "0"  # of a cost
DIGITS = 4
ARC, FINAL = 4, 2  # fields of a line of Kaldi's
FST_ARC = 5  # of OpenFst's, the cost last


def to_kaldi(lattice: Lattice) -> str:
    """A Kaldi CompactLattice in text: `source destination word graph,acoustic,` (no alignment).

    Boosts and what a language model brings are the graph's costs.
    """
    lines = [lattice.utterance.replace(" ", "_")]
    for e in lattice.edges:
        graph = e.boost + e.language
        costs = f"{_cost(graph) if graph else NONE},{_cost(e.acoustic)},"
        lines.append(f"{e.source} {e.destination} {e.word or EPSILON} {costs}")
    lines.append(f"{len(lattice.times) - 1} {NONE},{_cost(lattice.total)},")
    return "\n".join(lines) + "\n\n"


def from_kaldi(text: str) -> Lattice:
    """Read one CompactLattice in text, words written out; its alignments are left out. What the graph costs
    is `language`.

    Raises:
        LatticeError: a line that cannot be understood, or a graph that is no lattice.
    """
    lines = text.strip("\n").splitlines()
    if not lines or len(lines[0].split()) != 1:
        raise LatticeError("a Kaldi lattice begins with a line that is its name")
    states = _States()
    for number, line in enumerate(lines[1:], 2):
        fields = line.split()
        try:
            if len(fields) in (1, FINAL):
                states.end(fields[0], sum(_weights(fields[1])) if len(fields) == FINAL else 0.0)
            elif len(fields) == ARC:
                graph, acoustic = _weights(fields[3])
                states.add(fields[0], fields[1], fields[2], graph + acoustic, graph)
            else:
                raise ValueError(f"{len(fields)} fields")
        except ValueError as error:
            raise LatticeError(f"line {number} is no line of a Kaldi lattice: {line!r} ({error})") from None
    return states.lattice(lines[0].strip())


def to_openfst(lattice: Lattice) -> tuple[str, str]:
    """(arcs for `fstcompile --isymbols=S --osymbols=S`, the symbol table S)."""
    named = [(e, e.word or EPSILON) for e in lattice.edges]
    lines = [f"{e.source} {e.destination} {word} {word} {_cost(e.score)}" for e, word in named]
    lines.append(f"{len(lattice.times) - 1} {_cost(lattice.total)}")
    words = sorted({e.word for e in lattice.edges if e.word})
    symbols = [f"{word} {i}" for i, word in enumerate([EPSILON, *words])]
    return "\n".join(lines) + "\n", "\n".join(symbols) + "\n"


def from_openfst(text: str, utterance: str = "utterance") -> Lattice:
    """Read what `to_openfst` or `fstprint` wrote, words written out; of a transducer, its output words.

    Raises:
        LatticeError: a line that cannot be understood, or a graph that is no lattice.
    """
    states = _States()
    for number, line in enumerate(text.splitlines(), 1):
        fields = line.split()
        try:
            if len(fields) in (1, FINAL):
                states.end(fields[0], -float(fields[1]) if len(fields) == FINAL else 0.0)
            elif len(fields) in (FST_ARC - 1, FST_ARC):
                cost = float(fields[4]) if len(fields) == FST_ARC else 0.0
                states.add(fields[0], fields[1], fields[3], -cost)
            elif fields:
                raise ValueError(f"{len(fields)} fields")
        except ValueError as error:
            raise LatticeError(f"line {number} is no line of an OpenFst text: {line!r} ({error})") from None
    return states.lattice(utterance)


@dataclass
class _States:
    """Arcs between numbered states, the first one's source being the start; scores of ending in a state."""

    arcs: list[Edge] = field(default_factory=list)
    finals: dict[int, float] = field(default_factory=dict)

    def add(self, source: str, destination: str, word: str, score: float, language: float = 0.0) -> None:
        """An arc. Raises ValueError on states that are no numbers, or a score that is not finite."""
        name = "" if word == EPSILON else word
        _check_finite(score)
        self.arcs.append(Edge(int(source), int(destination), name, score, 0.0, 0.0, 0.0, language))

    def end(self, state: str, score: float) -> None:
        """A final state. Raises ValueError as `add`."""
        _check_finite(score)
        self.finals[int(state)] = score

    def lattice(self, utterance: str) -> Lattice:
        """Raises LatticeError on a graph with a cycle, or with no path."""
        if not self.arcs or not self.finals:
            raise LatticeError("a lattice has arcs and a final state")
        leaving: dict[int, list[Edge]] = {}
        for arc in self.arcs:
            leaving.setdefault(arc.source, []).append(arc)
        order = _in_order(self.arcs[0].source, leaving)
        number = {state: i for i, state in enumerate(order)}
        finals = {state: score for state, score in self.finals.items() if state in number}
        if not finals:
            raise LatticeError("no final state can be reached")
        edges = [
            replace(arc, source=number[state], destination=number[arc.destination])
            for state in order for arc in leaving.get(state, ())
        ]  # fmt: skip
        last, total = self._end(finals, leaving, number, edges)
        return connected(Lattice((0.0,) * (last + 1), tuple(edges), total, utterance), last)

    @staticmethod
    def _end(
        finals: dict[int, float], leaving: dict[int, list[Edge]], number: dict[int, int], edges: list[Edge]
    ) -> tuple[int, float]:
        """The end node and the total: the one final state's, or an end that edges without a word lead to."""
        only = next(iter(finals))
        if len(finals) == 1 and only not in leaving:
            return number[only], finals[only]
        last = len(number)
        edges += [Edge(number[state], last, "", score, 0.0, 0.0) for state, score in finals.items()]
        return last, 0.0


def _in_order(start: int, leaving: dict[int, list[Edge]]) -> list[int]:
    """States that the start leads to, in topological order, of several the lowest number first."""
    reached, open_states = {start}, [start]
    entering: dict[int, int] = {}
    while open_states:
        for arc in leaving.get(open_states.pop(), ()):
            entering[arc.destination] = entering.get(arc.destination, 0) + 1
            if arc.destination not in reached:
                reached.add(arc.destination)
                open_states.append(arc.destination)
    order, ready = [], [start] if start not in entering else []
    while ready:
        order.append(heapq.heappop(ready))
        for arc in leaving.get(order[-1], ()):
            entering[arc.destination] -= 1
            if not entering[arc.destination]:
                heapq.heappush(ready, arc.destination)
    if len(order) < len(reached):
        raise LatticeError("a lattice has no cycle; this graph has one")
    return order


def _check_finite(score: float) -> None:
    if not math.isfinite(score):
        raise ValueError("a cost that is not finite")


def _weights(text: str) -> tuple[float, float]:
    """Log-probabilities of the graph and of the acoustics, of `graph,acoustic,alignment`."""
    graph, acoustic, *_ = text.split(",")
    return -float(graph), -float(acoustic)


def _cost(score: float) -> str:
    return f"{round(-score, DIGITS) + 0.0:.4f}"  # no negative zero
