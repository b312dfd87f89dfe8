"""Speech to words on a device, streaming: the calls that users of streaming recognizers know.

recognizer = Recognizer(device, program)
stream = recognizer.create_stream()
for chunk in microphone:
    stream.accept_waveform(16000, chunk)
    while recognizer.is_ready(stream): recognizer.decode_stream(stream)
    print(recognizer.get_result(stream).text)
stream.input_finished()
while recognizer.is_ready(stream): recognizer.decode_stream(stream)
print(recognizer.get_result(stream).lattice)

After a wake word: stream.expect_context(samples), before the audio, says how many of its first samples are
context, which moves the encoder's state and has no text.

Names that may be said: recognizer.set_boosts(["fergus", "gazebo heater"]) before an utterance; with a program
of `compile_biased`, recognizer.set_context(...) too, or in its place.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np
from numpy.typing import NDArray
from ossicle.compiler.biasing import KIND
from ossicle.compiler.program import Program, ProgramError
from ossicle.runtime.alias_evidence import Evidence, Question
from ossicle.runtime.aliases import Aliases
from ossicle.runtime.biasing import BiasedDriver, Progress
from ossicle.runtime.driver import Driver, Observer
from ossicle.runtime.frontend import FrontendParameters, StreamingFrontend
from ossicle.runtime.fusion import BOOST, Boosts
from ossicle.runtime.lattice import WORD_BEGIN, Lattice, LatticeOptions, Path, build_lattice
from ossicle.runtime.phrases import Speller
from ossicle.runtime.transducer import BeamSearch, SearchOptions, log_softmax
from ossicle.sim.device import Device
from sentencepiece import SentencePieceProcessor

CHUNK_SAMPLES = 1600


def padding_before(context: int, step: int) -> int:
    """Samples of silence before context audio, so that what follows it begins with an encoder step."""
    return -context % step


class StreamError(ValueError):
    """A stream used in a way it cannot be; the message says what would do."""


@dataclass(frozen=True)
class Result:
    """What was recognized. A partial result has its text alone; the final one also the lattice and n-best."""

    text: str
    final: bool = False
    lattice: Lattice | None = None
    nbest: tuple[Path, ...] = ()
    frames: int = 0
    labels: tuple[int, ...] = ()
    """The search's best, without blanks."""


class Stream:
    """The audio of one utterance; made by `Recognizer.create_stream`."""

    def __init__(self, frontend: StreamingFrontend, search: BeamSearch, frames_per_step: int) -> None:
        self._frontend, self._search = frontend, search
        self._frames_per_step = frames_per_step
        self.listener: Callable[[NDArray[np.int8]], None] | None = None
        """Told the feature vectors of the audio as they are made, int8 [n, features]."""
        self.clear()

    def clear(self) -> None:
        """Begin another utterance, without context."""
        self._frontend.reset()
        self._search.reset()
        self._features: list[NDArray[np.int8]] = []
        self.finished = self.begun = False
        self.context_steps = 0
        """Steps of the encoder without text that are still to come."""
        self.encoded: list[NDArray[np.int16]] = []
        """What the encoder made of the steps with text, where names are found by their sound."""

    def expect_context(self, samples: int) -> None:
        """The first so many samples of the utterance are context audio, a wake word for one.

        The encoder's state goes on from them into what follows; search and predictor begin there, and times
        count from there (Schwarz et al. 2021, arXiv:2011.10538). Silence before them, shorter than a step,
        makes them whole steps.

        Raises:
            StreamError: a negative number, or audio was given already.
        """
        if samples < 0:
            raise StreamError(f"{samples} samples of context are not possible; use 0 or more")
        if self._frontend.received or self.finished:
            raise StreamError("the context comes before all audio; reset the stream first")
        step = self._frontend.parameters.step_samples * self._frames_per_step
        silence = padding_before(samples, step)
        self._take(self._frontend.accept(np.zeros(silence, np.int16)))
        self.context_steps = (silence + samples) // step

    def accept_waveform(self, sample_rate: int, samples: NDArray) -> None:
        """Take one channel of samples: int16, or floats in [-1, 1).

        Raises:
            StreamError: another sample rate than the model's, or audio after its end.
        """
        if self.finished:
            raise StreamError("audio after input_finished; reset the stream first")
        if sample_rate != self._frontend.parameters.sample_rate:
            wanted = self._frontend.parameters.sample_rate
            raise StreamError(f"audio at {sample_rate} Hz; the model takes {wanted} Hz, resample it first")
        samples = np.asarray(samples)
        if samples.dtype.kind == "f":
            samples = np.clip(np.rint(samples * 32768.0), -32768, 32767).astype(np.int16)
        self._take(self._frontend.accept(samples))

    def input_finished(self) -> None:
        """No more audio: what is left becomes ready."""
        if not self.finished:
            self._take(self._frontend.finish())
            self.finished = True

    def _take(self, features: NDArray[np.int8]) -> None:
        self._features += list(features)
        if self.listener is not None:
            self.listener(features)

    @property
    def waiting(self) -> int:
        """Steps of the encoder that wait to be decoded, whole chunks or not."""
        return len(self._features) // self._frames_per_step

    @property
    def search(self) -> BeamSearch:
        """The search of this utterance."""
        return self._search

    def take(self, steps: int) -> NDArray[np.int8]:
        """The features of the next steps, [steps, frames_per_step, features]."""
        count = steps * self._frames_per_step
        taken, self._features = np.stack(self._features[:count]), self._features[count:]
        return taken.reshape(steps, self._frames_per_step, -1)


