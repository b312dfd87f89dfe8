"""What every training run does beside its steps: a log, a state to go on from, measures, curves."""

from __future__ import annotations

import json
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

LOG_EVERY = 50
DEVICES = ("auto", "cpu", "cuda")
STATE, LOG, CURVES = "state.pt", "log.jsonl", "curves.png"
Say = Callable[[str], None]
Progress = Callable[[int, int], None]
Row = dict[str, Any]


class Plan(Protocol):
    """What a run needs of its schedule, in steps."""

    @property
    def steps(self) -> int: ...

    @property
    def save_every(self) -> int: ...

    @property
    def evaluate_every(self) -> int: ...


class Runner(ABC):
    """A run in a folder.

    Args:
        quiet: one of several processes that do the same, beside the first, which alone writes.
    """

    def __init__(
        self, folder: Path, plan: Plan, say: Say, progress: Progress | None = None, quiet: bool = False
    ) -> None:
        self.folder, self.plan, self.say, self.progress = folder, plan, say, progress
        self.quiet, self.step, self.state = quiet, 0, folder / STATE
        folder.mkdir(parents=True, exist_ok=True)

    @abstractmethod
    def saved(self) -> dict[str, Any]:
        """All that a run needs to go on from this step, but the step."""

    @abstractmethod
    def restored(self, saved: dict[str, Any]) -> None:
        """Take up what `saved` gave. Raises ValueError if it is another run's."""

    @abstractmethod
    def advance(self) -> Any:
        """One step of the optimizer; its losses, for `report`."""

    @abstractmethod
    def report(self, losses: list[Any]) -> Row:
        """What the log says of the last steps, from what `advance` gave."""

    @abstractmethod
    def measures(self) -> Row:
        """What the log says of the model as it is."""

    def restore(self, device: torch.device | None = None) -> None:
        """Take up the saved state, if there is one."""
        if self.state.exists():
            saved = torch.load(self.state, weights_only=True, map_location=device)
            self.restored(saved)
            self.step = saved["step"]
            self.say(f"going on from step {self.step}")

    def save(self) -> None:
        """Write the state, whole or not at all."""
        if self.quiet:
            return
        temporary = self.state.with_suffix(".new")
        torch.save({**self.saved(), "step": self.step}, temporary)
        temporary.replace(self.state)

    def log(self, **values: Any) -> None:
        """One JSON line to the log, and to the terminal."""
        if self.quiet:
            return
        line = json.dumps({"step": self.step, "time": round(time.time(), 1), **values})
        with (self.folder / LOG).open("a") as file:
            file.write(line + "\n")
        self.say(line)

    def train(self) -> None:
        """Until the last step of the schedule."""
        plan, losses, started = self.plan, [], time.time()
        while self.step < plan.steps:
            losses.append(self.advance())
            self.step += 1
            if self.progress:
                self.progress(self.step, plan.steps)
            if self.step % LOG_EVERY == 0:
                said = self.report(losses)
                spent = round((time.time() - started) / LOG_EVERY, 3)
                self.log(**said, seconds=spent)
                losses, started = [], time.time()
            last = self.step == plan.steps
            if last or self.step % plan.save_every == 0:
                self.save()
            if not self.quiet and (last or self.step % plan.evaluate_every == 0):
                self.log(**self.measures())
                started = time.time()


def check_device(name: str) -> None:
    """Raise ValueError on a device that no recipe can have."""
    if name not in DEVICES:
        raise ValueError(f"there is no device {name!r}; use {', '.join(DEVICES)}")


def pick_device(name: str) -> torch.device:
    """The device of a recipe. Raises ValueError if it is not there."""
    there = torch.cuda.is_available()
    if name == "cuda" and not there:
        raise ValueError('device = "cuda", but torch finds no GPU here; use "auto" or "cpu"')
    return torch.device("cuda" if there and name != "cpu" else "cpu")


@contextmanager
def denormals_flushed() -> Iterator[None]:
    """Training is faster without them; the setting is the process's, and others may count on them."""
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


def read_log(log: Path, measure: str) -> tuple[list[Row], list[Row]]:
    """Lines of a log that say a loss, and those with a measure."""
    rows = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    return [row for row in rows if "loss" in row], [row for row in rows if measure in row]


@contextmanager
def drawn(out: Path, count: int) -> Iterator[Any]:
    """So many axes by step, drawn to a file at the end."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5 * count, 4))
    axes = figure.subplots(1, count)
    yield axes
    for axis in axes:
        axis.set_xlabel("step")
        axis.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(out, dpi=110)


def line(axis: Any, rows: list[Row], value: Callable[[Row], float | None], label: str | None = None) -> None:
    """A value of each row by step; gaps where there is none."""
    values = [np.nan if (found := value(row)) is None else found for row in rows]
    axis.plot([row["step"] for row in rows], values, label=label)
