"""Whether a model is fit for use: it compiles, and says of a recording what it should."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from ossicle.compiler.api import compile_checkpoint
from ossicle.compiler.program import Program
from ossicle.hw.config import NpuConfig
from ossicle.runtime.audio import Audio, read_audio
from ossicle.runtime.recognizer import Recognizer
from ossicle.runtime.update.install import Check
from ossicle.sim.device import open_device


class UnfitError(ValueError):
    """A model that loads, and does not do what it should."""


def health_check(config: NpuConfig, recording: Path | None = None, expected: str = "") -> Check:
    """A check of a checkpoint: it compiles for the processor, and transcribes a recording as expected.

    Raises:
        AudioError: a recording that cannot be read.
    """
    audio = read_audio(recording) if recording else None

    def check(model: Path) -> None:
        program = compile_checkpoint(model, config)
        if audio is not None:
            _listen(program, config, audio, expected)

    return check


def _listen(program: Program, config: NpuConfig, audio: Audio, expected: str) -> None:
    if "tokenizer" not in program.meta:
        raise UnfitError("it writes no text, which --check asks for")
    with closing(open_device("functional", config)) as device:
        text = Recognizer(device, program).recognize(audio.samples).text
    if text.split() != expected.split():
        raise UnfitError(f"it hears {text!r} where {expected!r} was said")
