"""What the vector unit computes, an element at a time: the twins of hw/numerics.py for numba."""

from __future__ import annotations

import numpy as np
from numba import njit
from ossicle.hw import numerics
from ossicle.hw.isa import Function, Opcode, Target
from ossicle.sim.cycle.jit import uncounted
from ossicle.sim.cycle.setup import OPCODE, OPERAND

LSTM, LINEAR, ADD = int(Opcode.LSTM), int(Opcode.LINEAR), int(Opcode.ADD)
RELU, SIGMOID, TANH = int(Function.RELU), int(Function.SIGMOID), int(Function.TANH)
ACTIVATION = int(Target.ACTIVATION)
SIGMOID_VALUE, SIGMOID_DELTA = numerics.SIGMOID_VALUE, numerics.SIGMOID_DELTA
TANH_VALUE, TANH_DELTA = numerics.TANH_VALUE, numerics.TANH_DELTA
LAST = numerics.TABLE_SEGMENTS * numerics.TABLE_STEP - 1
STEP_BITS, STEP_MASK = numerics.TABLE_STEP_BITS, numerics.TABLE_STEP - 1

STEPS, BASE, PARAMETER = OPERAND["steps"], OPERAND["accumulator"], OPERAND["parameter"]
SOURCE, SOURCE2, DESTINATION = OPERAND["source"], OPERAND["source2"], OPERAND["destination"]
FUNCTION, TARGET = OPERAND["function"], OPERAND["target"]


@njit(cache=True, inline="always")
def round_shift(value, shift):
    """value / 2**shift, half to even."""
    if shift == 0:
        return value
    # Just short of a half is added, and what is short of it where the floor is odd.
    return (value + (np.int64(1) << (shift - 1)) - 1 + (value >> shift & 1)) >> shift


@njit(cache=True, inline="always")
def clamp(value, limit):
    """Saturate to -limit .. limit - 1."""
    return min(max(value, -limit), limit - 1)


@njit(cache=True, inline="always")
def sigmoid(x):
    magnitude = min(abs(x), LAST)
    n = magnitude >> STEP_BITS
    y = SIGMOID_VALUE[n] + ((SIGMOID_DELTA[n] * (magnitude & STEP_MASK)) >> STEP_BITS)
    return (1 << 15) - y if x < 0 else y


@njit(cache=True, inline="always")
def tanh(x):
    magnitude = min(abs(x), LAST)
    n = magnitude >> STEP_BITS
    y = TANH_VALUE[n] + ((TANH_DELTA[n] * (magnitude & STEP_MASK)) >> STEP_BITS)
    return -y if x < 0 else y


@uncounted
def rows_of_step(accumulators, pointers, row_parameters, values):
    """Requantize a step's rows. row_parameters int32[V, 2]: bias; multiplier | shift << 16 | lane << 24."""
    lanes, size = accumulators.shape
    mask = lanes - 1  # a power of 2
    for n in range(len(values)):
        packed = np.int64(row_parameters[n, 1])
        lane = (packed >> 24) & mask
        total = np.int64(accumulators[lane, pointers[lane]]) + np.int64(row_parameters[n, 0])
        values[n] = scaled(total, packed & 0xFFFF, packed >> 16 & 63)
        pointers[lanes + lane] = pointers[lane] + 1 if pointers[lane] + 1 < size else 0
    for n in range(len(values)):
        # Two rows of one lane share an accumulator: the pointer moves once.
        lane = (np.int64(row_parameters[n, 1]) >> 24) & mask
        pointers[lane] = pointers[lanes + lane]


@njit(cache=True, inline="always")
def scaled(total, multiplier, shift):
    """saturate16(total * multiplier / 2**shift), half to even."""
    return clamp(round_shift(total * multiplier, shift), 1 << 15)


@uncounted
def vector_instruction(made, accumulators, parameters, activations, vectors, values, pointers):
    """Carry out an LSTM, LINEAR or ADD.

    Args:
        made: the instruction's row.
        parameters: int32[words, V, 2]; activations: int8[words * 16]; vectors: int16[words, V].
        values, pointers: int64[V], int64[2 * lanes] scratch: a step's values; each lane's place among its
            accumulators, now and in the next step.
    """
    width = vectors.shape[1]
    for lane in range(len(accumulators)):
        pointers[lane] = made[BASE]
    for step in range(made[STEPS]):
        if made[OPCODE] == ADD:
            for n in range(width):
                total = np.int64(vectors[made[SOURCE] + step, n]) + np.int64(vectors[made[SOURCE2] + step, n])
                values[n] = clamp(total, 1 << 15)
        else:
            rows_of_step(accumulators, pointers, parameters[made[PARAMETER] + step], values)
        if made[OPCODE] == LSTM:
            cell_step(
                values, vectors[made[SOURCE] + step], activations, made[DESTINATION] + step * (width // 4)
            )
        else:
            write_step(made, values, step, activations, vectors)


@njit(cache=True, inline="always")
def cell_step(values, cells, activations, place):
    """Update the cells of a step; the vector word's other elements become 0."""
    units = len(values) // 4
    for u in range(units):
        i, f, g, o = values[4 * u], values[4 * u + 1], values[4 * u + 2], values[4 * u + 3]
        total = ((sigmoid(f) * np.int64(cells[u])) << 4) + sigmoid(i) * tanh(g)
        cell = clamp(round_shift(total, 19), 1 << 15)
        cells[u] = cell
        activations[place + u] = clamp(round_shift(sigmoid(o) * tanh(cell), 23), 128)
    for n in range(units, len(values)):
        cells[n] = 0


@njit(cache=True, inline="always")
def write_step(made, values, step, activations, vectors):
    """Apply the function and write a step's results."""
    function, width = made[FUNCTION], len(values)
    curved = function in (SIGMOID, TANH)
    for n in range(width):
        value = values[n]
        if function == RELU:
            value = max(value, 0)
        elif function == SIGMOID:
            value = sigmoid(value)
        elif function == TANH:
            value = tanh(value)
        if made[TARGET] == ACTIVATION:
            place = made[DESTINATION] + step * width + n
            activations[place] = clamp(round_shift(value, 8 if curved else 4), 128)
        else:
            vectors[made[DESTINATION] + step, n] = value
