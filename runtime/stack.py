"""The speech stack in one object: audio in chunks of any size to events, all networks on devices.

    chunks -> blocks of 30 ms -> recognizer, end-pointers -> text, speculative and final ends  -> events
                              -> whisper, speaker, language, on the same feature vectors
              speculative end -> meaning of the text, taken back by a reset or a revision

    stack = Stack(load_programs(...), open)            # open(name, program) -> Device
    for chunk in microphone:
        for event in stack.process(chunk, 16000): act_on(event)
        if stack.done: break
    for event in stack.finish(): act_on(event)         # nothing after a final end-point

Nothing leaves the device. What may begin early is begun at the speculative end-point (Chang et al. 2020,
Interspeech, "Low latency speech recognition using end-to-end prefetching").
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import partial

import numpy as np
from numpy.typing import NDArray
from ossicle.compiler.program import Program
from ossicle.runtime.endpointer import Decision
from ossicle.runtime.nlu import Intent
from ossicle.runtime.recognizer import Recognizer
from ossicle.runtime.scheduling.networks import LANGUAGE, SPEAKER, WHISPER
from ossicle.runtime.scheduling.tasks import Job
from ossicle.runtime.session import Event, Session
from ossicle.runtime.speakers import Speakers
from ossicle.runtime.stack_events import FINAL, INTENT, REVISION, StackEvent
from ossicle.runtime.stack_networks import OpenDevice, StackNetworks, StackOptions
from ossicle.runtime.stack_record import Record
from ossicle.runtime.words import split_words
from ossicle.sim.device import Device


class Stack:
    """One utterance after another, each from `begin` to its final event.

    Args:
        programs: by name, see `stack_programs.load_programs`; of the recognizer at least, the others may be
            left out, and with them their events. Without the end-pointers an utterance ends with its audio.
        open_device: called once for each program.
        speakers: who is enrolled; without them, or without that net, there are no events of a speaker.
    Raises:
        ProgramError: a program is for another configuration than its device.
        ValueError: a program is not that of the network it stands for.
        DeviceFault: a job stopped with a fault.
    """

    def __init__(
        self,
        programs: Mapping[str, Program],
        open_device: OpenDevice,
        options: StackOptions | None = None,
        speakers: Speakers | None = None,
    ) -> None:
        options, self._speakers = options or StackOptions(), speakers
        self._record = Record(options.shared)
        programs = {name: one for name, one in programs.items() if name != SPEAKER or speakers is not None}
        self.networks = StackNetworks.open(programs, partial(self._open, open_device), options)
        """Each on its device."""
        self.session = Session(self.networks.recognizer, self.networks.ends, self._accept)
        """The recognizer and its end-pointers."""
        clock = self.recognizer.driver.device.config.clock_mhz * 1e6
        self._record.start(clock / self.sample_rate, lambda: self.session.samples)
        self.begin()

    def begin(self, context_s: float = 0.0) -> None:
        """Begin an utterance; what is left of another is forgotten.

        Boosts and context phrases of `recognizer` are set before it.

        Args:
            context_s: its first seconds, a wake word, have no text; all networks hear them.
        """
        self._record.clear()
        self.session.begin(context_s)
        for net in self.networks.beside:
            net.begin()
        self._understood: tuple[str, Intent | None] | None = None

    @property
    def recognizer(self) -> Recognizer:
        """What hears words."""
        return self.networks.recognizer

    @property
    def sample_rate(self) -> int:
        """Samples a second that the stack takes."""
        return self.recognizer.frontend.sample_rate

    @property
    def done(self) -> bool:
        """Whether the final event was given."""
        return self.session.done

    @property
    def jobs(self) -> list[Job]:
        """Of the utterance, in the order in which they ran; for `scheduling.scheduler.schedule`."""
        return list(self._record.jobs)

    def process(self, samples: NDArray[np.int16], sample_rate: int) -> list[StackEvent]:
        """Take int16 samples of one channel; the events up to their end, or to the final one.

        Raises:
            StreamError: another sample rate than the model's, samples of another kind, or audio after a final
                event.
            DeviceFault: a job stopped with a fault.
        """
        return list(self._acts(self.session.hear(sample_rate, samples)))

    def finish(self) -> list[StackEvent]:
        """No more audio: the events of what is left, the final one unless it was given."""
        return list(self._acts(self.session.hear_end()))

    def listen(self, chunks: Iterable[NDArray[np.int16]]) -> Iterator[StackEvent]:
        """The events of one utterance, from its begin to its final one; of `sample_rate`."""
        self.begin()
        for chunk in chunks:
            yield from self.process(chunk, self.sample_rate)
            if self.done:
                return
        yield from self.finish()

    def _acts(self, heard: Iterator[Event]) -> Iterator[StackEvent]:
        # Each event is acted on before the session goes on, so that jobs are recorded in their true order.
        for event in heard:
            if event.kind == FINAL:
                yield from self._respond(event)
                continue
            yield self._event(event.kind, event, result=event.result, silence_s=event.silence_s)
            if event.kind == Decision.RESET:
                self._understood = None
            if event.kind == Decision.SPECULATIVE:
                yield from self._understand(event)

    def _respond(self, heard: Event) -> Iterator[StackEvent]:
        """What comes at the final end-point."""
        standing = self._understood
        revised = standing is not None and standing[0] != heard.text
        if revised:
            yield self._event(REVISION, heard, result=heard.result)
        if standing is None or revised:
            yield from self._understand(heard)
        verdicts = self._verdicts()
        for kind, verdict in verdicts.items():
            yield self._event(kind, heard, **verdict)
        known = {name: value for verdict in verdicts.values() for name, value in verdict.items()}
        known |= {"intent": self._understood[1] if self._understood else None, "revised": revised}
        yield self._event(FINAL, heard, result=heard.result, silence_s=heard.silence_s, **known)

    def _understand(self, heard: Event) -> Iterator[StackEvent]:
        """The meaning of a text that ends here, if it has words."""
        nlu = self.networks.nlu
        intent = nlu.parse(heard.text) if nlu and split_words(heard.text) else None
        self._understood = heard.text, intent
        if intent:
            yield self._event(INTENT, heard, intent=intent)

    def _verdicts(self) -> dict[str, dict]:
        """Of each event at the end, what it tells."""
        made, nets = {}, self.networks
        if nets.speaker and self._speakers is not None:
            made[SPEAKER] = {"speaker": self._speakers.identify(nets.speaker.vector(self.session.spoken))}
        if nets.whisper and (voice := nets.whisper.voice):
            made[WHISPER] = {"voice": voice}
        if nets.language and nets.language.outputs:
            made[LANGUAGE] = {"language": nets.language.decide()}
        return made

    def _accept(self, features: NDArray[np.int8]) -> None:
        for net in self.networks.beside:
            net.accept(features)

    def _event(self, kind: str, heard: Event, **more) -> StackEvent:
        record = self._record
        cycles, at = (record.cycles, record.done) if record.counted else (None, None)
        return StackEvent(str(kind), heard.text, heard.audio_s, cycles, at, len(record.jobs), **more)

    def _open(self, open_device: OpenDevice, name: str, program: Program) -> Device:
        return self._record.watch(name, open_device(name, program))
