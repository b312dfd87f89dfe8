"""Whether an utterance is whispered: a small net's posterior of each 30 ms, their mean over the loud ones.

    posterior = 1 / (1 + exp(voiced - whispered))          of a step's outputs
    decision  : mean of the posteriors of the loud steps >= 1/2

(Raeesy et al. 2018, arXiv:1809.07832. Silence has no voice to judge, so quiet steps do not count.)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from ossicle.compiler.program import Program
from ossicle.runtime.feature_net import FeatureNet
from ossicle.sim.device import Device

KINDS = ["voiced", "whispered"]


@dataclass(frozen=True)
class Voice:
    """How an utterance was spoken: `probability` that it was whispered."""

    probability: float

    @property
    def whispered(self) -> bool:
        """The decision."""
        return self.probability >= 0.5


class WhisperDetector:
    """The net, and its decision on what it has heard since `begin`.

    Raises:
        ValueError: the program is not that of a whisper detector.
        ProgramError, DeviceFault: see `FeatureNet`.
    """

    def __init__(self, device: Device, program: Program) -> None:
        if program.meta["topology"].get("labels") != KINDS:
            raise ValueError(
                f"{program.meta['name']}: not a whisper detector: its outputs are {', '.join(KINDS)}"
            )
        self.net = FeatureNet(device, program)

    def begin(self) -> None:
        """Begin an utterance."""
        self.net.begin()

    def accept(self, features: NDArray[np.int8]) -> None:
        """Take feature vectors, int8 [n, features]."""
        self.net.accept(features)

    @property
    def voice(self) -> Voice | None:
        """What is decided by now; None if nothing was heard."""
        outputs = self.net.outputs
        if not len(outputs):
            return None
        posterior = 1 / (1 + np.exp(outputs[:, 0] - outputs[:, 1]))
        return Voice(float(posterior[self.net.loud].mean()))
