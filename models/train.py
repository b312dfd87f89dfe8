"""Train a transducer: float first, then pruned, then rounded to 8 bits, then exported as integers.

    ossicle train RECIPE.toml [--steps N] [--export] [--json]

With `processes` in the recipe, so many share each batch (see parallel.py). A run that was stopped goes on
from its last saved state. It writes to the recipe's `run` folder: state.pt, log.jsonl, curves.png,
NAME.safetensors.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from ossicle.models.branch import Branching
from ossicle.models.data.batches import FRAMES_A_STEP, Batch, Batches, Pack, after_whole_steps
from ossicle.models.data.resident import ResidentBatches
from ossicle.models.evaluate import score, transcribe
from ossicle.models.export import write_checkpoint
from ossicle.models.graphed import GraphedStep
from ossicle.models.initial import describe
from ossicle.models.network import Transducer
from ossicle.models.objectives.objective import KINDS, Setting, objective_of
from ossicle.models.parallel import Ranks, together
from ossicle.models.qat import distance_to_levels, fake_weight, level_pull
from ossicle.models.recipe import Recipe, Schedule, Source, encoder
from ossicle.models.runner import (
    CURVES,
    LOG,
    Progress,
    Runner,
    Say,
    denormals_flushed,
    drawn,
    line,
    pick_device,
    read_log,
)
from torch import Tensor


def learning_rate(step: int, plan: Schedule) -> float:
    """Linear warm-up, level until `decay_from`, then half a cosine down to 1 % of the top.

    With restarts (Loshchilov & Hutter 2017, arXiv:1608.03983) each period does so, `restart_rate` times as
    high as the one before.
    """
    edges = [0.0, *(part * plan.steps for part in plan.restarts), float(plan.steps)]
    period = max(i for i, begin in enumerate(edges[:-1]) if step >= begin)
    top, begin, end = plan.rate * plan.restart_rate**period, edges[period], edges[period + 1]
    if step < begin + plan.warmup:
        return top * (step - math.ceil(begin) + 1) / plan.warmup
    level = begin + plan.decay_from * (end - begin)
    progress = min(1.0, max(0.0, (step - level) / max(1.0, end - level)))
    return top * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress)))


class Run(Runner):
    """A recipe's run."""

    plan: Schedule

    def __init__(
        self, recipe: Recipe, say: Say = print, progress: Progress | None = None, ranks: Ranks | None = None
    ) -> None:
        self.ranks = ranks or Ranks(0, recipe.processes)
        super().__init__(recipe.run, recipe.schedule, say, progress, quiet=not self.ranks.first)
        self.recipe = recipe
        self.device, start = pick_device(recipe.device), recipe.start()
        given = start or recipe.teacher()
        self.frontend, self.tokenizer = recipe.prepare(given), recipe.tokenizer(given)
        torch.manual_seed(self.plan.seed)
        topology = start.topology if start else recipe.full_topology(given)
        self.bits = recipe.matrix_bits(topology)
        self.network = Transducer(topology)
        if start:
            start.load(self.network)
            kept = {} if recipe.regrow else start.masks
            self.network.masks = {
                name: mask.to(self.device, copy=True)
                for name, mask in kept.items()
                if name in recipe.sparsity or (recipe.learn and name not in recipe.learn)
            }
        self.pruning = recipe.pruning(self.network.masks)
        self.pruning.check(topology)
        self.network.to(self.device).reduced = self.plan.reduced
        if recipe.learn:
            self.network.learn_alone(recipe.learn)
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(), self.plan.rate, betas=(0.9, 0.98), weight_decay=1e-3, fused=True
        )
        setting = Setting(
            self.tokenizer, self.frontend, topology, self.device, self.plan.ctc, self.plan.fast_emit
        )
        self.objective = objective_of(recipe.objective, setting)
        self.branching = Branching(recipe.branch, self.plan.steps, self.plan.seed) if recipe.branch else None
        packs = [self._pack(source) for source in recipe.train]
        self.begins = [source.begin * self.plan.steps for source in recipe.train]
        self.graphed = self._graphed() if self.on_gpu_alone else None
        self.batches = self._batches(packs)
        self.batches.masks = self.plan.spec_augment()
        self.sparsity = dict(self.pruning.initial)
        self._drawn: Iterator[Batch] | None = None
        self.restore(self.device)

    @property
    def on_gpu_alone(self) -> bool:
        """Whether batches are made, and steps done, without the CPU; see resident.py and graphed.py."""
        plain = self.recipe.objective.get("kind", KINDS[0]) == KINDS[0] and not self.branching
        return plain and self.device.type == "cuda" and not any(s.context for s in self.recipe.train)

    def _graphed(self) -> GraphedStep:
        for name, weight in self.network.named_weights():
            if name in self.recipe.sparsity:
                self.network.masks.setdefault(name, torch.ones_like(weight))
        return GraphedStep(self.loss, self.network)

    def _batches(self, packs: list[Pack]) -> Batches | ResidentBatches:
        plan, encode = self.plan, encoder(self.tokenizer)
        if self.graphed:
            return ResidentBatches(packs, encode, plan.batch, self.frontend, plan.seed, self.device)
        part = (self.ranks.rank, self.ranks.count)
        batches = Batches(packs, encode, plan.batch, self.frontend, plan.seed, part)
        batches.cold = plan.cold
        if self.recipe.initial:
            batches.epoch = 1  # what it starts from is trained: short clips need not come first
        return batches

    def _pack(self, source: Source) -> Pack:
        path = self.recipe.packs / source.name
        index = self.objective.relabel(path, self.recipe.run, self.say) if source.unannotated else None
        return Pack(path, source.repeats, index, source.context)

    def restored(self, saved: dict) -> None:
        """See `Runner`."""
        self.network.load_state_dict(saved["network"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.network.masks = saved["masks"]
        if self.branching:
            self.branching.weight = saved["cost_weight"]
        if "batches" in saved:
            self.batches.resume(saved["batches"])
        else:
            self.batches.epoch = 1

    def saved(self) -> dict:
        """See `Runner`."""
        return {
            "network": self.network.state_dict(), "optimizer": self.optimizer.state_dict(),
            "masks": self.network.masks, "batches": self.batches.state(),
            **({"cost_weight": self.branching.weight} if self.branching else {}),
            **describe(self.network.topology, self.tokenizer, self.frontend),
        }  # fmt: skip

    def compress(self) -> None:
        """Pruning masks and weight rounding as the schedule has them at this step."""
        if self.pruning.due(self.network, self.step):
            self.sparsity = self.pruning.apply(self.network, self.step)
        if self.quantizing:
            self.network.bits = self.bits
            rounding = self.plan.quantization == "fake"
            if self.graphed and rounding != self.network.rounding:
                self.graphed.forget()
            self.network.rounding = rounding

    @property
    def quantizing(self) -> bool:
        """Whether weights are trained for their bits by now."""
        return self.step >= self.plan.quantize_from * self.plan.steps

    @torch.no_grad()
    def pull(self) -> None:
        """Add the regularizer to the gradients; it grows from nothing to `pull` at the last step."""
        begin = self.plan.quantize_from * self.plan.steps
        strength = self.plan.pull * (self.step + 1 - begin) / max(1.0, self.plan.steps - begin)
        for name, weight in self.network.named_weights():
            if weight.grad is not None:
                weight.grad.add_(level_pull(weight, self.bits[name]), alpha=strength)

    @torch.no_grad()
    def snap(self) -> None:
        """Set weights to their nearest levels (the hard compressor of Zhen et al. 2022, arXiv:2206.15408)."""
        for name, weight in self.network.named_weights():
            weight.copy_(fake_weight(weight, self.bits[name]))

    def update(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """One optimizer step; returns (transducer loss an utterance, norm of the gradient), scalars."""
        plan = self.plan
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.step, plan)
        transducer = self.gradients(batch)
        self.ranks.average(self.network)
        norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), plan.clip * plan.batch**0.5)
        regularized = self.quantizing and plan.quantization == "regularized"
        if regularized:
            self.pull()
        self.optimizer.step()
        if regularized and plan.snap_every and (self.step + 1) % plan.snap_every == 0:
            self.snap()
        return transducer, norm

    def gradients(self, batch: Batch) -> Tensor:
        """Gradients of a batch into the parameters' `grad`; its transducer loss."""
        if self.graphed:
            return self.graphed(batch, self.network.rounding).clone()
        total, transducer = self.loss(batch.to(self.device))
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()
        return transducer.detach()

    def loss(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """What is minimized of a batch, and its transducer loss an utterance."""
        branching = self.branching
        if not branching:
            terms = self.objective(self.network, batch)
            return terms.total, terms.transducer
        self.network.gate = branching.gate(self.step, self.ranks.rank)
        terms = self.objective(self.network, batch)
        total = terms.total + branching.penalty(self.network, batch)
        branching.settle(self.ranks.mean(branching.cost))
        return total, terms.transducer

    def off_levels(self) -> float:
        """Mean distance of the weights from their levels, over matrices."""
        distances = [distance_to_levels(w, self.bits[name]) for name, w in self.network.named_weights()]
        return round(float(np.mean(distances)), 4)

    def evaluate(self) -> dict[str, float]:
        """WER of each development set, integers, greedy."""
        checkpoint = self.network.checkpoint(self.tokenizer, self.frontend, {})
        rates = {}
        for source in self.recipe.dev:
            path = self.recipe.packs / source.name
            memory = np.load(path.with_suffix(".npy"), mmap_mode="r")
            rows = [json.loads(line) for line in path.with_suffix(".jsonl").read_text().splitlines()]
            heard = [
                after_whole_steps(
                    np.array(memory[r["offset"] : r["offset"] + r["frames"]]),
                    r["wake_frames"] if source.context else 0,
                )
                for r in rows
            ]
            clips = [_vectors(frames, self.frontend.features) for frames, _ in heard]
            texts = transcribe(checkpoint, clips, begins=[begin for _, begin in heard])
            rates[source.name] = score([r["text"] for r in rows], texts).wer
        return rates

    def choose_data(self) -> None:
        """Sources, longest clip and warping as the schedule has them at this step."""
        plan = self.plan
        self.batches.active = [self.step >= begin for begin in self.begins]
        short = self.step < plan.short_until * plan.steps
        self.batches.longest = plan.short_frames if short else plan.longest_frames
        self.batches.warped = plan.warped if self.step >= plan.warp_from * plan.steps else 0.0

    def advance(self) -> tuple[Tensor, Tensor]:
        """See `Runner`; what `update` gives."""
        self._drawn = self._drawn or iter(self.batches)
        self.choose_data()
        batch = next(self._drawn)
        self.compress()
        return self.update(batch)

    def report(self, losses: list[tuple[Tensor, Tensor]]) -> dict:
        """See `Runner`. A GPU is waited for here alone."""
        zeros = round(sum(self.sparsity.values()) / max(1, len(self.sparsity)), 3)
        extra = {"off_levels": self.off_levels()} if self.plan.quantization == "regularized" else {}
        extra |= self.branching.report() if self.branching else {}
        loss, norm = torch.stack([loss for loss, _ in losses]).mean().item(), losses[-1][1].item()
        return {
            "loss": round(loss, 3), "norm": round(norm, 1), "epoch": self.batches.epoch, "zeros": zeros,
            **extra,
        }  # fmt: skip

    def measures(self) -> dict:
        """See `Runner`."""
        return {"wer": self.evaluate()}

    def export(self, command: str) -> Path:
        """The finished checkpoint."""
        path = self.recipe.run / f"{self.recipe.name}.safetensors"
        self.network.bits = self.bits
        provenance = {
            **self.recipe.provenance,
            "command": command,
            "seed": self.plan.seed,
            "steps": self.step,
        }
        header = {"name": self.recipe.name, "provenance": provenance}
        write_checkpoint(path, self.network.checkpoint(self.tokenizer, self.frontend, header))
        return path


def _vectors(frames: NDArray[np.int8], features: int) -> NDArray[np.int8]:
    """Frames [F, 40] -> feature vectors [T, features], the last filled with silence; T is even."""
    short = -len(frames) % FRAMES_A_STEP
    return np.pad(frames, ((0, short), (0, 0)), constant_values=-128).reshape(-1, features)


def plot(log: Path, out: Path) -> dict[str, float]:
    """Loss, WER and sparsity by step; returns the last WER of each development set."""
    training, measured = read_log(log, "wer")
    with drawn(out, 3) as axes:
        line(axes[0], training, lambda row: row["loss"])
        axes[0].set(title="transducer loss", yscale="log")
        for name in measured[0]["wer"] if measured else []:
            line(axes[1], measured, lambda row, name=name: row["wer"].get(name), name)
        axes[1].set(title="WER %, development sets", ylim=(0, 100))
        axes[1].legend()
        line(axes[2], training, lambda row: row["zeros"])
        axes[2].set(title="zeros, mean over matrices", ylim=(0, 1))
    return measured[-1]["wer"] if measured else {}


def open_run(path: Path, steps: int | None, say: Say, progress: Progress | None = None) -> Run:
    """The run of a recipe, at its saved state if there is one; `steps` in place of the recipe's.

    Raises:
        ValueError: a recipe that is none, or data that are not there.
    """
    torch.set_num_threads(1)
    recipe = Recipe.read(path)
    if steps:
        recipe = replace(recipe, schedule=replace(recipe.schedule, steps=steps))
    return Run(recipe, say, progress)


def finish(run: Run, path: Path, export: bool) -> dict:
    """Train to the end (or `export` alone); returns what was written, and the last WER of each dev set."""
    if not export:
        with denormals_flushed(), together(run.recipe.processes, partial(follow, run.recipe)):
            run.train()
    checkpoint = run.export(f"ossicle train {path}")
    log, curves = run.folder / LOG, run.folder / CURVES
    rates = plot(log, curves)
    return {
        "checkpoint": str(checkpoint), "steps": run.step, "wer": rates,
        "log": str(log), "curves": str(curves),
    }  # fmt: skip


def follow(recipe: Recipe, ranks: Ranks) -> None:
    """What the processes beside the first do: the same, and say nothing."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    Run(recipe, say=lambda line: None, ranks=ranks).train()


def command(
    path: Path, *, steps: int | None = None, export: bool = False, say: Say = print,
    progress: Progress | None = None,
) -> dict:  # fmt: skip
    """What `ossicle train` does, see `open_run` and `finish`."""
    return finish(open_run(path, steps, say, progress), path, export)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--steps", type=int, help="in place of the recipe's")
    parser.add_argument("--export", action="store_true", help="only write the checkpoint of the saved state")
    a = parser.parse_args()
    try:
        run = open_run(a.recipe, a.steps, partial(print, flush=True))
    except ValueError as error:
        parser.error(str(error))
    print(finish(run, a.recipe, a.export)["checkpoint"])


if __name__ == "__main__":
    main()
