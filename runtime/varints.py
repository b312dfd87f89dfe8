"""Integers and texts as bytes: LEB128 varints, signed ones zigzag first (as Protocol Buffers have them)."""

from __future__ import annotations

from collections.abc import Iterable

LIMIT_BITS = 42  # six bytes and within every float
SEVEN = 0x7F


class VarintError(ValueError):
    """Bytes that hold no such integers; the message says what is wrong."""


class Writer:
    """Bytes, as they come."""

    def __init__(self) -> None:
        self._made = bytearray()

    def unsigned(self, values: Iterable[int]) -> None:
        """Integers of 0 or more. Raises VarintError on one of more than `LIMIT_BITS` bits."""
        for value in values:
            if not 0 <= value < 1 << LIMIT_BITS:
                raise VarintError(f"{value} is no integer of {LIMIT_BITS} bits")
            while value > SEVEN:
                self._made.append(value & SEVEN | 0x80)
                value >>= 7
            self._made.append(value)

    def signed(self, values: Iterable[int]) -> None:
        """Integers of either sign; small ones of either take a byte."""
        self.unsigned(2 * value if value >= 0 else -2 * value - 1 for value in values)

    def text(self, text: str) -> None:
        """A text, its length first."""
        data = text.encode()
        self.unsigned([len(data)])
        self._made += data

    def bytes(self) -> bytes:
        """All of it."""
        return bytes(self._made)


class Reader:
    """Reads what a `Writer` wrote, and no more than there is. Methods raise VarintError on other bytes."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def unsigned(self) -> int:
        """An integer of 0 or more."""
        value, shift = 0, 0
        while shift < LIMIT_BITS:
            if self._at >= len(self._data):
                raise VarintError("it ends too early")
            byte = self._data[self._at]
            self._at += 1
            value |= (byte & SEVEN) << shift
            shift += 7
            if byte <= SEVEN:
                return value
        raise VarintError(f"an integer of more than {LIMIT_BITS} bits")

    def signed(self) -> int:
        """An integer of either sign."""
        value = self.unsigned()
        return -(value + 1) // 2 if value & 1 else value // 2

    def count(self) -> int:
        """A count of things that follow, of a byte each at least: no more than there are bytes left."""
        value = self.unsigned()
        if value > len(self._data) - self._at:
            raise VarintError(f"{value} things are promised in {len(self._data) - self._at} bytes")
        return value

    def text(self) -> str:
        """A text."""
        length = self.count()
        data = self._data[self._at : self._at + length]
        self._at += length
        try:
            return data.decode()
        except UnicodeDecodeError:
            raise VarintError("a text that is not UTF-8") from None

    def finish(self) -> None:
        """Nothing more is to come."""
        if self._at < len(self._data):
            raise VarintError(f"{len(self._data) - self._at} bytes too many")
