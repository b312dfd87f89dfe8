"""Encode and decode the weights of one STREAM instruction."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from ossicle.compiler.codec import kernels
from ossicle.compiler.codec.error import CodecError
from ossicle.compiler.codec.tables import TableSet, decoding_table, encoding_table, fits_quads, plan_of
from ossicle.hw.code import MOST_PARTS, Kind
from ossicle.hw.config import GRANULE_BYTES, NpuConfig

MOST_STEPS = 3 * (MOST_PARTS - 1) + 9
"""For a group: seven parts with two values each, and a mask of eight. A word takes 24."""


@dataclass(frozen=True)
class Decoded:
    """What a STREAM leaves behind.

    Attributes:
        banks: int8[lanes, groups, 8].
        step_bits: int32[steps]; bits each step takes from the window, the initial states first.
    """

    banks: np.ndarray
    step_bits: np.ndarray


def encode(banks: np.ndarray, tables: TableSet, config: NpuConfig) -> bytes:
    """The stream, in whole granules, of int8[lanes, groups, 8] (groups even).

    Raises:
        CodecError: another shape or type; a symbol that has no frequency; tables of another table_log.
    """
    banks = np.ascontiguousarray(banks)
    if banks.dtype != np.int8 or banks.ndim != 3 or banks.shape[::2] != (config.lanes, 8):
        shape = f"int8[{config.lanes}, groups, 8]"
        raise CodecError(f"weights must be {shape}, not {banks.dtype}{list(banks.shape)}")
    _check(tables, banks.shape[1], config)
    if tables.kind == Kind.QUADS and not fits_quads(banks):
        raise CodecError("quads hold weights of -2 to 1 alone")
    most = MOST_STEPS * config.lanes * banks.shape[1]
    kinds, symbols = np.empty(most, np.uint8), np.empty(most, np.uint8)
    starts = kernels.gather_symbols(
        banks.view(np.uint8), config.decoder_streams, int(tables.kind), plan_of(tables), kinds, symbols
    )
    total = starts[-1]
    frequencies, firsts, places = _encoding(tables)
    counts, bits = np.empty(total, np.uint8), np.empty(total, np.uint16)
    states = np.empty(config.decoder_streams, np.int64)
    missing = kernels.encode_streams(
        kinds, symbols, starts, np.array([tables.kind == Kind.QUADS, True]), frequencies, firsts, places,
        tables.table_log, counts, bits, states,
    )  # fmt: skip
    if missing >= 0:
        raise CodecError(f"{('mask', 'value')[kinds[missing]]} symbol {symbols[missing]} has frequency 0")
    length = int(counts.sum(dtype=np.int64)) + config.decoder_streams * tables.table_log
    data = np.zeros(-(-length // (8 * GRANULE_BYTES)) * GRANULE_BYTES, np.uint8)
    kernels.interleave(starts, counts, bits, states, tables.table_log, data)
    return data.tobytes()


def decode(data: bytes, groups: int, tables: TableSet, config: NpuConfig) -> Decoded:
    """The weights of a stream, and the bits of each step.

    Raises:
        CodecError: where the decoder faults: no whole number of granules, none, groups 0 or odd, a step
        that lacks
            bits, an end in a state that is not 0, 256 or more bits left over.
    """
    _check(tables, groups, config)
    if not data or len(data) % GRANULE_BYTES:
        raise CodecError(f"a stream is 1 or more granules of {GRANULE_BYTES} bytes, not {len(data)} bytes")
    padded = np.zeros(len(data) + 8, np.uint8)
    padded[: len(data)] = np.frombuffer(data, np.uint8)
    banks = np.zeros((config.lanes, groups, 8), np.uint8)
    step_bits = np.zeros(1 + MOST_STEPS * groups * config.lanes_per_stream, np.int32)
    cause, steps, taken = kernels.decode_streams(
        padded, len(data), _decoding(tables), tables.table_log, config.decoder_streams, int(tables.kind),
        banks, step_bits,
    )  # fmt: skip
    step_bits = step_bits[:steps]
    left = 8 * len(data) - taken
    if cause == kernels.SHORT:
        raise CodecError(f"step {steps} takes more bits than the {left} that are left", step_bits, short=True)
    if cause == kernels.END_STATE:
        raise CodecError("a stream ends in a state that is not 0", step_bits)
    if left >= 8 * GRANULE_BYTES:
        raise CodecError(f"{left} bits are left over; less than {8 * GRANULE_BYTES} may be", step_bits)
    return Decoded(banks.view(np.int8), step_bits)


def _check(tables: TableSet, groups: int, config: NpuConfig) -> None:
    if tables.table_log != config.table_log:
        raise CodecError(f"tables of table_log {tables.table_log} for a processor of {config.table_log}")
    if groups < 1 or groups % 2:
        raise CodecError(f"groups = {groups}: each bank takes an even number of groups, 2 or more")


@lru_cache(maxsize=64)
def _decoding(tables: TableSet) -> np.ndarray:
    return np.stack([decoding_table(f, tables.table_log) for f in (tables.mask, tables.value)])


@lru_cache(maxsize=64)
def _encoding(tables: TableSet) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    frequencies = np.array([tables.mask, tables.value], np.int64)
    firsts = np.cumsum(frequencies, axis=1) - frequencies
    places = np.stack([encoding_table(f, tables.table_log) for f in (tables.mask, tables.value)])
    return frequencies, firsts, places
