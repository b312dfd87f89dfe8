"""Processes that train together: what one would do with all their clips, step by step."""

import threading
from dataclasses import replace

import pytest

torch = pytest.importorskip("torch", reason="needs torch (the extra 'train')")
from ossicle.models.branch import BranchOptions  # noqa: E402
from ossicle.models.parallel import Ranks, together  # noqa: E402
from ossicle.models.train import Run, finish  # noqa: E402

QUIET = {"say": lambda line: None}


class Threads:
    """Two ranks as threads, whose gradients meet in memory."""

    def __init__(self):
        self.barrier, self.gradients, self.values = threading.Barrier(2, timeout=60), {}, {}

    def average(self, ranks, network):
        self.gradients[ranks.rank] = [p.grad.clone() for p in network.parameters()]
        self.barrier.wait()
        for parameter, one, other in zip(network.parameters(), *self.gradients.values(), strict=True):
            parameter.grad = (one + other) / 2
        self.barrier.wait()

    def mean(self, ranks, value):
        self.values[ranks.rank] = value
        self.barrier.wait()
        made = sum(self.values.values()) / 2
        self.barrier.wait()
        return made


@pytest.mark.parametrize("branch", [None, BranchOptions(begin=1, hidden=4)], ids=["plain", "branch"])
def test_gradients_are_averaged_over_the_parts_of_a_batch(tiny_recipe, tmp_path, monkeypatch, branch):
    plan = {"steps": 4, "batch": 2, "save_every": 2, "prune_begin": 0.3, "prune_end": 0.6}
    recipe = tiny_recipe(plan, sparsity={"encoder.0": 0.5}, processes=2, branch=branch)
    run = Run(recipe, **QUIET)
    finish(run, tmp_path / "r.toml", False)

    threads, apart = Threads(), replace(recipe, run=tmp_path / "threads")
    monkeypatch.setattr(Ranks, "average", lambda self, network: threads.average(self, network))
    monkeypatch.setattr(Ranks, "mean", lambda self, value: threads.mean(self, value))
    runs = [Run(apart, ranks=Ranks(rank, 2), **QUIET) for rank in range(2)]
    texts = [[clip.labels for clip in clips] for clips in (r.batches.epoch_batches()[0] for r in runs)]
    assert texts[0] == texts[1] and len(texts[0]) > 4  # one plan, shared out
    runs = [Run(apart, ranks=Ranks(rank, 2), **QUIET) for rank in range(2)]
    workers = [threading.Thread(target=r.train) for r in runs]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for one in runs:
        assert one.step == 4
        if branch:
            assert one.branching.weight == pytest.approx(run.branching.weight, abs=1e-6)
        for (name, value), other in zip(
            run.network.state_dict().items(), one.network.state_dict().values(), strict=True
        ):
            torch.testing.assert_close(value, other, rtol=0, atol=1e-6, msg=name)
    assert Run(recipe, **QUIET).step == 4


def _fails(ranks):
    raise ValueError("no")


def test_a_process_that_ends_is_no_hang():
    with pytest.raises(RuntimeError), together(2, _fails) as ranks:
        network = torch.nn.Linear(2, 2)
        for _ in range(3):
            ranks.average(network)


def test_on_a_gpu_one_process_is_all(tiny_recipe):
    with pytest.raises(ValueError, match="processes = 2 with device"):
        tiny_recipe(processes=2, device="auto")
    with pytest.raises(ValueError, match="processes = 0"):
        tiny_recipe(processes=0)
