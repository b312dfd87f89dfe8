"""Utterances one after another through the speech stack on one device, and the jobs that this took.

    block of 30 ms -> Stack, all its networks -> events
    speculative end-point, or a final one with another text -> rescoring of the lattice
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from ossicle.compiler.program import Program
from ossicle.runtime.language_model import DeviceModel
from ossicle.runtime.rescoring import Rescorer, tokenizer_of
from ossicle.runtime.scheduling.journal import RESCORING, STEP, Journal
from ossicle.runtime.scheduling.networks import LM, RECOGNIZER
from ossicle.runtime.speakers import Speakers
from ossicle.runtime.stack import Stack
from ossicle.runtime.stack_events import RESET, StackEvent
from ossicle.runtime.stack_networks import StackOptions
from ossicle.sim.device import Device
from ossicle.sim.shared import SharedDevice

NOBODY = Speakers(net="", threshold=1.0, people={})
"""Who is enrolled: the net of speakers does the same work, whoever is."""


class Workload:
    """All networks of a link, ready; `journal` notes what they do.

    Args:
        device: given up to the networks until it is loaded again.
        program: a link of the recognizer and the end-pointer at least.
    Raises:
        ProgramError: the program is no link, or for another configuration.
        ValueError: its language model has other pieces than its recognizer.
    """

    def __init__(self, device: Device, program: Program, journal: Journal | None = None) -> None:
        self.journal = journal or Journal()
        shared = SharedDevice(device, program, self.journal.watch)
        self.stack = Stack(shared.programs, shared.open, StackOptions(shared=True), NOBODY)
        self._rescorer: Rescorer | None = None
        if LM in shared.programs:
            model = DeviceModel(shared.view(LM), shared.programs[LM])
            self._rescorer = Rescorer(model, tokenizer_of(shared.programs[RECOGNIZER]))
        self.texts: list[str] = []
        """Of each utterance, as it was understood last."""
        self.journal.clear()

    def run(self, samples: NDArray[np.int16]) -> None:
        """One more utterance, of the samples [n] of a clip; the next begins where the clip ends.

        Raises:
            DeviceFault: a job stopped with a fault.
            DeviceError: the device counts no cycles.
        """
        begin, stack = self.journal.now, self.stack
        self._rescored: str | None = None
        self.texts.append("")
        stack.begin()
        for start in range(0, len(samples), STEP):
            block = samples[start : start + STEP]
            self.journal.now += len(block)
            self._act(stack.process(block, stack.sample_rate))
            if stack.done:
                break
        self._act(stack.finish())
        self.journal.now = begin + len(samples)

    def _act(self, events: list[StackEvent]) -> None:
        """What follows an end-point, unless it was done for the same text at one that still stands."""
        for event in events:
            if event.kind == RESET:
                self._rescored = None
            if event.result is None or event.result.lattice is None or event.text == self._rescored:
                continue
            self._rescored = self.texts[-1] = event.text
            if self._rescorer is not None:
                with self.journal.purpose(LM, RESCORING):
                    self.texts[-1] = self._rescorer.rescore(event.result.lattice)[0].text
