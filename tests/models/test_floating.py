"""The float reference: what the training network computes, but for the rounding of activations."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch (the extra 'train')")
from ossicle.models.evaluate import command  # noqa: E402
from ossicle.models.exact import ExactTransducer  # noqa: E402
from ossicle.models.export import read_checkpoint  # noqa: E402
from ossicle.models.floating import FloatTransducer, float_lstm, transducer_of  # noqa: E402
from ossicle.models.initial import from_checkpoint  # noqa: E402
from ossicle.models.search import Searcher, lattices_of  # noqa: E402
from ossicle.runtime.transducer import SearchOptions  # noqa: E402


@pytest.fixture(scope="module")
def pair(untrained_checkpoint):
    checkpoint = read_checkpoint(untrained_checkpoint)
    return checkpoint, from_checkpoint(checkpoint)


def noise(steps, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).integers(-128, 128, (2, steps, 120)).astype(np.int8))


def test_an_lstm_is_torchs():
    lstm = torch.nn.LSTM(7, 5)
    weight = torch.cat([lstm.weight_ih_l0, lstm.weight_hh_l0], dim=1).detach()
    bias = (lstm.bias_ih_l0 + lstm.bias_hh_l0).detach()
    x = torch.randn(9, 3, 7)
    torch.testing.assert_close(float_lstm(x, weight, bias), lstm(x)[0].detach(), atol=1e-6, rtol=1e-5)


def test_integers_stay_near_it(pair):
    checkpoint, start = pair
    exact, real = ExactTransducer(checkpoint), transducer_of(start)
    features, labels = noise(12), torch.tensor([[0] * (exact.context - 1) + [5]] * 2)
    encoded = real.encode(features)
    assert encoded.shape == exact.encode(features).shape
    assert (exact.encode(features) / 2048 - encoded).abs().max() < 0.1
    assert (exact.predict(labels) / 2048 - real.predict(labels)).abs().max() < 0.05
    logits = real.logits(encoded[:, 0], real.predict(labels))
    wanted = exact.logits(exact.encode(features)[:, 0], exact.predict(labels))
    assert (logits - wanted).abs().max() < 0.1 * 256
    assert not torch.equal(logits, logits.round())  # nothing was rounded


def test_one_search_serves_both_and_processes_find_the_same(pair):
    _, start = pair
    utterances = [part.numpy() for part in noise(10)]
    options = SearchOptions(beam=3)
    alone = Searcher(start, options).lattices(utterances)
    assert alone == lattices_of(start, options, utterances, 2)


def test_a_branch_has_none(pair):
    from dataclasses import replace

    topology = {**pair[1].topology, "branch": {"from": 1, "hidden": 16}}
    with pytest.raises(ValueError, match="leave --float out"):
        FloatTransducer(replace(pair[1], topology=topology))


def test_evaluate_takes_a_runs_state_in_float_alone(tiny_recipe, tiny_corpus):
    from ossicle.models.train import Run

    run = Run(tiny_recipe(), print)
    run.train()
    state = run.recipe.run / "state.pt"
    with pytest.raises(ValueError, match="say --float"):
        command(state, [tiny_corpus])
    found, table = command(state, [tiny_corpus], floats=True, beam=2)
    assert found["float"] is True and table[0]["words"] > 0
