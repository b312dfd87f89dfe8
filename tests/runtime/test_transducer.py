"""Beam search: exact when the beam is wide, deterministic, and greedy as its name says."""

from __future__ import annotations

import math

import numpy as np
import pytest
from fake_model import START, FakeModel
from hypothesis import given, settings
from hypothesis import strategies as st
from ossicle.runtime.transducer import BLANK, BeamSearch, SearchOptions, log_softmax


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(-32768, 32767), min_size=2, max_size=300))
def test_log_softmax_sums_to_one(logits):
    assert np.exp(log_softmax(np.array(logits, np.int16))).sum() == pytest.approx(1)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_scores_never_exceed_the_sum_over_alignments(seed):
    model = FakeModel(seed, 3, 500)
    truth = model.all_sequences(3)
    search = model.search(3, beam=64, score_beam=math.inf)
    assert search.score <= truth[search.labels] + 1e-9
    assert search.score >= max(truth.values()) - 2


def test_greedy_takes_the_best_label_each_time():
    model, labels = FakeModel(11, 5, 900), []
    for frame in range(30):
        for _ in range(2):
            label = int(np.argmax(model.log_probs(frame, (START + tuple(labels))[-2:])))
            if label == BLANK:
                break
            labels.append(label)
    assert model.search(30, greedy=True).labels == tuple(labels)


def test_a_tie_is_broken_by_the_labels():
    search = BeamSearch(SearchOptions(beam=2))
    search.advance(lambda context: log_softmax(np.zeros(5, np.int16)))
    again = BeamSearch(SearchOptions(beam=2))
    again.advance(lambda context: log_softmax(np.zeros(5, np.int16)))
    assert search.labels == again.labels
    assert search.graph() == again.graph()


def test_each_context_is_asked_once_a_frame():
    model, asked = FakeModel(2, 5, 300), []
    search = BeamSearch(SearchOptions(beam=4))
    for frame in range(8):

        def ask(context, frame=frame):
            asked.append((frame, context))
            return model.log_probs(frame, context)

        search.advance(ask)
    assert len(set(asked)) == len(asked)
    assert len(asked) <= 8 * 2 * 4


def test_reset_forgets():
    model = FakeModel(4, 5, 700)
    search = model.search(6)
    labels = search.labels
    search.reset()
    assert search.labels == ()
    for frame in range(6):
        search.advance(lambda context, frame=frame: model.log_probs(frame, context))
    assert search.labels == labels


@pytest.mark.parametrize(
    ("name", "value"), [("beam", 0), ("beam", 65), ("labels_per_frame", 0), ("score_beam", 0.0)]
)
def test_options_out_of_range_are_refused(name, value):
    with pytest.raises(ValueError, match=str(value)):
        SearchOptions(**{name: value})
