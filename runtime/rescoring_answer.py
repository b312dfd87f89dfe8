"""What a rescoring service answers, JSON, and its reading on a device, which takes nothing on trust.

    {"version": 2, "checksum": of the request, "model": name, "milliseconds": of work,
     "best": "errors" or "score", what the first of the sentences has fewest or most of, "sentences": [
        {"edges": [0, 3, 7], "text": …, "language_model": log-probability, "score": the whole,
         "expected_errors": words likely to be wrong}, …]}

Edges are numbered as in the request. A sentence must be a path of the lattice that was sent, so that a
service can choose among what the device heard and add nothing to it.
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

from ossicle.runtime.lattice import Edge, Lattice, Path
from ossicle.runtime.lattice_wire import by_source
from ossicle.runtime.rescoring import RANK, Rescored

VERSION = 2


class AnswerError(ValueError):
    """An answer that is none; the message says what is wrong."""


@dataclass(frozen=True)
class Answer:
    """`sentences`, best first, with the device's own paths; `model` chose them in `milliseconds` of work."""

    sentences: tuple[Rescored, ...]
    model: str
    milliseconds: float


def write_answer(
    request: bytes, lattice: Lattice, found: Sequence[Rescored], model: str, milliseconds: float, best: str
) -> dict:
    """The answer to a request, as JSON has it.

    Args:
        lattice: the request's, decoded; the paths of `found` are of its edges.
        best: see `RescoringOptions`.
    """
    numbers = {id(edge): number for number, edge in enumerate(lattice.edges)}
    return {
        "version": VERSION, "checksum": zlib.crc32(request), "model": model,
        "milliseconds": round(milliseconds, 1), "best": best,
        "sentences": [
            {
                "edges": [numbers[id(edge)] for edge in one.path.edges], "text": one.text,
                "language_model": round(one.model, 4), "score": round(one.score, 4),
                "expected_errors": round(one.errors, 4),
            }
            for one in found
        ],
    }  # fmt: skip


def read_answer(data: bytes, request: bytes, lattice: Lattice) -> Answer:
    """The answer to a request, checked.

    Args:
        lattice: the device's own, which was sent.
    Raises:
        AnswerError: no JSON, another version, the answer to another request, or sentences that the lattice
            does not have.
    """
    try:
        made = json.loads(data)
        if made["version"] != VERSION:
            raise AnswerError(f"it is of version {made['version']!r}, not {VERSION}")
        if made["checksum"] != zlib.crc32(request):
            raise AnswerError("it answers another request")
        edges = by_source(lattice)
        sentences = tuple(_sentence(one, edges, lattice) for one in made["sentences"])
        best = made["best"]
        if best not in RANK:
            raise AnswerError(f"its sentences are in an order that is not known, {best!r}")
        answer = Answer(sentences, str(made["model"]), _number(made["milliseconds"]))
    except AnswerError:
        raise
    except (KeyError, IndexError, TypeError, AttributeError, ValueError, RecursionError) as error:
        raise AnswerError(f"it cannot be read ({type(error).__name__})") from None
    ranks = [RANK[best](one) for one in sentences]
    if not ranks or ranks != sorted(ranks):
        raise AnswerError("it has no sentences, or not the best first")
    return answer


def _sentence(made: dict, edges: Sequence[Edge], lattice: Lattice) -> Rescored:
    chosen = tuple(edges[_index(number)] for number in made["edges"])
    nodes = [0, *(edge.destination for edge in chosen)]
    if [edge.source for edge in chosen] != nodes[:-1] or nodes[-1] != len(lattice.times) - 1:
        raise AnswerError("one of its sentences is no path of the lattice")
    path = Path(chosen, lattice.total + sum(edge.score for edge in chosen))
    if path.text != made["text"]:
        raise AnswerError("the text of one of its sentences is not that of its path")
    model, score, errors = (_number(made[key]) for key in ("language_model", "score", "expected_errors"))
    return Rescored(path, model, score, errors)


def _index(value: object) -> int:
    if type(value) is not int or value < 0:
        raise AnswerError(f"{value!r} is no number of an edge")
    return value


def _number(value: object) -> float:
    if not isinstance(value, int | float) or not math.isfinite(value):
        raise AnswerError(f"{value!r} is no score")
    return float(value)
