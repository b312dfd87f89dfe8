"""One utterance as it is heard: audio in chunks of any size to events, through a recognizer and end-pointers.

    chunks -> blocks of 30 ms -> recognizer (one device)       -> partial texts, lattices     -> events
                              -> net of end-points (another)   -> posteriors -> EndPointer

Everything happens at blocks of 30 ms, whatever the chunks: they do not show in the events. An event has its
time in audio, `audio_s` (what was heard by then), and in cycles: `at_cycle` counts the processor's clock from
the utterance's begin, with audio that comes in real time and jobs that wait for it and for each other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from ossicle.runtime.driver import Cycles
from ossicle.runtime.endpointer import SPEECH, Decision, Signs
from ossicle.runtime.endpointing import EndPointing
from ossicle.runtime.recognizer import Recognizer, Result, StreamError

PARTIAL = "partial"


@dataclass(frozen=True)
class Event:
    """Something that a listener may act on. `kind`: PARTIAL, or a Decision's value."""

    kind: str
    text: str
    audio_s: float
    cycles: int | None
    """Of the recognizer's jobs by now; None where none are counted."""
    at_cycle: int | None
    """When it is known, on the processor's clock."""
    result: Result | None = None
    """Of speculative and final events: text, lattice, n-best."""
    silence_s: float | None = None
    """Of decisions: since the net last heard speech."""
    revised: bool = False
    """Of a final event: whether its text is another than the last speculative one's."""


class _Processor:
    """When a processor of a clock is done with what it was given, in cycles since the utterance's begin."""

    def __init__(self, cycles_per_sample: float) -> None:
        self._cycles_per_sample, self.done, self._counted = cycles_per_sample, 0, 0

    def work(self, samples: int, cycles: Cycles) -> None:
        """Jobs of a block that ends with this sample; `cycles` are the utterance's so far."""
        spent = sum(cycles.cycles.values()) - self._counted
        self.done = max(self.done, int(samples * self._cycles_per_sample)) + spent
        self._counted += spent


