"""What end-points need beside a recognizer: a net that hears, a language model that reads, each on a device.

Loading is not counted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ossicle.compiler.api import compile_checkpoint
from ossicle.compiler.program import Program
from ossicle.hw.config import NpuConfig
from ossicle.runtime.console import Failure
from ossicle.runtime.driver import Cycles
from ossicle.runtime.endpoint_net import EndpointNet
from ossicle.runtime.endpointer import EndPointer, EndpointRule
from ossicle.runtime.language_model import BOUNDARY, DeviceModel, Model, model_labels
from ossicle.runtime.programs import LANGUAGE_MODEL, default_model
from ossicle.runtime.rescoring import check_pieces, tokenizer_of
from ossicle.runtime.transducer import log_softmax
from ossicle.sim.device import Device

ENDPOINT_NET = "weights/endpoint.safetensors"


class EndOfText:
    """A language model's log-probability that a text ends after given labels; the last answer is kept."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self.begin()

    def begin(self) -> None:
        """Begin an utterance."""
        self._model.forget()
        self.cycles = Cycles()
        """Cycles and jobs of the utterance."""
        self._known: tuple[tuple[int, ...], float] | None = None

    def __call__(self, labels: tuple[int, ...]) -> float:
        if self._known is None or self._known[0] != labels:
            self._known = labels, float(log_softmax(self._model.after(labels))[BOUNDARY])
            self._count(self._model.cycles)
        return self._known[1]

    def _count(self, spent: Cycles) -> None:
        self.cycles.counted &= spent.counted
        for entry, cycles in spent.cycles.items():
            self.cycles.jobs[entry] = self.cycles.jobs.get(entry, 0) + spent.jobs[entry]
            self.cycles.cycles[entry] = self.cycles.cycles.get(entry, 0) + cycles


@dataclass
class EndPointing:
    """What decides when an utterance is over; `end_of_text` None: by ear, and by how long a text is still."""

    net: EndpointNet
    pointer: EndPointer
    end_of_text: EndOfText | None = None

    def begin(self) -> None:
        """Begin an utterance."""
        self.net.begin()
        self.pointer.reset()
        if self.end_of_text:
            self.end_of_text.begin()


@dataclass(frozen=True)
class EndpointPrograms:
    """The programs, compiled; `start` gives them devices. `missing`: why there is no language model."""

    net: Program
    language_model: Program | None
    missing: str = ""

    @classmethod
    def load(cls, recognizer: Program, config: NpuConfig) -> EndpointPrograms:
        """The shipped net, and the shipped language model if it has the recognizer's pieces.

        Raises:
            Failure: no net is shipped with this installation.
            CompileError: the net is too large for the processor.
        """
        net = compile_checkpoint(default_model(ENDPOINT_NET), config)
        try:
            model = compile_checkpoint(default_model(LANGUAGE_MODEL), config)
            check_pieces(model_labels(model.meta["name"], model.meta["topology"]), tokenizer_of(recognizer))
        except (Failure, ValueError) as error:
            return cls(net, None, str(error))
        return cls(net, model)

    def start(self, open_device: Callable[[], Device], rule: EndpointRule | None = None) -> EndPointing:
        """Load each program on a device that `open_device` gives."""
        net = EndpointNet(open_device(), self.net)
        text = EndOfText(DeviceModel(open_device(), self.language_model)) if self.language_model else None
        return EndPointing(net, EndPointer(rule), text)
