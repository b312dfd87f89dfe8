"""What all commands share: common options, progress and tables for people, files written whole or not."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

ENGINES = ("rtl", "fast", "functional")

EngineOption = Annotated[
    str,
    typer.Option(
        "--engine", help="rtl (the Verilog, simulated), fast (same cycles) or functional (no cycles)."
    ),
]
NpuOption = Annotated[
    str | None, typer.Option("--npu", help="small, base, large, or a TOML file.", metavar="NAME|FILE")
]
ModelOption = Annotated[
    Path | None,
    typer.Option("--model", help="A checkpoint (.safetensors) or program (.npu); default: the one shipped."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON on stdout, and nothing else.")]


class Failure(ValueError):
    """Bad input to a command, or a finding of it; one line, and the exit status."""

    def __init__(self, message: str, status: int = 2) -> None:
        super().__init__(message)
        self.status = status


def check_engine(engine: str, known: Sequence[str] = ENGINES) -> None:
    """Raise Failure on an engine that there is not."""
    if engine not in known:
        raise Failure(f"there is no engine {engine!r}; use {', '.join(known)}")


def check_output(path: Path | None) -> None:
    """Raise Failure, before the work, if a file could not be written there after it."""
    if path is None:
        return
    if path.is_dir():
        raise Failure(f"{path}: a folder; give the name of a file to write")
    if not path.absolute().parent.is_dir():
        raise Failure(f"{path}: the folder {path.absolute().parent} does not exist")
    if not os.access(path.absolute().parent, os.W_OK):
        raise Failure(f"{path}: no permission to write there")


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file whole or not at all: to a temporary name, then renamed."""
    handle, temporary = tempfile.mkstemp(dir=path.absolute().parent, prefix=path.name, suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
        mask = os.umask(0)
        os.umask(mask)
        Path(temporary).chmod(0o666 & ~mask)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def plotting() -> Any:
    """matplotlib's pyplot. Raises Failure where it is not installed."""
    try:
        return import_module("matplotlib.pyplot")
    except ImportError:
        raise Failure("--plot needs matplotlib: pip install matplotlib") from None


def print_json(value: Any) -> None:
    """One JSON document on stdout."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False, default=_plain) + "\n")
    sys.stdout.flush()


def _plain(value: Any) -> Any:
    if hasattr(value, "item"):
        return value.item()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} is no JSON")


def notes() -> Console:
    """Where people read progress and notes: stderr."""
    return Console(stderr=True, highlight=False)


def note(text: str) -> None:
    """A line on stderr."""
    notes().print(text, soft_wrap=True, markup=False)


class Bar:
    """A progress bar on stderr, drawn where stderr is a terminal; one line a task elsewhere."""

    def __init__(self, progress: Progress, drawn: bool, quiet: bool) -> None:
        self._progress, self._drawn, self._quiet = progress, drawn, quiet
        self._task = progress.add_task("", total=None)

    def task(self, text: str) -> None:
        """Begin something, of unknown length until `step`."""
        if self._drawn:
            self._progress.update(self._task, description=text, total=None, completed=0)
        elif not self._quiet:
            note(text)

    def step(self, done: int, total: int) -> None:
        """How far the task has come."""
        self._progress.update(self._task, completed=done, total=total)


@contextmanager
def progress_bar(quiet: bool = False) -> Iterator[Bar]:
    """A `Bar`; `quiet` (with --json) draws nothing."""
    console = notes()
    drawn = console.is_terminal and not quiet
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not drawn) as progress:
        yield Bar(progress, drawn, quiet)


def print_table(title: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Rows of equal keys as a table on stdout; numbers to the right."""
    if not rows:
        return
    print(title)
    table = Table(box=None, pad_edge=False)
    for name, value in rows[0].items():
        table.add_column(name, justify="right" if isinstance(value, int | float) else "left", no_wrap=True)
    for row in rows:
        table.add_row(*(shown(value) for value in row.values()))
    Console(highlight=False, width=None if sys.stdout.isatty() else 200).print(table)


def shown(value: Any) -> str:
    """A cell: numbers short, None as a dash."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) else str(value)
