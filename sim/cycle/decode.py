"""The decode engine, a cycle at a time (hw/decoder.py). Weights are decoded beforehand; here is their
time."""

from __future__ import annotations

from numba import njit
from ossicle.hw.code import TABLE_GRANULES
from ossicle.hw.isa import Engine, Fault, Opcode
from ossicle.hw.timing import DECODE as CLIENT
from ossicle.sim.cycle import setup as C
from ossicle.sim.cycle import state as S
from ossicle.sim.cycle.jit import inlined
from ossicle.sim.cycle.setup import HANDLE, OPCODE, OPERAND
from ossicle.sim.cycle.transfer import inside

DECODE = int(Engine.DECODE)
TABLE = int(Opcode.TABLE)
MEMORY_RANGE, READ_WINDOW, DECODER = int(Fault.MEMORY_RANGE), int(Fault.READ_WINDOW), int(Fault.DECODER)
ADDRESS, LENGTH, SET = OPERAND["address"], OPERAND["length"], OPERAND["set"]
DESTINATION, GROUPS = OPERAND["destination"], OPERAND["groups"]
GOOD, SHORT, WRONG = range(3)
"""DECODE_OUTCOME: how a stream ends: as it should, for want of bits, or in a wrong state. A TABLE: GOOD or
not, and DECODE_STEPS the cycles for which its image is read."""
UNBUILT = 0
"""HANDLE of a STREAM from a table set that was never built."""


@njit(cache=True, inline="always")
def take(s):
    """Take a beat off the decoder's queue."""
    s[S.CHANGED] |= S.MEMORY
    s[S.HELD + CLIENT] -= 1
    s[S.ROOM + CLIENT] += 1
    s[S.DECODE_LEFT] -= 1


@njit(cache=True, inline="always")
def starved(s, program, steps):
    """Whether a STREAM runs and has no step in this cycle for want of bits."""
    state = s[S.STATE + DECODE]
    if state == S.RUN:
        step = s[S.DECODE_STEP]
        if step == s[S.DECODE_STEPS]:
            return s[S.DECODE_OUTCOME] == SHORT
        return s[S.DECODE_FILL] < steps[s[S.DECODE_FIRST] + step]
    return state == S.REQUEST and program[s[S.CURRENT + DECODE], OPCODE] != TABLE


@inlined
def decode_cycle(s, c, program, windows, steps):
    """One cycle of the decode engine; returns 0, or 1 when it is done, or a negative fault.

    Args:
        steps: int32, bits of each step of all streams decoded so far, a stream's from DECODE_FIRST on.
    """
    state = s[S.STATE + DECODE]
    if state == S.RUN:
        return run(s, c, steps)
    if state == S.DRAIN:
        if s[S.DECODE_LEFT] == 0:
            return -DECODER if s[S.DECODE_WRONG] else 1
        if s[S.HELD + CLIENT]:
            take(s)
        return 0
    if state == S.REQUEST:
        s[S.CHANGED] = S.OTHERS
        return check(s, c, program, windows)
    if state == S.COLLECT:
        if s[S.DECODE_HELD] <= 1 and s[S.HELD + CLIENT]:
            take(s)
            s[S.DECODE_HELD] = c[C.BUS_BITS] // 16
            if s[S.DECODE_LEFT] == 0:
                build = c[C.TABLE_BUILD] if s[S.DECODE_OUTCOME] == GOOD else 0
                s[S.DUE + DECODE] = s[S.NOW] + c[C.TABLE_WAIT] + s[S.DECODE_STEPS] + build
                s[S.STATE + DECODE] = S.BUILD
        elif s[S.DECODE_HELD]:
            s[S.DECODE_HELD] -= 1
            s[S.CHANGED] |= S.MEMORY
        return 0
    if s[S.NOW] < s[S.DUE + DECODE]:
        return 0
    return 1 if s[S.DECODE_OUTCOME] == GOOD else -DECODER


@inlined
def check(s, c, program, windows):
    """The operands; the data were asked for at dispatch. A legal instruction's weights are placed before the
    next cycle."""
    made = s[S.CURRENT + DECODE]
    table = program[made, OPCODE] == TABLE
    bad = program[made, LENGTH] == 0 or program[made, SET] >= c[C.TABLE_SETS]
    if not table:
        groups = program[made, GROUPS]
        bad = (
            bad
            or groups == 0
            or groups % 2 == 1
            or program[made, DESTINATION] + groups // 2 > c[C.WEIGHT_WORDS]
        )
    if bad:
        return -MEMORY_RANGE
    if table and program[made, LENGTH] > TABLE_GRANULES:
        return -DECODER
    if not inside(windows, 0, 2, program[made, ADDRESS], program[made, LENGTH]):
        return -READ_WINDOW
    if program[made, HANDLE] == UNBUILT:
        return -DECODER
    s[S.DECODE_LEFT] = program[made, LENGTH] * 256 // c[C.BUS_BITS]
    s[S.DECODE_FILL] = s[S.DECODE_STEP] = s[S.DECODE_HELD] = s[S.DECODE_WRONG] = 0
    s[S.STATE + DECODE] = S.COLLECT if table else S.RUN
    s[S.WORK] |= S.WORK_STREAM
    return 0


@njit(cache=True, inline="always")
def run(s, c, steps):
    """A step if the window holds its bits; a beat if the window has room."""
    fill, step = s[S.DECODE_FILL], s[S.DECODE_STEP]
    change = 0
    ended = step == s[S.DECODE_STEPS] and s[S.DECODE_OUTCOME] != SHORT
    left = s[S.DECODE_LEFT]
    if not ended:
        if step < s[S.DECODE_STEPS] and fill >= steps[s[S.DECODE_FIRST] + step]:
            change -= steps[s[S.DECODE_FIRST] + step]
            s[S.DECODE_STEP] = step + 1
            s[S.CHANGED] |= S.MEMORY
        elif left == 0:
            s[S.DECODE_WRONG] = 1
            s[S.STATE + DECODE], s[S.CHANGED] = S.DRAIN, S.OTHERS
    else:
        s[S.DECODE_WRONG] = s[S.DECODE_OUTCOME] == WRONG or fill + left * c[C.BUS_BITS] >= 256
        s[S.STATE + DECODE], s[S.CHANGED] = S.DRAIN, S.OTHERS
    if s[S.HELD + CLIENT] and left and fill <= c[C.WINDOW_BITS] - c[C.BUS_BITS]:
        take(s)
        change += c[C.BUS_BITS]
    s[S.DECODE_FILL] = fill + change
    return 0
