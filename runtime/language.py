"""Which language is spoken: a small net on a device, beside the recognizer, and a memory over a session.

    weight of a step   w_t = sigmoid(a_t)                              a: the net's last output
    evidence           e_t = sum of w_s z_s / sum of w_s, s <= t       z: its other outputs, one a language
    utterance          p(language) = softmax(e_t) prior(language) / (their sum over languages)
    next prior         STAY p + (1 - STAY) (1 - p) / (languages - 1)

The net weighs what it hears, so that silence decides nothing, and says what it believes from the first step
on. It was trained on as much of each language; what it makes of an utterance is thus a likelihood, up to a
factor. Over the utterances of a session languages are a Markov chain: a word that both have is taken for
what was spoken before it, and no more than STAY of belief stands against the other one. (Frame-wise
identification with an LSTM: Gonzalez-Dominguez et al. 2014, Interspeech; switching within a session: Punjabi
et al. 2020, arXiv:2007.03900.)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from ossicle.compiler.program import Program
from ossicle.runtime.driver import PREPARE, RESET, Cycles
from ossicle.runtime.frontend import FrontendParameters, StreamingFrontend
from ossicle.sim.device import Device

STEP, FEATURES, OUTPUT = "step", "features", "output"
WEIGHT = "weight"  # label of the last output
UNIT = 1 / 256  # outputs are Q7.8
STAY = 0.8  # how likely the next utterance is in the same language
SLOT = 0
LEAST = 1e-6  # of a weight, so that the first steps have some


@dataclass(frozen=True)
class Language:
    """A language's code, how likely it is, and how likely each language is."""

    code: str
    probability: float
    probabilities: dict[str, float]


def evidence(outputs: NDArray) -> NDArray[np.float64]:
    """Outputs [T, languages + 1], real numbers -> evidence [T, languages] after each step, of all so far."""
    weights = 1 / (1 + np.exp(-np.asarray(outputs[:, -1:], np.float64))) + LEAST
    return np.cumsum(weights * outputs[:, :-1], axis=0) / np.cumsum(weights, axis=0)


def languages_of(name: str, topology: dict) -> list[str]:
    """The languages that a net tells apart, by code.

    Raises:
        ValueError: its outputs are not those of such a net.
    """
    labels = topology.get("labels") or []
    if len(labels) < 3 or labels[-1] != WEIGHT or "features" not in topology:
        raise ValueError(
            f"{name}: not a net of languages: no labels of two languages or more, and {WEIGHT!r}"
        )
    return list(labels[:-1])


class Session:
    """What is believed of the languages of a session before its next utterance."""

    def __init__(self, languages: list[str], stay: float = STAY) -> None:
        if not 0 < stay < 1:
            raise ValueError(f"stay = {stay} is not possible; use more than 0 and less than 1")
        self.languages, self.stay = languages, stay
        self.forget()

    def forget(self) -> None:
        """Begin a session: every language is as likely."""
        self.prior = np.full(len(self.languages), 1 / len(self.languages))

    def judge(self, found: NDArray) -> Language:
        """The language of an utterance by its evidence [languages]."""
        return self._named(self._posterior(found))

    def end(self, found: NDArray) -> Language:
        """The same, and the session goes on after it."""
        posterior = self._posterior(found)
        self.prior = self.stay * posterior + (1 - self.stay) * (1 - posterior) / (len(posterior) - 1)
        return self._named(posterior)

    def _posterior(self, found: NDArray) -> NDArray[np.float64]:
        odds = np.exp(found - np.max(found)) * self.prior
        return odds / odds.sum()

    def _named(self, posterior: NDArray[np.float64]) -> Language:
        best = int(posterior.argmax())
        named = {code: float(p) for code, p in zip(self.languages, posterior, strict=True)}
        return Language(self.languages[best], float(posterior[best]), named)


class LanguageIdentifier:
    """Says which language is spoken, while it is.

        identifier = LanguageIdentifier(device, program)
        for samples in utterances:
            identifier.begin()
            for chunk in samples: identifier.accept_waveform(16000, chunk); print(identifier.language.code)
            language = identifier.finish()              # which the next utterance knows; forget() ends it

    The net's state is on the processor: one utterance at a time.

    Raises:
        ValueError: the program is not that of a net of languages.
        ProgramError: it is for another configuration.
        DeviceFault: a job stopped with a fault.
    """

    def __init__(self, device: Device, program: Program, stay: float = STAY) -> None:
        meta = program.meta
        self.session = Session(languages_of(meta["name"], meta["topology"]), stay)
        self.device, self.cycles = device, Cycles()
        """Cycles and jobs of the last utterance."""
        shape = meta["inputs"][FEATURES]
        self._frames, self._stride = shape["parts"], shape["stride"]
        self._frontend = StreamingFrontend(FrontendParameters.from_dict(meta["frontend"]))
        self._entries = program.entries
        device.load(program)
        self._run(PREPARE)
        self.begin()

    def begin(self) -> None:
        """Begin an utterance."""
        self._frontend.reset()
        self._waiting: list[NDArray[np.int8]] = []
        self.outputs: list[NDArray[np.int16]] = []
        """Of each step of the utterance, Q7.8."""
        self.cycles = Cycles()
        self._run(RESET)

    def accept_waveform(self, sample_rate: int, samples: NDArray[np.int16]) -> None:
        """Take int16 samples of one channel; every whole step is computed at once.

        Raises:
            ValueError: another sample rate than the net's.
        """
        wanted = self._frontend.parameters.sample_rate
        if sample_rate != wanted:
            raise ValueError(f"audio at {sample_rate} Hz; the net takes {wanted} Hz, resample it first")
        self.accept(self._frontend.accept(np.asarray(samples)))

    def accept(self, features: NDArray[np.int8]) -> None:
        """Take feature vectors [n, features] that another has made of the audio, in place of samples."""
        self._waiting += list(features)
        while len(self._waiting) >= self._frames:
            step, self._waiting = self._waiting[: self._frames], self._waiting[self._frames :]
            padded = np.zeros((self._frames, self._stride), np.int8)
            padded[:, : len(step[0])] = step
            self.device.write(FEATURES, padded, SLOT)
            self._run(STEP, {1: SLOT, 2: SLOT})
            self.outputs.append(self.device.read(OUTPUT, SLOT))

    @property
    def language(self) -> Language:
        """What is believed of the utterance by now."""
        return self.session.judge(self._evidence())

    def finish(self) -> Language:
        """The language of the whole utterance, which the session remembers."""
        self.accept(self._frontend.finish())
        return self.decide()

    def decide(self) -> Language:
        """The language of what was heard, which the session remembers."""
        return self.session.end(self._evidence())

    def forget(self) -> None:
        """End the session: nothing is known of the next utterance."""
        self.session.forget()

    def identify(self, samples: NDArray[np.int16]) -> Language:
        """A whole utterance at once."""
        self.begin()
        self.accept_waveform(self._frontend.parameters.sample_rate, samples)
        return self.finish()

    def _evidence(self) -> NDArray[np.float64]:
        if not self.outputs:
            return np.zeros(len(self.session.languages))
        return evidence(np.array(self.outputs) * UNIT)[-1]

    def _run(self, entry: str, arguments: dict[int, int] | None = None) -> None:
        if entry in self._entries:
            result = self.device.run(entry, arguments)
            self.cycles.add(entry, result.cycles)
