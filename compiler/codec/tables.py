"""Frequencies of the two symbol alphabets, and the tANS tables they stand for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from ossicle.compiler.codec import kernels
from ossicle.compiler.codec.covers import COVERS, covered, covers
from ossicle.compiler.codec.error import CodecError
from ossicle.compiler.codec.fit import fit
from ossicle.compiler.codec.image import read_image, write_image
from ossicle.hw.code import FIRST_ORDER, SYMBOLS, VALUE_ORDER, Kind, spread_step


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
        counts = np.zeros((2, SYMBOLS), np.int64)
        for bank in banks:
            counts += count_symbols(bank, kind)
        return cls.from_counts(counts, table_log, kind)

    @classmethod
    def from_counts(cls, counts: np.ndarray, table_log: int, kind: Kind = Kind.GROUPS) -> TableSet:
        """The same for histograms of the mask and the value symbols, int64[2, 256]."""
        if kind == Kind.GROUPS:
            found = [cls._fitted(each, table_log, kind) for each in (counts, *_in_fewer_masks(counts))]
            return min(found, key=lambda made: made.cost_of(counts) + 8 * len(made.to_bytes()))
        return cls._fitted(counts, table_log, kind)

    @classmethod
    def _fitted(cls, counts: np.ndarray, table_log: int, kind: Kind) -> TableSet:
        orders = FIRST_ORDER[kind], VALUE_ORDER
        mask, value = (fit(each, order, table_log) for each, order in zip(counts, orders, strict=True))
        return cls(mask, value, table_log, kind)

    @classmethod
    def from_bytes(cls, data: bytes, table_log: int) -> TableSet:
        """The tables of an image.

        Raises:
            CodecError: what the decoder faults for, with the cycles up to there.
        """
        image = read_image(data, table_log)
        return cls(image.mask, image.value, table_log, image.kind)

    def covers(self) -> np.ndarray:
        """The mask that codes each mask of a group, uint8[256]."""
        return covers(np.array(self.mask) > 0)

    def to_bytes(self) -> bytes:
        return write_image(self.mask, self.value, self.kind)

    def cost(self, banks: np.ndarray) -> float:
        """Bits that these weights take under these tables, streams' ends aside; inf where a symbol has
        none.
        """
        return self.cost_of(count_symbols(banks, self.kind))

    def cost_of(self, counts: np.ndarray) -> float:
        """The same of symbols with these histograms, int64[2, 256], as `count_symbols` gives them."""
        bits = 0.0
        if self.kind == Kind.GROUPS:
            counts = covered(counts, np.array(self.mask) > 0)
        for histogram, frequencies in zip(counts, (self.mask, self.value), strict=True):
            seen = histogram > 0
            with np.errstate(divide="ignore"):
                bits += float(histogram[seen] @ (self.table_log - np.log2(np.array(frequencies)[seen])))
        return bits


def _in_fewer_masks(counts: np.ndarray) -> Iterator[np.ndarray]:
    """Histograms with rare masks as others, where that leaves fewer of them."""
    for kept in COVERS:
        made = covered(counts, kept)
        if (made[0] > 0).sum() < (counts[0] > 0).sum():
            yield made


def count_symbols(weights: np.ndarray, kind: Kind = Kind.GROUPS) -> np.ndarray:
    """Histograms, int64[2, 256], of the mask and the value symbols of int8[..., 8]; of WORDS an even number
    of groups.
    """
    groups = as_groups(weights)
    values = np.bincount(groups[groups != 0].view(np.uint8), minlength=SYMBOLS)
    if kind == Kind.QUADS:
        quads = groups.view(np.uint8).reshape(-1, 4) & 3
        symbols = quads @ np.array([1, 4, 16, 64], np.uint8)
        return np.stack([np.bincount(symbols, minlength=SYMBOLS), np.zeros_like(values)])
    masks = np.packbits(groups != 0, axis=1, bitorder="little").ravel()
    if kind == Kind.GROUPS:
        return np.stack([np.bincount(masks, minlength=SYMBOLS), values])
    counted = np.bincount(masks.view("<u2"), minlength=1 << 16)
    return np.stack([kernels.count_parts(counted), values])


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
