"""Rescoring beside a recognizer: a language model's program on a device of its own.

The device stands for the recognizer's processor after the utterance, loaded with the other program; loading
is not counted.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from ossicle.compiler.api import compile_checkpoint
from ossicle.compiler.program import Program
from ossicle.hw.config import NpuConfig
from ossicle.runtime.language_model import DeviceModel, Progress, model_labels
from ossicle.runtime.lattice import Lattice
from ossicle.runtime.programs import LANGUAGE_MODEL, default_model, read_program
from ossicle.runtime.recognizer import Result
from ossicle.runtime.rescored_lattice import rescored_lattice
from ossicle.runtime.rescoring import Rescored, Rescorer, RescoringOptions, check_pieces, tokenizer_of
from ossicle.sim.device import Device


class SecondPass:
    """A language model and how to rescore with it; `start` gives it a device."""

    def __init__(self, program: Program, tokenizer: bytes, options: RescoringOptions) -> None:
        self.program, self.tokenizer, self.options = program, tokenizer, options
        self._rescorer: Rescorer | None = None
        self.lattice: Lattice | None = None
        """The sentences of the last result, as a lattice with the language model's scores."""

    @classmethod
    def load(
        cls, path: Path | None, recognizer: Program, config: NpuConfig, options: RescoringOptions
    ) -> SecondPass:
        """A checkpoint or a compiled program, by default the one shipped, for a recognizer's tokenizer.

        Raises:
            ValueError: no such file, or no language model, or one of other pieces, or too large for the
                processor, or compiled for another.
            Failure: a link of several networks.
        """
        path = path or default_model(LANGUAGE_MODEL)
        program = read_program(path, config) if path.suffix == ".npu" else compile_checkpoint(path, config)
        made = cls(program, tokenizer_of(recognizer), options)
        check_pieces(model_labels(program.meta["name"], program.meta["topology"]), made.tokenizer)
        return made

    def start(self, device: Device) -> None:
        """Load the program."""
        self._rescorer = Rescorer(DeviceModel(device, self.program), self.tokenizer, self.options)

    def rescore(self, result: Result, nbest: int, progress: Progress | None = None) -> tuple[Result, dict]:
        """A final result with the text and the n-best of the second pass, and what a command says of it:
        `nbest` with the scores apart, and `rescored`."""
        assert self._rescorer is not None and result.lattice is not None, "start and final results only"
        found = self._rescorer.rescore(result.lattice, progress)[:nbest]
        self.lattice = rescored_lattice(result.lattice, found, self.options)
        spent = self._rescorer.model.cycles
        said = {
            "nbest": rescored_json(found),
            "rescored": {
                "before": result.text, "model": self.program.meta["name"], "cycles": spent.total,
                "jobs": spent.jobs, **vars(self.options),
            },
        }  # fmt: skip
        return replace(result, text=found[0].text, nbest=tuple(one.path for one in found)), said


def rescored_json(found: Iterable[Rescored]) -> list[dict]:
    """Sentences with their scores apart."""
    return [
        {
            "text": one.text, "score": round(one.score, 4), "transducer": round(one.path.acoustic, 4),
            "boost": round(one.path.boost, 4), "language_model": round(one.model, 4),
            "expected_errors": round(one.errors, 4),
        }
        for one in found
    ]  # fmt: skip
