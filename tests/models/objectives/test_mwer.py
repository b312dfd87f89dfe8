"""Minimum word error rate: the loss against finite differences, and what a step of it does to the paths."""

import pytest

torch = pytest.importorskip("torch", reason="needs torch (the extra 'train')")
from ossicle.models.loss import transducer_loss  # noqa: E402
from ossicle.models.objectives.mwer import Paths, expected_errors  # noqa: E402
from ossicle.models.train import Run  # noqa: E402

QUIET = {"say": lambda line: None}
MWER = {"kind": "mwer", "paths": 3, "text": 0.0}


@pytest.fixture
def run(tiny_recipe):
    run = Run(tiny_recipe({"ctc": 0.0}, objective=MWER), **QUIET)
    run.batches.longest = 3000
    return run


def log_probs(network, batch, paths):
    """log P of each path, computed one by one."""
    found = []
    for b, labels in zip(paths.utterance, paths.labels, strict=True):
        frames, count = batch.frames[b : b + 1], torch.tensor([len(labels)])
        logits, _ = network(batch.features[b : b + 1], torch.tensor([labels]), frames, count)
        found.append(-transducer_loss(logits, torch.tensor([labels]), frames, count))
    return torch.cat(found)


def test_gradient_is_that_of_finite_differences():
    torch.manual_seed(0)
    values = torch.randn(5, dtype=torch.float64, requires_grad=True)
    errors, utterance = torch.tensor([0.0, 2, 1, 1, 3]).double(), torch.tensor([0, 0, 0, 2, 2])
    assert torch.autograd.gradcheck(lambda v: expected_errors(v, errors, utterance), values)


def test_expected_errors_are_those_of_the_posteriors():
    values = torch.tensor([0.7, 0.3]).log()
    risk = expected_errors(values, torch.tensor([0.0, 2.0]), torch.zeros(2))
    assert risk.item() == pytest.approx(0.3 * 2 - 1)
    assert expected_errors(values, torch.ones(2), torch.zeros(2)).item() == pytest.approx(0)


def test_risk_takes_the_sum_over_all_alignments(run):
    batch = next(iter(run.batches))
    paths = Paths([0, 0, 1, 1], [[3, 4], [3], [5], [6, 2, 2]], [0.0, 1.0, 2.0, 0.0])
    risk = run.objective.risk(run.network, run.network.encode(batch.features), batch, paths)
    values = log_probs(run.network, batch, paths)
    expected = expected_errors(values, torch.tensor(paths.errors), torch.tensor(paths.utterance))
    torch.testing.assert_close(risk, expected)


def test_a_step_lowers_the_probability_of_the_worse_path(run):
    batch = next(iter(run.batches))
    paths = Paths([0, 0], [[3, 4], [3, 5]], [0.0, 1.0])
    run.objective.search = lambda network, batch: paths
    before = log_probs(run.network, batch, paths).detach().softmax(0)
    for _ in range(3):
        run.update(batch)
        run.step += 1
    after = log_probs(run.network, batch, paths).detach().softmax(0)
    assert after[1] < before[1]
    assert after[0] > before[0]


def test_search_gives_paths_with_their_errors(run):
    """Of a network that has learnt a little, so that its lattices have words."""
    run.objective.text = 1.0
    batch = next(iter(run.batches))
    run.plan = run.plan.__class__(**{**vars(run.plan), "rate": 0.03, "warmup": 1, "steps": 1000})
    supervised, search = run.objective.supervised, run.objective.search
    run.objective.search = lambda network, batch: Paths([], [], [])
    for _ in range(300):
        run.update(batch)
        run.step += 1
    paths = search(run.network, batch)
    assert paths.utterance, "no utterance has paths of different errors"
    assert len(paths.utterance) == len(paths.labels) == len(paths.errors)
    for b in set(paths.utterance):
        own = [e for which, e in zip(paths.utterance, paths.errors, strict=True) if which == b]
        assert 2 <= len(own) <= 3 and len(set(own)) > 1
    texts = [run.objective._text(labels) for labels in paths.labels]
    reference = [
        run.objective._text(batch.labels[b, : int(batch.counts[b])].tolist()) for b in paths.utterance
    ]
    right = [e for e, t, r in zip(paths.errors, texts, reference, strict=True) if t == r]
    assert not any(right)
    run.objective.search = search
    terms = run.objective(run.network, batch)
    assert terms.total.item() != pytest.approx(supervised(run.network, batch).total.item(), abs=1e-6)


@pytest.mark.parametrize("table, message", [({"paths": 1}, "use 2 or more"), ({"beam": 0}, "a beam of 0")])
def test_impossible_lists_are_refused(tiny_recipe, table, message):
    with pytest.raises(ValueError, match=message):
        Run(tiny_recipe(objective={**MWER, **table}), **QUIET)
