"""Acyclic weighted automata in the log semiring: what a lattice is made with.

Weights are natural log-probabilities; a path's is the sum along it and of its final weight; a sequence's is
log of the sum over its paths. States are integers, in topological order: arcs run from lower to higher ones.

A credit counts what a weight holds of something else (a boost, see fusion.py). It goes beside the weights,
and is the same on all paths of a label sequence.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Hashable
from dataclasses import dataclass, field, replace

from ossicle.runtime.transducer import add_logs

EPSILON = ""
NEVER = -math.inf


@dataclass(frozen=True, slots=True)
class Arc:
    """`start` and `end` (frames) are those of the label's best alignment; `credit`: see above."""

    source: int
    destination: int
    label: str | int
    weight: float
    start: int = 0
    end: int = 0
    credit: int = 0


@dataclass
class Automaton:
    """`arcs[state]` leave it; `finals[state]` is its final weight, `final_credits[state]` the credit in that,
    where there is one; the start is state 0."""

    arcs: list[list[Arc]] = field(default_factory=list)
    finals: dict[int, float] = field(default_factory=dict)
    final_credits: dict[int, int] = field(default_factory=dict)

    def add_state(self) -> int:
        self.arcs.append([])
        return len(self.arcs) - 1

    def add_arc(self, arc: Arc) -> None:
        self.arcs[arc.source].append(arc)


def backward(automaton: Automaton, plus=add_logs) -> list[float]:
    """Of each state: log of the sum over the paths from it to an end. `plus=max`: the best path."""
    after = [NEVER] * len(automaton.arcs)
    for state in reversed(range(len(after))):
        total = automaton.finals.get(state, NEVER)
        for arc in automaton.arcs[state]:
            total = plus(total, arc.weight + after[arc.destination])
        after[state] = total
    return after


def forward(automaton: Automaton, plus=add_logs) -> list[float]:
    """Of each state: log of the sum over the paths from the start to it. `plus=max`: the best path."""
    before = [NEVER] * len(automaton.arcs)
    before[0] = 0.0
    for state, arcs in enumerate(automaton.arcs):
        for arc in arcs:
            before[arc.destination] = plus(before[arc.destination], before[state] + arc.weight)
    return before


def prune(automaton: Automaton, beam: float, plus=add_logs) -> Automaton:
    """Only the arcs and ends within `beam` of the whole (`plus=max`: of the best path), renumbered."""
    before, after = forward(automaton, plus), backward(automaton, plus)
    floor = after[0] - beam
    if after[0] == NEVER:
        return Automaton([[]])

    def stays(arc: Arc) -> bool:
        through = before[arc.source] + arc.weight + after[arc.destination]
        return through > NEVER and through >= floor

    kept = [[arc for arc in arcs if stays(arc)] for arcs in automaton.arcs]
    finals = {s: w for s, w in automaton.finals.items() if before[s] + w >= floor and before[s] > NEVER}
    return _renumbered(kept, finals, automaton.final_credits)


def _renumbered(arcs: list[list[Arc]], finals: dict[int, float], final_credits: dict[int, int]) -> Automaton:
    """States reached from the start by the arcs given, in a topological order."""
    number, order = {0: 0}, []
    waiting: dict[int, int] = {}
    reached, stack = {0}, [0]
    while stack:
        for arc in arcs[stack.pop()]:
            waiting[arc.destination] = waiting.get(arc.destination, 0) + 1
            if arc.destination not in reached:
                reached.add(arc.destination)
                stack.append(arc.destination)
    ready = [0]
    while ready:
        state = heapq.heappop(ready)
        number[state] = len(order)
        order.append(state)
        for arc in arcs[state]:
            waiting[arc.destination] -= 1
            if not waiting[arc.destination]:
                heapq.heappush(ready, arc.destination)
    made = Automaton([[] for _ in order], {number[s]: w for s, w in finals.items() if s in number})
    made.final_credits = {number[s]: c for s, c in final_credits.items() if s in number and s in finals}
    for state in order:
        for arc in arcs[state]:
            made.add_arc(replace(arc, source=number[state], destination=number[arc.destination]))
    return made


@dataclass(frozen=True, kw_only=True)
class DeterminizeOptions:
    """`beam`: sequences further below the best may go. `grid`: how far the futures of two states may differ
    and they are still merged; merging never raises a score, and lowers one by `grid` at most each time."""

    beam: float = 8.0
    grid: float = 0.25
    states: int = 5000
    """Most states that are expanded, best first: bounds the time for a hopeless utterance."""


def determinize(automaton: Automaton, options: DeterminizeOptions) -> Automaton:
    """Each label sequence once, with the sum over its paths; no epsilons; nothing worse than the beam.

    Subset construction with residual weights. Every subset is scaled so that its future sums to 1: an arc's
    weight is the log-probability of its label after what came before, and the best prefix is always the next
    one to expand. Scores are exact with a grid of 0 and a beam without end. The whole's log-probability,
    which the scaling takes out, is `backward(automaton)[0]`.
    """
    return _Determinizer(automaton, options).run()


Subset = dict[int, float]


