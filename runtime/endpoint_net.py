"""The net of end-points on a device of its own: of each 30 ms, whether it is speech, a pause or the end.

It runs beside the recognizer and hears the same audio; what it says is known 45 ms after a step's first
sample, when the step's last window is complete.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from ossicle.compiler.program import Program
from ossicle.runtime.driver import PREPARE, RESET, Cycles
from ossicle.runtime.frontend import FrontendParameters, StreamingFrontend
from ossicle.sim.device import Device

STEP, FEATURES, OUTPUT = "step", "features", "output"
KINDS = ["speech", "pause", "end"]
UNIT = 1 / 256  # outputs are Q7.8
SLOT = 0


class EndpointNet:
    """The net, run as audio comes.

        net = EndpointNet(device, program)
        net.begin()
        for chunk in microphone: process(net.accept(chunk))     # float [n, 3], n >= 0; rows sum to 1

    Raises:
        ValueError: the program is not that of a net of end-points.
        ProgramError: it is for another configuration.
        DeviceFault: a job stopped with a fault.
    """

    def __init__(self, device: Device, program: Program) -> None:
        meta = program.meta
        if meta["topology"].get("labels") != KINDS or meta["inputs"][FEATURES]["parts"] != 1:
            raise ValueError(f"{meta['name']}: not a net of end-points: its outputs are {', '.join(KINDS)}")
        self.frontend = FrontendParameters.from_dict(meta["frontend"])
        self.cycles = Cycles()
        """Cycles and jobs of the utterance."""
        self._device, self._entries = device, program.entries
        self._features = StreamingFrontend(self.frontend)
        device.load(program)
        self._run(PREPARE)
        self.begin()

    def begin(self) -> None:
        """Begin an utterance."""
        self._features.reset()
        self.cycles = Cycles()
        self._run(RESET)

    def accept(self, samples: NDArray[np.int16]) -> NDArray[np.float64]:
        """Take samples; probabilities [n, 3] of KINDS for the steps that they complete."""
        steps = [self._step(vector) for vector in self._features.accept(samples)]
        return np.array(steps).reshape(-1, len(KINDS))

    def _step(self, vector: NDArray[np.int8]) -> NDArray[np.float64]:
        self._device.write(FEATURES, vector, SLOT)
        self._run(STEP, {1: SLOT, 2: SLOT})
        logits = np.asarray(self._device.read(OUTPUT, SLOT), np.float64) * UNIT
        odds = np.exp(logits - logits.max())
        return odds / odds.sum()

    def _run(self, entry: str, arguments: dict[int, int] | None = None) -> None:
        if entry in self._entries:
            result = self._device.run(entry, arguments)
            self.cycles.add(entry, result.cycles)
