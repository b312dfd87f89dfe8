"""Numba kernels of the weight code: arrays and scalars only; the checks are in `stream`."""

from __future__ import annotations

import numpy as np
from numba import njit
from ossicle.hw.code import MOST_PARTS, SPLIT_ONES, SYMBOLS, WORD_QUADS, WORD_ZERO, Kind

OK, SHORT, END_STATE = 0, 1, 2
WORDS, QUADS, SPARSE = int(Kind.WORDS), int(Kind.QUADS), int(Kind.SPARSE)
SPLIT = np.bitwise_count(np.arange(SYMBOLS, dtype=np.uint8)) == SPLIT_ONES
"""Of SPARSE: symbols with more to follow."""


@njit(cache=True)
def gather_symbols(banks, streams, kind, plan, kinds, symbols):
    """Symbols of every stream in decoding order; returns where each begins in kinds / symbols.

    banks: uint8[lanes, groups, 8]. plan: that of `plan_parts`; not used of QUADS.
    kinds: uint8[n], 0 mask (or quad), 1 value. symbols: uint8[n].
    """
    lanes, width = len(banks), unit_weights(kind)
    starts = np.zeros(streams + 1, np.int64)
    at = 0
    for stream in range(streams):
        for lane in range(stream, lanes, streams):
            units = banks[lane].reshape(-1, width)
            for n in range(len(units)):
                if kind == QUADS:
                    at = gather_quads(units[n], kinds, symbols, at)
                else:
                    at = gather_unit(units[n], kind, plan, kinds, symbols, at)
        starts[stream + 1] = at
    return starts


@njit(cache=True)
def unit_weights(kind):
    """Weights that are coded and written together: a group or a word."""
    return 16 if kind in (WORDS, QUADS) else 8


@njit(cache=True)
def gather_unit(weights, kind, plan, kinds, symbols, at):
    """Masks and values of a group or a word, from place `at`; returns the place after them."""
    mask = 0
    for i in range(len(weights)):
        if weights[i] != 0:
            mask |= 1 << i
    for _ in range(MOST_PARTS):
        symbol = np.int64(plan[mask])
        part, more = part_mask(symbol, kind)
        kinds[at], symbols[at] = 0, symbol
        at += 1
        for i in range(len(weights)):
            if part >> i & 1:
                kinds[at], symbols[at] = 1, weights[i]
                at += 1
        mask &= ~part
        if not more:
            break
    return at


@njit(cache=True)
def gather_quads(weights, kinds, symbols, at):
    """The same of a word in quads."""
    for quad in range(WORD_QUADS):
        symbol = 0
        for i in range(4):
            symbol |= (weights[4 * quad + i] & 3) << 2 * i
        kinds[at], symbols[at] = 0, symbol
        at += 1
    return at


@njit(cache=True)
def two_lowest(mask):
    """The two lowest bits set, or as many as there are."""
    rest = mask & (mask - 1)
    return mask ^ (rest & (rest - 1))


@njit(cache=True)
def plan_parts(kind, kept):
    """Symbol of the part of each mask that is coded next, uint8[256], of WORDS uint8[65536].

    kept: bool[256], symbols that have states. It is that of all of the mask if there is one, else the first
    of two weights, with more to follow, after which what is left can be coded. A mask that cannot be comes to
    a symbol that has no state.
    """
    size = 1 << unit_weights(kind)
    plan, possible = np.empty(size, np.uint8), np.zeros(size, np.bool_)
    pairs = [symbol for symbol in range(SYMBOLS) if kept[symbol] and part_mask(symbol, kind)[1]]
    for mask in range(size):
        whole = part_symbol(mask, kind, False)
        plan[mask] = whole if whole >= 0 else part_symbol(two_lowest(mask), kind, True)
        possible[mask] = whole >= 0 and kept[whole]
        if possible[mask]:
            continue
        for pair in pairs:
            part = part_mask(pair, kind)[0]
            if part & ~mask == 0 and possible[mask & ~part]:
                plan[mask], possible[mask] = pair, True
                break
    return plan


@njit(cache=True)
def part_symbol(part, kind, more):
    """Symbol that stands for these weights; -1 if none does. With more to follow they are two."""
    if kind == WORDS:
        if part != two_lowest(part):
            return -1
        if part == 0:
            return WORD_ZERO
        low = lowest(part)
        rest = part & (part - 1)
        if rest == 0:
            return 17 * low
        return lowest(rest) << 4 | low if more else low << 4 | lowest(rest)
    if kind == SPARSE:
        if more:
            return SYMBOLS - 1 ^ part
        return -1 if SPLIT[part] else part
    return part


@njit(cache=True)
def part_mask(symbol, kind):
    """The weights that a symbol of a mask stands for, and whether more follow."""
    if kind == WORDS:
        if symbol == WORD_ZERO:
            return 0, False
        first, second = symbol >> 4, symbol & 15
        return 1 << first | 1 << second, first > second
    if kind == SPARSE and SPLIT[symbol]:
        return SYMBOLS - 1 ^ symbol, True
    return symbol, False


