"""A small net on the frames of the audio, run as they come: whisper, speaker and their like."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from ossicle.compiler.program import Program
from ossicle.runtime.driver import PREPARE, RESET
from ossicle.runtime.frontend import FrontendParameters, StreamingFrontend
from ossicle.sim.device import Device

STEP, FEATURES, OUTPUT = "step", "features", "output"
SLOT = 0


class FrameNet:
    """A net of topology "stack" on features; a step takes as many vectors as its program says.

    Raises:
        ProgramError: the program is for another configuration.
        DeviceFault: a job stopped with a fault.
    """

    def __init__(self, device: Device, program: Program) -> None:
        shape = program.meta["inputs"][FEATURES]
        self._vectors: int = shape["parts"]
        self._shape = self._vectors, shape["stride"] if self._vectors > 1 else shape["count"]
        self._frontend = StreamingFrontend(FrontendParameters.from_dict(program.meta["frontend"]))
        self._device, self._resets = device, RESET in program.entries
        device.load(program)
        device.run(PREPARE)
        self.begin()

    def begin(self) -> None:
        """Begin an utterance."""
        self._frontend.reset()
        self._waiting: list[NDArray[np.int8]] = []
        if self._resets:
            self._device.run(RESET)

    def accept(self, samples: NDArray[np.int16]) -> NDArray[np.int16]:
        """Take samples; outputs [n, rows], Q7.8, of the steps that they complete."""
        self._waiting += list(self._frontend.accept(samples))
        made = []
        while len(self._waiting) >= self._vectors:
            step, self._waiting = self._waiting[: self._vectors], self._waiting[self._vectors :]
            made.append(self._step(np.stack(step)))
        return np.array(made, np.int16)

    def _step(self, vectors: NDArray[np.int8]) -> NDArray[np.int16]:
        padded = np.zeros(self._shape, np.int8)
        padded[:, : vectors.shape[1]] = vectors
        self._device.write(FEATURES, padded, SLOT)
        self._device.run(STEP, {1: SLOT, 2: SLOT})
        return self._device.read(OUTPUT, SLOT)
