"""Numba kernels of the update code: an adaptive binary range coder, and what it says of weights and numbers.

Each symbol is a row of binary decisions. A decision has a *node* (which question it is) and INPUTS contexts;
each context keeps a probability, and a mixer with weights a node joins them in the logistic domain (Mahoney
2005, "Adaptive weighing of context models for lossless data compression", eq. 1-4; the tables and the 32-bit
coder are those of lpaq1). All of it is integer arithmetic, so that every machine decodes the same bits.

One function codes either way: `bit` takes the bit and writes it, or reads it, as `registers[DECODING]` says.
Thus nothing can be said in one order and read in another.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

INPUTS = 6
CONTEXTS = 64
"""Contexts of a node for each input, 0 to 63."""
NODES = 512
LOW, HIGH, CODE, POSITION, DECODING = range(5)
SLACK = 64
"""Bytes of `data` that the longest symbol may take."""

# Nodes of weights: regrown, pruned, changed, sign; then magnitudes, 96 nodes each.
REGROWN, PRUNED, CHANGED, SIGN, SIGN_REGROWN, WEIGHTS = 0, 1, 2, 3, 4, 64
# Nodes of numbers: zero, sign; then magnitudes.
ZERO, SIGN_NUMBER, NUMBERS = 8, 9, 256
EXPONENTS = 40
MODELLED = 3
"""Bits below the leading one of a magnitude that have probabilities of their own; the rest are even."""
RATE = 8
"""Of the mixers."""
SETTLED = 255
"""Occurrences after which a probability forgets as fast as it learns."""


class Coder(NamedTuple):
    """A coder's state: `registers` int64[5], `data` uint8[], and the model."""

    registers: NDArray[np.int64]
    data: NDArray[np.uint8]
    chances: NDArray[np.int32]
    """[INPUTS, NODES * CONTEXTS]; of a one, in 2**-22."""
    counts: NDArray[np.uint8]
    """As `chances`: how often each was asked."""
    weights: NDArray[np.int32]
    """[NODES, INPUTS]; in 2**-16."""
    contexts: NDArray[np.int64]
    """[INPUTS], of the decision at hand."""
    stretches: NDArray[np.int64]
    """[INPUTS], of the decision at hand."""


def _squash_table() -> NDArray[np.int32]:
    """4096 / (1 + e**(-x / 256)) of x = -2048 .. 2047, interpolated between whole numbers (lpaq1)."""
    knots = [
        1, 2, 3, 6, 10, 16, 27, 45, 73, 120, 194, 310, 488, 747, 1101, 1546, 2047, 2549, 2994, 3348, 3607,
        3785, 3901, 3975, 4022, 4050, 4068, 4079, 4085, 4089, 4092, 4093, 4094,
    ]  # fmt: skip
    whole = np.arange(4096) >> 7
    part, t = np.arange(4096) & 127, np.array([*knots, 4094])
    return ((t[whole] * (128 - part) + t[whole + 1] * part + 64) >> 7).astype(np.int32)


def _stretch_table(squash: NDArray[np.int32]) -> NDArray[np.int32]:
    """The inverse of `squash`: ln(p / (1 - p)) * 256 of p = 0 .. 4095 in 2**-12."""
    places = np.searchsorted(squash, np.arange(4096), side="left")
    return (np.minimum(places, 4095) - 2048).astype(np.int32)


