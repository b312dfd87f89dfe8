"""Train a small net: float, pruned, rounded to 8 bits, exported as integers.

    python -m ossicle.models.nets.train RECIPE.toml [--steps N] [--export]

A run that was stopped goes on from its last saved state. It writes to the recipe's `run` folder: packs,
state.pt, log.jsonl, curves.png, NAME.safetensors.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from ossicle.models.export import write_checkpoint
from ossicle.models.nets.recipe import NetRecipe
from ossicle.models.nets.stack import Stack
from ossicle.models.nets.task import Task
from ossicle.models.nets.tasks import open_task

PRUNE_EVERY = 10
LOG_EVERY = 50


class NetRun:
    """Everything that a run saves and restores."""

    def __init__(self, recipe: NetRecipe, task: Task) -> None:
        self.recipe, self.plan, self.task = recipe, recipe.schedule, task
        torch.manual_seed(self.plan.seed)
        self.network = Stack(task.topology)
        parameters = [*self.network.parameters(), *task.parameters()]
        self.optimizer = torch.optim.AdamW(parameters, self.plan.rate, betas=(0.9, 0.98), weight_decay=1e-3)
        self.step, self.state = 0, recipe.run / "state.pt"
        self.sparsity: dict[str, float] = {}
        recipe.run.mkdir(parents=True, exist_ok=True)
        self.restore()

    def restore(self) -> None:
        """Take up the saved state, if there is one."""
        if not self.state.exists():
            return
        saved = torch.load(self.state, weights_only=True)
        self.network.load_state_dict(saved["network"])
        self.optimizer.load_state_dict(saved["optimizer"])
        for parameter, value in zip(self.task.parameters(), saved["task"], strict=True):
            parameter.data.copy_(value)
        self.network.masks, self.step = saved["masks"], saved["step"]
        print(f"going on from step {self.step}", flush=True)

    def save(self) -> None:
        """Write the state, whole or not at all."""
        temporary = self.state.with_suffix(".new")
        torch.save(
            {"network": self.network.state_dict(), "optimizer": self.optimizer.state_dict(),
             "task": [parameter.data for parameter in self.task.parameters()],
             "masks": self.network.masks, "step": self.step}, temporary)  # fmt: skip
        temporary.replace(self.state)

    def log(self, **values) -> None:
        """One JSON line to the log, and to the terminal."""
        line = json.dumps({"step": self.step, "time": round(time.time(), 1), **values})
        with (self.recipe.run / "log.jsonl").open("a") as file:
            file.write(line + "\n")
        print(line, flush=True)

    def compress(self) -> None:
        """Masks and weight rounding as the schedule has them at this step."""
        begin, end = (int(part * self.plan.steps) for part in (self.plan.prune_begin, self.plan.prune_end))
        if begin <= self.step <= end and ((self.step - begin) % PRUNE_EVERY == 0 or self.step == end):
            self.sparsity = self.network.prune(self.step, begin, end, self.recipe.sparsity)
        if self.step >= self.plan.quantize_from * self.plan.steps:
            self.network.weight_bits = self.plan.bits

    def update(self) -> float:
        """One optimizer step; a step's batch depends on the seed and the step alone."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.plan.rate_at(self.step)
        batch = self.task.batch(np.random.default_rng((self.plan.seed, self.step)))
        loss = self.task.loss(self.network, batch)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.plan.clip)
        self.optimizer.step()
        return loss.item()

    def train(self) -> None:
        """Until the last step of the schedule."""
        plan, losses, started = self.plan, [], time.time()
        while self.step < plan.steps:
            self.compress()
            losses.append(self.update())
            self.step += 1
            if self.step % LOG_EVERY == 0:
                spent = round((time.time() - started) / LOG_EVERY, 3)
                zeros = round(sum(self.sparsity.values()) / max(1, len(self.sparsity)), 3)
                self.log(loss=round(float(np.mean(losses)), 4), seconds=spent, zeros=zeros)
                losses, started = [], time.time()
            last = self.step == plan.steps
            if last or self.step % plan.save_every == 0:
                self.save()
            if last or self.step % plan.evaluate_every == 0:
                checkpoint = self.network.checkpoint(self.task.frontend, {})
                self.log(scores=self.task.score(checkpoint, self.task.DEV))
                started = time.time()

    def export(self, command: str) -> Path:
        """The finished checkpoint."""
        path = self.recipe.run / f"{self.recipe.name}.safetensors"
        said = {"command": command, "seed": self.plan.seed, "steps": self.step}
        header = {"name": self.recipe.name, "provenance": {**self.recipe.provenance, **said}}
        write_checkpoint(path, self.network.checkpoint(self.task.frontend, header))
        return path


def plot(log: Path, out: Path) -> None:
    """Loss, zeros and the first measure of each development set, by step."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = [json.loads(line) for line in log.read_text().splitlines()]
    figure, axes = pyplot.subplots(1, 3, figsize=(15, 4))
    training, measured = [r for r in rows if "loss" in r], [r for r in rows if "scores" in r]
    for axis, key in zip(axes, ("loss", "zeros"), strict=False):
        axis.plot([r["step"] for r in training], [r[key] for r in training])
        axis.set_title(key)
    for name, values in measured[-1]["scores"].items() if measured else []:
        key = next(iter(values))
        axes[2].plot(
            [r["step"] for r in measured], [r["scores"][name][key] for r in measured], label=f"{name}: {key}"
        )
        axes[2].legend()
    for axis in axes:
        axis.set_xlabel("step")
        axis.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(out, dpi=110)


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
        torch.set_flush_denormal(True)
        try:
            run.train()
        finally:
            torch.set_flush_denormal(False)  # it is the process's, and others may count on subnormals
    print(run.export(f"python -m ossicle.models.nets.train {a.recipe}"))
    plot(recipe.run / "log.jsonl", recipe.run / "curves.png")


if __name__ == "__main__":
    main()
