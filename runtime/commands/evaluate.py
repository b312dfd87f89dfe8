"""ossicle evaluate: word error rates of a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from ossicle.runtime.commands.context import (
    ROWS,
    AliasesOption,
    BoostWeightOption,
    OptionalPhrases,
    boost_of,
)
from ossicle.runtime.commands.options import (
    LmBestOption,
    LmBonusOption,
    LmNbestOption,
    LmWeightOption,
    rescoring_options,
)
from ossicle.runtime.console import Failure, JsonOption, check_output, print_json, print_table, progress_bar
from ossicle.runtime.phrases import read_phrases
from ossicle.runtime.plugins import plugin

COMMAND = OptionalPhrases


def evaluate(
    checkpoint: Annotated[Path, typer.Argument(metavar="CHECKPOINT", help="A checkpoint (.safetensors).")],
    manifests: Annotated[
        list[Path], typer.Argument(metavar="MANIFEST...", help="JSON lines with path and text.")
    ],
    by: Annotated[
        str, typer.Option(help="A rate for each source, speaker or language, or for all.")
    ] = "source",
    beam: Annotated[int, typer.Option(help="States the search keeps.")] = 8,
    errors: Annotated[int, typer.Option(metavar="N", help="Show N utterances that went wrong.")] = 0,
    hypotheses: Annotated[
        Path | None, typer.Option(help="Write the rows here, each with what was recognized (JSON lines).")
    ] = None,
    workers: Annotated[int, typer.Option(help="Processes that search.")] = 1,
    language_model: Annotated[
        Path | None, typer.Option(help="Rescore with this language model too; WER without and with.")
    ] = None,
    lm_weight: LmWeightOption = None,
    lm_bonus: LmBonusOption = None,
    lm_nbest: LmNbestOption = None,
    lm_best: LmBestOption = None,
    biasing: Annotated[
        Path | None,
        typer.Option(help="Attend to each row's `context` by this adapter; WER without and with."),
    ] = None,
    context: Annotated[
        str | None,
        typer.Option(help="Phrases for rows without `context`: a file, one a line, or phrases and commas."),
    ] = None,
    boost: Annotated[
        str | None,
        typer.Option(
            help="Boost each row's `context`, or the phrases of a file; WER without and with.",
            metavar="[TEXT|FILE]",
        ),
    ] = None,
    boost_weight: BoostWeightOption = None,
    aliases: AliasesOption = True,
    context_audio: Annotated[
        list[str] | None,
        typer.Option(
            help="Of commands after a wake word (rows with `wake_seconds`): what the encoder hears before "
            "them: cold (nothing), own, other (another speaker's), noise, all. May be repeated.",
            metavar="KIND",
        ),
    ] = None,
    floats: Annotated[
        bool,
        typer.Option("--float", help="In float, nothing rounded: what the integers are compared with. "
                     "CHECKPOINT may be a training run's state.pt."),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Measure the WER of a checkpoint on recordings, in the processor's integers, with 95 % intervals."""
    check_output(hypotheses)
    rescoring = rescoring_options(lm_weight, lm_bonus, lm_nbest, lm_best, used=language_model is not None)
    if context is not None and biasing is None:
        raise Failure("--context: nothing attends to it; name an adapter with --biasing")
    phrases = read_phrases(context) if context is not None else []
    weight = boost_of(boost_weight, boost is not None)
    boosted = read_phrases(boost, "--boost") if boost not in (None, ROWS) else None
    run = plugin("evaluate", "train")
    with progress_bar(as_json) as bar:
        bar.task(f"recognizing {', '.join(path.name for path in manifests)}")
        found, table = run(
            checkpoint, manifests, by=by, beam=beam, errors=errors, workers=workers, hypotheses=hypotheses,
            progress=bar.step, language_model=language_model, rescoring=rescoring, biasing=biasing,
            phrases=phrases, boost=weight if boost is not None else None, boosted=boosted,
            floats=floats, context_audio=context_audio or (), aliases=aliases,
        )  # fmt: skip
    if as_json:
        print_json(found)
        return
    print_table(f"{checkpoint}, {'in float, ' if floats else ''}beam {beam}, intervals of 95 %", table)
    if boost is not None:
        by_sound = ", found by their sound too" if found["aliases"] else ""
        said = boost if boosted is None else f"{len(boosted)} phrases"
        print(f"boosted: {said}, {weight:g} a letter{by_sound}")
    if rescoring:
        print(f"rescored: with {language_model}, {rescoring}")
    parts = found["context_audio"].values() if context_audio else [found]
    for wrong in (wrong for part in parts for wrong in part["errors"]):
        print(f"  {wrong['reference']!r} -> {wrong['hypothesis']!r}")
    print(f"{found['utterances']} utterances in {found['seconds']} s")
