"""Lattices as messages: there and back, and what is no message."""

from __future__ import annotations

import math
import random
import zlib
from dataclasses import replace
from functools import lru_cache

import pytest
from fake_model import PIECES, FakeModel
from hypothesis import given, settings
from hypothesis import strategies as st
from ossicle.runtime.lattice import Edge, Lattice, build_lattice
from ossicle.runtime.lattice_wire import (
    BODY_LIMIT,
    STEPS,
    VERSION,
    WireError,
    WireVersionError,
    by_source,
    decode,
    encode,
)
from ossicle.runtime.varints import LIMIT_BITS, Reader, VarintError, Writer

SMALL = Lattice(
    (0.0, 0.48, 1.02),
    (
        Edge(0, 1, "caf\u00e9", -0.5, 0.06, 0.48, 1.5), Edge(1, 2, "", -1.0, 0.48, 0.48),
        Edge(0, 2, "on", -3, 0, 1.02, 0, -0.25),
    ),
    -4.03, "a b",
)  # fmt: skip


@lru_cache(maxsize=100)
def made(seed, frames=6):
    return build_lattice(FakeModel(seed, 6, 700).search(frames, beam=5).graph(), PIECES)


def sealed(head, body):
    """A message with a checksum that is right."""
    return head + zlib.crc32(body, zlib.crc32(head)).to_bytes(4, "little") + body


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 99), steps=st.sampled_from([1, 16, 32, 1000]))
def test_there_and_back(seed, steps):
    lattice = made(seed)
    message = encode(lattice, steps)
    again = decode(message)
    assert encode(again, steps) == message
    assert again.times == lattice.times and again.utterance == lattice.utterance
    assert again.total == pytest.approx(lattice.total, abs=0.5 / steps + 1e-9)
    for sent, edge in zip(by_source(lattice), again.edges, strict=True):
        assert edge.score == pytest.approx(sent.score, abs=0.5 / steps + 1e-9)
        assert replace(edge, score=0.0) == replace(sent, score=0.0)


def test_scores_apart_odd_words_and_unordered_edges():
    again = decode(encode(SMALL))
    assert [e.word for e in again.edges] == ["caf\u00e9", "on", ""]
    assert again.edges == (SMALL.edges[0], SMALL.edges[2], SMALL.edges[1]) and again.utterance == "a b"
    assert again.total == round(-4.03 * STEPS) / STEPS
    silence = Lattice((0.0, 0.0), (Edge(0, 1, "", 0.0, 0, 0),))
    assert decode(encode(silence)) == silence


def test_a_message_is_small():
    lattice = made(3, 40)
    assert len(encode(lattice)) < 12 * len(lattice.edges)


@settings(max_examples=200, deadline=None)
@given(seed=st.integers(0, 10**6), change=st.randoms(use_true_random=False))
def test_damage_is_found(seed, change):
    message = bytearray(encode(made(seed % 20)))
    at = change.randrange(len(message))
    message[at] ^= 1 << change.randrange(8)
    with pytest.raises(WireError):
        decode(bytes(message))


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 19), share=st.floats(0, 1, exclude_max=True))
def test_a_part_of_a_message_is_none(seed, share):
    message = encode(made(seed))
    with pytest.raises(WireError):
        decode(message[: int(share * len(message))])
    with pytest.raises(WireError):
        decode(message + b"\0")


@settings(max_examples=300, deadline=None)
@given(body=st.binary(max_size=80), flags=st.integers(0, 3))
def test_any_bytes_under_a_right_checksum_are_a_lattice_or_refused(body, flags):
    try:
        lattice = decode(sealed(b"OL" + bytes((VERSION, flags)), body))
    except WireError as error:
        assert "\n" not in str(error)
        return
    assert math.isfinite(lattice.best().score)


@settings(max_examples=300, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_changed_bodies_under_a_right_checksum_are_a_lattice_or_refused(seed):
    rng = random.Random(seed)
    message = encode(made(seed % 20))
    body = bytearray(zlib.decompress(message[8:], wbits=-15) if message[3] & 1 else message[8:])
    for _ in range(rng.randrange(1, 4)):
        body[rng.randrange(len(body))] = rng.randrange(256)
    try:
        lattice = decode(sealed(b"OL" + bytes((VERSION, 0)), bytes(body)))
    except WireError:
        return
    assert all(e.source < e.destination < len(lattice.times) for e in lattice.edges)
    assert len(lattice.nbest(20)) >= 1


BODIES = {
    "a bomb": (1, zlib.compress(bytes(4 * BODY_LIMIT), 9, wbits=-15), "does not end"),
    "not deflated": (1, b"\xff\xff\xff", "deflated data is wrong"),
    "a flag": (64, b"", "unknown flags"),
    "many nodes": (0, bytes((0, 32, 60, 0, 0xFF, 0xFF, 0x7F)), "promised"),
    "no steps": (0, bytes((0, 0, 60)), "1 or more"),
    "a long integer": (0, bytes((0, *([0xFF] * 9), 1)), f"more than {LIMIT_BITS} bits"),
    "no text": (0, bytes((1, 0xFF)), "not UTF-8"),
    "a blank word": (0, bytes((0, 32, 60, 0, 2, 0, 2, 1, 1, 0x20, 0, 0, 0)), "is no word"),
    "no edge": (0, bytes((0, 32, 60, 0, 2, 0, 2, 0, 0)), "no sentence goes through"),
    "past the end": (0, bytes((0, 32, 60, 0, 2, 0, 2, 0, 1, 5, 0, 0, 0, 0)), "past the last node"),
    "an unknown word": (0, bytes((0, 32, 60, 0, 2, 0, 2, 0, 1, 0, 3, 0, 0, 0)), "not in the list"),
}


@pytest.mark.parametrize("case", BODIES)
def test_what_is_wrong_is_said(case):
    flags, body, message = BODIES[case]
    with pytest.raises(WireError, match=message):
        decode(sealed(b"OL" + bytes((VERSION, flags)), body))


def test_other_versions_and_other_things():
    with pytest.raises(WireVersionError, match="version 7; this is version 1"):
        decode(sealed(b"OL\x07\0", b""))
    for thing in (b"", b"RIFF....WAVE", b"OL"):
        with pytest.raises(WireError, match="not a lattice message"):
            decode(thing)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"total": math.nan}, "not finite"),
        ({"edges": (Edge(0, 2, "a", -math.inf, 0, 0),)}, "not finite"),
        ({"edges": (Edge(0, 2, "a b", -1.0, 0, 0),)}, "'a b' is no word"),
        ({"total": -1e30}, "no integer of"),
    ],
)
def test_what_cannot_be_sent(change, message):
    with pytest.raises(WireError, match=message):
        encode(replace(SMALL, **change))


@given(st.lists(st.integers(-(2 ** (LIMIT_BITS - 1)) + 1, 2 ** (LIMIT_BITS - 1) - 1)))
def test_integers_there_and_back(values):
    out = Writer()
    out.signed(values)
    reader = Reader(out.bytes())
    assert [reader.signed() for _ in values] == values
    reader.finish()
    with pytest.raises(VarintError):
        reader.unsigned()


VERSION_1 = (
    "4f4c0107c064864b634e544852b069646266101062624d4e4c3bbc92293f8f89910108991898188040507e3fa37d0290c1cf0000"
)


def test_messages_of_version_1_are_read_as_they_were():
    """Whoever changes what these bytes mean gives the format another version."""
    lattice = decode(bytes.fromhex(VERSION_1))
    rounded = replace(SMALL, total=-4.03125, edges=tuple(by_source(SMALL)))
    assert lattice == rounded
