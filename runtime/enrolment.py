"""Enrolment: clips of a person's speech to the d-vector that the person is known by.

A clip must have speech in it, which the net of end-points hears, LEAST_S at least: a d-vector of a room or of
a word is nobody's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from ossicle.compiler.program import Program
from ossicle.runtime.console import Failure
from ossicle.runtime.endpoint_net import EndpointNet
from ossicle.runtime.endpointer import SPEECH
from ossicle.runtime.frontend import StreamingFrontend
from ossicle.runtime.speaker import Span, SpeakerEncoder, Vector, enrolled
from ossicle.runtime.speakers import Person

LEAST_S = 1.0
THRESHOLD_OF = "dev"


@dataclass(frozen=True)
class Voiceprint:
    """Of one clip: its d-vector [size], and how many seconds of speech it is of."""

    vector: Vector
    seconds: float


class Enrolment:
    """Hears clips, each on its own.

    Args:
        ear: of end-points.
        encoder: of speakers, on the same feature vectors.
    """

    def __init__(self, ear: EndpointNet, encoder: SpeakerEncoder) -> None:
        self._ear, self._encoder = ear, encoder
        self._frontend = StreamingFrontend(ear.frontend)

    def hear(self, name: str, samples: NDArray[np.int16]) -> Voiceprint:
        """The voiceprint of a clip, int16 samples [n] at the nets' rate.

        Raises:
            Failure: no speech is in it, or too little; `name` is said.
            DeviceFault: a job stopped with a fault.
        """
        spoken, seconds = self._listen(samples)
        if spoken is None:
            raise Failure(f"{name}: no speech heard in {self._seconds(len(samples)):.2f} s; record it again")
        if seconds < LEAST_S:
            raise Failure(f"{name}: {seconds:.2f} s of speech, too short; record {LEAST_S:g} s or more")
        self._encoder.begin()
        self._encoder.accept(self._frontend.accept(samples))
        self._encoder.accept(self._frontend.finish())
        vector = self._encoder.vector(spoken)
        assert vector is not None, "a clip with speech has steps"
        return Voiceprint(vector, seconds)

    def _listen(self, samples: NDArray[np.int16]) -> tuple[Span | None, float]:
        """From the first to the last speech, as `Session.spoken`, and how many seconds of it are speech."""
        step, ends = self._ear.frontend.step_samples, []
        self._ear.begin()
        for start in range(0, len(samples), step):
            block = samples[start : start + step]
            ends += [start + len(block) for one in self._ear.accept(block) if one[0] >= SPEECH]
        return ((ends[0] - step, ends[-1]) if ends else None), self._seconds(len(ends) * step)

    def _seconds(self, samples: int) -> float:
        return samples / self._ear.frontend.sample_rate


def person(prints: list[Voiceprint]) -> Person:
    """Who is known by the voiceprints of one clip or more."""
    return Person(enrolled([one.vector for one in prints]), len(prints), sum(one.seconds for one in prints))


def card_threshold(program: Program) -> float:
    """Cosine of equal errors on the development clips, which the net's checkpoint names.

    Raises:
        Failure: it names none.
    """
    try:
        return float(program.meta["scores"][THRESHOLD_OF]["threshold"])
    except (KeyError, TypeError):
        raise Failure(f"{program.meta['name']} names no threshold; use a released net") from None
