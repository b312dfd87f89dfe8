"""Processes that train one network together: each has a part of every batch, and gradients are averaged.

Every rank holds the same parameters, masks and optimizer state at every step, since it starts with the same
and adds the same; rank 0 alone evaluates, logs and saves. Batches are shared out by length (see
`Batches.part`), so that no rank waits long for another.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import torch
from torch import distributed, multiprocessing, nn

PATIENCE = timedelta(hours=1)  # of a rank, for one that evaluates


@dataclass(frozen=True)
class Ranks:
    """Which of how many processes this one is."""

    rank: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """Whether this process speaks for all."""
        return self.rank == 0

    def mean(self, value: float) -> float:
        """The mean of a number over all ranks."""
        if self.count == 1:
            return value
        total = torch.tensor(value, dtype=torch.float64)
        distributed.all_reduce(total)
        return total.item() / self.count

    def average(self, network: nn.Module) -> None:
        """Make every gradient the mean over all ranks."""
        if self.count == 1:
            return
        own = [p.grad if p.grad is not None else torch.zeros_like(p) for p in network.parameters()]
        together = torch.cat([g.flatten() for g in own])
        distributed.all_reduce(together)
        together /= self.count
        parts = together.split([g.numel() for g in own])
        for parameter, part, before in zip(network.parameters(), parts, own, strict=True):
            parameter.grad = part.view_as(before)


def join(ranks: Ranks, meeting: Path) -> None:
    """Meet the other ranks over a file that is not there yet."""
    distributed.init_process_group(
        "gloo", init_method=f"file://{meeting}", rank=ranks.rank, world_size=ranks.count, timeout=PATIENCE
    )


def _follow(rank: int, count: int, meeting: Path, work: Callable[[Ranks], None]) -> None:
    ranks = Ranks(rank, count)
    join(ranks, meeting)
    work(ranks)
    distributed.destroy_process_group()


@contextmanager
def together(count: int, work: Callable[[Ranks], None]) -> Iterator[Ranks]:
    """This process as rank 0; `work` runs in count - 1 others, which end with the block, or are ended."""
    if count == 1:
        yield Ranks()
        return
    with tempfile.TemporaryDirectory() as folder:
        meeting, spawn = Path(folder) / "meeting", multiprocessing.get_context("spawn")
        others = [
            spawn.Process(target=_follow, args=(rank, count, meeting, work), daemon=True)
            for rank in range(1, count)
        ]
        for process in others:
            process.start()
        try:
            ranks = Ranks(0, count)
            join(ranks, meeting)
            yield ranks
            for process in others:
                process.join()
        finally:
            for process in others:
                process.kill()
            distributed.destroy_process_group()
