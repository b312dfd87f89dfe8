"""Train a small net: float, pruned, rounded to 8 bits, exported as integers.

    python -m ossicle.models.nets.train RECIPE.toml [--steps N] [--export]

A run that was stopped goes on from its last saved state. It writes to the recipe's `run` folder: packs,
state.pt, log.jsonl, curves.png, NAME.safetensors.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ossicle.models.export import write_checkpoint
from ossicle.models.nets.recipe import NetRecipe, NetSchedule
from ossicle.models.nets.stack import Stack
from ossicle.models.nets.task import Task
from ossicle.models.nets.tasks import open_task
from ossicle.models.runner import CURVES, LOG, Runner, denormals_flushed, drawn, line, pick_device, read_log
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

PRUNE_EVERY = 10


class _Batches(Dataset):
    """A task's batches, by step."""

    def __init__(self, task: Task, seed: int) -> None:
        self.task, self.seed = task, seed

    def __getitem__(self, step: int) -> Any:
        return self.task.batch(np.random.default_rng((self.seed, step)))


def _moved(batch: Any, device: torch.device) -> Any:
    """A batch's tensors on a device."""
    if isinstance(batch, Tensor):
        return batch.to(device)
    return tuple(_moved(part, device) for part in batch) if isinstance(batch, tuple | list) else batch


class NetRun(Runner):
    """A recipe's run."""

    plan: NetSchedule

    def __init__(self, recipe: NetRecipe, task: Task) -> None:
        super().__init__(recipe.run, recipe.schedule, partial(print, flush=True))
        self.recipe, self.task = recipe, task
        torch.manual_seed(self.plan.seed)
        self.device, self.network = pick_device(recipe.device), Stack(task.topology)
        self.network.to(self.device).reduced = self.plan.reduced
        parameters = [*self.network.parameters(), *task.parameters()]
        self.optimizer = torch.optim.AdamW(
            parameters, self.plan.rate, betas=(0.9, 0.98), weight_decay=1e-3, fused=self.device.type == "cuda"
        )
        self.sparsity: dict[str, float] = {}
        self.restore(self.device)
        self._batches: Iterator[Any] | None = None

    def restored(self, saved: dict) -> None:
        """See `Runner`."""
        self.network.load_state_dict(saved["network"])
        self.optimizer.load_state_dict(saved["optimizer"])
        for parameter, value in zip(self.task.parameters(), saved["task"], strict=True):
            parameter.data.copy_(value)
        self.network.masks = saved["masks"]

    def saved(self) -> dict:
        """See `Runner`."""
        return {
            "network": self.network.state_dict(), "optimizer": self.optimizer.state_dict(),
            "task": [parameter.data for parameter in self.task.parameters()], "masks": self.network.masks,
        }  # fmt: skip

    def compress(self) -> None:
        """Masks and weight rounding as the schedule has them at this step."""
        begin, end = (int(part * self.plan.steps) for part in (self.plan.prune_begin, self.plan.prune_end))
        if begin <= self.step <= end and ((self.step - begin) % PRUNE_EVERY == 0 or self.step == end):
            self.sparsity = self.network.prune(self.step, begin, end, self.recipe.sparsity)
        if self.step >= self.plan.quantize_from * self.plan.steps:
            self.network.weight_bits = self.plan.bits

    def batches(self) -> Iterator[Any]:
        """Those of the steps that are left, each of the seed and its step alone."""
        drawn = _Batches(self.task, self.plan.seed)
        steps = range(self.step, self.plan.steps)
        own = torch.Generator()  # else its seed is drawn from what the losses draw from
        return iter(DataLoader(drawn, None, sampler=steps, num_workers=self.recipe.workers, generator=own))

    def update(self) -> Tensor:
        """One optimizer step; its loss."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.plan.rate_at(self.step)
        self._batches = self._batches or self.batches()
        loss = self.task.loss(self.network, _moved(next(self._batches), self.device))
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.plan.clip)
        self.optimizer.step()
        return loss.detach()

    def advance(self) -> Tensor:
        """See `Runner`."""
        self.compress()
        return self.update()

    def report(self, losses: list[Tensor]) -> dict:
        """See `Runner`."""
        zeros = round(sum(self.sparsity.values()) / max(1, len(self.sparsity)), 3)
        return {"loss": round(torch.stack(losses).mean().item(), 4), "zeros": zeros}

    def measures(self) -> dict:
        """See `Runner`."""
        checkpoint = self.network.checkpoint(self.task.frontend, {})
        return {"scores": self.task.score(checkpoint, self.task.DEV)}

    def export(self, command: str) -> Path:
        """The finished checkpoint."""
        path = self.recipe.run / f"{self.recipe.name}.safetensors"
        said = {"command": command, "seed": self.plan.seed, "steps": self.step}
        header = {"name": self.recipe.name, "provenance": {**self.recipe.provenance, **said}}
        write_checkpoint(path, self.network.checkpoint(self.task.frontend, header))
        return path


def plot(log: Path, out: Path) -> None:
    """Loss, zeros and the first measure of each development set, by step."""
    training, measured = read_log(log, "scores")
    with drawn(out, 3) as axes:
        for axis, key in zip(axes, ("loss", "zeros"), strict=False):
            line(axis, training, lambda row, key=key: row[key])
            axis.set_title(key)
        for name, values in measured[-1]["scores"].items() if measured else []:
            key = next(iter(values))
            label = f"{name}: {key}"
            line(axes[2], measured, lambda row, name=name, key=key: row["scores"][name][key], label)
            axes[2].legend()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--steps", type=int, help="in place of the recipe's")
    parser.add_argument("--export", action="store_true", help="only write the checkpoint of the saved state")
    a = parser.parse_args()
    torch.set_num_threads(1)
    try:
        recipe = NetRecipe.read(a.recipe)
        if a.steps:
            recipe = replace(recipe, schedule=replace(recipe.schedule, steps=a.steps))
        task = open_task(recipe)
        task.prepare()
        run = NetRun(recipe, task)
    except ValueError as error:
        parser.error(str(error))
    if not a.export:
        with denormals_flushed():
            run.train()
    print(run.export(f"python -m ossicle.models.nets.train {a.recipe}"))
    plot(recipe.run / LOG, recipe.run / CURVES)


if __name__ == "__main__":
    main()
