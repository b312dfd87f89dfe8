"""The lattice against every alignment of a small made-up model, and its invariants on larger ones."""

from __future__ import annotations

import math

import pytest
from fake_model import PIECES, FakeModel, word_sums
from hypothesis import given, settings
from hypothesis import strategies as st
from ossicle.runtime.lattice import Edge, Lattice, LatticeOptions, build_lattice

EXACT = LatticeOptions(beam=math.inf, grid=0)


def all_paths(lattice):
    return lattice.nbest(100000)


def scores(graph, **options):
    return {p.words: p.score for p in all_paths(build_lattice(graph, PIECES, LatticeOptions(**options)))}


@pytest.mark.parametrize("vocabulary", [3, 5, 6])
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), sharp=st.sampled_from([100, 500, 1500]))
def test_wide_search_gives_every_sentence_with_its_sum(vocabulary, seed, sharp):
    model = FakeModel(seed, vocabulary, sharp)
    truth = word_sums(model.all_sequences(2))
    search = model.search(2, beam=64, score_beam=math.inf)
    paths = all_paths(build_lattice(search.graph(), PIECES, EXACT))
    assert {p.words for p in paths} == set(truth)
    assert len(paths) == len(truth)
    for path in paths:
        assert path.score == pytest.approx(truth[path.words], abs=1e-9)
    assert paths[0].score == pytest.approx(max(truth.values()))


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6), beam=st.sampled_from([2.0, 5.0, 8.0]), sharp=st.sampled_from([200, 700, 1500])
)
def test_each_sentence_once_and_all_within_the_beam(seed, beam, sharp):
    graph = FakeModel(seed, 6, sharp).search(5, beam=5).graph()
    whole = scores(graph, beam=beam + 6, grid=0)
    paths = all_paths(build_lattice(graph, PIECES, LatticeOptions(beam=beam, grid=0)))
    assert len({p.words for p in paths}) == len(paths)
    best = max(whole.values())
    wanted = {words for words, score in whole.items() if score > best - beam + 0.5}
    assert wanted <= {p.words for p in paths}
    through = {edge for path in paths if path.score >= paths[0].score - beam - 0.01 for edge in path.edges}
    assert through == {edge for path in paths for edge in path.edges}


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), sharp=st.sampled_from([200, 700, 1500]))
def test_merging_never_raises_a_score(seed, sharp):
    graph = FakeModel(seed, 6, sharp).search(6, beam=5).graph()
    exact = scores(graph, beam=12, grid=0)
    merged = build_lattice(graph, PIECES, LatticeOptions(beam=6, grid=0.25))
    paths = all_paths(merged)
    assert len({p.words for p in paths}) == len(paths)
    for path in paths:
        if path.words in exact:
            assert path.score <= exact[path.words] + 0.01
    assert paths[0].score >= max(exact.values()) - 1.0


def test_times_follow_the_frames():
    model = FakeModel(3, 6, 1200)
    lattice = build_lattice(model.search(12, beam=4).graph(), PIECES)
    for edge in lattice.edges:
        assert 0 <= edge.start <= edge.end <= 12 * 0.06 + 1e-9
        assert edge.source < edge.destination < len(lattice.times)


def test_an_utterance_of_silence_has_one_empty_sentence():
    lattice = build_lattice(FakeModel(0).search(0).graph(), PIECES)
    assert [p.text for p in all_paths(lattice)] == [""]
    assert lattice.oracle_errors(["two", "words"]) == 2


def test_posteriors_leave_the_start_with_one():
    lattice = build_lattice(FakeModel(5, 6, 700).search(6, beam=5).graph(), PIECES)
    posterior = lattice.posteriors()
    assert sum(posterior[e] for e in lattice.leaving[0]) == pytest.approx(1)


def edit_distance(a, b):
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        row, above = [i], row
        for j, y in enumerate(b, 1):
            row.append(min(above[j] + 1, row[j - 1] + 1, above[j - 1] + (x != y)))
    return row[-1]


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6), reference=st.lists(st.sampled_from(["a", "b", "ac", "bd", "acd"]), max_size=6)
)
def test_oracle_is_the_best_of_all_paths(seed, reference):
    lattice = build_lattice(FakeModel(seed, 6, 700).search(5, beam=5).graph(), PIECES)
    assert lattice.oracle_errors(reference) == min(
        edit_distance(p.words, reference) for p in all_paths(lattice)
    )


def test_nbest_is_sorted_and_stops():
    edges = (Edge(0, 1, "a", -0.1, 0, 1), Edge(0, 1, "b", -2.0, 0, 1), Edge(1, 2, "c", 0.0, 1, 2))
    lattice = Lattice((0.0, 1.0, 2.0), edges, -3.0)
    assert [p.text for p in lattice.nbest(10)] == ["a c", "b c"]
    assert lattice.best().score == pytest.approx(-3.1)
