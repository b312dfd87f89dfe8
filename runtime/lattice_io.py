"""Lattices in HTK's Standard Lattice Format, written and read, and as DOT; automata are in lattice_fst.py.

    score of a link = a + lmscale * l + wdpenalty, of a path their sum (HTK Book 3.4, chapter 20)

`a` is what the transducer gives, `l` what boosts and a language model bring, so that whoever reads it can
choose lmscale and wdpenalty. The lattice's total is on a first !NULL link.
"""

from __future__ import annotations

import math
import re
from dataclasses import replace

from ossicle.runtime.lattice import Edge, Lattice

NULL = "!NULL"
EPSILON = "<eps>"  # in pictures
DIGITS = 4
_FIELD = re.compile(r"(\S+?)=((?:\\.|\S)*)")


class LatticeError(ValueError):
    """Text that is no lattice; the message says which line is wrong."""


def to_slf(lattice: Lattice) -> str:
    """SLF 1.0, with extensions on a link: `from` and `to`, the times of its word, and `boost`, what of `l` is
    boost, where there is one."""
    lines = ["VERSION=1.0", f"UTTERANCE={_escaped(lattice.utterance)}", "lmscale=1.0", "wdpenalty=0.0"]
    lines.append(f"N={len(lattice.times) + 1} L={len(lattice.edges) + 1}")
    lines.append("I=0 t=0.00")
    lines += [f"I={i + 1} t={time:.2f}" for i, time in enumerate(lattice.times)]
    lines.append(f"J=0 S=0 E=1 W={NULL} a={_number(lattice.total)} from=0.00 to=0.00")
    for j, e in enumerate(lattice.edges):
        extra = f" l={_number(e.boost + e.language)}" if e.boost or e.language else ""
        extra += f" boost={_number(e.boost)}" if e.boost else ""
        lines.append(
            f"J={j + 1} S={e.source + 1} E={e.destination + 1} W={_escaped(e.word) or NULL} "
            f"a={_number(e.acoustic)}{extra} from={e.start:.2f} to={e.end:.2f}"
        )
    return "\n".join(lines) + "\n"


def from_slf(text: str) -> Lattice:
    """Read what `to_slf` wrote, or another acyclic SLF with words on its links, nodes in order, natural
    logarithms. `language` of an edge is then lmscale * l + wdpenalty, without its boost.

    Raises:
        LatticeError: a line that cannot be understood, or nodes and links that make no lattice.
    """
    utterance, sizes = "utterance", None
    scales = {"lmscale": 1.0, "wdpenalty": 0.0}
    times: dict[int, float] = {}
    links: list[Edge] = []
    for number, line in enumerate(text.splitlines(), 1):
        fields = dict(_FIELD.findall(line)) if not line.startswith("#") else {}
        try:
            if "UTTERANCE" in fields:
                utterance = _unescaped(fields["UTTERANCE"])
            elif "lmscale" in fields or "wdpenalty" in fields:
                scales |= {name: float(value) for name, value in fields.items() if name in scales}
            elif "N" in fields:
                sizes = int(fields["N"]), int(fields["L"])
            elif "I" in fields:
                times[int(fields["I"])] = float(fields.get("t", 0))
            elif "J" in fields:
                links.append(_link(fields, times, **scales))
        except (KeyError, ValueError) as error:
            raise LatticeError(f"line {number} is no line of an SLF lattice: {line!r} ({error})") from None
    if sizes != (len(times), len(links)):
        found = f"{len(times)} nodes and {len(links)} links"
        raise LatticeError(f"the header promises N, L = {sizes}; there are {found}")
    return _without_total(times, links, utterance)


def _link(fields: dict[str, str], times: dict[int, float], lmscale: float, wdpenalty: float) -> Edge:
    source, destination = int(fields["S"]), int(fields["E"])
    if not source < destination:
        raise ValueError(f"a link from node {source} to {destination}")
    word = _unescaped(fields["W"])
    word = "" if word == NULL else word
    start = float(fields.get("from", times[source]))
    end = float(fields.get("to", times[destination]))
    acoustic, boost = float(fields.get("a", 0)), float(fields.get("boost", 0))
    brought = lmscale * float(fields.get("l", 0)) + (wdpenalty if word else 0.0)
    if not math.isfinite(acoustic + brought + boost + start + end):
        raise ValueError("a number that is not finite")
    language = round(brought - boost, DIGITS) + 0.0
    return Edge(source, destination, word, acoustic + brought, start, end, boost, language)


def _without_total(times: dict[int, float], links: list[Edge], utterance: str) -> Lattice:
    numbered = sorted(times) == list(range(len(times)))
    if not links or not numbered or max(e.destination for e in links) >= len(times):
        raise LatticeError("nodes must be numbered from 0 without gaps, and links join them")
    ordered = tuple(times[i] for i in range(len(times)))
    first = [e for e in links if e.source == 0]
    if len(times) > 2 and len(first) == 1 and not first[0].word and first[0].destination == 1:
        moved = tuple(
            replace(e, source=e.source - 1, destination=e.destination - 1) for e in links if e is not first[0]
        )
        return Lattice(ordered[1:], moved, first[0].score, utterance)
    return Lattice(ordered, tuple(links), 0.0, utterance)


def to_dot(lattice: Lattice) -> str:
    """Graphviz: edges with their word and its probability after what came before."""
    lines = ["digraph lattice {", "  rankdir=LR;", "  node [shape=circle];"]
    lines += [f'  {i} [label="{time:.2f}"];' for i, time in enumerate(lattice.times)]
    for e in lattice.edges:
        word = e.word.replace("\\", "\\\\").replace('"', '\\"') or EPSILON
        lines.append(f'  {e.source} -> {e.destination} [label="{word} {e.score:.2f}"];')
    return "\n".join([*lines, "}"]) + "\n"


def _number(value: float) -> str:
    return f"{round(value, DIGITS) + 0.0:.4f}"  # no negative zero


def _escaped(text: str) -> str:
    return re.sub(r"([\\\s\"'=])", r"\\\1", text)


def _unescaped(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text)
