"""Utterances one after another through all networks on one device, and the jobs that this took.

block of 30 ms -> recognizer, end-pointers (with the language model) -> whisper, speaker
speculative end-point, or a final one with another text -> rescoring -> meaning of the best sentence
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from ossicle.compiler.program import Program
from ossicle.runtime.endpoint_net import EndpointNet
from ossicle.runtime.endpointer import Decision, EndPointer
from ossicle.runtime.endpointing import EndOfText, EndPointing
from ossicle.runtime.language_model import DeviceModel
from ossicle.runtime.nlu import Nlu
from ossicle.runtime.recognizer import Recognizer
from ossicle.runtime.rescoring import Rescorer, tokenizer_of
from ossicle.runtime.scheduling.frame_net import FrameNet
from ossicle.runtime.scheduling.journal import RESCORING, STEP, Journal
from ossicle.runtime.scheduling.networks import ENDPOINT, LM, NLU, RECOGNIZER, SPEAKER, WHISPER
from ossicle.runtime.session import Event, Session
from ossicle.runtime.words import split_words
from ossicle.sim.device import Device
from ossicle.sim.shared import SharedDevice


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
        self._shared = shared = SharedDevice(device, program, self.journal.watch)
        programs = shared.programs
        recognizer = Recognizer(shared.view(RECOGNIZER), programs[RECOGNIZER])
        ear = EndpointNet(shared.view(ENDPOINT), programs[ENDPOINT])
        self._rescorer: Rescorer | None = None
        whole = None
        if LM in programs:
            model = DeviceModel(shared.view(LM), programs[LM])
            self._rescorer = Rescorer(model, tokenizer_of(programs[RECOGNIZER]))
            whole = EndOfText(model)
        self.session = Session(recognizer, EndPointing(ear, EndPointer(), whole))
        self._nlu = Nlu(shared.view(NLU), programs[NLU]) if NLU in programs else None
        frame_nets = [name for name in (WHISPER, SPEAKER) if name in programs]
        self._frame_nets = [FrameNet(shared.view(name), programs[name]) for name in frame_nets]
        self.texts: list[str] = []
        """Of each utterance: what was understood last."""
        self.journal.clear()

    def run(self, samples: NDArray[np.int16]) -> None:
        """One more utterance, of the samples [n] of a clip; the next begins where the clip ends.

        Raises:
            DeviceFault: a job stopped with a fault.
            DeviceError: the device counts no cycles.
        """
        begin, session = self.journal.now, self.session
        self._understood: str | None = None
        self.texts.append("")
        session.begin()
        for net in self._frame_nets:
            net.begin()
        for start in range(0, len(samples), STEP):
            block = samples[start : start + STEP]
            self.journal.now += len(block)
            for event in session.accept_waveform(session.recognizer.frontend.sample_rate, block):
                self._act(event)
            if session.done:
                break
            for net in self._frame_nets:
                net.accept(block)
        for event in session.finish():
            self._act(event)
        self.journal.now = begin + len(samples)

    def _act(self, event: Event) -> None:
        """What follows an end-point, unless it was done for the same text at one that still stands."""
        if event.kind == Decision.RESET:
            self._understood = None
        if event.result is None or event.result.lattice is None or event.result.text == self._understood:
            return
        self._understood = text = event.result.text
        if self._rescorer is not None:
            with self.journal.purpose(LM, RESCORING):
                text = self._rescorer.rescore(event.result.lattice)[0].text
        self.texts[-1] = text
        if self._nlu is not None and split_words(text):
            self._nlu.parse(text)
