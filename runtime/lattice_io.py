"""Lattices in the formats of the field: HTK SLF (read and written), Kaldi and OpenFst text, DOT.

SLF and DOT hold log-probabilities, Kaldi and OpenFst costs (negated). In each, the score of a path is that of
the sentence: SLF carries the lattice's total on a first !NULL link, Kaldi and OpenFst on the final state.
"""

from __future__ import annotations

import re
from dataclasses import replace

from ossicle.runtime.lattice import Edge, Lattice

NULL = "!NULL"
EPSILON = "<eps>"
_FIELD = re.compile(r"(\S+?)=((?:\\.|\S)*)")


class LatticeError(ValueError):
    """Text that is no lattice; the message says which line is wrong."""


def to_slf(lattice: Lattice) -> str:
    """HTK Standard Lattice Format 1.0, with extensions on a link: `from` and `to`, the times of its word, and
    `boost`, what of the score is boost, where there is one."""
    lines = ["VERSION=1.0", f"UTTERANCE={_escaped(lattice.utterance)}", "lmscale=0.0", "wdpenalty=0.0"]
    lines.append(f"N={len(lattice.times) + 1} L={len(lattice.edges) + 1}")
    lines.append("I=0 t=0.00")
    lines += [f"I={i + 1} t={time:.2f}" for i, time in enumerate(lattice.times)]
    lines.append(f"J=0 S=0 E=1 W={NULL} a={lattice.total:.4f} from=0.00 to=0.00")
    for j, e in enumerate(lattice.edges):
        lines.append(
            f"J={j + 1} S={e.source + 1} E={e.destination + 1} W={_escaped(e.word) or NULL} a={e.score:.4f} "
            f"from={e.start:.2f} to={e.end:.2f}" + (f" boost={e.boost:.4f}" if e.boost else "")
        )
    return "\n".join(lines) + "\n"


def from_slf(text: str) -> Lattice:
    """Read what `to_slf` wrote, or another acyclic SLF with words on its links, nodes in order.

    Raises:
        LatticeError: a line that cannot be understood, or nodes and links that make no lattice.
    """
    utterance, sizes = "utterance", None
    times: dict[int, float] = {}
    links: list[Edge] = []
    for number, line in enumerate(text.splitlines(), 1):
        fields = dict(_FIELD.findall(line)) if not line.startswith("#") else {}
        try:
            if "UTTERANCE" in fields:
                utterance = _unescaped(fields["UTTERANCE"])
            elif "N" in fields:
                sizes = int(fields["N"]), int(fields["L"])
            elif "I" in fields:
                times[int(fields["I"])] = float(fields.get("t", 0))
            elif "J" in fields:
                links.append(_link(fields, times))
        except (KeyError, ValueError) as error:
            raise LatticeError(f"line {number} is no line of an SLF lattice: {line!r} ({error})") from None
    if sizes != (len(times), len(links)):
        found = f"{len(times)} nodes and {len(links)} links"
        raise LatticeError(f"the header promises N, L = {sizes}; there are {found}")
    return _without_total(times, links, utterance)


def _link(fields: dict[str, str], times: dict[int, float]) -> Edge:
    source, destination = int(fields["S"]), int(fields["E"])
    if not source < destination:
        raise ValueError(f"a link from node {source} to {destination}")
    word = _unescaped(fields["W"])
    start = float(fields.get("from", times[source]))
    end = float(fields.get("to", times[destination]))
    score, boost = float(fields.get("a", 0)), float(fields.get("boost", 0))
    return Edge(source, destination, "" if word == NULL else word, score, start, end, boost)


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


def to_kaldi(lattice: Lattice) -> str:
    """A Kaldi CompactLattice in text: `source destination word graph,acoustic,` (no alignment).

    Boosts are the graph's costs.
    """
    lines = [lattice.utterance.replace(" ", "_")]
    for e in lattice.edges:
        costs = f"{_cost(e.boost) if e.boost else 0},{_cost(e.score - e.boost)},"
        lines.append(f"{e.source} {e.destination} {e.word or EPSILON} {costs}")
    lines.append(f"{len(lattice.times) - 1} 0,{_cost(lattice.total)},")
    return "\n".join(lines) + "\n\n"


def to_openfst(lattice: Lattice) -> tuple[str, str]:
    """(arcs for `fstcompile --isymbols=S --osymbols=S`, the symbol table S)."""
    named = [(e, e.word or EPSILON) for e in lattice.edges]
    lines = [f"{e.source} {e.destination} {word} {word} {_cost(e.score)}" for e, word in named]
    lines.append(f"{len(lattice.times) - 1} {_cost(lattice.total)}")
    words = sorted({e.word for e in lattice.edges if e.word})
    symbols = [f"{word} {i}" for i, word in enumerate([EPSILON, *words])]
    return "\n".join(lines) + "\n", "\n".join(symbols) + "\n"


def to_dot(lattice: Lattice) -> str:
    """Graphviz: edges with their word and its probability after what came before."""
    lines = ["digraph lattice {", "  rankdir=LR;", "  node [shape=circle];"]
    lines += [f'  {i} [label="{time:.2f}"];' for i, time in enumerate(lattice.times)]
    for e in lattice.edges:
        word = e.word.replace("\\", "\\\\").replace('"', '\\"') or EPSILON
        lines.append(f'  {e.source} -> {e.destination} [label="{word} {e.score:.2f}"];')
    return "\n".join([*lines, "}"]) + "\n"


def _cost(score: float) -> str:
    return f"{0.0 - score:.4f}"


def _escaped(text: str) -> str:
    return re.sub(r"([\\\s\"'=])", r"\\\1", text)


def _unescaped(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text)
