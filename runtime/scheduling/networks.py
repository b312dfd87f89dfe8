"""The networks of the speech stack that share a processor, and how often each is used."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ossicle.compiler.graph import Graph
from ossicle.compiler.importer import import_checkpoint
from ossicle.compiler.link import Network, link
from ossicle.compiler.plan import CompileError
from ossicle.compiler.program import Program
from ossicle.hw.config import NpuConfig
from ossicle.runtime.console import Failure, note
from ossicle.runtime.endpointing import ENDPOINT_NET
from ossicle.runtime.language_model import model_labels
from ossicle.runtime.programs import (
    DEFAULT_MODEL,
    LANGUAGE_MODEL,
    LANGUAGES_NET,
    MEANINGS_MODEL,
    SMALL_MODEL,
    default_model,
)
from ossicle.runtime.rescoring import check_pieces, tokenizer_of

RECOGNIZER, ENDPOINT, LM, NLU = "recognizer", "endpoint", "lm", "nlu"
WHISPER, SPEAKER, LANGUAGE = "whisper", "speaker", "language"


@dataclass(frozen=True)
class Shipped:
    """A checkpoint of this installation. `rate`: jobs of its encoder or step for each second of audio."""

    checkpoint: str
    rate: float


NETWORKS = {
    RECOGNIZER: Shipped(DEFAULT_MODEL, 1 / 0.06),
    ENDPOINT: Shipped(ENDPOINT_NET, 1 / 0.03),
    LM: Shipped(LANGUAGE_MODEL, 40.0),  # ends of texts and rescoring, beside speech
    NLU: Shipped(MEANINGS_MODEL, 5.0),
    WHISPER: Shipped("weights/whisper.safetensors", 1 / 0.03),
    SPEAKER: Shipped("weights/speaker.safetensors", 1 / 0.06),
    LANGUAGE: Shipped(LANGUAGES_NET, 1 / 0.06),
}


def link_stack(
    config: NpuConfig, names: Iterable[str] = tuple(NETWORKS), recognizer: Path | None = None
) -> Program:
    """One program of the named networks; the recognizer is the small one where the shipped does not fit. A
    language model of other pieces than the recognizer's is left out, and a note says so.

    Args:
        recognizer: a checkpoint in place of the one shipped.
    Raises:
        Failure: a network that is not shipped, or a compiled program in place of a checkpoint.
        CheckpointError, CompileError: one line each.
    """
    names = list(names)
    unknown = [name for name in names if name not in NETWORKS]
    if unknown:
        raise Failure(f"no network {unknown[0]!r} is shipped; there are {', '.join(NETWORKS)}")
    if recognizer is not None and recognizer.suffix == ".npu":
        raise Failure(f"{recognizer} is compiled for a processor of its own; give the checkpoint it is of")
    graphs = {name: import_checkpoint(default_model(NETWORKS[name].checkpoint)) for name in names}
    if recognizer is not None and RECOGNIZER in graphs:
        graphs[RECOGNIZER] = import_checkpoint(recognizer)
    if LM in graphs and RECOGNIZER in graphs:
        _leave_out_other_pieces(graphs)
    try:
        return _link(graphs, config)
    except CompileError as error:
        if recognizer is not None or RECOGNIZER not in graphs:
            raise
        graphs[RECOGNIZER] = import_checkpoint(default_model(SMALL_MODEL))
        program = _link(graphs, config)
        note(f"{config.name} does not hold the larger model ({error}): the small one is used")
        return program


def _leave_out_other_pieces(graphs: dict[str, Graph]) -> None:
    try:
        labels = model_labels(graphs[LM].name, graphs[LM].meta["topology"])
        check_pieces(labels, tokenizer_of(graphs[RECOGNIZER]))
    except ValueError as error:
        del graphs[LM]
        note(f"without a language model: {error}")


def _link(graphs: dict[str, Graph], config: NpuConfig) -> Program:
    return link({name: Network(graph, NETWORKS[name].rate) for name, graph in graphs.items()}, config)
