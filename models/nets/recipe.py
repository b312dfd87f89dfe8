"""A recipe of a small net: a TOML file, checked.

name = "whisper"                     task = "whisper"             # a class of tasks.py
run = "cache/nets/whisper"           frontend = "cache/packs/frontend.json"    # of a net on features
[topology] …                         see layers.py
[data] …                             what the task wants
[schedule] …                         recipe.Schedule
[sparsity] "layer.0" = 0.5
[provenance] …  [card] …             said in the checkpoint's header and on its card
"""

from __future__ import annotations

import json
import math
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ossicle.models.export import read_checkpoint
from ossicle.models.layers import check_stack
from ossicle.models.runner import check_device
from ossicle.runtime.frontend import FrontendParameters


@dataclass(frozen=True)
class NetSchedule:
    """Steps and rates. Fractions are of `steps`."""

    steps: int = 2000
    batch: int = 32
    rate: float = 3e-3
    warmup: int = 50
    decay_from: float = 0.4
    clip: float = 5.0
    prune_begin: float = 0.4
    prune_end: float = 0.75
    quantize_from: float = 0.8
    bits: int = 8
    evaluate_every: int = 500
    save_every: int = 100
    reduced: bool = False  # products of bfloat16
    seed: int = 1

    def rate_at(self, step: int) -> float:
        """Linear warm-up, level until `decay_from`, then half a cosine down to 1 % of the top."""
        if step < self.warmup:
            return self.rate * (step + 1) / self.warmup
        level = self.decay_from * self.steps
        progress = min(1.0, max(0.0, (step - level) / max(1.0, self.steps - level)))
        return self.rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress)))


@dataclass(frozen=True)
class NetRecipe:
    """All that a training run needs. Relative paths are relative to the working directory.

    device: as of a recognizer's recipe; workers: processes that make batches ahead, 0: none beside the run's.
    """

    name: str
    task: str
    run: Path
    frontend: Path | None
    topology: dict
    data: dict[str, Any]
    schedule: NetSchedule = field(default_factory=NetSchedule)
    sparsity: dict[str, float] = field(default_factory=dict)
    provenance: dict = field(default_factory=dict)
    card: dict = field(default_factory=dict)
    device: str = "cpu"
    workers: int = 0

    @classmethod
    def read(cls, path: Path) -> NetRecipe:
        """Raises ValueError, one line, on a file that is missing, not TOML, or has unknown names."""
        try:
            table = tomllib.loads(Path(path).read_text())
            table["schedule"] = NetSchedule(**table.get("schedule", {}))
            frontend = table.get("frontend")
            table["run"], table["frontend"] = Path(table["run"]), Path(frontend) if frontend else None
            recipe = cls(**table)
            check_stack(recipe.topology)
            check_device(recipe.device)
            if recipe.workers < 0:
                raise ValueError(f"{recipe.workers} workers are not possible; use 0 or more")
        except OSError as error:
            raise ValueError(f"{path}: {error.strerror}") from error
        except (tomllib.TOMLDecodeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path}: not a recipe of a small net ({error})") from error
        return recipe

    def read_frontend(self) -> FrontendParameters:
        """The recognizer's frontend: of its packs (JSON), or of its checkpoint.

        One frontend serves every net, so that features are made once. Raises ValueError on none.
        """
        if self.frontend is None:
            raise ValueError(f"{self.name}: the recipe of a net on features names a frontend")
        if self.frontend.suffix == ".safetensors":
            return read_checkpoint(self.frontend).frontend
        try:
            return FrontendParameters.from_dict(json.loads(self.frontend.read_text()))
        except (OSError, ValueError, TypeError) as error:
            raise ValueError(
                f"{self.frontend}: not the recognizer's frontend ({error}); its training makes it, "
                "or name a checkpoint"
            ) from error