@njit(cache=True)
def count_parts(masks, kind, plan):
    """Histogram, int64[256], of the symbols that code masks. masks: int64, how often each occurs."""
    counts = np.zeros(SYMBOLS, np.int64)
    for mask in np.flatnonzero(masks):
        left = mask
        for _ in range(MOST_PARTS):
            symbol = np.int64(plan[left])
            counts[symbol] += masks[mask]
            part, more = part_mask(symbol, kind)
            left &= ~part
            if not more:
                break
    return counts


@njit(cache=True)
def encode_streams(
    kinds, symbols, starts, closes, frequencies, firsts, places, table_log, counts, bits, states
):
    """tANS, each stream from its last symbol to its first.

    closes: bool[2], whether a mask (or quad), a value takes no bits where it is the last of its stream.
    frequencies, firsts: int64[2, 256], a symbol's frequency and its first entry in places: uint16[2, L].
    Fills counts (uint8[n]) and bits (uint16[n]), what each symbol writes, and states (int64[D]), the
    initial ones. Returns the index of a symbol that has no states, or -1.
    """
    size = 1 << table_log
    for stream in range(len(starts) - 1):
        state, last = size, starts[stream + 1] - 1
        for at in range(last, starts[stream] - 1, -1):
            kind, symbol = kinds[at], symbols[at]
            frequency = frequencies[kind, symbol]
            if frequency == 0:
                return at
            count = 0
            while state >> count >= 2 * frequency:
                count += 1
            counts[at] = 0 if at == last and closes[kind] else count
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
def decode_streams(data, length, tables, table_log, streams, kind, banks, step_bits):
    """Decode every stream in lock step.

    data: uint8[length + 8], the last 8 beyond the end. tables: uint16[2, L, 3]. banks: uint8[lanes, groups,
    8], zeroed. step_bits: int32, long enough. Returns (OK | SHORT | END_STATE, steps, bits taken).
    """
    lanes, groups, _ = banks.shape
    width = unit_weights(kind)
    total = length * 8
    low = (1 << table_log) - 1
    position = streams * table_log
    if position > total:
        return SHORT, 0, 0
    state = np.zeros(streams, np.int64)
    lane = np.arange(streams)
    first = np.zeros(streams, np.int64)
    pending = np.zeros(streams, np.int64)
    parts = np.zeros(streams, np.int64)
    for stream in range(streams):
        state[stream] = peek(data, stream * table_log) & low
    step_bits[0] = position
    steps, unfinished = 1, streams
    while unfinished:
        begin = position
        for stream in range(streams):
            if lane[stream] >= lanes:
                continue
            table = 1 if pending[stream] else 0
            symbol = np.int64(tables[table, state[stream], 0])
            count = np.int64(tables[table, state[stream], 1])
            in_last = first[stream] + width == 8 * groups and lane[stream] + streams >= lanes
            if in_last and closing(kind, pending[stream], parts[stream]):
                count = 0
            if position + count > total:
                return SHORT, steps, begin
            state[stream] = tables[table, state[stream], 2] + (peek(data, position) & ((1 << count) - 1))
            position += count
            weights = banks[lane[stream]].reshape(-1)[first[stream] : first[stream] + width]
            pending[stream], parts[stream] = take_symbol(
                weights, kind, symbol, pending[stream], parts[stream]
            )
            if pending[stream] == 0 and parts[stream] == 0:
                first[stream] += width
                if first[stream] == 8 * groups:
                    first[stream] = 0
                    lane[stream] += streams
                    unfinished -= lane[stream] >= lanes
        step_bits[steps] = position - begin
        steps += 1
    for stream in range(streams):
        if state[stream] != 0:
            return END_STATE, steps, position
    return OK, steps, position


@njit(cache=True, inline="always")
def take_symbol(weights, kind, symbol, pending, parts):
    """One symbol of a group or word; returns the weights still to come of its mask, and the parts that there
    were of it, 0 if this was the last.
    """
    if pending:
        weights[lowest(pending)] = symbol
        return pending & (pending - 1), parts
    if kind == QUADS:
        for i in range(4):
            field = symbol >> 2 * i & 3
            weights[4 * parts + i] = field | (252 if field > 1 else 0)
        return 0, (parts + 1) % WORD_QUADS
    mask, more = part_mask(symbol, kind)
    return mask, (parts + 1) % MOST_PARTS if more else 0


@njit(cache=True, inline="always")
def closing(kind, pending, parts):
    """Whether the next symbol is the last of its group or word, whatever it is: a value, or a quad."""
    if pending:
        return pending & (pending - 1) == 0 and parts == 0
    return kind == QUADS and parts == WORD_QUADS - 1


@njit(cache=True)
def peek(data, position):
    """At least 16 bits from a bit position, low bit first."""
    byte = position >> 3
    word = np.int64(data[byte]) | np.int64(data[byte + 1]) << 8 | np.int64(data[byte + 2]) << 16
    return word >> (position & 7)


@njit(cache=True)
def lowest(mask):
    """Index of the lowest bit set of a mask that is not zero."""
    i = 0
    while not mask >> i & 1:
        i += 1
    return i