class Recognizer:
    """A program on a device, and the search over what it says."""

    def __init__(
        self,
        device: Device,
        program: Program,
        search: SearchOptions | None = None,
        lattice: LatticeOptions | None = None,
        nbest: int = 1,
        observer: Observer | None = None,
    ) -> None:
        kind = BiasedDriver if KIND in program.meta else Driver
        self.driver = kind(device, program, observer)
        meta = program.meta
        labels_per_frame = int(meta.get("labels_per_frame", 2))
        self.search = search or SearchOptions(labels_per_frame=labels_per_frame)
        self.lattice, self.nbest = lattice or LatticeOptions(), nbest
        self.frontend = FrontendParameters.from_dict(meta["frontend"])
        self.pieces = pieces_of(program)
        step = self.frontend.step_samples * self.driver.frames_per_step
        self.frame_seconds = step / self.frontend.sample_rate
        self._speller = Speller(base64.b64decode(meta["tokenizer"]))
        self._boosts: Boosts | None = None
        self._aliases: Aliases | None = None
        self._owner: Stream | None = None

    def create_stream(self) -> Stream:
        """A stream for one utterance after another."""
        frontend, search = StreamingFrontend(self.frontend), BeamSearch(self.search, self.driver.context)
        return Stream(frontend, search, self.driver.frames_per_step)

    def set_context(self, phrases: Iterable[str], progress: Progress | None = None) -> list[str]:
        """Bias the utterances that follow toward these phrases; none: toward nothing.

        Returns those that are left out: they have letters that the model does not know, or are very long.

        Raises:
            StreamError: the program has no context biasing, or an utterance is being decoded.
            ValueError: too many phrases.
        """
        if not isinstance(self.driver, BiasedDriver):
            raise StreamError("the program has no context biasing; compile the model with an adapter")
        self._check_between_utterances()
        known, left = self._speller.spell(phrases)
        self.driver.set_catalogue(known, progress)
        return left

    def set_boosts(self, phrases: Iterable[str], boost: float = BOOST) -> list[str]:
        """Boost these phrases in the utterances that follow, see fusion.py; none: boost nothing.

        Where the lattice's options say how names are misheard, final results have them by their sound too.

        Returns those that are left out: they have letters that the model does not know. Of 10,000 names in
        about 10 ms.

        Args:
            boost: for each letter, natural log.
        Raises:
            StreamError: an utterance is being decoded.
            ValueError: a boost out of range.
        """
        self._check_between_utterances()
        boosts = Boosts(phrases, self.pieces, boost)
        self._boosts = boosts if len(boosts) else None
        self._aliases = self.lattice.aliases(boosts.phrases) if len(boosts) else None
        return boosts.left_out

    def _check_between_utterances(self) -> None:
        if self._owner is not None and self._owner.begun:
            raise StreamError("an utterance is being decoded; finish and reset it before its context changes")

    def is_ready(self, stream: Stream) -> bool:
        """Whether `decode_stream` has something to do: a whole chunk, or what is left at the end."""
        return stream.waiting >= (1 if stream.finished else self.driver.chunk)

    def decode_stream(self, stream: Stream) -> None:
        """Decode one job of the encoder: a chunk of steps (60 ms each), or what is left at the end.

        Raises:
            StreamError: nothing is ready; or another stream is in its utterance: the processor holds one
                encoder state.
        """
        if not self.is_ready(stream):
            raise StreamError("no step is ready; give the stream more audio, or finish it")
        if not stream.begun:
            if self._owner is not None and self._owner is not stream and self._owner.begun:
                raise StreamError("another stream is being decoded; finish and reset it first")
            self._owner, stream.begun = stream, True
            stream.search.fuse(self._boosts)
            self.driver.reset()
        if self._owner is not stream:
            raise StreamError("another stream took the processor over; reset this one")
        slots = self.driver.encode_chunk(stream.take(min(stream.waiting, self.driver.chunk)))
        context = min(stream.context_steps, len(slots))
        stream.context_steps -= context
        if self._aliases is not None:
            stream.encoded += [self.driver.encoded(slot) for slot in slots[context:]]
        for slot in slots[context:]:
            stream.search.advance(lambda context, slot=slot: log_softmax(self.driver.joint(slot, context)))

    def get_result(self, stream: Stream) -> Result:
        """The text so far; once all audio is decoded, the lattice and the n-best of the utterance."""
        search = stream.search
        if not stream.finished or stream.waiting:
            return Result(self.text_of(search.labels), frames=search.frame, labels=search.labels)
        return self.result_so_far(stream)

    def result_so_far(self, stream: Stream) -> Result:
        """The lattice and the n-best of what is decoded by now, as if the utterance had ended there."""
        search = stream.search
        lattice = build_lattice(
            search.graph(), self.pieces, self.lattice, self.frame_seconds, aliases=self._aliases,
            evidence=self._evidence(stream.encoded),
        )  # fmt: skip
        nbest = tuple(lattice.nbest(self.nbest))
        return Result(nbest[0].text, True, lattice, nbest, search.frame, search.labels)

    def _evidence(self, encoded: list[NDArray[np.int16]]) -> Evidence | None:
        """What the processor says of names when asked again of the steps of an utterance."""
        if not encoded:
            return None
        silence = np.zeros_like(encoded[0])

        def ask(questions: list[Question]) -> list[NDArray[np.float64]]:
            told: list[NDArray[np.float64]] = []
            for frame, asked in groupby(questions, key=lambda question: question[0]):
                step = silence if frame is None else encoded[frame]
                logits = self.driver.joint_again(step, [after for _, after in asked])
                told += [log_softmax(row) for row in logits]
            return told

        return Evidence(len(encoded), self.driver.context, ask, self._speller.labels)

    def reset(self, stream: Stream) -> None:
        """Forget the utterance, and let another stream have the processor."""
        stream.clear()
        if self._owner is stream:
            self._owner = None

    def text_of(self, labels: tuple[int, ...]) -> str:
        """Labels to text."""
        return "".join(self.pieces[label] for label in labels).replace(WORD_BEGIN, " ").strip()

    def recognize(
        self, samples: NDArray[np.int16], name: str = "utterance", progress=None, context: int = 0
    ) -> Result:
        """A whole utterance at once; `progress(decoded, steps)` is called after each step.

        Args:
            context: so many of its first samples have no text, see `Stream.expect_context`.
        """
        stream = self.create_stream()
        stream.expect_context(context)
        stream.accept_waveform(self.frontend.sample_rate, samples)
        stream.input_finished()
        steps = stream.waiting
        while self.is_ready(stream):
            self.decode_stream(stream)
            if progress is not None:
                progress(steps - stream.waiting, steps)
        result = self.get_result(stream)
        self.reset(stream)
        return replace(result, lattice=replace(result.lattice, utterance=name)) if result.lattice else result


def pieces_of(program: Program) -> list[str]:
    """Text of each label, blank's empty.

    Raises:
        ProgramError: the tokenizer is missing, unreadable, or has not the pieces of the vocabulary.
    """
    try:
        tokenizer = SentencePieceProcessor(model_proto=base64.b64decode(program.meta["tokenizer"]))
        offset = int(program.meta.get("vocabulary", {}).get("offset", 1))
        labels = int(program.meta["topology"]["vocabulary"])
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ProgramError(f"the program's tokenizer cannot be read ({error})") from None
    if tokenizer.get_piece_size() + offset != labels:
        raise ProgramError(
            f"the tokenizer has {tokenizer.get_piece_size()} pieces; the model's {labels} labels "
            f"want {labels - offset}"
        )
    return [""] * offset + [tokenizer.id_to_piece(i) for i in range(labels - offset)]
