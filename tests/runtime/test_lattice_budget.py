"""Lattices pruned to a budget of bytes."""

from __future__ import annotations

import pytest
from fake_model import PIECES, FakeModel
from hypothesis import given, settings
from hypothesis import strategies as st
from ossicle.runtime.lattice import build_lattice
from ossicle.runtime.lattice_budget import budget, within
from ossicle.runtime.lattice_prune import prune
from ossicle.runtime.lattice_wire import encode
from rescoring_parts import LATTICE


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), share=st.floats(0, 1.2))
def test_it_fits_and_nothing_likelier_was_cut_for_it(seed, share):
    lattice = build_lattice(FakeModel(seed, 6, 500).search(6, beam=5).graph(), PIECES)
    alone, whole = (len(encode(one)) for one in (prune(lattice, 1.0), lattice))
    most = alone + int(share * (whole - alone))
    small = within(lattice, most)
    assert small.best().words == lattice.best().words
    assert small.best().score == pytest.approx(lattice.best().score)
    assert len(encode(small)) <= max(most, alone)
    if most >= whole:
        assert small == lattice
    kept = {p.words for p in small.nbest(10**4)}
    cut = [edge for edge in lattice.edges if not any(_same(edge, other) for other in small.edges)]
    assert kept <= {p.words for p in lattice.nbest(10**4)}
    if cut:
        least = max(lattice.posteriors()[edge] for edge in cut)
        assert prune(lattice, min(1.0, least * (1 + 1e-9))).words <= small.words


def _same(edge, other):
    return (edge.word, edge.score, edge.start, edge.end) == (other.word, other.score, other.start, other.end)


def test_the_best_sentence_stays_whatever_the_budget():
    assert within(LATTICE, 0) == prune(LATTICE, 1.0)
    assert len(encode(within(LATTICE, 0))) > 0


def test_a_budget_is_a_share_of_16_bit_samples():
    assert budget(16000) == 320 and budget(16000, 50) == 16000 and budget(0) == 0


@pytest.mark.parametrize("percent", [0, -1, 100.5, float("nan")])
def test_shares_are_checked(percent):
    with pytest.raises(ValueError, match="of the audio's bytes is not possible"):
        budget(1, percent)
