"""Integer arithmetic of the processor: one definition for training, compiler, simulators and RTL.

Fixed-point formats, written Qi.f (i integer bits, f fraction bits, sign apart):

    ============== ======= ===========  =====================================
    value          bits    format       real range
    ============== ======= ===========  =====================================
    activation     8       Q0.7         [-1, 1)
    weight         2 .. 8  integer      scale of its row, see `quantize_multiplier`
    accumulator    32      integer      sum of products, exact
    pre-activation 16      Q4.11        [-16, 16)
    cell state     16      Q4.11        [-16, 16)
    gate           16      Q0.15        [0, 1) sigmoid, (-1, 1) tanh
    logit          16      Q7.8         [-128, 128)
    ============== ======= ===========  =====================================

Every function takes and returns integer arrays (int64 inside) and is exact on every machine.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

Int = NDArray[np.int64]

ACTIVATION_FRACTION = 7
PREACTIVATION_FRACTION = 11
GATE_FRACTION = 15
LOGIT_FRACTION = 8

ACTIVATION_MIN, ACTIVATION_MAX = -128, 127
INT16_MIN, INT16_MAX = -(1 << 15), (1 << 15) - 1
MULTIPLIER_BITS = 16
SHIFT_MAX = 47

# Interpolation tables: 256 segments of 1/32 cover |x| in [0, 8); beyond, the last value holds.
TABLE_SEGMENTS = 256
TABLE_STEP_BITS = 6
TABLE_STEP = 1 << TABLE_STEP_BITS


def round_shift(value: ArrayLike, shift: ArrayLike) -> Int:
    """value / 2**shift, rounded half to even. `shift` >= 0, both broadcast."""
    value, shift = np.asarray(value, np.int64), np.asarray(shift, np.int64)
    floor = value >> shift
    remainder = value - (floor << shift)
    twice, unit = remainder << 1, np.int64(1) << shift
    up = (twice > unit) | ((twice == unit) & ((floor & 1) == 1))
    return floor + (up & (shift > 0))


def saturate(value: ArrayLike, bits: int) -> Int:
    """Clamp to the range of a two's complement integer of `bits` bits."""
    return np.clip(np.asarray(value, np.int64), -(1 << (bits - 1)), (1 << (bits - 1)) - 1)


def requantize(accumulator: ArrayLike, bias: ArrayLike, multiplier: ArrayLike, shift: ArrayLike) -> Int:
    """saturate16(round((accumulator + bias) * multiplier / 2**shift)).

    accumulator, bias: int32 whose sum is an int32 too; multiplier: unsigned 16 bit; shift: 0..47.
    """
    total = np.asarray(accumulator, np.int64) + np.asarray(bias, np.int64)
    return saturate(round_shift(total * np.asarray(multiplier, np.int64), shift), 16)


def quantize_multiplier(scale: ArrayLike) -> tuple[NDArray[np.uint16], NDArray[np.uint8]]:
    """Nearest (multiplier, shift) with multiplier / 2**shift == scale, multiplier in [2**15, 2**16).

    Args:
        scale: positive reals, one a row: (real value of one accumulator step) / (real value of one
            output step).
    Raises:
        ValueError: a scale that is not finite, not positive, or outside what a shift of 0..47 reaches.
    """
    scale = np.atleast_1d(np.asarray(scale, np.float64))
    if not np.all(np.isfinite(scale) & (scale > 0)):
        raise ValueError(f"row scales must be finite and positive, not {scale.min()}..{scale.max()}")
    mantissa, exponent = np.frexp(scale)
    multiplier = np.rint(mantissa * (1 << MULTIPLIER_BITS)).astype(np.int64)
    carried = multiplier == 1 << MULTIPLIER_BITS
    multiplier = np.where(carried, 1 << (MULTIPLIER_BITS - 1), multiplier)
    shift = MULTIPLIER_BITS - exponent - carried
    if shift.min() < 0 or shift.max() > SHIFT_MAX:
        raise ValueError(f"row scales {scale.min():g}..{scale.max():g} need shifts outside 0..{SHIFT_MAX}")
    return multiplier.astype(np.uint16), shift.astype(np.uint8)


