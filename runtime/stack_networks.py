"""The networks of a stack on their devices, each in the class that runs it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from ossicle.compiler.program import Program
from ossicle.runtime.endpoint_net import EndpointNet
from ossicle.runtime.endpointer import EndPointer, EndpointRule
from ossicle.runtime.endpointing import EndOfText, EndPointing
from ossicle.runtime.language import LanguageIdentifier
from ossicle.runtime.language_model import DeviceModel, model_labels
from ossicle.runtime.lattice import LatticeOptions
from ossicle.runtime.nlu import Nlu
from ossicle.runtime.recognizer import Recognizer
from ossicle.runtime.rescoring import check_pieces, tokenizer_of
from ossicle.runtime.scheduling.networks import ENDPOINT, LANGUAGE, LM, NLU, RECOGNIZER, SPEAKER, WHISPER
from ossicle.runtime.speaker import SpeakerEncoder
from ossicle.runtime.transducer import SearchOptions
from ossicle.runtime.whisper import WhisperDetector
from ossicle.sim.device import Device

OpenDevice = Callable[[str, Program], Device]
"""Gives a network, by its name, the device that its program runs on: one each, or views of a shared one."""
Net = TypeVar("Net")


@dataclass(frozen=True)
class StackOptions:
    """How a stack listens. `shared`: its devices are views of one processor, whose jobs wait for others."""

    search: SearchOptions | None = None
    lattice: LatticeOptions = field(default_factory=LatticeOptions)
    nbest: int = 1
    rule: EndpointRule | None = None
    shared: bool = False


@dataclass(frozen=True)
class StackNetworks:
    """Those that there are; None is left out."""

    recognizer: Recognizer
    ends: EndPointing | None
    nlu: Nlu | None
    whisper: WhisperDetector | None
    speaker: SpeakerEncoder | None
    language: LanguageIdentifier | None

    @classmethod
    def open(
        cls, programs: Mapping[str, Program], open_device: OpenDevice, options: StackOptions
    ) -> StackNetworks:
        """Load each program on a device of `open_device`.

        Raises:
            ProgramError: a program is for another configuration than its device.
            ValueError: a program is not that of the network it stands for.
            DeviceFault: a job stopped with a fault.
        """

        def opened(name: str, kind: Callable[[Device, Program], Net]) -> Net | None:
            program = programs.get(name)
            return kind(open_device(name, program), program) if program else None

        def recognizer(device: Device, program: Program) -> Recognizer:
            return Recognizer(device, program, options.search, options.lattice, options.nbest)

        hears = opened(RECOGNIZER, recognizer)
        if hears is None:
            raise ValueError("a stack needs the program of a recognizer")
        ends, net = None, opened(ENDPOINT, EndpointNet)
        if net:
            if LM in programs:
                _check_pieces(programs[LM], programs[RECOGNIZER])
            model = opened(LM, DeviceModel)
            ends = EndPointing(net, EndPointer(options.rule), EndOfText(model) if model else None)
        return cls(
            hears, ends, opened(NLU, Nlu), opened(WHISPER, WhisperDetector), opened(SPEAKER, SpeakerEncoder),
            opened(LANGUAGE, LanguageIdentifier),
        )  # fmt: skip

    @property
    def beside(self) -> list[WhisperDetector | SpeakerEncoder | LanguageIdentifier]:
        """Those that hear the recognizer's feature vectors."""
        return [net for net in (self.whisper, self.speaker, self.language) if net]


def _check_pieces(model: Program, recognizer: Program) -> None:
    labels = model_labels(model.meta["name"], model.meta["topology"])
    check_pieces(labels, tokenizer_of(recognizer))
