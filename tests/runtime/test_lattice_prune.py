"""Pruning by posterior, and confidences, against sums over all sentences."""

from __future__ import annotations

import math

import pytest
from fake_model import PIECES, FakeModel
from hypothesis import given, settings
from hypothesis import strategies as st
from ossicle.runtime.lattice import Edge, Lattice, build_lattice
from ossicle.runtime.lattice_prune import confidences, connected, prune


def made(seed):
    return build_lattice(FakeModel(seed, 6, 500).search(6, beam=5).graph(), PIECES)


def through(lattice):
    """Posterior of each edge by its words before and itself, summed over all sentences."""
    paths = lattice.nbest(100000)
    whole = sum(math.exp(path.score) for path in paths)
    return {
        edge: sum(math.exp(path.score) for path in paths if edge in path.edges) / whole
        for edge in lattice.edges
    }


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), least=st.sampled_from([0.0, 0.01, 0.1, 0.5, 1.0]))
def test_edges_of_that_posterior_stay(seed, least):
    lattice = made(seed)
    posterior, small = through(lattice), prune(lattice, least)
    best = set(lattice.best().edges)
    assert small.best().words == lattice.best().words
    assert small.best().score == pytest.approx(lattice.best().score)
    assert {p.words for p in small.nbest(10000)} <= {p.words for p in lattice.nbest(10000)}
    assert len(best) <= len(small.edges) <= len(lattice.edges)
    assert all(e.source < e.destination < len(small.times) for e in small.edges)
    sure = {e.word for e in lattice.edges if posterior[e] >= least + 1e-9}
    assert sure <= {e.word for e in small.edges}
    if least == 0:
        assert small == lattice
    if least == 1:
        assert [e.word for e in small.edges] == [e.word for e in lattice.best().edges]


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_posteriors_are_shares_of_the_sentences(seed):
    lattice = made(seed)
    assert lattice.posteriors() == pytest.approx(through(lattice))


def test_a_word_said_at_the_same_time_in_several_sentences():
    edges = (
        Edge(0, 1, "a", math.log(0.5), 0.0, 0.3), Edge(0, 2, "b", math.log(0.3), 0.0, 0.3),
        Edge(0, 3, "b", math.log(0.2), 0.0, 0.6), Edge(1, 3, "c", 0.0, 0.3, 0.6),
        Edge(2, 3, "c", 0.0, 0.36, 0.6),
    )  # fmt: skip
    lattice = Lattice((0.0, 0.3, 0.3, 0.6), edges)
    assert confidences(lattice) == pytest.approx([0.5, 0.8])
    assert confidences(lattice, lattice.nbest(2)[1]) == pytest.approx([0.5, 0.8])
    early = Lattice(lattice.times, (*edges[:4], Edge(2, 3, "c", 0.0, 0.0, 0.2)))
    assert confidences(early) == pytest.approx([0.5, 0.5])


def test_what_no_sentence_goes_through_goes():
    edges = (Edge(0, 3, "a", 0, 0, 1), Edge(0, 1, "b", 0, 0, 1), Edge(2, 3, "c", 0, 0, 1))
    assert connected(Lattice((0.0, 0.5, 0.6, 1.0), edges)) == Lattice((0.0, 1.0), (Edge(0, 1, "a", 0, 0, 1),))
    with pytest.raises(ValueError, match="no sentence goes through"):
        connected(Lattice((0.0, 0.5, 1.0), edges[1:2]))


@pytest.mark.parametrize("least", [-0.1, 1.1, math.nan])
def test_posteriors_out_of_range_are_refused(least):
    with pytest.raises(ValueError, match="is not possible; use 0 to 1"):
        prune(made(1), least)
