"""A recipe of context biasing: a TOML file, checked. It is that of a recognizer (recipe.py) but for

core = "models/weights/commands.safetensors"      the recognizer, which stays as it is
[adapter]  heads = 4 ...                          sizes, see network.py
[contexts] slots = ["person", "city"] ...         what phrases are made of, see contexts.py
[dev_contexts] size = 100                         phrases of a catalogue, where the dev sets are measured

and without topology, vocabulary, sparsity, bits, objective, branch, initial, processes.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ossicle.models.biasing.contexts import ContextOptions
from ossicle.models.recipe import Recipe

NOT_HERE = (
    "topology", "vocabulary", "sparsity", "bits", "objective", "branch", "initial", "regrow", "processes",
)  # fmt: skip
DEV_CONTEXTS = {"size": 100, "clips": 100}


@dataclass(frozen=True)
class BiasingRecipe:
    """All that a training run needs. `recipe.initial` is the core."""

    recipe: Recipe
    sizes: dict[str, int]
    contexts: ContextOptions
    dev_size: int
    dev_clips: int

    @classmethod
    def read(cls, path: Path) -> BiasingRecipe:
        """Raises ValueError, one line, on a file that is missing, not TOML, or has unknown names."""
        try:
            return cls.from_table(tomllib.loads(Path(path).read_text()), path)
        except (OSError, tomllib.TOMLDecodeError) as error:
            raise ValueError(f"{path}: {getattr(error, 'strerror', f'not a recipe ({error})')}") from error

    @classmethod
    def from_table(cls, table: dict[str, Any], path: Path) -> BiasingRecipe:
        """The recipe that a TOML file's table says. Raises ValueError, which names the path."""
        table, there = dict(table), sorted(set(table) & set(NOT_HERE))
        if there:
            raise ValueError(f"{path}: a recipe of context biasing has no {', '.join(there)}")
        if "core" not in table:
            raise ValueError(f"{path}: the recipe does not name its core, the recognizer's checkpoint")
        try:
            contexts = {k: tuple(v) if isinstance(v, list) else v for k, v in table.pop("contexts").items()}
            dev = {**DEV_CONTEXTS, **table.pop("dev_contexts", {})}
            if set(dev) != set(DEV_CONTEXTS) or min(dev.values()) < 1:
                raise ValueError(f"[dev_contexts] {dev}: size and clips, each 1 or more")
            sizes = table.pop("adapter", {})
            made = ContextOptions(**contexts)
            recipe = Recipe.from_table({"initial": table.pop("core"), **table}, path)
        except (KeyError, TypeError) as error:
            raise ValueError(f"{path}: not a recipe of context biasing ({error})") from error
        return cls(recipe, sizes, made, dev["size"], dev["clips"])
