"""Options of commands that are biased toward phrases, by an adapter's attention or by boosts, and what these
make of a recognizer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated

import typer
from ossicle.compiler.program import Program
from ossicle.runtime.aliases import SUFFIX, SoundTable, beside
from ossicle.runtime.attention_map import attention_map
from ossicle.runtime.biasing import BiasedDriver
from ossicle.runtime.console import Bar, Failure, check_output, note, write_whole
from ossicle.runtime.fusion import BOOST, Boosts, check_boost
from ossicle.runtime.phrases import read_phrases
from ossicle.runtime.programs import BIASING_MODEL, default_model
from ossicle.runtime.recognizer import Recognizer, Result, pieces_of
from typer.core import TyperCommand

PICTURE = ".svg"
ROWS = "each row's context"
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

BoostOption = Annotated[
    list[str] | None,
    typer.Option(
        help="Boost this phrase where it may be heard; or a file of them, one a line. May be repeated.",
        metavar="TEXT|FILE",
    ),
]
BoostWeightOption = Annotated[
    float | None,
    typer.Option(help=f"What --boost adds for each letter of a phrase, natural log; default {BOOST}."),
]
AliasesOption = Annotated[
    bool,
    typer.Option(
        "--aliases/--no-aliases",
        help="Find what is boosted by its sound too, if beside the model lies how it mishears: "
        f"CHECKPOINT's name, {SUFFIX}.",
    ),
]


class OptionalPhrases(TyperCommand):
    """A command whose --boost has the value ROWS where none follows: at the end, or before another option."""

    def parse_args(self, ctx, args: list[str]) -> list[str]:
        alone = [a == "--boost" and after.startswith("-") for a, after in pairwise([*args, "-"])]
        return super().parse_args(
            ctx, [f"{a}={ROWS}" if no else a for a, no in zip(args, alone, strict=True)]
        )


def boost_of(weight: float | None, used: bool) -> float:
    """The boost for each letter: what is given, or the default.

    Raises:
        Failure: one is given, and nothing is boosted.
        ValueError: it is out of range.
    """
    if weight is not None and not used:
        raise Failure("--boost-weight: nothing is boosted; name phrases with --boost")
    check_boost(BOOST if weight is None else weight)
    return BOOST if weight is None else weight


def sounds_of(model: Path | None, program: Program, wanted: bool) -> SoundTable | None:
    """How a model mishears names, or the shipped one that the program is of; None where that is not wanted,
    or not known."""
    return beside(model or default_model().with_stem(program.meta["name"])) if wanted else None


@dataclass(frozen=True)
class ContextBias:
    """An adapter's checkpoint, the phrases for it, and where a map of the attention goes.

    `boosted`: phrases that are boosted, by `boost` for each letter.
    """

    adapter: Path | None
    phrases: tuple[str, ...]
    picture: Path | None = None
    boosted: tuple[str, ...] = ()
    boost: float = BOOST

    @classmethod
    def read(
        cls, adapter: Path | None, context: str | None, picture: Path | None, recordings: int = 1,
        boosted: Sequence[str] | None = None, weight: float | None = None,
    ) -> ContextBias | None:  # fmt: skip
        """What the options ask for; None where they ask for nothing.

        Raises:
            Failure: options without what they need, or a picture that could not be written.
            ValueError: no phrases, no such file, or a boost out of range.
        """
        boost = boost_of(weight, bool(boosted))
        heard = tuple(phrase for given in boosted or () for phrase in read_phrases(given, "--boost"))
        if context is None:
            for name, value in (("--biasing", adapter), ("--attention-map", picture)):
                if value is not None:
                    raise Failure(f"{name}: there are no phrases to attend to; name them with --context")
            return cls(None, (), None, heard, boost) if heard else None
        if picture and picture.suffix.lower() != PICTURE:
            raise Failure(f"{picture}: the map is an SVG picture; name it {picture.stem}{PICTURE}")
        if picture and recordings > 1:
            raise Failure("--attention-map is a picture of one recording; transcribe them apart")
        check_output(picture)
        phrases = tuple(read_phrases(context))
        return cls(adapter or shipped_adapter(), phrases, picture, heard, boost)

    def check(self, program: Program) -> None:
        """Raises Failure if a phrase that is to be boosted has letters that the model does not know."""
        boosts = Boosts(self.boosted, pieces_of(program), self.boost)
        if boosts.left_out:
            raise Failure(boosts.complaint())

    def start(self, recognizer: Recognizer, bar: Bar, quiet: bool) -> dict:
        """Set the recognizer's context and boosts; what a command says of them: `context`, `boost`.

        Raises:
            Failure: none of the context phrases can be spelled.
        """
        said = {}
        if self.boosted:
            recognizer.set_boosts(self.boosted, self.boost)
            said["boost"] = {"phrases": len(set(self.boosted)), "weight": self.boost}
            if recognizer.lattice.sounds is not None:
                said["boost"]["aliases"] = True
        if self.adapter:
            said["context"] = self._attend(recognizer, bar, quiet)
        return said

    def _attend(self, recognizer: Recognizer, bar: Bar, quiet: bool) -> dict:
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
