"""The lattices of recordings, in the processor's integers: what `ossicle bench lattice` measures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from ossicle.models.data.pack import read_audio
from ossicle.models.exact import LABELS_PER_FRAME
from ossicle.models.export import read_checkpoint
from ossicle.models.search import lattices_of
from ossicle.runtime.frontend import features
from ossicle.runtime.lattice import Lattice, LatticeOptions
from ossicle.runtime.lattice_budget import SAMPLE_BYTES
from ossicle.runtime.transducer import SearchOptions


def command(
    checkpoint: Path, recordings: Sequence[str], *, beam: int, lattice_beam: float, workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[list[Lattice], list[int]]:  # fmt: skip
    """(lattices, bytes of the audio as 16-bit samples) of recordings, in the order given.

    Args:
        beam: states that the search keeps.
        lattice_beam: how much worse than the best sentence the lattice keeps, natural log.
        workers: processes that search.
    Raises:
        ValueError: no checkpoint of a recognizer, a recording that can't be read, or another beam than 1
            to 64.
    """
    torch.set_num_threads(1)
    model = read_checkpoint(checkpoint)
    if model.frontend is None:
        raise ValueError(f"{checkpoint}: not a recognizer; there is nothing to transcribe with it")
    options = SearchOptions(beam=beam, labels_per_frame=LABELS_PER_FRAME)
    audio = [read_audio(recording) for recording in recordings]
    utterances = [features(samples, model.frontend) for samples in audio]
    kept = LatticeOptions(beam=lattice_beam)
    found = lattices_of(model, options, utterances, workers, progress, kept=kept)
    return found, [SAMPLE_BYTES * len(samples) for samples in audio]
