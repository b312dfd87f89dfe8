"""Frequencies of the two symbol alphabets, and the tANS tables they stand for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from ossicle.compiler.codec.error import CodecError
from ossicle.compiler.codec.fit import fit
from ossicle.compiler.codec.image import read_image, write_image
from ossicle.hw.code import MASK_ORDER, SYMBOLS, VALUE_ORDER, spread_step


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
        """The tables that code these weights (int8[..., 8], any number of arrays) in the fewest bits, those
        of the image counted in.
        """
        counts = np.zeros((2, SYMBOLS), np.int64)
        for bank in banks:
            counts += count_symbols(bank)
        return cls.from_counts(counts, table_log)

    @classmethod
    def from_counts(cls, counts: np.ndarray, table_log: int) -> TableSet:
        """The same for histograms of the mask and the value symbols, int64[2, 256]."""
        mask, value = (fit(c, o, table_log) for c, o in zip(counts, (MASK_ORDER, VALUE_ORDER), strict=True))
        return cls(mask, value, table_log)

    @classmethod
    def from_bytes(cls, data: bytes, table_log: int) -> TableSet:
        """The tables of an image.

        Raises:
            CodecError: what the decoder faults for, with the cycles up to there.
        """
        mask, value, _ = read_image(data, table_log)
        return cls(mask, value, table_log)

    def to_bytes(self) -> bytes:
        return write_image(self.mask, self.value)

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


def count_symbols(weights: np.ndarray) -> np.ndarray:
    """Histograms, int64[2, 256], of the mask and the value symbols of int8[..., 8]."""
    groups = as_groups(weights)
    masks = np.packbits(groups != 0, axis=1, bitorder="little").ravel()
    values = groups[groups != 0].view(np.uint8)
    return np.stack([np.bincount(symbols, minlength=SYMBOLS) for symbols in (masks, values)])


def as_groups(weights: np.ndarray) -> np.ndarray:
    """The same weights as int8[n, 8]."""
    weights = np.asarray(weights)
    if weights.dtype != np.int8 or weights.ndim < 1 or weights.shape[-1] != 8:
        raise CodecError(f"weights must be int8[..., 8], not {weights.dtype}{list(weights.shape)}")
    return np.ascontiguousarray(weights).reshape(-1, 8)


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
