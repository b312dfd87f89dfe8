"""ossicle understand: texts to intents and slots, on a simulated processor."""

from __future__ import annotations

from contextlib import closing
from typing import Annotated

import typer
from ossicle.runtime.commands.transcribe import starting
from ossicle.runtime.console import (
    EngineOption,
    Failure,
    JsonOption,
    ModelOption,
    NpuOption,
    check_engine,
    print_json,
    progress_bar,
)
from ossicle.runtime.nlu import Intent, Nlu
from ossicle.runtime.programs import MEANINGS_MODEL, default_model, load_program
from ossicle.runtime.words import split_words
from ossicle.sim.device import open_device


def understand(
    texts: Annotated[list[str], typer.Argument(metavar="TEXT...", help="Sentences, each in quotes.")],
    engine: EngineOption = "fast",
    npu: NpuOption = None,
    model: ModelOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say what sentences mean, by a net on the simulated processor: intent, slots, cycles."""
    check_engine(engine)
    for text in texts:
        if not split_words(text):
            raise Failure(f"there are no words in {text!r}")
    program, config = load_program(model or default_model(MEANINGS_MODEL), npu)
    rows = []
    with progress_bar(as_json) as bar:
        bar.task(starting(engine, config))
        with closing(open_device(engine, config)) as device:
            nlu = Nlu(device, program)
            for text in texts:
                meaning = nlu.parse(text)
                rows.append(_row(text, meaning, nlu.cycles.total))
                if not as_json:
                    _print(rows[-1])
    if as_json:
        print_json(rows[0] if len(rows) == 1 else rows)


def _row(text: str, meaning: Intent, cycles: int | None) -> dict:
    return {
        "text": text,
        "intent": meaning.name,
        "posterior": round(meaning.posterior, 4),
        "slots": meaning.slots,
        "spans": [vars(span) for span in meaning.spans],
        "cycles": cycles,
    }


def _print(row: dict) -> None:
    print(f"{row['intent']} ({row['posterior']:.2f})")
    for slot, value in row["slots"].items():
        print(f"  {slot}: {value}")
    if row["cycles"] is not None:
        print(f"  {row['cycles']:,} cycles")
