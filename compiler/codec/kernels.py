"""Numba kernels of the weight code: arrays and scalars only; the checks are in `stream`."""

from __future__ import annotations

import numpy as np
from numba import njit

OK, SHORT, END_STATE = 0, 1, 2


@njit(cache=True)
def gather_symbols(banks, streams, kinds, symbols):
    """Symbols of every stream in decoding order; returns where each begins in kinds / symbols.

    banks: uint8[lanes, groups, 8]. kinds: uint8[n], 0 mask, 1 value. symbols: uint8[n].
    """
    lanes, groups, _ = banks.shape
    starts = np.zeros(streams + 1, np.int64)
    at = 0
    for stream in range(streams):
        for lane in range(stream, lanes, streams):
            for group in range(groups):
                mask_at, mask = at, 0
                at += 1
                for i in range(8):
                    if banks[lane, group, i] != 0:
                        mask |= 1 << i
                        kinds[at] = 1
                        symbols[at] = banks[lane, group, i]
                        at += 1
                kinds[mask_at] = 0
                symbols[mask_at] = mask
        starts[stream + 1] = at
    return starts


@njit(cache=True)
def encode_streams(kinds, symbols, starts, frequencies, firsts, places, table_log, counts, bits, states):
    """tANS, each stream from its last symbol to its first.

    frequencies, firsts: int64[2, 256], a symbol's frequency and its first entry in places: uint16[2, L].
    Fills counts (uint8[n]) and bits (uint16[n]), what each symbol writes, and states (int64[D]), the
    initial ones. Returns the index of a symbol that has no states, or -1.
    """
    size = 1 << table_log
    for stream in range(len(starts) - 1):
        state = size
        for at in range(starts[stream + 1] - 1, starts[stream] - 1, -1):
            kind, symbol = kinds[at], symbols[at]
            frequency = frequencies[kind, symbol]
            if frequency == 0:
                return at
            count = 0
            while state >> count >= 2 * frequency:
                count += 1
            counts[at] = count
            bits[at] = state & ((1 << count) - 1)
            state = size + places[kind, firsts[kind, symbol] + (state >> count) - frequency]
        states[stream] = state - size
    return -1


@njit(cache=True)
def put(data, position, count, bits):
    """Write `count` (up to 16) low bits at a bit position of zeroed bytes; returns the position after."""
    word = bits << (position & 7)
    byte = position >> 3
    while word:
        data[byte] |= word & 255
        word >>= 8
        byte += 1
    return position + count


@njit(cache=True)
def interleave(starts, counts, bits, states, table_log, data):
    """Lock-step order: the initial states, then one symbol of every unfinished stream a step. Returns the
    bits.
    """
    position, streams = 0, len(starts) - 1
    for stream in range(streams):
        position = put(data, position, table_log, states[stream])
    longest = 0
    for stream in range(streams):
        longest = max(longest, starts[stream + 1] - starts[stream])
    for k in range(longest):
        for stream in range(streams):
            at = starts[stream] + k
            if at < starts[stream + 1]:
                position = put(data, position, np.int64(counts[at]), np.int64(bits[at]))
    return position


@njit(cache=True)
def decode_streams(data, length, tables, table_log, streams, banks, step_bits):
    """Decode every stream in lock step.

    data: uint8[length + 8], the last 8 beyond the end. tables: uint16[2, L, 3]. banks: uint8[lanes, groups,
    8], zeroed. step_bits: int32, long enough. Returns (OK | SHORT | END_STATE, steps, bits taken).
    """
    lanes, groups, _ = banks.shape
    total = length * 8
    low = (1 << table_log) - 1
    position = streams * table_log
    if position > total:
        return SHORT, 0, 0
    state = np.zeros(streams, np.int64)
    lane = np.arange(streams)
    group = np.zeros(streams, np.int64)
    pending = np.zeros(streams, np.int64)
    for stream in range(streams):
        state[stream] = peek(data, stream * table_log) & low
    step_bits[0] = position
    steps, unfinished = 1, streams
    while unfinished:
        begin = position
        for stream in range(streams):
            if lane[stream] >= lanes:
                continue
            kind = 1 if pending[stream] else 0
            symbol = np.int64(tables[kind, state[stream], 0])
            count = np.int64(tables[kind, state[stream], 1])
            if position + count > total:
                return SHORT, steps, begin
            state[stream] = tables[kind, state[stream], 2] + (peek(data, position) & ((1 << count) - 1))
            position += count
            left = symbol
            if kind:
                left = pending[stream] & (pending[stream] - 1)
                banks[lane[stream], group[stream], lowest(pending[stream])] = symbol
            pending[stream] = left
            if left == 0:
                group[stream] += 1
                if group[stream] == groups:
                    group[stream] = 0
                    lane[stream] += streams
                    unfinished -= lane[stream] >= lanes
        step_bits[steps] = position - begin
        steps += 1
    for stream in range(streams):
        if state[stream] != 0:
            return END_STATE, steps, position
    return OK, steps, position


@njit(cache=True)
def peek(data, position):
    """At least 16 bits from a bit position, low bit first."""
    byte = position >> 3
    word = np.int64(data[byte]) | np.int64(data[byte + 1]) << 8 | np.int64(data[byte + 2]) << 16
    return word >> (position & 7)


@njit(cache=True)
def lowest(mask):
    """Index of the lowest bit set of a byte that is not zero."""
    i = 0
    while not mask >> i & 1:
        i += 1
    return i
