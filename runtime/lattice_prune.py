"""Lattices made smaller: edges whose posterior is low go; and how sure each word of a sentence is.

    posterior(edge) = sum of P over the sentences through it / sum of P over all in the lattice
    confidence(word) = largest over its time of the sum of posteriors of the edges of that word there

(Forward-backward pruning: Sixtus & Ortmanns 1999, "High quality word graphs using forward-backward pruning";
C_max: Wessel, Schlüter, Macherey & Ney 2001, "Confidence measures for large vocabulary continuous speech
recognition", IEEE Trans. SAP 9(3).)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from ossicle.runtime.automaton import NEVER
from ossicle.runtime.lattice import Edge, Lattice, Path


def prune(lattice: Lattice, least: float) -> Lattice:
    """The edges with a posterior of `least` or more, the best sentence through each, and the best of all;
    scores stay.

    Raises:
        ValueError: a posterior out of range.
    """
    if not 0 <= least <= 1:
        raise ValueError(f"a posterior of {least} is not possible; use 0 to 1")
    posterior, kept = lattice.posteriors(), set(lattice.best().edges)
    before, after = _best_steps(lattice)
    for edge in lattice.edges:
        if posterior[edge] >= least:
            kept |= {edge, *_walk(edge, before, "source"), *_walk(edge, after, "destination")}
    return connected(replace(lattice, edges=tuple(edge for edge in lattice.edges if edge in kept)))


def _best_steps(lattice: Lattice) -> tuple[dict[int, Edge], dict[int, Edge]]:
    """Of each node, the edge by which its best beginning comes, and that by which its best end goes on."""
    last = len(lattice.times) - 1
    reached, left = {0: 0.0}, {last: 0.0}
    before: dict[int, Edge] = {}
    after: dict[int, Edge] = {}
    ordered = sorted(lattice.edges, key=lambda e: e.source)
    for e in ordered:
        if e.source in reached and reached[e.source] + e.score > reached.get(e.destination, NEVER):
            reached[e.destination], before[e.destination] = reached[e.source] + e.score, e
    for e in reversed(ordered):
        if e.destination in left and left[e.destination] + e.score > left.get(e.source, NEVER):
            left[e.source], after[e.source] = left[e.destination] + e.score, e
    return before, after


def _walk(edge: Edge, steps: dict[int, Edge], end: str) -> Iterator[Edge]:
    while step := steps.get(getattr(edge, end)):
        yield step
        edge = step


def connected(lattice: Lattice, last: int | None = None) -> Lattice:
    """Without the nodes that no sentence goes through, renumbered.

    Args:
        last: the end node, where it is not the last.
    Raises:
        ValueError: no sentence is left.
    """
    last = len(lattice.times) - 1 if last is None else last
    reached, useful = {0}, {last}
    forward = sorted(lattice.edges, key=lambda e: e.source)
    for edge in forward:
        if edge.source in reached:
            reached.add(edge.destination)
    for edge in reversed(forward):
        if edge.destination in useful:
            useful.add(edge.source)
    kept = sorted(reached & useful)
    if last not in reached:
        raise ValueError("no sentence goes through the lattice")
    number = {node: i for i, node in enumerate(kept)}
    edges = tuple(
        replace(e, source=number[e.source], destination=number[e.destination])
        for e in lattice.edges if e.source in number and e.destination in number
    )  # fmt: skip
    return replace(lattice, times=tuple(lattice.times[node] for node in kept), edges=edges)


def confidences(lattice: Lattice, path: Path | None = None) -> list[float]:
    """How sure each word of a sentence is, 0 to 1; of the best one where none is given."""
    posterior = lattice.posteriors()
    sentence = path or lattice.best()
    return [
        _confidence(edge, [(e, p) for e, p in posterior.items() if e.word == edge.word])
        for edge in sentence.edges if edge.word
    ]  # fmt: skip


def _confidence(edge: Edge, same: Sequence[tuple[Edge, float]]) -> float:
    """The sum changes where an edge begins: it is largest at one of those moments."""
    moments = [edge.start, *(e.start for e, _ in same if edge.start < e.start < edge.end)]
    return min(1.0, max(sum(p for e, p in same if e.start <= at < e.end or e == edge) for at in moments))
