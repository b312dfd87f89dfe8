"""Who speaks: a d-vector of the utterance by a small net, its cosine with those of the people enrolled.

    d-vector : d = mean of the net's outputs while somebody speaks, of length 1
    enrolled : e = mean of the d of a few clips, of length 1
    score    : cos(e, d);  the person of the best score, if it reaches the threshold

(Wan et al. 2018, arXiv:1710.10467.) While somebody speaks: from the first to the last speech that the net
of end-points heard, and the frontend's tail, as in training; no silence before or after is in the mean.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from ossicle.compiler.program import Program
from ossicle.runtime.feature_net import FeatureNet
from ossicle.sim.device import Device

Vector = NDArray[np.float64]
Span = tuple[int, int]
"""Samples: the first, and past the last."""


@dataclass(frozen=True)
class Speaker:
    """Who is taken to speak: `name` None is nobody enrolled; `score`: the best cosine, None if none is."""

    name: str | None
    score: float | None


class SpeakerEncoder:
    """The net, and the d-vector of what it has heard since `begin`.

    Raises:
        ValueError: the program is not that of a speaker encoder.
        ProgramError, DeviceFault: see `FeatureNet`.
    """

    def __init__(self, device: Device, program: Program) -> None:
        if "labels" in program.meta["topology"]:
            raise ValueError(f"{program.meta['name']}: not a speaker encoder: its outputs have names")
        self.net = FeatureNet(device, program)

    def begin(self) -> None:
        """Begin an utterance."""
        self.net.begin()

    def accept(self, features: NDArray[np.int8]) -> None:
        """Take feature vectors, int8 [n, features]."""
        self.net.accept(features)

    def vector(self, spoken: Span | None = None) -> Vector | None:
        """The d-vector [size] by now; None if nothing was heard.

        Args:
            spoken: when somebody speaks; None: all the time.
        """
        outputs = self.net.outputs
        if spoken is not None:
            outputs = outputs[self.net.during(spoken[0], spoken[1] + self.net.frontend.tail_samples)]
        return unit(outputs.mean(axis=0)) if len(outputs) else None


def unit(vector: Vector) -> Vector:
    """A vector [size] of length 1; one of zeros stays."""
    return vector / max(float(np.linalg.norm(vector)), 1e-9)


def enrolled(vectors: list[Vector]) -> Vector:
    """A person's d-vector from those of clips."""
    return unit(np.mean(vectors, axis=0))
