"""Entropies of the weight code's symbols given a context."""

import numpy as np
from ossicle.sim import code_contexts, code_sizes


def test_independent_weights_gain_nothing():
    found = code_contexts.ratios(code_sizes.synthetic_weights("gauss", 4, 0.75))
    assert abs(found["no_context"] - 1) < 0.004  # what is seen of 256 masks lies a little below their entropy
    assert found["no_context"] - found["group_before"] < 0.02
    assert found["no_context"] - found["row"] < 0.02


def test_rows_of_two_densities_are_told_apart():
    weights = code_sizes.synthetic_weights("gauss", 4, 0.5)
    weights[::2] *= np.random.default_rng(2).random(weights[::2].shape) < 0.2
    found = code_contexts.ratios(weights)
    assert found["row"] < 0.97 * found["no_context"]


def test_groups_that_repeat_their_neighbour_are_told_apart():
    weights = code_sizes.synthetic_weights("gauss", 4, 0.0)
    runs = np.random.default_rng(3).random((len(weights), weights.shape[1] // 64, 1)) < 0.5
    weights = (weights.reshape(len(weights), -1, 64) * runs).astype(np.int8).reshape(weights.shape)
    found = code_contexts.ratios(weights)
    assert found["group_before"] < 0.95 * found["no_context"]


def test_columns_need_not_be_whole_groups():
    weights = code_sizes.synthetic_weights("laplace", 8, 0.5, (40, 13))
    assert all(0 < ratio < 1.3 for ratio in code_contexts.ratios(weights).values())
