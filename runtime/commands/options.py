"""Options that more than one command has, of rescoring."""

from __future__ import annotations

from typing import Annotated

import typer
from ossicle.runtime.console import Failure
from ossicle.runtime.rescoring import ERRORS, RescoringOptions

LmWeightOption = Annotated[
    float | None,
    typer.Option(help=f"Of the language model's log-probabilities; default {RescoringOptions.weight}."),
]
LmBonusOption = Annotated[
    float | None,
    typer.Option(help=f"For each word, natural log; default {RescoringOptions.bonus}."),
]
LmNbestOption = Annotated[
    int | None,
    typer.Option(help=f"Sentences of a lattice to rescore; default {RescoringOptions.nbest}."),
]
LmBestOption = Annotated[
    str | None,
    typer.Option(
        metavar="errors|score",
        help=f"First the sentence with the fewest expected word errors, or the likeliest; default {ERRORS}.",
    ),
]


def rescoring_options(
    weight: float | None, bonus: float | None, nbest: int | None, best: str | None, used: bool
) -> RescoringOptions | None:
    """Those given, or the defaults; None where nothing is rescored.

    Raises:
        Failure: options of a language model, and none is used.
        ValueError: a value out of range.
    """
    given = {"weight": weight, "bonus": bonus, "nbest": nbest, "best": best}
    given = {name: value for name, value in given.items() if value is not None}
    if given and not used:
        names = ", ".join(f"--lm-{name}" for name in given)
        raise Failure(f"{names}: nothing is rescored; name a language model with --language-model")
    return RescoringOptions(**given) if used else None
