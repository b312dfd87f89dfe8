"""The integer arithmetic: against exact rationals, against real functions, and at its corners."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ossicle.hw import numerics

INT32 = st.integers(-(1 << 31), (1 << 31) - 1)
EVERY = np.arange(-(1 << 15), 1 << 15)


@given(st.integers(-(1 << 48), 1 << 48), st.integers(0, 50))
def test_round_shift_is_python_rounding(value, shift):
    assert numerics.round_shift(value, shift) == round(Fraction(value, 1 << shift))


@pytest.mark.parametrize(("value", "expected"), [(1, 0), (3, 2), (5, 2), (-1, 0), (-3, -2), (-5, -2), (6, 3)])
def test_halves_go_to_even(value, expected):
    assert numerics.round_shift(value, 1) == expected


@given(st.integers(-(1 << 40), 1 << 40), st.integers(2, 32))
def test_saturate(value, bits):
    low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    assert numerics.saturate(value, bits) == min(max(value, low), high)


@given(INT32, INT32, st.integers(0, (1 << 16) - 1), st.integers(0, numerics.SHIFT_MAX))
def test_requantize_is_exact(accumulator, bias, multiplier, shift):
    exact = round(Fraction((accumulator + bias) * multiplier, 1 << shift))
    expected = min(max(exact, -(1 << 15)), (1 << 15) - 1)
    assert numerics.requantize(accumulator, bias, multiplier, shift) == expected


@given(st.floats(2.0**-31, 2.0**15))
def test_multiplier_is_the_nearest(scale):
    multiplier, shift = (int(v[0]) for v in numerics.quantize_multiplier(scale))
    assert 1 << 15 <= multiplier < 1 << 16
    assert abs(Fraction(multiplier, 1 << shift) - Fraction(scale)) <= Fraction(1, 2 << shift)


@pytest.mark.parametrize("scale", [0.0, -1.0, math.inf, math.nan, 2.0**17, 2.0**-33])
def test_scales_without_a_multiplier(scale):
    with pytest.raises(ValueError, match="row scales"):
        numerics.quantize_multiplier(scale)


def test_tables_end_where_the_functions_saturate():
    for value, delta in (
        (numerics.SIGMOID_VALUE, numerics.SIGMOID_DELTA), (numerics.TANH_VALUE, numerics.TANH_DELTA),
    ):  # fmt: skip
        assert len(value) == len(delta) == numerics.TABLE_SEGMENTS
        # The RTL holds both unsigned, in 15 and 11 bits.
        assert value.min() >= 0 and value.max() < 1 << 15
        assert delta.min() >= 0 and delta.max() < 1 << 11


def test_sigmoid_is_close_and_symmetric():
    got = numerics.sigmoid(EVERY)
    exact = (1 << 15) / (1 + np.exp(-EVERY / 2048))
    assert np.abs(got - exact).max() < 15
    assert np.array_equal(got[1:] + got[:0:-1], np.where(EVERY[1:] == 0, 2 * got[1 << 15], 1 << 15))
    assert got.min() > 0 and got.max() < 1 << 15
    assert np.all(np.diff(got) >= 0)


def test_tanh_is_close_and_odd():
    got = numerics.tanh(EVERY)
    assert np.abs(got - (1 << 15) * np.tanh(EVERY / 2048)).max() < 10
    assert np.array_equal(got[1:], -got[:0:-1])
    assert got.min() == -32767 and got.max() == 32767
    assert np.all(np.diff(got) >= 0)


def test_activations_saturate():
    assert numerics.preactivation_to_activation([-(1 << 15), -8, -24, 8, 24, 2047]).tolist() == [
        -128, 0, -2, 0, 2, 127,
    ]  # fmt: skip
    assert numerics.gate_to_activation([32767, -32767, 128, 384]).tolist() == [127, -128, 0, 2]


@given(*[st.integers(-(1 << 15), (1 << 15) - 1) for _ in range(5)])
def test_lstm_cell_rounds_once(i, f, g, o, cell):
    sigmoid, tanh = (lambda v: int(numerics.sigmoid(v))), (lambda v: int(numerics.tanh(v)))
    exact = Fraction(sigmoid(f) * cell, 1 << 15) + Fraction(sigmoid(i) * tanh(g), 1 << 19)
    expected = min(max(round(exact), -(1 << 15)), (1 << 15) - 1)
    hidden = min(max(round(Fraction(sigmoid(o) * tanh(expected), 1 << 23)), -128), 127)
    assert [int(v) for v in numerics.lstm_cell(i, f, g, o, cell)] == [expected, hidden]
