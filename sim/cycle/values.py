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
VALUE = np.concatenate([numerics.SIGMOID_VALUE, numerics.TANH_VALUE])
DELTA = np.concatenate([numerics.SIGMOID_DELTA, numerics.TANH_DELTA])
SEGMENTS = numerics.TABLE_SEGMENTS
LAST = numerics.TABLE_SEGMENTS * numerics.TABLE_STEP - 1
STEP_BITS, STEP_MASK = numerics.TABLE_STEP_BITS, numerics.TABLE_STEP - 1

HALF, PLACE = 32, (1 << 32) - 1

STEPS, BASE, PARAMETER = OPERAND["steps"], OPERAND["accumulator"], OPERAND["parameter"]
SOURCE, SOURCE2, DESTINATION = OPERAND["source"], OPERAND["source2"], OPERAND["destination"]
FUNCTION, TARGET = OPERAND["function"], OPERAND["target"]


@njit(cache=True, inline="always")
def round_shift(value, shift):
    """value / 2**shift, half to even."""
    # Just short of a half is added, and what is short of it where the floor is odd; nothing if it is not
    # shifted. No branch: LLVM makes vectors of it.
    some = np.int64(shift != 0)
    return (value + (some << (shift - some)) - some + (value >> shift & some)) >> shift


@njit(cache=True, inline="always")
def clamp(value, limit):
    """Saturate to -limit .. limit - 1."""
    return min(max(value, -limit), limit - 1)


@njit(cache=True, inline="always")
def curve(x, tangent):
    """tanh(x), or sigmoid(x): the tables side by side, so that no branch is needed."""
    magnitude = min(abs(x), LAST)
    n = tangent * SEGMENTS + (magnitude >> STEP_BITS)
    y = VALUE[n] + ((DELTA[n] * (magnitude & STEP_MASK)) >> STEP_BITS)
    negative = np.int64(x < 0)
    return ((y ^ -negative) + negative) + (negative & (1 - tangent)) * (1 << 15)


@njit(cache=True, inline="always")
def sigmoid(x):
    return curve(x, 0)


@njit(cache=True, inline="always")
def tanh(x):
    return curve(x, 1)


@uncounted
def requantized(accumulators, base, pointers, parameters, values, width):
    """An instruction's rows, step after step.

    Args:
        base: each lane's first accumulator.
        pointers: scratch, of each lane: the place of the accumulator that it gave last; in the upper half the
            step, for two rows of one lane in a step share an accumulator.
        parameters: int32[rows, 2]: bias; multiplier | shift << 16 | lane << 24.
        values: int64[rows], the result.
    """
    size, lanes = accumulators.shape
    mask = lanes - 1  # a power of 2
    for lane in range(lanes):
        pointers[lane] = (-1 << HALF) + (base or size) - 1
    for step in range(len(values) // width):
        for n in range(step * width, (step + 1) * width):
            lane = (np.int64(parameters[n, 1]) >> 24) & mask
            pointer = pointers[lane]
            if pointer >> HALF != step:
                place = (pointer & PLACE) + 1
                pointer = step << HALF | (place if place < size else 0)
                pointers[lane] = pointer
            values[n] = accumulators[pointer & PLACE, lane]
    for n in range(len(values)):
        packed = np.int64(parameters[n, 1])
        values[n] = scaled(values[n] + parameters[n, 0], packed & 0xFFFF, packed >> 16 & 63)


@njit(cache=True, inline="always")
def scaled(total, multiplier, shift):
    """saturate16(total * multiplier / 2**shift), half to even."""
    return clamp(round_shift(total * multiplier, shift), 1 << 15)


@uncounted
def vector_instruction(made, accumulators, parameters, activations, vectors, values, pointers):
    """Carry out an LSTM, LINEAR or ADD.

    Args:
        made: the instruction's row.
        accumulators: int32[accumulators, lanes].
        parameters: int32[words * V, 2]; activations: int8[words * 16]; vectors: int16[words, V].
        values, pointers: int64[words * V], int64[lanes] scratch: the rows' values; those of `requantized`.
    """
    width, steps = vectors.shape[1], made[STEPS]
    if made[OPCODE] == ADD:
        for step in range(steps):
            for n in range(width):
                total = np.int64(vectors[made[SOURCE] + step, n]) + np.int64(vectors[made[SOURCE2] + step, n])
                values[n] = clamp(total, 1 << 15)
            write_step(made, values[:width], step, activations, vectors)
        return
    first, rows = made[PARAMETER] * width, steps * width
    requantized(accumulators, made[BASE], pointers, parameters[first : first + rows], values[:rows], width)
    if made[OPCODE] == LSTM:
        for n in range(rows):
            values[n] = curve(values[n], np.int64(n & 3 == 2))
    for step in range(steps):
        own = values[step * width : (step + 1) * width]
        if made[OPCODE] == LSTM:
            place = made[DESTINATION] + step * (width // 4)
            cell_step(own, vectors[made[SOURCE] + step], activations, place)
        else:
            write_step(made, own, step, activations, vectors)


@njit(cache=True, inline="always")
def cell_step(gates, cells, activations, place):
    """Update the cells of a step; the vector word's other elements become 0."""
    units = len(gates) // 4
    for u in range(units):
        i, f, g, o = gates[4 * u], gates[4 * u + 1], gates[4 * u + 2], gates[4 * u + 3]
        cell = clamp(round_shift(((f * np.int64(cells[u])) << 4) + i * g, 19), 1 << 15)
        cells[u] = cell
        activations[place + u] = clamp(round_shift(o * tanh(cell), 23), 128)
    for n in range(units, len(gates)):
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
