"""The update code's coder: arrays of weights and of numbers, one after another, into one string of bytes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from ossicle.runtime.update import kernels

BLOCK = 1 << 16
"""Symbols between two looks at the room in the buffer."""
NUMBER_LIMIT = 1 << 39


class CodingError(ValueError):
    """Coded bytes that cannot be what they should be."""


class ArrayCoder:
    """Codes arrays in the order of the calls; with `data`, reads them back by the same calls.

    Args:
        data: what an encoder's `finish` returned; None encodes.
    """

    def __init__(self, data: bytes | None = None) -> None:
        registers = np.array([0, 0xFFFFFFFF, 0, 0, data is not None], np.int64)
        buffer = np.frombuffer(data, np.uint8).copy() if data is not None else np.zeros(1 << 12, np.uint8)
        if data is not None:
            registers[kernels.CODE] = int.from_bytes(data[:4].ljust(4, b"\0"), "big")
            registers[kernels.POSITION] = 4
        size = (kernels.INPUTS, kernels.NODES * kernels.CONTEXTS)
        self._coder = kernels.Coder(
            registers, buffer, np.full(size, 1 << 21, np.int32), np.zeros(size, np.uint8),
            np.full((kernels.NODES, kernels.INPUTS), (1 << 16) * 3 // 10, np.int32),
            np.zeros(kernels.INPUTS, np.int64), np.zeros(kernels.INPUTS, np.int64),
        )  # fmt: skip
        self.decoding = data is not None

    def weights(
        self, old: NDArray[np.int8], guess: NDArray[np.int16], part: NDArray[np.uint8], new: NDArray[np.int8]
    ) -> NDArray[np.int8]:
        """Weights [rows, columns], given the old ones; see `kernels.code_weights`. Returns `new`, filled."""
        rows, columns = new.shape
        distances, averages = np.zeros(columns, np.int64), np.zeros(columns, np.int64)
        step = max(BLOCK // max(columns, 1), 1)
        for at in range(0, rows, step):
            self._make_room(min(step, rows - at) * columns)
            cut = slice(at, at + step)
            kernels.code_weights(self._coder, old[cut], guess[cut], part[cut], new[cut], distances, averages)
            self._check()
        return new

    def numbers(self, values: NDArray[np.int64], kind: int) -> NDArray[np.int64]:
        """Whole numbers [n], below 2**39 in magnitude; small ones are cheap. Returns `values`, filled.

        Raises:
            CodingError: a number past the limit.
        """
        if not self.decoding and np.abs(values).max(initial=0) >= NUMBER_LIMIT:
            raise CodingError(f"a number of {np.abs(values).max()} is past 2**39")
        for at in range(0, len(values), BLOCK):
            self._make_room(min(BLOCK, len(values) - at))
            kernels.code_numbers(self._coder, values[at : at + BLOCK], kind)
            self._check()
        return values

    def finish(self) -> bytes:
        """What was coded."""
        r = self._coder.registers
        self._make_room(1)
        data, end = self._coder.data, int(r[kernels.POSITION])
        # A byte above the low end of the interval stands for all that may follow it (zeros, past the end).
        for count in range(1, 5):
            unit = 1 << (32 - 8 * count)
            value = -(-int(r[kernels.LOW]) // unit) * unit
            if value <= int(r[kernels.HIGH]):
                break
        tail = value.to_bytes(4, "big")[:count]
        return (data[:end].tobytes() + tail).rstrip(b"\0")

    def _make_room(self, symbols: int) -> None:
        free = len(self._coder.data) - int(self._coder.registers[kernels.POSITION])
        if not self.decoding and free < symbols * kernels.SLACK:
            more = np.zeros(symbols * kernels.SLACK, np.uint8)
            self._coder = self._coder._replace(data=np.concatenate([self._coder.data, more]))

    def _check(self) -> None:
        """Decoders may look a few bytes past the end, not further."""
        if self.decoding and self._coder.registers[kernels.POSITION] > len(self._coder.data) + 4 + BLOCK:
            raise CodingError("the coded weights end too soon")
