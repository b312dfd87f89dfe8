"""The floating-point twin of the integer reference."""

from __future__ import annotations

import numpy as np
import pytest
from ossicle.compiler.importer import import_checkpoint
from ossicle.models.export import write_checkpoint
from ossicle.runtime.float_reference import FloatReference
from ossicle.runtime.language_model import HostModel, PrefixTree, open_host_model
from ossicle.runtime.programs import LANGUAGE_MODEL, default_model
from ossicle.runtime.transducer import log_softmax
from random_lm import random_model

LABELS = ["", *(f"p{i}" for i in range(30))]
TREE = PrefixTree([(3, 4, 5), (3, 4), (3, 9, 1, 2), (7,)])


def log_probs(model, tree):
    return np.array([log_softmax(row) for row in model.logits(tree)])


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_near_the_integers_and_not_equal(tmp_path, seed):
    write_checkpoint(tmp_path / "lm", random_model(LABELS, seed=seed))
    graph = import_checkpoint(tmp_path / "lm")
    exact, floats = (log_probs(HostModel(graph, one), TREE) for one in (False, True))
    assert np.exp(floats).sum(axis=1) == pytest.approx(1)
    assert 0 < np.abs(exact - floats).max() < 0.2


def test_the_shipped_model_in_both():
    path = default_model(LANGUAGE_MODEL)
    tree = PrefixTree([(20, 30, 40, 50), (20, 31, 100)])
    exact, floats = (log_probs(open_host_model(path, one), tree) for one in (False, True))
    likely = exact > -6
    assert likely.sum() > 20 and np.abs(exact - floats)[likely].max() < 0.15


def test_states_are_of_the_batch(tmp_path):
    write_checkpoint(tmp_path / "lm", random_model(LABELS))
    reference = FloatReference(import_checkpoint(tmp_path / "lm"))
    reference.reset((2,))
    both = [reference.run("step", {"label.0": np.array(pair)}) for pair in ((3, 7), (4, 7))]
    reference.reset((1,))
    alone = [reference.run("step", {"label.0": np.array([label])}) for label in (3, 4)]
    assert both[1][0] == pytest.approx(alone[1][0], abs=1e-2)
    assert np.abs(both[1][1] - both[0][1]).max() > 1  # the state moved on


def test_another_graph_is_refused():
    graph = import_checkpoint(default_model())
    with pytest.raises(ValueError, match="cannot be computed in floating point"):
        FloatReference(graph)
