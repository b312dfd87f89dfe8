"""Train a biasing adapter on a recognizer that stays as it is: float first, then rounded, then exported.

    python -m ossicle.models.biasing.train RECIPE.toml [--steps N] [--export]

The transducer loss of clips with catalogues of phrases (contexts.py) is minimized by the adapter's parameters
alone (Sathyendra et al. 2022, arXiv:2205.13660). A run is the same bit by bit whether it was stopped or not.
It writes to the recipe's `run` folder: state.pt, log.jsonl, curves.png, NAME.safetensors, NAME.json.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from ossicle.compiler.biasing import read_adapter
from ossicle.models.biasing.checkpoint import adapter_topology, core_of, write_adapter, write_card
from ossicle.models.biasing.contexts import Contexts, catalogue_for
from ossicle.models.biasing.network import BiasingAdapter, biased_joint
from ossicle.models.biasing.recipe import BiasingRecipe
from ossicle.models.biasing.search import BiasedSearcher
from ossicle.models.biasing.start import initialize
from ossicle.models.data.batches import Batch, Batches, Pack
from ossicle.models.evaluate import score
from ossicle.models.exact import LABELS_PER_FRAME
from ossicle.models.export import read_checkpoint
from ossicle.models.initial import from_checkpoint
from ossicle.models.loss import transducer_loss
from ossicle.models.recipe import Schedule, encoder
from ossicle.models.runner import CURVES, LOG, Progress, Runner, Say, denormals_flushed, drawn, line, read_log
from ossicle.models.train import learning_rate
from ossicle.runtime.transducer import SearchOptions
from torch import Tensor


class BiasingRun(Runner):
    """A recipe's run."""

    plan: Schedule

    def __init__(self, biasing: BiasingRecipe, say: Say = print, progress: Progress | None = None) -> None:
        self.biasing, self.recipe = biasing, biasing.recipe
        recipe = self.recipe
        super().__init__(recipe.run, recipe.schedule, say, progress)
        if recipe.initial is None:
            raise ValueError("the recipe does not name its core")
        self.checkpoint = read_checkpoint(recipe.initial)
        self.core_name = core_of(self.checkpoint)
        start = from_checkpoint(self.checkpoint)
        self.frontend = recipe.prepare(start)
        self.core = start.network().requires_grad_(False)
        torch.manual_seed(self.plan.seed)
        self.adapter = BiasingAdapter(adapter_topology(start.topology, biasing.sizes))
        initialize(self.adapter, self.core, self.plan.seed)
        self.optimizer = torch.optim.AdamW(
            self.adapter.parameters(), self.plan.rate, betas=(0.9, 0.98), weight_decay=1e-3
        )
        rows = [row for source in recipe.train for row in source.rows()]
        self.contexts = Contexts(rows, start.tokenizer, biasing.contexts)
        packs = [Pack(recipe.packs / source.name, source.repeats) for source in recipe.train]
        encode = encoder(start.tokenizer)
        self.batches = Batches(packs, encode, self.plan.batch, self.frontend, self.plan.seed)
        self.batches.epoch = 1  # the recognizer is trained: short clips need not come first
        self.batches.masks, self.batches.warped = self.plan.spec_augment(), self.plan.warped
        self.batches.longest = self.plan.longest_frames
        self._drawn: Iterator[Batch] | None = None
        self.restore()

    def restored(self, saved: dict) -> None:
        """See `Runner`. Raises ValueError if it is another core's."""
        if saved["core"] != self.core_name["fingerprint"]:
            raise ValueError(f"{self.state}: of a run on another recognizer; name another run folder")
        self.adapter.load_state_dict(saved["adapter"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.batches.resume(saved["batches"])

    def saved(self) -> dict:
        """See `Runner`."""
        return {
            "adapter": self.adapter.state_dict(), "optimizer": self.optimizer.state_dict(),
            "batches": self.batches.state(), "core": self.core_name["fingerprint"],
        }  # fmt: skip

    @torch.no_grad()
    def encode(self, batch: Batch) -> Tensor:
        """The recognizer's projections [B, T, joint]; in products of bfloat16 if the schedule says so."""
        self.core.reduced = self.plan.reduced
        encoded = self.core.project(self.core.encode(batch.features))
        self.core.reduced = False
        return encoded

    def loss(self, batch: Batch, rng: np.random.Generator) -> tuple[Tensor, float]:
        """Transducer loss an utterance of a batch, with a catalogue drawn for it, and without."""
        clips = [
            tuple(row[:count].tolist())
            for row, count in zip(batch.labels, batch.counts.tolist(), strict=True)
        ]
        drawn = self.contexts.draw(clips, rng)
        counts = torch.tensor([len(labels) for labels in drawn.labels])
        labels = torch.zeros(len(clips), int(counts.max()), dtype=torch.long)
        for row, spelled in zip(labels, drawn.labels, strict=True):
            row[: len(spelled)] = torch.tensor(spelled)
        encoded = self.encode(batch)
        entries = self.adapter.catalogue(drawn.phrases)
        logits, unbiased = biased_joint(
            self.core, self.adapter, encoded, labels, batch.frames, counts, entries
        )
        return transducer_loss(logits, labels, batch.frames, counts).mean(), unbiased

    def update(self, batch: Batch) -> tuple[float, float]:
        """One optimizer step; returns the losses before it, with phrases and without.

        A step's catalogue depends on the seed and the step alone.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.step, self.plan)
        self.adapter.rounding = self.step >= self.plan.quantize_from * self.plan.steps
        loss, unbiased = self.loss(batch, np.random.default_rng([self.plan.seed, self.step]))
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.adapter.parameters(), self.plan.clip)
        self.optimizer.step()
        return loss.item(), unbiased

    def evaluate(self) -> dict[str, float]:
        """WER of each dev set, integers, greedy: with no phrases, with its own, with others alone."""
        temporary = self.recipe.run / "evaluated.safetensors"
        write_adapter(temporary, self.adapter.integers(), self.core_name, {"name": self.recipe.name})
        options = SearchOptions(beam=1, greedy=True, labels_per_frame=LABELS_PER_FRAME)
        searcher = BiasedSearcher(self.checkpoint, read_adapter(temporary), options)
        temporary.unlink()
        rates = {}
        for source in self.recipe.dev:
            clips, texts = self._dev(source.name)
            own = [self.contexts.named(text) for text in texts]
            names = list(dict.fromkeys(name for some in own for name in some))
            for kind in ("", " biased", " others"):
                rng = np.random.default_rng(self.plan.seed)
                catalogues = [self._catalogue(kind, some, names, rng) for some in own]
                found = [lattice.best().text for lattice in searcher.biased(clips, catalogues)]
                rates[source.name + kind] = score(texts, found).wer
        return rates

    def _catalogue(self, kind: str, own: list[str], names: list[str], rng: np.random.Generator) -> list[str]:
        if not kind:
            return []
        spelled = [self.contexts.text(self.contexts.distractor(rng)) for _ in range(self.biasing.dev_size)]
        if kind == " biased":
            return catalogue_for(own, [*names, *spelled], self.biasing.dev_size, rng)
        return [phrase for phrase in spelled if phrase not in own]

    def _dev(self, name: str) -> tuple[list[np.ndarray], list[str]]:
        path = self.recipe.packs / name
        memory = np.load(path.with_suffix(".npy"), mmap_mode="r")
        rows = [json.loads(line) for line in path.with_suffix(".jsonl").read_text().splitlines()]
        rows = rows[: self.biasing.dev_clips]
        clips = [
            np.array(memory[r["offset"] : r["offset"] + r["frames"]]).reshape(-1, self.frontend.features)
            for r in rows
        ]
        return clips, [r["text"] for r in rows]

    def train(self) -> None:
        """Until the last step of the schedule."""
        if self.step == 0:
            self.log(**self.measures())
        super().train()

    def advance(self) -> tuple[float, float]:
        """See `Runner`; what `update` gives."""
        self._drawn = self._drawn or iter(self.batches)
        return self.update(next(self._drawn))

    def report(self, losses: list[tuple[float, float]]) -> dict:
        """See `Runner`."""
        loss, unbiased = np.mean(losses, axis=0).round(3).tolist()
        return {"loss": loss, "unbiased": unbiased}

    def measures(self) -> dict:
        """See `Runner`."""
        return {"wer": self.evaluate()}

    def export(self, command: str) -> Path:
        """The finished checkpoint, with its card; WER: of the dev sets, as last measured."""
        path = self.recipe.run / f"{self.recipe.name}.safetensors"
        said = {"command": command, "seed": self.plan.seed, "steps": self.step}
        header = {"name": self.recipe.name, "provenance": {**self.recipe.provenance, **said}}
        write_adapter(path, self.adapter.integers(), self.core_name, header)
        write_card(path, {"core_checkpoint": str(self.recipe.initial), "dev_wer": self.evaluate()})
        return path


def plot(log: Path, out: Path) -> dict[str, float]:
    """Loss and WER by step; returns the last WER of each development set."""
    training, measured = read_log(log, "wer")
    with drawn(out, 2) as axes:
        for name in ("unbiased", "loss"):
            line(axes[0], training, lambda row, name=name: row[name], name)
        axes[0].set(title="transducer loss, without and with phrases")
        axes[0].legend()
        for name in measured[0]["wer"] if measured else []:
            line(axes[1], measured, lambda row, name=name: row["wer"].get(name), name)
        axes[1].set(title="WER %, development sets, greedy")
        axes[1].legend(fontsize=7)
    return measured[-1]["wer"] if measured else {}


def open_run(path: Path, steps: int | None, say: Say, progress: Progress | None = None) -> BiasingRun:
    """The run of a recipe, at its saved state if there is one; `steps` in place of the recipe's.

    Raises:
        ValueError: a recipe that is none, or data that are not there.
    """
    torch.set_num_threads(1)
    biasing = BiasingRecipe.read(path)
    if steps:
        plan = replace(biasing.recipe.schedule, steps=steps)
        biasing = replace(biasing, recipe=replace(biasing.recipe, schedule=plan))
    return BiasingRun(biasing, say, progress)


def finish(run: BiasingRun, path: Path, export: bool) -> dict:
    """Train to the end (or `export` alone); returns what was written, and the last WER of each dev set."""
    if not export:
        with denormals_flushed():
            run.train()
    checkpoint = run.export(f"python -m ossicle.models.biasing.train {path}")
    log, curves = run.folder / LOG, run.folder / CURVES
    rates = plot(log, curves) if log.exists() else {}
    return {
        "checkpoint": str(checkpoint), "steps": run.step, "wer": rates,
        "log": str(log), "curves": str(curves),
    }  # fmt: skip


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
