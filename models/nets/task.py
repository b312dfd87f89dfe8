"""What every small net's task has: batches, a loss, measures; of those on audio, packs to draw from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from ossicle.models.data.augment import Augmenter
from ossicle.models.export import Checkpoint
from ossicle.models.nets.exact import ExactStack
from ossicle.models.nets.pack import Clip, Pack, Shaper, collate, make_pack
from ossicle.models.nets.recipe import NetRecipe
from ossicle.models.nets.stack import Stack
from ossicle.runtime.frontend import FrontendParameters
from torch import Tensor

UNIT = 1 / 256  # outputs are Q7.8
BATCH = 32
Scores = dict[str, dict[str, float]]


class Task(ABC):
    """A net's data, loss and measures. `DEV`, `TEST`: names of sets to measure on."""

    DEV: tuple[str, ...] = ("dev",)
    TEST: tuple[str, ...] = ()
    frontend: FrontendParameters | None = None
    """What makes features of audio, for a net on features."""

    def __init__(self, recipe: NetRecipe) -> None:
        self.recipe, self.data = recipe, recipe.data

    @property
    def topology(self) -> dict:
        """What to train: the recipe's, completed."""
        return self.recipe.topology

    @abstractmethod
    def prepare(self) -> None:
        """Make what training needs."""

    @abstractmethod
    def batch(self, rng: np.random.Generator) -> Any:
        """Something for `loss`."""

    @abstractmethod
    def loss(self, network: Stack, batch: Any) -> Tensor:
        """A scalar."""

    @abstractmethod
    def score(self, checkpoint: Checkpoint, names: tuple[str, ...]) -> Scores:
        """Measures, in the processor's integers: set -> name -> value."""

    def parameters(self) -> list[torch.nn.Parameter]:
        """What the loss learns beside the network."""
        return []

    def picture(self, checkpoint: Checkpoint, out: Path) -> Path | None:
        """Draw what there is to see of a finished net; None if there is nothing."""
        return None


class AudioTask(Task):
    """A task on features. `TRAIN`, and the sets to measure on: names of packs, made when first asked for."""

    TRAIN: tuple[str, ...] = ("train",)

    def __init__(self, recipe: NetRecipe) -> None:
        super().__init__(recipe)
        self.frontend = recipe.read_frontend()
        self.shape = Shaper(self.frontend)
        self._packs: dict[str, Pack] = {}

    def prepare(self) -> None:
        """Make the packs of training and development."""
        for name in (*self.TRAIN, *self.DEV):
            self.pack(name)

    def pack(self, name: str) -> Pack:
        """A pack by name."""
        if name not in self._packs:
            clips = partial(self.clips, name)
            self._packs[name] = make_pack(self.recipe.run / name, clips, self.frontend)
        return self._packs[name]

    @abstractmethod
    def clips(self, name: str) -> Iterator[Clip]:
        """The audio of a pack, and what its rows say."""

    def augmenter(self, paths: list[str], kind: type[Augmenter] = Augmenter) -> Augmenter:
        """Noise and rooms of the recipe's folders; babble from some of the paths."""
        noise, rooms = (Path(self.data[key]) if key in self.data else None for key in ("noise", "rir"))
        babble = [Path(path) for path in paths[:: max(1, len(paths) // 50)]]
        return kind.from_folders(noise, rooms, babble, 0.0)


def outputs(checkpoint: Checkpoint, clips: list[NDArray[np.int8]]) -> list[NDArray[np.float64]]:
    """Real outputs [T, rows] of each clip's frames [F, 40]: the integers of the processor over 2**8."""
    model = ExactStack(checkpoint)
    order, made = sorted(range(len(clips)), key=lambda i: len(clips[i])), [np.zeros((0, 0))] * len(clips)
    step = int(np.prod([layer.get("reduce", 1) for layer in checkpoint.topology["layers"]]))
    for start in range(0, len(order), BATCH):
        chosen = order[start : start + BATCH]
        features, lengths = collate([clips[i] for i in chosen])
        values = model(features).numpy() * UNIT
        for i, row, length in zip(chosen, values, lengths.tolist(), strict=True):
            made[i] = row[: length // step]
    return made


def interval(correct: NDArray, seed: int = 0) -> tuple[float, float]:
    """95 % of the means of 1000 bootstrap resamples, in percent."""
    chosen = np.random.default_rng(seed).integers(len(correct), size=(1000, len(correct)))
    low, high = np.percentile(100 * np.asarray(correct, float)[chosen].mean(axis=1), [2.5, 97.5])
    return round(float(low), 2), round(float(high), 2)
