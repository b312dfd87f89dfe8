"""A small net on a device that steps on the recognizer's feature vectors, as they come."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from ossicle.compiler.program import Program
from ossicle.runtime.driver import PREPARE, RESET, Cycles
from ossicle.runtime.frontend import FrontendParameters
from ossicle.sim.device import Device

STEP, FEATURES, OUTPUT = "step", "features", "output"
UNIT = 1 / 256  # outputs are Q7.8
SLOT = 0
LOUD = 0.3


class FeatureNet:
    """A net of topology "stack" on features. Its state is on the processor: one utterance at a time.

        net = FeatureNet(device, program)
        net.begin()
        for vectors in frontend: process(net.accept(vectors))     # int8 [n, features] -> float [m, rows]

    Raises:
        ValueError: the program is not that of such a net.
        ProgramError: it is for another configuration.
        DeviceFault: a job stopped with a fault.
    """

    def __init__(self, device: Device, program: Program) -> None:
        shape = program.meta.get("inputs", {}).get(FEATURES)
        if shape is None or STEP not in program.entries:
            raise ValueError(f"{program.meta['name']}: not a net that steps on features")
        self.parts: int = shape["parts"]
        """Feature vectors that a step takes."""
        self.frontend = FrontendParameters.from_dict(program.meta["frontend"])
        self.cycles = Cycles()
        """Cycles and jobs of the utterance."""
        self._width: int = shape["stride"] if self.parts > 1 else shape["count"]
        self._device, self._entries = device, program.entries
        device.load(program)
        self._run(PREPARE)
        self.begin()

    def begin(self) -> None:
        """Begin an utterance."""
        self.cycles = Cycles()
        self._waiting: list[NDArray[np.int8]] = []
        self._steps: list[NDArray[np.float64]] = []
        self._levels: list[float] = []
        self._run(RESET)

    def accept(self, features: NDArray[np.int8]) -> NDArray[np.float64]:
        """Take feature vectors [n, features]; outputs [m, rows] of the steps that they complete."""
        before = len(self._steps)
        self._waiting += list(features)
        while len(self._waiting) >= self.parts:
            step, self._waiting = self._waiting[: self.parts], self._waiting[self.parts :]
            self._step(np.stack(step))
        return np.array(self._steps[before:])

    @property
    def outputs(self) -> NDArray[np.float64]:
        """Of every step of the utterance, [steps, rows]."""
        return np.array(self._steps)

    @property
    def loud(self) -> NDArray[np.bool_]:
        """Of every step of the utterance whether it is loud, [steps]."""
        return loud(np.array(self._levels))

    def during(self, begin: int, end: int) -> slice:
        """The steps that these samples of the utterance have a part in: of `outputs`, and of `loud`."""
        step = self.parts * self.frontend.step_samples
        return slice(max(0, begin) // step, -(-end // step))

    def _step(self, vectors: NDArray[np.int8]) -> None:
        padded = np.zeros((self.parts, self._width), np.int8)
        padded[:, : vectors.shape[1]] = vectors
        self._device.write(FEATURES, padded, SLOT)
        self._run(STEP, {1: SLOT, 2: SLOT})
        self._steps.append(np.asarray(self._device.read(OUTPUT, SLOT), np.float64) * UNIT)
        self._levels.append(float(vectors.mean()))

    def _run(self, entry: str, arguments: dict[int, int] | None = None) -> None:
        if entry in self._entries:
            self.cycles.add(entry, self._device.run(entry, arguments).cycles)


def loud(levels: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which of the levels [n] are LOUD of the way or more from the 10th percentile to the 95th."""
    if not len(levels):
        return np.zeros(0, bool)
    low, high = np.percentile(levels, (10, 95))
    return levels >= low + LOUD * (high - low)