class Session:
    """An utterance after another, each from `begin` to a final event.

        session = Session(recognizer, EndPointing(net, EndPointer()))
        for chunk in microphone:
            for event in session.accept_waveform(16000, chunk): show(event)
            if session.done: break
        for event in session.finish(): show(event)       # nothing after a final end-point

    Without `endpointing` the only decision is the final one, at the end of the audio. `set_context` of the
    recognizer goes before `begin`.

    Args:
        beside: what else hears: given the feature vectors of each block, int8 [n, features], after the
            recognizer and the end-pointers had it, and those of the end before the final event.
    """

    def __init__(
        self,
        recognizer: Recognizer,
        endpointing: EndPointing | None = None,
        beside: Callable[[NDArray[np.int8]], None] | None = None,
    ) -> None:
        self.recognizer, self.endpointing, self._beside = recognizer, endpointing, beside
        self._stream = recognizer.create_stream()
        self._stream.listener = self._keep if beside else None
        self._block = recognizer.frontend.step_samples
        self._per_sample = recognizer.driver.device.config.clock_mhz * 1e6 / recognizer.frontend.sample_rate
        self.begin()

    def begin(self, context_s: float = 0.0) -> None:
        """Begin an utterance; what is left of another is forgotten.

        Args:
            context_s: its first seconds have no text, see `Stream.expect_context`, and end nothing.
        """
        self._samples = self._spoken_at = self._changed_at = self._version = 0
        self.recognizer.reset(self._stream)
        self._context = round(context_s * self.recognizer.frontend.sample_rate)
        if self.endpointing:
            self.endpointing.begin()
        self.done = False
        """Whether the final event was given."""
        self._buffer = np.zeros(0, np.int16)
        self._unheard: list[NDArray[np.int8]] = []
        self._first_spoken: int | None = None
        self._labels: tuple[int, ...] = ()
        self._speculated: Result | None = None
        self._processors = tuple(_Processor(self._per_sample) for _ in range(3))
        self._stream.expect_context(self._context)

    @property
    def text(self) -> str:
        """The best text so far."""
        return self.recognizer.text_of(self._labels)

    @property
    def samples(self) -> int:
        """How many samples of the utterance are heard: those of whole blocks, or all at its end."""
        return self._samples

    @property
    def spoken(self) -> tuple[int, int] | None:
        """Samples from the first speech that the net of end-points heard to past the last; None: none."""
        return None if self._first_spoken is None else (self._first_spoken, self._spoken_at)

    def accept_waveform(self, sample_rate: int, samples: NDArray[np.int16]) -> list[Event]:
        """Take int16 samples of one channel; the events up to their end, or to the final end-point.

        Raises:
            StreamError: another sample rate than the model's, samples of another kind, or audio after a final
                event.
        """
        return list(self.hear(sample_rate, samples))

    def hear(self, sample_rate: int, samples: NDArray[np.int16]) -> Iterator[Event]:
        """As `accept_waveform`, each event before the work after it; it has to be followed to its end."""
        wanted, samples = self.recognizer.frontend.sample_rate, np.asarray(samples)
        if sample_rate != wanted:
            raise StreamError(f"audio at {sample_rate} Hz; the model takes {wanted} Hz, resample it first")
        if samples.dtype != np.int16 or samples.ndim != 1:
            raise StreamError(f"audio must be one channel of int16, not {samples.dtype} of {samples.shape}")
        if self.done:
            raise StreamError("audio after the final event; begin another utterance first")
        self._buffer = np.concatenate([self._buffer, samples])
        while len(self._buffer) >= self._block and not self.done:
            block, self._buffer = self._buffer[: self._block], self._buffer[self._block :]
            yield from self._hear(block)

    def finish(self) -> list[Event]:
        """No more audio: what is left is recognized, and a final event given, unless one was."""
        return list(self.hear_end())

    def hear_end(self) -> Iterator[Event]:
        """As `finish`, each event before the work after it; it has to be followed to its end."""
        if not self.done and len(self._buffer):
            rest, self._buffer = self._buffer, np.zeros(0, np.int16)
            yield from self._hear(rest)
        if not self.done:
            yield from self._end()

    def _hear(self, block: NDArray[np.int16]) -> Iterator[Event]:
        self._samples += len(block)
        self._stream.accept_waveform(self.recognizer.frontend.sample_rate, block)
        yield from self._decode()
        if self.endpointing is not None:
            yield from self._judge(self.endpointing, block)
        self._pass_on()

    def _keep(self, features: NDArray[np.int8]) -> None:
        self._unheard.append(features)

    def _pass_on(self) -> None:
        """Let the others hear what the recognizer has heard."""
        if self._beside and self._unheard:
            features, self._unheard = np.concatenate(self._unheard), []
            self._beside(features)

    def _judge(self, endpointing: EndPointing, block: NDArray[np.int16]) -> Iterator[Event]:
        """What the end-pointers decide on a block."""
        net = endpointing.net
        for posteriors in net.accept(block):
            self._processors[1].work(self._samples, net.cycles)
            if self._samples <= self._context:
                # A wake word and the pause after it are no utterance that could end.
                self._spoken_at = self._changed_at = self._samples
                continue
            signs = self._signs(posteriors)
            for decision in endpointing.pointer.update(signs):
                yield from self._decided(decision, signs)

    def _decode(self) -> Iterator[Event]:
        """Decode what is ready; a partial event for each new text."""
        while self.recognizer.is_ready(self._stream):
            self.recognizer.decode_stream(self._stream)
            self._processors[0].work(self._samples, self.recognizer.driver.cycles)
            labels = self._stream.search.labels
            if labels != self._labels:
                self._labels, self._changed_at = labels, self._samples
                self._version += 1
                yield self._event(PARTIAL)

    def _signs(self, posteriors: NDArray[np.float64]) -> Signs:
        speech = float(posteriors[0])
        if speech >= SPEECH:
            self._spoken_at = self._samples
            if self._first_spoken is None:
                self._first_spoken = self._samples - self._block
        assert self.endpointing is not None
        text, whole = self.endpointing.end_of_text, None
        if text and self._labels and speech < SPEECH:
            whole = text(self._labels)
            self._processors[2].work(self._samples, text.cycles)
        return Signs(
            speech=speech, silence_s=self._seconds(self._spoken_at),
            still_s=self._seconds(self._changed_at), pieces=len(self._labels), version=self._version,
            whole=whole,
        )  # fmt: skip

    def _seconds(self, since: int) -> float:
        return (self._samples - since) / self.recognizer.frontend.sample_rate

    def _decided(self, decision: Decision, signs: Signs) -> Iterator[Event]:
        if decision is Decision.FINAL:
            yield from self._end(signs.silence_s)
            return
        result = None
        if decision is Decision.SPECULATIVE:
            result = self._speculated = self.recognizer.result_so_far(self._stream)
        yield replace(self._event(decision, result), silence_s=signs.silence_s)

    def _end(self, silence_s: float | None = None) -> Iterator[Event]:
        """Write out what the model holds back, then the final event."""
        self._stream.input_finished()
        yield from self._decode()
        self._pass_on()
        result, before = self.recognizer.get_result(self._stream), self._speculated
        self.done = True
        event = self._event(Decision.FINAL, result)
        self.recognizer.reset(self._stream)  # another may have the processor
        yield replace(event, silence_s=silence_s, revised=before is not None and before.text != result.text)

    def _event(self, kind: str, result: Result | None = None) -> Event:
        counted = self.recognizer.driver.cycles
        begun = self._stream.begun
        return Event(
            str(kind),
            result.text if result else self.text,
            round(self._samples / self.recognizer.frontend.sample_rate, 4),
            counted.total if begun or not counted.counted else 0,
            max(p.done for p in self._processors) if counted.counted else None,
            result,
        )
