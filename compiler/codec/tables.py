"""Frequencies of the two symbol alphabets, and the tANS tables they stand for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from ossicle.compiler.codec import kernels
from ossicle.compiler.codec.error import CodecError
from ossicle.compiler.codec.fit import fit
from ossicle.compiler.codec.image import read_image, write_image
from ossicle.compiler.codec.parts import coded, plans
from ossicle.hw.code import FIRST_ORDER, NARROW, SYMBOLS, VALUE_ORDER, Kind, spread_step


class Counts(NamedTuple):
    """How often what is to be coded occurs.

    Attributes:
        masks: int64[256], masks of groups or quads; of WORDS int64[65536], masks of words.
        values: int64[256], weights that are not zero, as bytes.
    """

    masks: np.ndarray
    values: np.ndarray

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.masks + other.masks, self.values + other.values)


@dataclass(frozen=True)
class TableSet:
    """One pair of tables.

    Attributes:
        mask, value: 256 frequencies each, 2^table_log in all.
        kind: what `mask` stands for; of QUADS `value` is not used.

    Raises:
        CodecError: frequencies that do not add up.
    """

    mask: tuple[int, ...]
    value: tuple[int, ...]
    table_log: int
    kind: Kind = Kind.GROUPS

    def __post_init__(self) -> None:
        for name in ("mask", "value"):
            frequencies = getattr(self, name)
            if len(frequencies) != SYMBOLS or min(frequencies) < 0:
                raise CodecError(f"the {name} table needs {SYMBOLS} frequencies of 0 or more")
            if sum(frequencies) != 1 << self.table_log:
                total = sum(frequencies)
                raise CodecError(f"{name} frequencies add up to {total}, not to {1 << self.table_log}")

    @classmethod
    def from_weights(cls, banks: Iterable[np.ndarray], table_log: int, kind: Kind = Kind.GROUPS) -> TableSet:
        """The tables that code these weights (int8[..., 8], any number of arrays) in the fewest bits, those
        of the image counted in.
        """
        empty = Counts(np.zeros(SYMBOLS if kind != Kind.WORDS else 1 << 16, np.int64), np.zeros(SYMBOLS, int))
        counts = sum((count_symbols(bank, kind) for bank in banks), empty)
        return cls.from_counts(counts, table_log, kind)

    @classmethod
    def from_counts(cls, counts: Counts, table_log: int, kind: Kind = Kind.GROUPS) -> TableSet:
        """The same for what `count_symbols` has counted."""
        found = cls.each_from_counts(counts, table_log, kind)
        return min(found, key=lambda made: made.cost_of(counts) + 8 * len(made.to_bytes()))

    @classmethod
    def each_from_counts(cls, counts: Counts, table_log: int, kind: Kind) -> list[TableSet]:
        """The best tables for each choice of masks in parts that is worth a try: of fewer bits or fewer
        symbols.
        """
        value = fit(counts.values, VALUE_ORDER, table_log)
        coded_masks = (coded(counts.masks, kind, plan) for plan in plans(kind))
        return [cls(fit(each, FIRST_ORDER[kind], table_log), value, table_log, kind) for each in coded_masks]

    @classmethod
    def from_bytes(cls, data: bytes, table_log: int) -> TableSet:
        """The tables of an image.

        Raises:
            CodecError: what the decoder faults for, with the cycles up to there.
        """
        image = read_image(data, table_log)
        return cls(image.mask, image.value, table_log, image.kind)

    def to_bytes(self) -> bytes:
        return write_image(self.mask, self.value, self.kind)

    def cost(self, banks: np.ndarray) -> float:
        """Bits that these weights take under these tables, streams' ends aside; inf where a symbol has
        none.
        """
        return self.cost_of(count_symbols(banks, self.kind))

    def cost_of(self, counts: Counts) -> float:
        """The same of what `count_symbols` has counted."""
        bits = 0.0
        for histogram, frequencies in zip(self.symbols_of(counts), (self.mask, self.value), strict=True):
            seen = histogram > 0
            with np.errstate(divide="ignore"):
                bits += float(histogram[seen] @ (self.table_log - np.log2(np.array(frequencies)[seen])))
        return bits

    def symbols_of(self, counts: Counts) -> np.ndarray:
        """Histograms, int64[2, 256], of the mask and the value symbols that code them."""
        return np.stack([coded(counts.masks, self.kind, plan_of(self)), counts.values])


@lru_cache(maxsize=64)
def plan_of(tables: TableSet) -> np.ndarray:
    """The parts that the encoder codes masks in: `kernels.plan_parts`."""
    return kernels.plan_parts(int(tables.kind), np.array(tables.mask) > 0)


def count_symbols(weights: np.ndarray, kind: Kind = Kind.GROUPS) -> Counts:
    """What int8[..., 8] hold to be coded; of WORDS an even number of groups."""
    groups = as_groups(weights)
    values = np.bincount(groups[groups != 0].view(np.uint8), minlength=SYMBOLS)
    if kind == Kind.QUADS:
        quads = groups.view(np.uint8).reshape(-1, 4) & 3
        symbols = quads @ np.array([1, 4, 16, 64], np.uint8)
        return Counts(np.bincount(symbols, minlength=SYMBOLS), np.zeros_like(values))
    masks = np.packbits(groups != 0, axis=1, bitorder="little").ravel()
    if kind in NARROW:
        return Counts(np.bincount(masks, minlength=SYMBOLS), values)
    return Counts(np.bincount(masks.view("<u2"), minlength=1 << 16), values)


def fits_quads(weights: np.ndarray) -> bool:
    """Whether every weight has 2 bits."""
    return bool(weights.min(initial=0) >= -2 and weights.max(initial=0) <= 1)


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