SQUASH = _squash_table()
STRETCH = _stretch_table(SQUASH)
RECIPROCAL = (65536 * 2 // (2 * np.arange(SETTLED + 1) + 3)).astype(np.int64)


@njit(cache=True)
def bit(coder, node, value):
    """Code one decision in `coder.contexts`; returns it."""
    total = 0
    for i in range(INPUTS):
        stretch = STRETCH[coder.chances[i, node * CONTEXTS + coder.contexts[i]] >> 10]
        coder.stretches[i] = stretch
        total += coder.weights[node, i] * stretch
    mixed = SQUASH[min(max(total >> 16, -2047), 2047) + 2048]
    value = _even(coder, value, mixed << 4)
    error = ((value << 12) - mixed) * RATE
    for i in range(INPUTS):
        coder.weights[node, i] += (coder.stretches[i] * error + 0x8000) >> 16
        at = node * CONTEXTS + coder.contexts[i]
        count = coder.counts[i, at]
        coder.chances[i, at] += (((value << 22) - coder.chances[i, at]) * RECIPROCAL[count]) >> 16
        coder.counts[i, at] = min(count + 1, SETTLED)
    return value


@njit(cache=True)
def _even(coder, value, chance):
    """Code a bit that is one with probability `chance` / 2**16, 1 to 65535 of it."""
    r, data = coder.registers, coder.data
    low, high = r[LOW], r[HIGH]
    middle = low + ((high - low) >> 16) * chance + ((((high - low) & 0xFFFF) * chance) >> 16)
    if r[DECODING]:
        value = 1 if r[CODE] <= middle else 0
    if value:
        high = middle
    else:
        low = middle + 1
    while (low ^ high) >> 24 == 0:
        at = r[POSITION]
        if r[DECODING]:
            r[CODE] = ((r[CODE] << 8) & 0xFFFFFFFF) | (data[at] if at < len(data) else 0)
        else:
            data[at] = high >> 24
        r[POSITION] = at + 1
        low = (low << 8) & 0xFFFFFFFF
        high = ((high << 8) & 0xFFFFFFFF) | 0xFF
    r[LOW], r[HIGH] = low, high
    return value


@njit(cache=True)
def _magnitude(coder, base, exponents, value):
    """Code a whole number of 1 or more: its length in unary, then the bits below its leading one."""
    length = 0
    if not coder.registers[DECODING]:
        while length < EXPONENTS and value >> (length + 1):
            length += 1
    exponent = 0
    while exponent < exponents and bit(coder, base + exponent, 1 if exponent < length else 0):
        exponent += 1
    made, prefix = 1, 1
    for k in range(exponent):
        asked = (value >> (exponent - 1 - k)) & 1
        if k < MODELLED:
            node = base + exponents + min(exponent, 12) * 8 + prefix
            got = bit(coder, node, asked)
            prefix = 2 * prefix + got
        else:
            got = _even(coder, asked, 1 << 15)
        made = 2 * made + got
    return made


@njit(cache=True)
def _loudness(value):
    """0 to 7: how many bits a magnitude has, roughly."""
    length = 0
    while value >> length and length < 7:
        length += 1
    return length


@njit(cache=True)
def code_weights(coder, old, guess, part, new, distances, columns):
    """Code rows of weights.

    old, guess, part, new: int8, int16, uint8, int8 [rows, n]: the old weight, what it is at the new scale,
    rounded; where in its step it lay, 0 to 3; and the new weight, read or written. distances: int64[n],
    how far each weight of the row above was from its guess; columns: int64[n], moving averages of that,
    in 1/16. Both are updated.
    """
    c = coder.contexts
    for row in range(new.shape[0]):
        left, before, average = 0, 0, 0
        for i in range(new.shape[1]):
            # int64: abs of an int8 of -128 would be -128
            was, expected, now = np.int64(old[row, i]), np.int64(guess[row, i]), np.int64(new[row, i])
            near = min(left, 7) * 8 + min(distances[i], 7)
            c[0] = 0
            c[1] = near
            c[2] = min(abs(expected) >> 1, 63)
            c[3] = min(columns[i] >> 1, 63)
            c[4] = min(average >> 1, 63)
            c[5] = part[row, i] * 16 + (8 if expected < 0 else 0) + _loudness(left + before + distances[i])
            if was == 0:
                if bit(coder, REGROWN, 1 if now != 0 else 0):
                    negative = bit(coder, SIGN_REGROWN, 1 if now < 0 else 0)
                    size = _magnitude(coder, WEIGHTS, 8, abs(now))
                    now = -size if negative else size
                else:
                    now = 0
                distance = abs(now)
            elif bit(coder, PRUNED, 1 if now == 0 else 0):
                now, distance = 0, abs(expected)
            elif bit(coder, CHANGED, 1 if now != expected else 0):
                negative = bit(coder, SIGN, 1 if now < expected else 0)
                distance = _magnitude(coder, WEIGHTS + 96, 8, abs(now - expected))
                now = expected - distance if negative else expected + distance
            else:
                now, distance = expected, 0
            new[row, i] = now
            before, left, distances[i] = left, distance, distance
            average += ((distance << 4) - average) >> 4
            columns[i] += ((distance << 4) - columns[i]) >> 3


@njit(cache=True)
def code_numbers(coder, values, kind):
    """Code int64[n] of less than 2**39 in magnitude; `kind`, 0 to 3, keeps the statistics of kinds apart."""
    c = coder.contexts
    left, before = 0, 0
    for i in range(len(values)):
        value = values[i]
        c[0] = c[3] = c[4] = kind
        c[1] = kind * 8 + min(left >> 2, 7)
        c[2] = min(left + before, 63)
        c[5] = min(left, 63)
        size = 0
        if bit(coder, ZERO, 1 if value != 0 else 0):
            negative = bit(coder, SIGN_NUMBER, 1 if value < 0 else 0)
            size = _magnitude(coder, NUMBERS, EXPONENTS, abs(value))
            value = -size if negative else size
        else:
            value = 0
        values[i] = value
        length = 0
        while size >> length:
            length += 1
        before, left = left, length