class _Determinizer:
    def __init__(self, automaton: Automaton, options: DeterminizeOptions) -> None:
        self.source, self.options = automaton, options
        self.after = backward(automaton)
        best = backward(automaton, max)[0]
        self.floor = best - self.after[0] - options.beam if self.after[0] > NEVER else 0.0
        self.subsets: list[Subset] = []
        self.before: list[float] = []
        self.arcs: list[list[Arc]] = []
        self.finals: dict[int, float] = {}
        self.final_credits: dict[int, int] = {}
        self.known: dict[Hashable, int] = {}

    def run(self) -> Automaton:
        if self.after[0] == NEVER:
            return Automaton([[]])
        self._state({0: -self.after[0]})
        self.before[0] = 0.0
        queue, expanded = [(0.0, 0)], 0
        done: set[int] = set()
        while queue and expanded < self.options.states:
            _, state = heapq.heappop(queue)
            if state in done:
                continue
            done.add(state)
            expanded += 1
            for arc in self._expand(state):
                score = self.before[state] + arc.weight
                if score < self.floor:
                    continue
                self.arcs[state].append(arc)
                if score > self.before[arc.destination]:
                    self.before[arc.destination] = score
                    heapq.heappush(queue, (-score, arc.destination))
        made = _renumbered(self.arcs, self.finals, self.final_credits)
        return prune(made, self.options.beam, max)

    def _state(self, subset: Subset) -> tuple[int, float]:
        """(number of the state for a scaled subset, what to add to the arc into it)."""
        grid = self.options.grid
        key = tuple(sorted((s, round((w + self.after[s]) / grid) if grid else w) for s, w in subset.items()))
        if key in self.known:
            state = self.known[key]
            kept = self.subsets[state]
            return state, -max(kept[s] - w for s, w in subset.items())
        self.known[key] = len(self.subsets)
        self.subsets.append(subset)
        self.before.append(NEVER)
        self.arcs.append([])
        return len(self.subsets) - 1, 0.0

    def _closure(self, subset: Subset) -> tuple[Subset, dict[int, int]]:
        """(the subset and what epsilons lead to, in topological order of the states; the credit of those
        epsilons, where it is not 0)."""
        closed, waiting = dict(subset), sorted(subset)
        credits: dict[int, int] = {}
        seen = set(waiting)
        while waiting:
            state = heapq.heappop(waiting)
            for arc in self.source.arcs[state]:
                if arc.label != EPSILON:
                    continue
                weight = closed[state] + arc.weight
                closed[arc.destination] = add_logs(closed.get(arc.destination, NEVER), weight)
                credit = credits.get(state, 0) + arc.credit
                if credit:
                    credits[arc.destination] = credit
                if arc.destination not in seen:
                    seen.add(arc.destination)
                    heapq.heappush(waiting, arc.destination)
        return closed, credits

    def _expand(self, state: int) -> list[Arc]:
        groups: dict[str | int, Subset] = {}
        times: dict[str | int, tuple[float, int, int]] = {}
        made: dict[str | int, int] = {}
        final = NEVER
        closed, credits = self._closure(self.subsets[state])
        for member, weight in closed.items():
            credit = credits.get(member, 0)
            if member in self.source.finals:
                final = add_logs(final, weight + self.source.finals[member])
                self.final_credits[state] = credit + self.source.final_credits.get(member, 0)
            for arc in self.source.arcs[member]:
                if arc.label != EPSILON and self.after[arc.destination] > NEVER:
                    self._gather(arc, weight + arc.weight, groups, times)
                    made[arc.label] = credit + arc.credit
        if final > NEVER:
            self.finals[state] = final
        return [self._arc(state, label, groups[label], times[label], made[label]) for label in groups]

    def _gather(self, arc: Arc, weight: float, groups: dict, times: dict) -> None:
        subset = groups.setdefault(arc.label, {})
        known = subset.get(arc.destination)
        subset[arc.destination] = weight if known is None else add_logs(known, weight)
        share = weight + self.after[arc.destination]
        if arc.label not in times or share > times[arc.label][0]:
            times[arc.label] = (share, arc.start, arc.end)

    def _arc(
        self, state: int, label: str | int, subset: Subset, time: tuple[float, int, int], credit: int
    ) -> Arc:
        total = NEVER
        for member, weight in subset.items():
            total = add_logs(total, weight + self.after[member])
        least = -self.options.beam - 2.0
        scaled = {s: w - total for s, w in subset.items() if w - total + self.after[s] >= least}
        destination, penalty = self._state(scaled)
        return Arc(state, destination, label, total + penalty, time[1], time[2], credit)


def minimize(automaton: Automaton, grid: float = 0.25) -> Automaton:
    """Merge states with equal futures: the same labels, times and credits, weights within `grid`.

    Of the states merged the one on the best path stays, and the arcs into the others pay what they might have
    gained: no score rises, the best sequence's stays as it is.
    """
    through = [b + a for b, a in zip(forward(automaton, max), backward(automaton, max), strict=True)]
    height = [0] * len(automaton.arcs)
    for state in reversed(range(len(height))):
        height[state] = max((1 + height[a.destination] for a in automaton.arcs[state]), default=0)
    leader, penalty = list(range(len(height))), [0.0] * len(height)
    arcs: list[list[Arc]] = [[] for _ in height]
    known: dict[Hashable, int] = {}
    for state in sorted(range(len(height)), key=lambda s: (height[s], -through[s], s)):
        arcs[state] = [
            replace(a, destination=leader[a.destination], weight=a.weight + penalty[a.destination])
            for a in sorted(automaton.arcs[state], key=lambda a: str(a.label))
        ]
        final = automaton.finals.get(state)
        futures = (
            (a.label, a.destination, a.start, a.end, a.credit, _cell(a.weight, grid)) for a in arcs[state]
        )
        key = (_cell(final, grid), automaton.final_credits.get(state, 0), *futures)
        leader[state] = known.setdefault(key, state)
        if leader[state] != state:
            gains = [kept.weight - a.weight for kept, a in zip(arcs[leader[state]], arcs[state], strict=True)]
            gains += [] if final is None else [automaton.finals[leader[state]] - final]
            penalty[state] = -max(gains)
    return _renumbered(arcs, automaton.finals, automaton.final_credits)


def _cell(weight: float | None, grid: float) -> float | None:
    return weight if weight is None or not grid else round(weight / grid)
