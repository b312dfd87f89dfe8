"""Words of a text, and their labels."""

import numpy as np
import pytest
from ossicle.runtime.words import LABELS, READINGS, labels_of, split_words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Turn on the kitchen lights, please!", "turn on the kitchen lights please"),
        ("what is imogen's number", "what is imogen 's number"),
        ("don't go at three o'clock", "don't go at three o'clock"),
        ("that\N{RIGHT SINGLE QUOTATION MARK}s it", "that 's it"),
        ("  a\tb\n", "a b"),
        ("7 __ café", "7 café"),
        ("' ... '", ""),
        ("", ""),
    ],
)
def test_words_and_where_they_are(text, words):
    found = split_words(text)
    assert " ".join(word.text for word in found) == words
    for word in found:
        there = text[word.begin : word.end].replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
        assert there.lower() == word.text


def test_labels_are_the_same_everywhere():
    """Literal values: a net of another machine was trained on them."""
    once = [[579, 108, 478, 1017, 137], [1017, 943, 100, 137, 137]]
    assert labels_of(["a", "b"], 1024).tolist() == once * 2


def test_labels_look_two_words_ahead_and_no_further():
    words = ["turn", "on", "the", "kitchen", "lights"]
    labels = labels_of(words, 1 << 16)
    assert labels.shape == (READINGS * 5, LABELS)
    np.testing.assert_array_equal(labels[:5], labels[5:])
    np.testing.assert_array_equal(labels[:-1, 3][:4], labels[1:5, 0])
    np.testing.assert_array_equal(labels[:3, 4], labels[2:5, 0])
    other = labels_of([*words[:4], "lamp"], 1 << 16)
    np.testing.assert_array_equal(other[:2], labels[:2])
    assert other[2, 4] != labels[2, 4]


def test_a_table_of_one_row_holds_every_label():
    assert not labels_of(["turn", "on"], 1).any()
    assert labels_of([], 7).shape == (0, LABELS)
