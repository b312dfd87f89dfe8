"""Options of commands that are biased toward context phrases, and what these make of a recognizer."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from ossicle.runtime.attention_map import attention_map
from ossicle.runtime.biasing import BiasedDriver
from ossicle.runtime.console import Bar, Failure, check_output, note, write_whole
from ossicle.runtime.phrases import read_phrases
from ossicle.runtime.programs import BIASING_MODEL, default_model
from ossicle.runtime.recognizer import Recognizer, Result

PICTURE = ".svg"
SHOWN = 5  # phrases that a note names

BiasingOption = Annotated[
    Path | None,
    typer.Option(help="The adapter that attends to context phrases: a checkpoint; default: the one shipped."),
]
ContextOption = Annotated[
    str | None,
    typer.Option(
        help="Phrases that may be said: a file, one a line, or phrases and commas.", metavar="TEXT|FILE"
    ),
]
AttentionOption = Annotated[
    Path | None, typer.Option("--attention-map", help="Draw what was attended to here (SVG).")
]


@dataclass(frozen=True)
class ContextBias:
    """An adapter's checkpoint, the phrases for it, and where a map of the attention goes."""

    adapter: Path
    phrases: tuple[str, ...]
    picture: Path | None = None

    @classmethod
    def read(
        cls, adapter: Path | None, context: str | None, picture: Path | None, recordings: int = 1
    ) -> ContextBias | None:
        """What the options ask for; None where they ask for nothing.

        Raises:
            Failure: options without what they need, or a picture that could not be written.
            ValueError: no phrases, or no such file.
        """
        if context is None:
            for name, value in (("--biasing", adapter), ("--attention-map", picture)):
                if value is not None:
                    raise Failure(f"{name}: there are no phrases to attend to; name them with --context")
            return None
        if picture and picture.suffix.lower() != PICTURE:
            raise Failure(f"{picture}: the map is an SVG picture; name it {picture.stem}{PICTURE}")
        if picture and recordings > 1:
            raise Failure("--attention-map is a picture of one recording; transcribe them apart")
        check_output(picture)
        phrases = tuple(read_phrases(context))
        return cls(adapter or shipped_adapter(), phrases, picture)

    def start(self, recognizer: Recognizer, bar: Bar, quiet: bool) -> dict:
        """Set the recognizer's context; what a command says of it.

        Raises:
            Failure: none of the phrases can be spelled.
        """
        bar.task(f"encoding {len(self.phrases)} context phrases")
        left = recognizer.set_context(self.phrases, bar.step)
        driver = recognizer.driver
        assert isinstance(driver, BiasedDriver), "a program with an adapter has its driver"
        if driver.entries is None:
            raise Failure(f"none of the context phrases can be spelled in the model's letters: {_some(left)}")
        if left and not quiet:
            note(f"left out, not in the model's letters or too long: {_some(left)}")
        driver.watching = self.picture is not None
        return {
            "phrases": len(driver.entries.phrases), "entries": len(driver.entries), "left_out": left,
            "cycles": driver.cycles.total, "jobs": driver.cycles.jobs,
        }  # fmt: skip

    def draw(self, recognizer: Recognizer, result: Result) -> None:
        """Write the map of the utterance that was just recognized."""
        driver = recognizer.driver
        if self.picture is None or not isinstance(driver, BiasedDriver):
            return
        made = attention_map(
            driver, result.labels, result.frames, recognizer.pieces, recognizer.search.labels_per_frame,
            recognizer.frame_seconds,
        )  # fmt: skip
        write_whole(self.picture, made.to_svg())


def shipped_adapter() -> Path:
    """Raises Failure if this installation has none."""
    try:
        return default_model(BIASING_MODEL)
    except Failure:
        raise Failure("--context needs an adapter, and none is shipped; name one with --biasing") from None


def _some(phrases: list[str]) -> str:
    more = f", and {len(phrases) - SHOWN} more" if len(phrases) > SHOWN else ""
    return ", ".join(map(repr, phrases[:SHOWN])) + more
