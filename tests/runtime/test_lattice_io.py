"""Formats: SLF there and back, the others read by their rules, pictures well-formed."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import pytest
from fake_model import PIECES, FakeModel
from hypothesis import given, settings
from hypothesis import strategies as st
from ossicle.runtime.lattice import Edge, Lattice, build_lattice
from ossicle.runtime.lattice_fst import to_kaldi, to_openfst
from ossicle.runtime.lattice_io import LatticeError, from_slf, to_dot, to_slf
from ossicle.runtime.lattice_picture import to_svg, to_text

ODD = Lattice(
    (0.0, 0.5, 1.0), (Edge(0, 1, "o'cl\"ock=\\", -0.5, 0, 0.5), Edge(1, 2, "", -1.0, 0.5, 0.5)), -4.0, "a b"
)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_slf_round_trip(seed):
    lattice = build_lattice(FakeModel(seed, 6, 700).search(6, beam=4).graph(), PIECES)
    text = to_slf(lattice)
    again = from_slf(text)
    assert to_slf(again) == text
    assert again.total == pytest.approx(lattice.total, abs=1e-4)
    assert again.best().words == lattice.best().words
    assert [e.word for e in again.edges] == [e.word for e in lattice.edges]


def test_odd_words_survive():
    again = from_slf(to_slf(ODD))
    assert [e.word for e in again.edges] == ["o'cl\"ock=\\", ""]
    assert again.utterance == "a b"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.replace("N=4", "N=5"), "promises"),
        (lambda t: t.replace("S=1 E=2", "S=2 E=1"), "line"),
        (lambda t: t.replace("a=-0.5", "a=loud"), "line"),
        (lambda t: "", "promises"),
        (lambda t: t.replace("a=-0.5000", "a=inf"), "not finite"),
        (lambda t: t.replace("E=3", "E=9"), "line 12"),
    ],
)
def test_what_is_no_lattice_is_refused(change, message):
    with pytest.raises(LatticeError, match=message):
        from_slf(change(to_slf(ODD)))


def test_scores_apart_survive():
    lattice = Lattice(
        (0.0, 1.0), (Edge(0, 1, "a", -0.5, 0, 1, 1.25, -2.5), Edge(0, 1, "b", -0.75, 0, 1, 0.0, -0.5)), -4.0
    )
    assert from_slf(to_slf(lattice)) == lattice
    assert "W=a a=0.7500 l=-1.2500 boost=1.2500" in to_slf(lattice)


def test_scales_of_other_tools_count():
    text = """VERSION=1.0
lmscale=10.0 wdpenalty=-0.5
N=3 L=2
I=0 t=0.00
I=1 t=0.50
I=2 t=1.00
J=0 S=0 E=1 W=yes a=-20.0 l=-1.5
J=1 S=1 E=2 W=!NULL a=-3.0 l=-0.5
"""
    lattice = from_slf(text)
    assert [(e.word, e.score, e.language) for e in lattice.edges] == [("yes", -35.5, -15.5), ("", -8.0, -5.0)]
    assert lattice.best().acoustic == -23 and lattice.best().language == -20.5


def path_cost(lines, words):
    """Sum of the costs of the path with these words, by the text of an acceptor."""
    state, total = "0", 0.0
    for word in words:
        row = next(line for line in lines if line[0] == state and line[2] == word)
        total, state = total + row[3], row[1]
    while all(line[0] != state or len(line) > 2 for line in lines):
        row = next(line for line in lines if line[0] == state and line[2] == "<eps>")
        total, state = total + row[3], row[1]
    return total + next(line[1] for line in lines if line[0] == state and len(line) == 2)


def test_kaldi_and_openfst_hold_the_cost_of_the_sentence():
    lattice = build_lattice(FakeModel(9, 6, 700).search(6, beam=4).graph(), PIECES)
    best = lattice.best()
    fst, symbols = to_openfst(lattice)
    rows = [line.split() for line in fst.splitlines()]
    rows = [[*r[:2], r[2], float(r[4])] if len(r) == 5 else [r[0], float(r[1])] for r in rows]
    assert path_cost(rows, best.words) == pytest.approx(-best.score, abs=1e-3)
    assert set(best.words) <= {line.split()[0] for line in symbols.splitlines()}
    name, *kaldi = to_kaldi(lattice).strip().splitlines()
    rows = [line.split() for line in kaldi]
    rows = [
        [*r[:3], float(r[3].split(",")[1])] if len(r) == 4 else [r[0], float(r[1].split(",")[1])]
        for r in rows
    ]
    assert name == "utterance"
    assert path_cost(rows, best.words) == pytest.approx(-best.score, abs=1e-3)


@pytest.mark.parametrize(
    "lattice", [ODD, build_lattice(FakeModel(9, 6, 300).search(9, beam=4).graph(), PIECES)]
)
def test_pictures_are_whole(lattice):
    ElementTree.fromstring(to_svg(lattice))
    assert to_dot(lattice).count("->") == len(lattice.edges)
    lines = to_text(lattice).splitlines()
    assert 0 < len(lines) <= 16
    assert all(len(line) <= 100 for line in lines)
