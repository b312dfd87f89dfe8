"""The image of a table set, as TABLE reads it: runs of equal frequencies. `ossicle.compiler.codec` has it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple

from ossicle.compiler.codec.error import CodecError
from ossicle.hw.code import (
    FIRST_ORDER,
    HEADER_BITS,
    PREFIX_BITS,
    SYMBOLS,
    TABLE_GRANULES,
    VALUE_ORDER,
    Kind,
)
from ossicle.hw.config import GRANULE_BYTES
from ossicle.hw.timing import TABLE_FILL_CYCLES

Frequencies = tuple[int, ...]


def write_image(mask: Sequence[int], value: Sequence[int], kind: Kind = Kind.GROUPS) -> bytes:
    """Whole granules; frequencies of each table by symbol, adding up to the states."""
    writer = _Writer()
    writer.put(HEADER_BITS, kind)
    for frequencies, order in ((mask, FIRST_ORDER[kind]), (value, VALUE_ORDER)):
        before = 0
        for frequency, run in groupby(frequencies[symbol] for symbol in order[:0:-1]):
            writer.number(_folded(frequency - before))
            writer.number(len(list(run)) - 1)
            before = frequency
    return writer.bits.to_bytes(-(-writer.count // (8 * GRANULE_BYTES)) * GRANULE_BYTES, "little")


class Image(NamedTuple):
    """What an image says, and the cycles that reading it takes."""

    mask: Frequencies
    value: Frequencies
    kind: Kind
    cycles: int


def read_image(data: bytes, table_log: int) -> Image:
    """Frequencies of the mask and the value table.

    Raises:
        CodecError: where the decoder faults, with the cycles up to there.
    """
    if not data or len(data) % GRANULE_BYTES or len(data) > TABLE_GRANULES * GRANULE_BYTES:
        wanted = f"1 to {TABLE_GRANULES} granules of {GRANULE_BYTES} bytes"
        raise CodecError(f"a table image has {wanted}, not {len(data)} bytes")
    reader = _Reader(data)
    kind = reader.take(HEADER_BITS)
    if kind not in tuple(Kind):
        raise reader.wrong("begins with a kind of tables that there is not")
    orders = FIRST_ORDER[Kind(kind)], VALUE_ORDER
    mask, value = (_read_table(reader, order, 1 << table_log) for order in orders)
    reader.cycles += 1
    if reader.left >= 8 * GRANULE_BYTES:
        raise reader.wrong(f"ends with {reader.left} bits left over")
    return Image(mask, value, Kind(kind), reader.cycles)


def _read_table(reader: _Reader, order: Sequence[int], states: int) -> Frequencies:
    frequencies, frequency, total, last = [0] * SYMBOLS, 0, 0, SYMBOLS - 1
    while last:
        frequency += _unfolded(reader.number())
        if not 0 <= frequency <= states:
            raise reader.wrong(f"has a frequency of {frequency}, where there are {states} states")
        run = reader.number() + 1
        if run > last:
            raise reader.wrong(f"has a run of {run} symbols, where {last} are left")
        for n in range(last, last - run, -1):
            frequencies[order[n]] = frequency
        total += run * frequency
        last -= run
        reader.cycles += run
    reader.cycles += 1
    if total > states:
        raise reader.wrong(f"has frequencies that add up to {total}, where there are {states} states")
    frequencies[order[0]] = states - total
    return tuple(frequencies)


def _folded(change: int) -> int:
    """0, -1, 1, -2, 2, ... as 0, 1, 2, 3, 4, ..."""
    return 2 * change if change >= 0 else -2 * change - 1


def _unfolded(number: int) -> int:
    return number >> 1 ^ -(number & 1)


class _Writer:
    """Bits, the low one first."""

    def __init__(self):
        self.bits, self.count = 0, 0

    def put(self, count: int, value: int) -> None:
        self.bits |= value << self.count
        self.count += count

    def number(self, value: int) -> None:
        size = (value + 2).bit_length() - 1
        self.put(size, 1 << (size - 1))
        self.put(size, value + 2 - (1 << size))


class _Reader:
    """The same, read; `cycles` counts what the decoder takes for it."""

    def __init__(self, data: bytes):
        self.bits, self.left = int.from_bytes(data, "little"), 8 * len(data)
        self.cycles = TABLE_FILL_CYCLES

    def take(self, count: int) -> int:
        self.cycles += 1
        if count > self.left:
            raise self.wrong("ends early")
        taken = self.bits & ((1 << count) - 1)
        self.bits >>= count
        self.left -= count
        return taken

    def number(self) -> int:
        ahead = self.bits & ((1 << PREFIX_BITS) - 1)
        size = (ahead & -ahead).bit_length() or PREFIX_BITS
        if not self.take(size):
            raise self.wrong(f"has a number of more than {PREFIX_BITS} bits")
        return (1 << size) + self.take(size) - 2

    def wrong(self, what: str) -> CodecError:
        return CodecError(f"a table image {what}", cycles=self.cycles + 1)  # said in the cycle after
