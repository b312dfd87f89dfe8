"""What the codec refuses."""

from __future__ import annotations

import numpy as np


class CodecError(ValueError):
    """Weights, a table image or a stream that the code does not allow: where the decoder would fault.

    Attributes:
        step_bits: of a stream, the bits of the steps before the fault; else None.
        short: the step after those lacks bits (else the fault is seen at the end).
        cycles: of a table image, those that the decoder reads it for until it faults; else 0.
    """

    def __init__(
        self, message: str, step_bits: np.ndarray | None = None, short: bool = False, cycles: int = 0
    ):
        super().__init__(message)
        self.step_bits, self.short, self.cycles = step_bits, short, cycles
