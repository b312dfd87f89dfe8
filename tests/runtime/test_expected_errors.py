"""Distances in words, and the errors that are to be expected of a sentence."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ossicle.runtime.expected_errors import distances, expected_errors

SENTENCES = st.lists(st.lists(st.sampled_from("abcd"), max_size=7), min_size=1, max_size=6)


def distance(one, other):
    """Word by word, as the definition has it."""
    above = list(range(len(other) + 1))
    for i, word in enumerate(one):
        row = [i + 1]
        for j, with_ in enumerate(other):
            row.append(min(above[j] + (word != with_), above[j + 1] + 1, row[j] + 1))
        above = row
    return above[-1]


@given(SENTENCES)
def test_distances_are_those_of_each_pair(sentences):
    wanted = [[distance(one, other) for other in sentences] for one in sentences]
    np.testing.assert_array_equal(distances(sentences), wanted)


@given(SENTENCES, st.randoms(use_true_random=False))
def test_expected_errors_are_of_the_sentences_odds(sentences, draw):
    scores = [draw.uniform(-900, -880) for _ in sentences]
    odds = np.exp(np.array(scores) + 890)
    found = expected_errors(sentences, scores)
    assert found == pytest.approx(distances(sentences) @ odds / odds.sum())


def test_what_is_sure_has_no_errors():
    assert expected_errors([["a", "b"]], [-3.0]) == pytest.approx([0])
    assert expected_errors([["a"], [], ["a", "b"]], [0.0, -800.0, -800.0]) == pytest.approx([0, 1, 1])
