"""Frame-synchronous beam search of a transducer, which keeps what it found as a graph.

    state      the last `context` labels: all that the prediction network looks at, so that merging is exact
    step j     of a frame: j labels were given in it; blank ends the frame; after `labels_per_frame`
               labels the frame ends by itself, at no cost
    score      of a state: log of the sum over the alignments of its best label sequence

Each pair of states that survive keeps its arc in the graph, not the best alone: the lattice comes from it.
Ties are broken by a total order (score, then labels), so that equal logits give equal results anywhere.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from ossicle.hw.numerics import LOGIT_FRACTION

BLANK = 0
Context = tuple[int, ...]
LogProbs = Callable[[Context], NDArray[np.float64]]
"""Log-probabilities [V] of the labels in the frame at hand, after a context (oldest label first)."""


def log_softmax(logits: NDArray[np.int16]) -> NDArray[np.float64]:
    """[V] Q7.8 -> natural log-probabilities, in float64 from the integers."""
    real = np.asarray(logits, np.float64) / (1 << LOGIT_FRACTION)
    real -= real.max()
    return real - math.log(float(np.exp(real).sum()))


def add_logs(a: float, b: float) -> float:
    """log(exp(a) + exp(b))."""
    high, low = (a, b) if a >= b else (b, a)
    return high if low == -math.inf else high + math.log1p(math.exp(low - high))


@dataclass(frozen=True, kw_only=True)
class SearchOptions:
    """`beam` states a step, none more than `score_beam` (natural log) below the best.

    Raises:
        ValueError: a value out of range.
    """

    beam: int = 4
    labels_per_frame: int = 2
    score_beam: float = 8.0
    greedy: bool = False
    """Take the best label each time: the cheapest search, its graph a single path."""

    def __post_init__(self) -> None:
        if not 1 <= self.beam <= 64:
            raise ValueError(f"a beam of {self.beam} is not possible; use 1 to 64")
        if not 1 <= self.labels_per_frame <= 8:
            raise ValueError(f"{self.labels_per_frame} labels a frame is not possible; use 1 to 8")
        if not self.score_beam > 0:
            raise ValueError(f"a score beam of {self.score_beam} is not possible; use more than 0")


@dataclass
class SearchGraph:
    """What the search kept. Node i is of frame `frames[i]`; arcs run from a lower to a higher node."""

    frames: list[int] = field(default_factory=list)
    arcs: list[tuple[int, int, int, float]] = field(default_factory=list)
    """(source, destination, label or BLANK, log-probability)."""
    finals: list[int] = field(default_factory=list)

    def add_node(self, frame: int) -> int:
        self.frames.append(frame)
        return len(self.frames) - 1


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """A state of the beam: its node, its best label sequence (by number) and that sequence's score."""

    context: Context
    node: int
    history: int
    score: float


@dataclass(frozen=True, slots=True)
class Arrival:
    source: Hypothesis
    history: int
    label: int
    weight: float

    @property
    def score(self) -> float:
        return self.source.score + self.weight


