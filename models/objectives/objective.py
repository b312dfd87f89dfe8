"""What a network is trained for: the loss of a batch, by kind.

    [objective]
    kind = "transducer"

in a recipe; the other keys are those of the kind's own class, see its file.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from ossicle.models.data.batches import Batch
from ossicle.models.network import Transducer
from ossicle.runtime.frontend import FrontendParameters
from torch import Tensor

KINDS = ("transducer", "distill", "mwer")


@dataclass(frozen=True)
class Terms:
    """Of a batch: what is minimized, and the transducer loss an utterance, both scalars."""

    total: Tensor
    transducer: Tensor


@dataclass(frozen=True)
class Setting:
    """What an objective may need to know of its run. ctc, fast_emit: as in the recipe's schedule."""

    tokenizer: bytes
    frontend: FrontendParameters
    topology: dict
    device: Any
    ctc: float
    fast_emit: float


class Objective(Protocol):
    """Made once for a run."""

    def relabel(self, pack: Path, folder: Path, say: Callable[[str], None]) -> Path:
        """The index of a pack of unannotated clips, with texts in place of the thrown away ones.

        Raises:
            ValueError: the objective has no texts to give.
        """
        ...

    def __call__(self, network: Transducer, batch: Batch) -> Terms:
        """The loss of a batch, which is on the network's device."""
        ...


def objective_of(table: dict, setting: Setting) -> Objective:
    """The objective that a recipe's table asks for.

    Raises:
        ValueError: there is none of this kind, or it has no such key, or its teacher does not fit.
    """
    table = {"kind": KINDS[0], **table}
    kind = table.pop("kind")
    if kind not in KINDS:
        raise ValueError(f"there is no objective {kind!r}; use {', '.join(KINDS)}")
    module = import_module(f"ossicle.models.objectives.{kind}")
    try:
        return module.build(setting, **table)
    except TypeError as error:
        raise ValueError(f"[objective] of kind {kind}: {error}") from None
