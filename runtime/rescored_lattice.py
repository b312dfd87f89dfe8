"""What a language model made of a lattice, as a lattice: its best sentences as a tree, scores apart.

    score(edge) = transducer's + boost + language
    language    = weight * log P_model(word | words before) + bonus; of the end: weight * log P_model(end)

A model of whole sentences gives a word another score after each beginning, so that what two sentences begin
with is all that they share. Its best path is the likeliest sentence, which is not always the one with the
fewest expected errors.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from ossicle.runtime.lattice import Edge, Lattice
from ossicle.runtime.rescoring import Rescored, RescoringOptions

Beginning = tuple[Edge, ...]


def rescored_lattice(lattice: Lattice, found: Sequence[Rescored], options: RescoringOptions) -> Lattice:
    """The tree of some sentences of a lattice; each path has the score that it has in `found`.

    Raises:
        ValueError: the scores of a sentence are not known by word.
    """
    if any(not one.by_word for one in found):
        raise ValueError("the language model's scores of words are not known")
    numbers = {beginning: i for i, beginning in enumerate(_beginnings(found))}
    last = len(numbers)
    times, edges = [0.0] * (last + 1), {}
    for one in found:
        path, brought = one.path.edges, _brought(one, options)
        for i, edge in enumerate(path):
            source, destination = numbers[path[:i]], numbers[path[: i + 1]]
            language = next(brought) if edge.word else 0.0
            times[destination] = edge.end
            edges[destination] = replace(
                edge, source=source, destination=destination, score=edge.score + language, language=language
            )
        ending, end = numbers[path], next(brought)
        now = times[ending]
        edges[-1 - ending] = Edge(ending, last, "", end, now, now, 0.0, end)
        times[last] = max(times[last], now)
    return Lattice(tuple(times), tuple(edges.values()), lattice.total, lattice.utterance)


def _beginnings(found: Sequence[Rescored]) -> list[Beginning]:
    """What the sentences begin with, the shortest first, which orders the nodes of their tree."""
    made = dict.fromkeys(
        one.path.edges[:length] for one in found for length in range(len(one.path.edges) + 1)
    )
    return sorted(made, key=len)


def _brought(one: Rescored, options: RescoringOptions) -> Iterator[float]:
    """Of each word, then of the end; all at the end where the pieces are not those of the words."""
    words = len(one.path.words)
    whole = len(one.by_word) == words + 1
    scores = one.by_word if whole else (*([0.0] * words), one.model)
    yield from (options.weight * score + options.bonus for score in scores[:-1])
    yield options.weight * scores[-1]