class BeamSearch:
    """One utterance, frame by frame:

    search = BeamSearch(SearchOptions(beam=4), context=2)
    for frame in frames: search.advance(lambda context: log_probs(frame, context))
    search.labels, search.graph()

    context: labels that the prediction network looks at.
    """

    def __init__(self, options: SearchOptions, context: int = 2) -> None:
        self.options, self._start = options, (BLANK,) * context
        self.reset()

    def reset(self) -> None:
        """Forget the utterance so far."""
        self._graph = SearchGraph()
        self._histories: list[tuple[int, int]] = [(-1, BLANK)]
        self._history_number: dict[tuple[int, int], int] = {}
        self.frame = 0
        self._active = [Hypothesis(self._start, self._graph.add_node(0), 0, 0.0)]

    @property
    def labels(self) -> tuple[int, ...]:
        """The best label sequence so far, without blanks."""
        return self._sequence(self._active[0].history)

    @property
    def score(self) -> float:
        """Log-probability of `labels`, as far as the beam knows."""
        return self._active[0].score

    def graph(self) -> SearchGraph:
        """All that was kept; every state now alive is a final one. Valid until the next `advance`."""
        self._graph.finals = [h.node for h in self._active]
        return self._graph

    def advance(self, log_probs: LogProbs) -> None:
        """Take one frame. `log_probs` is asked once for each context alive in it."""
        known: dict[Context, NDArray[np.float64]] = {}

        def ask(context: Context) -> NDArray[np.float64]:
            if context not in known:
                known[context] = log_probs(context)
            return known[context]

        self._active = self._greedy_step(ask) if self.options.greedy else self._beam_step(ask)
        self.frame += 1

    def _beam_step(self, ask: LogProbs) -> list[Hypothesis]:
        ends: list[Arrival] = []
        active, best = self._active, -math.inf
        for _ in range(self.options.labels_per_frame):
            more: list[Arrival] = []
            for hypothesis in active:
                probs = ask(hypothesis.context)
                ends.append(Arrival(hypothesis, hypothesis.history, BLANK, float(probs[BLANK])))
                more += self._label_arrivals(hypothesis, probs)
            best = max(best, max(a.score for a in ends))
            active = self._keep(more, self.frame, best)
        ends += [Arrival(h, h.history, BLANK, 0.0) for h in active]
        return self._keep(ends, self.frame + 1, max(a.score for a in ends))

    def _greedy_step(self, ask: LogProbs) -> list[Hypothesis]:
        (hypothesis,) = self._active
        for _ in range(self.options.labels_per_frame):
            probs = ask(hypothesis.context)
            label = int(np.argmax(probs))
            if label == BLANK:
                end = Arrival(hypothesis, hypothesis.history, BLANK, float(probs[BLANK]))
                return self._keep([end], self.frame + 1, -math.inf)
            arrival = self._labelled(hypothesis, label, float(probs[label]))
            (hypothesis,) = self._keep([arrival], self.frame, -math.inf)
        return self._keep([Arrival(hypothesis, hypothesis.history, BLANK, 0.0)], self.frame + 1, -math.inf)

    def _label_arrivals(self, hypothesis: Hypothesis, probs: NDArray[np.float64]) -> list[Arrival]:
        count = min(2 * self.options.beam + 1, len(probs))
        order = np.argsort(-probs, kind="stable")[:count]
        labels = [int(label) for label in order if label != BLANK]
        return [self._labelled(hypothesis, label, float(probs[label])) for label in labels]

    def _labelled(self, hypothesis: Hypothesis, label: int, weight: float) -> Arrival:
        return Arrival(hypothesis, self._intern(hypothesis.history, label), label, weight)

    def _keep(self, arrivals: list[Arrival], frame: int, best: float) -> list[Hypothesis]:
        """Merge by state, keep the best states, best first, and all arcs into them."""
        groups: dict[Context, list[Arrival]] = {}
        for arrival in arrivals:
            context = arrival.source.context
            after = context if arrival.label == BLANK else (*context[1:], arrival.label)
            groups.setdefault(after, []).append(arrival)
        merged = [(self._merge(group), after) for after, group in groups.items()]
        merged.sort(key=lambda item: (-item[0][0], item[1]))
        floor = best - self.options.score_beam
        kept = []
        for (score, history), after in merged[: self.options.beam]:
            if score < floor:
                break
            node = self._graph.add_node(frame)
            kept.append(Hypothesis(after, node, history, score))
            self._graph.arcs += [(a.source.node, node, a.label, a.weight) for a in groups[after]]
        return kept

    def _merge(self, group: list[Arrival]) -> tuple[float, int]:
        """(score, history) of the best label sequence among paths into one state: its alignments added up."""
        scores: dict[int, float] = {}
        for arrival in group:
            known = scores.get(arrival.history)
            scores[arrival.history] = arrival.score if known is None else add_logs(known, arrival.score)
        best = max(scores.values())
        tied = [history for history, score in scores.items() if score == best]
        return best, tied[0] if len(tied) == 1 else min(tied, key=self._sequence)

    def _intern(self, history: int, label: int) -> int:
        key = (history, label)
        if key not in self._history_number:
            self._history_number[key] = len(self._histories)
            self._histories.append(key)
        return self._history_number[key]

    def _sequence(self, history: int) -> tuple[int, ...]:
        labels = []
        while history:
            history, label = self._histories[history]
            labels.append(label)
        return tuple(reversed(labels))
