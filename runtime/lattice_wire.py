"""A lattice as bytes for the network: versioned, checked, small; scores in steps of 1/32 nat.

    message = "OL", version, flags, CRC-32 of all the rest (4 bytes, little end first), body
    body    = utterance, steps a nat, milliseconds a tick, total, times of the nodes, words, columns of edges

Integers are LEB128 varints, signed ones zigzag first; a text is its length and its UTF-8. Nodes are numbered
in topological order and edges sorted by source, so that the columns hold small numbers: edges that leave each
node, nodes skipped, word, start and end against the times of the nodes, score, and boosts and a language
model's where there are any. The body is deflated (RFC 1951) where that makes it smaller.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterable
from itertools import accumulate, pairwise

from ossicle.runtime.lattice import Edge, Lattice
from ossicle.runtime.varints import Reader, VarintError, Writer

MAGIC, VERSION = b"OL", 1
MEDIA_TYPE = "application/vnd.ossicle.lattice"
DEFLATED = 1
EXTRAS = {2: "boost", 4: "language"}
"""Columns of scores that are there where an edge has one that is not 0."""
STEPS = 32  # a nat
HEAD_BYTES, CHECK_BYTES = 4, 4
BODY_LIMIT = 1 << 20
MILLISECONDS = 1000


class WireError(ValueError):
    """Bytes that are no lattice, or a lattice that cannot be sent; the message says what is wrong."""


class WireVersionError(WireError):
    """A message of another version of the format."""


def by_source(lattice: Lattice) -> list[Edge]:
    """The edges in the order of a message: by source, then as they are."""
    return sorted(lattice.edges, key=lambda e: e.source)


def encode(lattice: Lattice, steps: int = STEPS) -> bytes:
    """The message of a lattice.

    Args:
        steps: of a score, in a nat; an edge's score is at most half a step off.
    Raises:
        WireError: a score or a time that is not finite or far out of range, a word with blanks in it, or a
            lattice larger than `BODY_LIMIT` bytes.
    """
    numbers = [lattice.total, *lattice.times]
    numbers += [e.score + e.boost + e.language + e.start + e.end for e in lattice.edges]
    if not all(map(math.isfinite, numbers)):
        raise WireError("the lattice has a score or a time that is not finite; it cannot be sent")
    extras = {flag: name for flag, name in EXTRAS.items() if any(getattr(e, name) for e in lattice.edges)}
    flags = sum(extras)
    try:
        body = _body(lattice, steps, extras.values())
    except VarintError as error:
        raise WireError(f"the lattice cannot be sent: {error}") from None
    if len(body) > BODY_LIMIT:
        raise WireError(f"a lattice of {len(body)} bytes; {BODY_LIMIT} can be sent, prune it")
    packed = zlib.compress(body, 9, wbits=-15)
    if len(packed) < len(body):
        flags, body = flags | DEFLATED, packed
    head = MAGIC + bytes((VERSION, flags))
    return head + _checksum(head, body) + body


def decode(message: bytes) -> Lattice:
    """The lattice of a message, its scores as they were sent.

    Raises:
        WireVersionError: of another version.
        WireError: no message, or damaged, or of a graph that is no lattice.
    """
    head, body = message[:HEAD_BYTES], message[HEAD_BYTES + CHECK_BYTES :]
    check = message[HEAD_BYTES : HEAD_BYTES + CHECK_BYTES]
    if head[:2] != MAGIC or len(message) < HEAD_BYTES + CHECK_BYTES:
        raise WireError("not a lattice message: it does not begin as one")
    if head[2] != VERSION:
        raise WireVersionError(f"a lattice message of version {head[2]}; this is version {VERSION}")
    if check != _checksum(head, body):
        raise WireError("the lattice message is damaged: its checksum is another")
    if head[3] & ~sum(EXTRAS, DEFLATED):
        raise WireError(f"a lattice message with unknown flags, {head[3]:#x}")
    try:
        reader = Reader(_inflated(body) if head[3] & DEFLATED else body)
        lattice = _lattice(reader, [name for flag, name in EXTRAS.items() if head[3] & flag])
        reader.finish()
    except VarintError as error:
        raise WireError(f"the lattice message cannot be read: {error}") from None
    _check_connected(lattice)
    return lattice


def _checksum(head: bytes, body: bytes) -> bytes:
    return zlib.crc32(body, zlib.crc32(head)).to_bytes(CHECK_BYTES, "little")


def _inflated(body: bytes) -> bytes:
    made = zlib.decompressobj(wbits=-15)
    try:
        text = made.decompress(body, BODY_LIMIT)
    except zlib.error as error:
        raise VarintError(f"deflated data is wrong ({error})") from None
    if not made.eof or made.unused_data:
        raise VarintError(f"deflated data does not end, or not within {BODY_LIMIT} bytes")
    return text


def _body(lattice: Lattice, steps: int, extras: Iterable[str]) -> bytes:
    edges, times = by_source(lattice), [_milliseconds(t) for t in lattice.times]
    starts, ends = [_milliseconds(e.start) for e in edges], [_milliseconds(e.end) for e in edges]
    tick = math.gcd(*times, *starts, *ends) or 1
    words = {word: i for i, word in enumerate(dict.fromkeys(e.word for e in edges if e.word), 1)}
    out = Writer()
    out.text(lattice.utterance)
    out.unsigned([steps, tick])
    out.signed([round(lattice.total * steps)])
    out.unsigned([len(times)])
    out.signed((after - before) // tick for before, after in pairwise([0, *times]))
    out.unsigned([len(words)])
    for word in words:
        out.text(_word(word))
    out.unsigned(len(leaving) for leaving in lattice.leaving[:-1])
    out.unsigned(e.destination - e.source - 1 for e in edges)
    out.unsigned(words.get(e.word, 0) for e in edges)
    out.signed((at - times[e.source]) // tick for at, e in zip(starts, edges, strict=True))
    out.signed((at - times[e.destination]) // tick for at, e in zip(ends, edges, strict=True))
    out.signed(round(e.score * steps) for e in edges)
    for name in extras:
        out.signed(round(getattr(e, name) * steps) for e in edges)
    return out.bytes()


def _milliseconds(seconds: float) -> int:
    return round(seconds * MILLISECONDS)


def _lattice(reader: Reader, extras: Iterable[str]) -> Lattice:
    utterance, steps, tick = reader.text(), reader.unsigned(), reader.unsigned()
    if not steps or not tick:
        raise VarintError("steps and ticks are 1 or more")
    total = reader.signed() / steps
    times = list(accumulate(reader.signed() for _ in range(reader.count())))
    words = ["", *(_word(reader.text()) for _ in range(reader.count()))]
    sources = [node for node in range(len(times) - 1) for _ in range(reader.count())]

    def column(read: Callable[[], int]) -> list[int]:
        return [read() for _ in sources]

    skipped, names = column(reader.unsigned), column(reader.unsigned)
    starts, ends, scores = (column(reader.signed) for _ in range(3))
    brought = {name: column(reader.signed) for name in extras}
    if any(source + skip + 1 >= len(times) for source, skip in zip(sources, skipped, strict=True)):
        raise VarintError("an edge leads past the last node")
    if any(name >= len(words) for name in names):
        raise VarintError("an edge has a word that is not in the list")
    edges = tuple(
        Edge(
            source, source + skip + 1, words[name], score / steps,
            (times[source] + start) * tick / MILLISECONDS,
            (times[source + skip + 1] + end) * tick / MILLISECONDS,
            **{extra: values[i] / steps for extra, values in brought.items()},
        )
        for i, (source, skip, name, score, start, end) in enumerate(
            zip(sources, skipped, names, scores, starts, ends, strict=True)
        )
    )  # fmt: skip
    return Lattice(tuple(time * tick / MILLISECONDS for time in times), edges, total, utterance)


def _word(text: str) -> str:
    if not text or not text.isprintable() or " " in text:
        raise VarintError(f"{text!r} is no word")
    return text


def _check_connected(lattice: Lattice) -> None:
    """A search for sentences must not run into dead ends, of which a message could hold very many."""
    last = len(lattice.times) - 1
    reached, useful = {0}, {last}
    for edge in lattice.edges:
        if edge.source in reached:
            reached.add(edge.destination)
    for edge in reversed(lattice.edges):
        if edge.destination in useful:
            useful.add(edge.source)
    if last < 1 or len(reached) <= last or len(useful) <= last:
        raise WireError("the lattice has nodes that no sentence goes through")
