"""Rescored sentences as a lattice."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from ossicle.runtime.lattice_io import from_slf, to_slf
from ossicle.runtime.lattice_wire import STEPS, decode, encode
from ossicle.runtime.rescored_lattice import rescored_lattice
from rescoring_parts import LATTICE, small_rescorer


@pytest.fixture(scope="module")
def rescorer(tmp_path_factory):
    return small_rescorer(tmp_path_factory.mktemp("rescored"), weight=0.7, bonus=0.4, best="score")


def test_each_sentence_has_its_score_by_word(rescorer):
    found = rescorer.rescore(LATTICE)
    for one in found:
        assert len(one.by_word) == len(one.path.words) + 1
        assert sum(one.by_word) == pytest.approx(one.model)
        assert one.by_word[:-1] == pytest.approx(beginning(rescorer, one.path.words))
        assert one.model == pytest.approx(rescorer.log_probs([one.text])[0])


def beginning(rescorer, words):
    """Of each word what it adds to the log-probability of a text, less the end's."""
    parts = [rescorer.rescore(sentence(words[: i + 1]))[0] for i in range(len(words))]
    whole = [0.0, *(part.model - part.by_word[-1] for part in parts)]
    return [after - before for before, after in pairwise(whole)]


def sentence(words):
    edges = [replace(LATTICE.edges[0], source=i, destination=i + 1, word=w) for i, w in enumerate(words)]
    return replace(LATTICE, times=tuple(float(i) for i in range(len(words) + 1)), edges=tuple(edges))


@pytest.mark.parametrize("count", [1, 3, 7])
def test_the_tree_has_their_scores_and_their_parts(rescorer, count):
    found = rescorer.rescore(LATTICE)[:count]
    tree = rescored_lattice(LATTICE, found, rescorer.options)
    paths = tree.nbest(99)
    assert [path.text for path in paths] == [one.text for one in found]
    for path, one in zip(paths, found, strict=True):
        assert path.score == pytest.approx(one.score) and path.boost == one.path.boost
        assert path.acoustic == pytest.approx(one.path.acoustic)
        brought = 0.7 * one.model + 0.4 * len(one.path.words)
        assert path.language == pytest.approx(brought)
        said = [(e.word, e.start, e.end) for e in path.edges if e.word]
        assert said == [(e.word, e.start, e.end) for e in one.path.edges if e.word]
    assert all(e.source < e.destination for e in tree.edges)
    assert tree.words == len(
        {one.path.edges[: i + 1] for one in found for i, e in enumerate(one.path.edges) if e.word}
    )


def test_it_goes_to_files_and_over_the_network(rescorer):
    tree = rescored_lattice(LATTICE, rescorer.rescore(LATTICE), rescorer.options)
    for again, near in ((from_slf(to_slf(tree)), 1e-3), (decode(encode(tree)), 4 / STEPS)):
        for path, other in zip(again.nbest(3), tree.nbest(3), strict=True):
            assert path.score == pytest.approx(other.score, abs=near)
            assert path.language == pytest.approx(other.language, abs=near)


def test_scores_that_are_not_known_by_word(rescorer):
    found = rescorer.rescore(LATTICE)
    with pytest.raises(ValueError, match="scores of words are not known"):
        rescored_lattice(LATTICE, [replace(found[0], by_word=())], rescorer.options)
    odd = [replace(one, by_word=(one.model, 0.0, 0.0, 0.0, 0.0)) for one in found]  # other pieces than words
    paths = rescored_lattice(LATTICE, odd, rescorer.options).nbest(9)
    assert [path.score for path in paths] == pytest.approx([one.score for one in found])
