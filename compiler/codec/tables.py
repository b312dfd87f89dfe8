"""Frequencies of the two symbol alphabets, and the tANS tables they stand for."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

SYMBOLS = 256
TABLE_BYTES = 2 * SYMBOLS * 2


class CodecError(ValueError):
    """Weights, a table image or a stream that the code does not allow: where the decoder would fault.

    Attributes:
        step_bits: of a stream, the bits of the steps before the fault; else None.
        short: the step after those lacks bits (else the fault is seen at the end).
    """

    def __init__(self, message: str, step_bits: np.ndarray | None = None, short: bool = False):
        super().__init__(message)
        self.step_bits, self.short = step_bits, short


@dataclass(frozen=True)
class TableSet:
    """One pair of tables.

    Attributes:
        mask, value: 256 frequencies each, 2^table_log in all.

    Raises:
        CodecError: frequencies that do not add up.
    """

    mask: tuple[int, ...]
    value: tuple[int, ...]
    table_log: int

    def __post_init__(self) -> None:
        for name in ("mask", "value"):
            frequencies = getattr(self, name)
            if len(frequencies) != SYMBOLS or min(frequencies) < 0:
                raise CodecError(f"the {name} table needs {SYMBOLS} frequencies of 0 or more")
            if sum(frequencies) != 1 << self.table_log:
                total = sum(frequencies)
                raise CodecError(f"{name} frequencies add up to {total}, not to {1 << self.table_log}")

    @classmethod
    def from_weights(cls, banks: Iterable[np.ndarray], table_log: int) -> TableSet:
        """The tables that code these weights (int8[..., 8], any number of arrays) in the fewest bits."""
        mask, value = np.zeros(SYMBOLS, np.int64), np.zeros(SYMBOLS, np.int64)
        for bank in banks:
            counts = count_symbols(bank)
            mask += counts[0]
            value += counts[1]
        return cls(normalize(mask, table_log), normalize(value, table_log), table_log)

    @classmethod
    def from_bytes(cls, data: bytes, table_log: int) -> TableSet:
        """The tables of an image.

        Raises:
            CodecError: an image of another length, or frequencies that do not add up.
        """
        if len(data) != TABLE_BYTES:
            raise CodecError(f"a table image has {TABLE_BYTES} bytes, not {len(data)}")
        both = np.frombuffer(data, "<u2").reshape(2, SYMBOLS).tolist()
        return cls(tuple(both[0]), tuple(both[1]), table_log)

    def to_bytes(self) -> bytes:
        return np.array([self.mask, self.value], "<u2").tobytes()

    def cost(self, banks: np.ndarray) -> float:
        """Bits that these weights take under these tables, streams' ends aside; inf where a symbol has
        none.
        """
        bits = 0.0
        for counts, frequencies in zip(count_symbols(banks), (self.mask, self.value), strict=True):
            seen = counts > 0
            with np.errstate(divide="ignore"):
                bits += float(counts[seen] @ (self.table_log - np.log2(np.array(frequencies)[seen])))
        return bits


def count_symbols(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Histograms (int64[256]) of the mask and the value symbols of int8[..., 8]."""
    groups = as_groups(weights)
    masks = np.packbits(groups != 0, axis=1, bitorder="little").ravel()
    values = groups[groups != 0].view(np.uint8)
    return np.bincount(masks, minlength=SYMBOLS), np.bincount(values, minlength=SYMBOLS)


def as_groups(weights: np.ndarray) -> np.ndarray:
    """The same weights as int8[n, 8]."""
    weights = np.asarray(weights)
    if weights.dtype != np.int8 or weights.ndim < 1 or weights.shape[-1] != 8:
        raise CodecError(f"weights must be int8[..., 8], not {weights.dtype}{list(weights.shape)}")
    return np.ascontiguousarray(weights).reshape(-1, 8)


def normalize(counts: np.ndarray, table_log: int) -> tuple[int, ...]:
    """Frequencies, 2^table_log in all and 1 or more where counts are, of the least total cost.

    Cost is sum(count * -log2 frequency), convex in each frequency: handing out one state after another
    where it saves most is optimal. With no counts at all symbol 0 gets every state.
    """
    states = 1 << table_log
    seen = np.flatnonzero(counts)
    if not len(seen):
        return (states, *[0] * (SYMBOLS - 1))
    frequencies = [0] * SYMBOLS
    queue = []
    for symbol in seen.tolist():
        frequencies[symbol] = 1
        queue.append((-_saving(counts[symbol], 1), symbol))
    heapq.heapify(queue)
    for _ in range(states - len(seen)):
        symbol = queue[0][1]
        frequencies[symbol] += 1
        heapq.heapreplace(queue, (-_saving(counts[symbol], frequencies[symbol]), symbol))
    return tuple(frequencies)


def _saving(count: int, frequency: int) -> float:
    return float(count * np.log2(1 + 1 / frequency))


def spread_step(table_log: int) -> int:
    """Distance between states handed out one after another."""
    return (5 << table_log >> 3) + 3


def spread(frequencies: Sequence[int], table_log: int) -> np.ndarray:
    """Symbol of each state: uint8[2^table_log]."""
    states = 1 << table_log
    symbols = np.repeat(np.arange(SYMBOLS, dtype=np.uint8), frequencies)
    table = np.empty(states, np.uint8)
    table[np.arange(states) * spread_step(table_log) % states] = symbols
    return table


def decoding_table(frequencies: Sequence[int], table_log: int) -> np.ndarray:
    """uint16[2^table_log, 3]: symbol, bits to read, state they are added to."""
    states = 1 << table_log
    symbols = spread(frequencies, table_log)
    following = list(frequencies)
    table = np.empty((states, 3), np.uint16)
    for state, symbol in enumerate(symbols.tolist()):
        y = following[symbol]
        following[symbol] += 1
        bits = table_log + 1 - y.bit_length()
        table[state] = symbol, bits, (y << bits) - states
    return table


def encoding_table(frequencies: Sequence[int], table_log: int) -> np.ndarray:
    """uint16[2^table_log]: the states of each symbol in ascending order, symbol after symbol."""
    return np.argsort(spread(frequencies, table_log), kind="stable").astype(np.uint16)


def entropy_bits(weights: np.ndarray) -> float:
    """Order-0 entropy of a whole array of weights in bits: the bound that bits per weight are held against.
    """
    counts = np.bincount(np.ascontiguousarray(weights, np.int8).view(np.uint8).ravel(), minlength=SYMBOLS)
    counts = counts[counts > 0]
    return float(counts @ np.log2(counts.sum() / counts))