def _table(function) -> tuple[Int, Int]:
    points = [
        min(
            round(function(i / (1 << (PREACTIVATION_FRACTION - TABLE_STEP_BITS))) * (1 << GATE_FRACTION)),
            INT16_MAX,
        )
        for i in range(TABLE_SEGMENTS + 1)
    ]
    value = np.array(points, np.int64)
    return value[:-1], np.diff(value)


SIGMOID_VALUE, SIGMOID_DELTA = _table(lambda x: 1 / (1 + math.exp(-x)))
TANH_VALUE, TANH_DELTA = _table(math.tanh)


def _interpolate(magnitude: Int, value: Int, delta: Int) -> Int:
    magnitude = np.minimum(magnitude, TABLE_SEGMENTS * TABLE_STEP - 1)
    segment, fraction = magnitude >> TABLE_STEP_BITS, magnitude & (TABLE_STEP - 1)
    return value[segment] + ((delta[segment] * fraction) >> TABLE_STEP_BITS)


def sigmoid(preactivation: ArrayLike) -> Int:
    """Sigmoid, Q4.11 -> Q0.15 in [0, 2**15]; sigmoid(-x) == 2**15 - sigmoid(x)."""
    x = np.asarray(preactivation, np.int64)
    y = _interpolate(np.abs(x), SIGMOID_VALUE, SIGMOID_DELTA)
    return np.where(x < 0, (1 << GATE_FRACTION) - y, y)


def tanh(preactivation: ArrayLike) -> Int:
    """Hyperbolic tangent, Q4.11 -> Q0.15 in [-32767, 32767]; odd."""
    x = np.asarray(preactivation, np.int64)
    y = _interpolate(np.abs(x), TANH_VALUE, TANH_DELTA)
    return np.where(x < 0, -y, y)


def relu(preactivation: ArrayLike) -> Int:
    """max(x, 0), Q4.11 -> Q4.11."""
    return np.maximum(np.asarray(preactivation, np.int64), 0)


def preactivation_to_activation(value: ArrayLike) -> Int:
    """Q4.11 -> Q0.7, rounded half to even, saturated."""
    return saturate(round_shift(value, PREACTIVATION_FRACTION - ACTIVATION_FRACTION), 8)


def gate_to_activation(value: ArrayLike) -> Int:
    """Q0.15 -> Q0.7, rounded half to even, saturated."""
    return saturate(round_shift(value, GATE_FRACTION - ACTIVATION_FRACTION), 8)


def lstm_cell(i: ArrayLike, f: ArrayLike, g: ArrayLike, o: ArrayLike, cell: ArrayLike) -> tuple[Int, Int]:
    """One LSTM cell update on pre-activations of the gates.

        c' = saturate16(round(sigmoid(f) * c + sigmoid(i) * tanh(g)))          Q4.11
        h' = saturate8(round(sigmoid(o) * tanh(c')))                           Q0.7

    Each sum is formed exactly and rounded once (half to even).

    Args:
        i, f, g, o: Q4.11, any one shape.
        cell: Q4.11, the same shape.
    Returns:
        (cell, hidden), Q4.11 and Q0.7.
    """
    kept = sigmoid(f) * np.asarray(cell, np.int64)
    written = sigmoid(i) * tanh(g)
    align = GATE_FRACTION - PREACTIVATION_FRACTION
    cell = saturate(round_shift((kept << align) + written, 2 * GATE_FRACTION - PREACTIVATION_FRACTION), 16)
    hidden = saturate(round_shift(sigmoid(o) * tanh(cell), 2 * GATE_FRACTION - ACTIVATION_FRACTION), 8)
    return cell, hidden
