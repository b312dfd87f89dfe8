"""Frame-synchronous beam search of a transducer, which keeps what it found as a graph.

    state      the last `context` labels: all that the prediction network looks at, so that merging is exact
    step j     of a frame: j labels were given in it; blank ends the frame; after `labels_per_frame`
               labels the frame ends by itself, at no cost
    score      of a state: log of the sum over the alignments of its best label sequence
    fusion     boosts of label sequences (fusion.py): a state is then the last labels and the fusion's state,
               and its score is with the boost, which the graph keeps apart

Each pair of states that survive keeps its arc in the graph, not the best alone: the lattice comes from it.
Ties are broken by a total order (score, then labels), so that equal logits give equal results anywhere.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from ossicle.hw.numerics import LOGIT_FRACTION

BLANK = 0
Context = tuple[int, ...]
LogProbs = Callable[[Context], NDArray[np.float64]]
"""Log-probabilities [V] of the labels in the frame at hand, after a context (oldest label first)."""


class Fusion(Protocol):
    """Credit of label sequences, a label at a time; states can be compared, and are of the sequence alone."""

    start: Any
    boost: float
    """Natural log, of a credit of 1."""

    def step(self, state: Any, label: int) -> tuple[Any, int]:
        """(state after a label, its credit)."""
        ...

    def finish(self, state: Any) -> int:
        """Credit of ending here."""
        ...

    def gains(self, state: Any) -> NDArray[np.float64]:
        """What each label adds to the score, [V]."""
        ...


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
    boost: float = 0.0
    """What a credit of 1 adds to a log-probability."""
    credits: list[int] = field(default_factory=list)
    """Of each arc; none where nothing is boosted."""
    final_credits: dict[int, int] = field(default_factory=dict)
    """Of ending in a final node, where that is not 0."""

    def add_node(self, frame: int) -> int:
        self.frames.append(frame)
        return len(self.frames) - 1


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """A state of the beam: its node, its best label sequence (by number) and that sequence's score with its
    boost."""

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
    boost: float = 0.0

    @property
    def score(self) -> float:
        return self.source.score + self.weight + self.boost


class BeamSearch:
    """One utterance, frame by frame:

    search = BeamSearch(SearchOptions(beam=4), context=2)
    for frame in frames: search.advance(lambda context: log_probs(frame, context))
    search.labels, search.graph()

    context: labels that the prediction network looks at.
    """

    def __init__(self, options: SearchOptions, context: int = 2, fusion: Fusion | None = None) -> None:
        self.options, self._start = options, (BLANK,) * context
        self.fuse(fusion)

    def fuse(self, fusion: Fusion | None) -> None:
        """Boost by this from now on, or by nothing, and forget the utterance so far."""
        self._fusion = fusion
        self.reset()

    def reset(self) -> None:
        """Forget the utterance so far."""
        self._graph = SearchGraph(boost=self._fusion.boost if self._fusion is not None else 0.0)
        self._histories: list[tuple[int, int]] = [(-1, BLANK)]
        self._history_number: dict[tuple[int, int], int] = {}
        self._fused: list[tuple[Any, int]] = [(self._fusion.start if self._fusion is not None else None, 0)]
        self.frame = 0
        self._active = [Hypothesis(self._start, self._graph.add_node(0), 0, 0.0)]

    @property
    def labels(self) -> tuple[int, ...]:
        """The best label sequence so far, without blanks."""
        return self._sequence(self._best.history)

    @property
    def score(self) -> float:
        """Log-probability of `labels`, as far as the beam knows, and its boost."""
        return self._ended(self._best)

    @property
    def boost(self) -> float:
        """What is boost of `score`."""
        if self._fusion is None:
            return 0.0
        history = self._best.history
        return self._fusion.boost * (self._fused[history][1] + self._end_credit(history))

    def graph(self) -> SearchGraph:
        """All that was kept; every state now alive is a final one. Valid until the next `advance`."""
        self._graph.finals = [h.node for h in self._active]
        if self._fusion is not None:
            ends = {h.node: self._end_credit(h.history) for h in self._active}
            self._graph.final_credits = {node: credit for node, credit in ends.items() if credit}
        return self._graph

    @property
    def _best(self) -> Hypothesis:
        return max(self._active, key=self._ended) if self._fusion is not None else self._active[0]

    def _ended(self, hypothesis: Hypothesis) -> float:
        """Score, were the sentence to end here."""
        return hypothesis.score + self._graph.boost * self._end_credit(hypothesis.history)

    def _end_credit(self, history: int) -> int:
        return self._fusion.finish(self._fused[history][0]) if self._fusion is not None else 0

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
            label = int(np.argmax(self._boosted(hypothesis, probs)))
            if label == BLANK:
                end = Arrival(hypothesis, hypothesis.history, BLANK, float(probs[BLANK]))
                return self._keep([end], self.frame + 1, -math.inf)
            arrival = self._labelled(hypothesis, label, float(probs[label]))
            (hypothesis,) = self._keep([arrival], self.frame, -math.inf)
        return self._keep([Arrival(hypothesis, hypothesis.history, BLANK, 0.0)], self.frame + 1, -math.inf)

    def _label_arrivals(self, hypothesis: Hypothesis, probs: NDArray[np.float64]) -> list[Arrival]:
        count = min(2 * self.options.beam + 1, len(probs))
        order = np.argsort(-self._boosted(hypothesis, probs), kind="stable")[:count]
        labels = [int(label) for label in order if label != BLANK]
        return [self._labelled(hypothesis, label, float(probs[label])) for label in labels]

    def _boosted(self, hypothesis: Hypothesis, probs: NDArray[np.float64]) -> NDArray[np.float64]:
        if self._fusion is None:
            return probs
        return probs + self._fusion.gains(self._fused[hypothesis.history][0])

    def _labelled(self, hypothesis: Hypothesis, label: int, weight: float) -> Arrival:
        history = self._intern(hypothesis.history, label)
        if self._fusion is None:
            return Arrival(hypothesis, history, label, weight)
        boost = self._fusion.boost * self._credit(hypothesis.history, history)
        return Arrival(hypothesis, history, label, weight, boost)

    def _credit(self, before: int, after: int) -> int:
        """That the label from a history to another brings."""
        return self._fused[after][1] - self._fused[before][1]

    def _keep(self, arrivals: list[Arrival], frame: int, best: float) -> list[Hypothesis]:
        """Merge by state, keep the best states, best first, and all arcs into them."""
        groups: dict[Any, list[Arrival]] = {}
        for arrival in arrivals:
            context = arrival.source.context
            after = context if arrival.label == BLANK else (*context[1:], arrival.label)
            state = after if self._fusion is None else (after, self._fused[arrival.history][0])
            groups.setdefault(state, []).append(arrival)
        merged = [(self._merge(group), state) for state, group in groups.items()]
        merged.sort(key=lambda item: (-item[0][0], item[1]))
        floor = best - self.options.score_beam
        kept = []
        for (score, history), state in merged[: self.options.beam]:
            if score < floor:
                break
            node, group = self._graph.add_node(frame), groups[state]
            kept.append(Hypothesis(state if self._fusion is None else state[0], node, history, score))
            self._graph.arcs += [(a.source.node, node, a.label, a.weight) for a in group]
            if self._fusion is not None:
                self._graph.credits += [self._credit(a.source.history, a.history) for a in group]
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
            if self._fusion is not None:
                state, credit = self._fused[history]
                after, more = self._fusion.step(state, label)
                self._fused.append((after, credit + more))
        return self._history_number[key]

    def _sequence(self, history: int) -> tuple[int, ...]:
        labels = []
        while history:
            history, label = self._histories[history]
            labels.append(label)
        return tuple(reversed(labels))
