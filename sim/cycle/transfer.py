"""Load and store engines, a cycle at a time (hw/load.py, hw/store.py)."""

from __future__ import annotations

from numba import njit
from ossicle.hw.config import GRANULE_BYTES
from ossicle.hw.isa import Engine, Fault, Target
from ossicle.hw.registers import COUNTERS
from ossicle.hw.timing import LOAD as LOAD_CLIENT
from ossicle.hw.timing import STORE_QUEUE_WORDS
from ossicle.sim.cycle import setup as C
from ossicle.sim.cycle import state as S
from ossicle.sim.cycle.jit import inlined
from ossicle.sim.cycle.memory import ask, owned
from ossicle.sim.cycle.setup import OPERAND

LOAD, STORE = int(Engine.LOAD), int(Engine.STORE)
ACTIVATION, VECTOR, PARAMETER = int(Target.ACTIVATION), int(Target.VECTOR), int(Target.PARAMETER)
MEMORY_RANGE, READ_WINDOW, WRITE_WINDOW = (
    int(Fault.MEMORY_RANGE),
    int(Fault.READ_WINDOW),
    int(Fault.WRITE_WINDOW),
)
WRITE_BEATS = S.COUNTER + list(COUNTERS).index("write_beats")
MASK32 = 0xFFFFFFFF
MAX_BURST_BEATS = 256
PAGE = 4096

TARGET, ADDRESS, LENGTH = OPERAND["target"], OPERAND["address"], OPERAND["length"]
DESTINATION, SOURCE = OPERAND["destination"], OPERAND["source"]
ARGUMENT, STRIDE = OPERAND["argument"], OPERAND["stride"]


@njit(cache=True, inline="always")
def word_bits(c, target):
    """Width of a memory's word; 0 for no memory."""
    if target == ACTIVATION:
        return 128
    if target == VECTOR:
        return 16 * c[C.VECTOR_WIDTH]
    if target == PARAMETER:
        return 64 * c[C.VECTOR_WIDTH]
    return 0


@njit(cache=True, inline="always")
def capacity(c, target):
    """Words of a memory."""
    if target == ACTIVATION:
        return c[C.ACTIVATION_WORDS]
    if target == VECTOR:
        return c[C.VECTOR_WORDS]
    return c[C.PARAMETER_WORDS]


@njit(cache=True, inline="always")
def inside(windows, first, last, address, granules):
    """Whether a transfer of whole granules lies in one of windows first .. last - 1 of int64[3, 2]."""
    if address % GRANULE_BYTES:
        return False
    for n in range(first, last):
        if address >= windows[n, 0] and address + granules * GRANULE_BYTES <= windows[n, 1]:
            return True
    return False


@njit(cache=True, inline="always")
def address_of(program, arguments, made):
    """Where a LOAD or STORE begins in DRAM."""
    moved = arguments[program[made, ARGUMENT]] * program[made, STRIDE] * GRANULE_BYTES
    return (program[made, ADDRESS] + moved) & MASK32


@inlined
def load_cycle(s, c, program, arguments, windows, blocked):
    """One cycle of the load engine; returns 0, or 1 when it is done, or a negative fault.

    Args:
        blocked: bit t: the vector unit writes target t in this cycle.
    """
    state, made = s[S.STATE + LOAD], s[S.CURRENT + LOAD]
    target = program[made, TARGET]
    if state == S.MOVE:
        return load_move(s, c, target, blocked)
    s[S.CHANGED] = S.OTHERS
    if state == S.CHECK:
        bits = word_bits(c, target)
        total = program[made, LENGTH] * 256
        s[S.LOAD_ADDRESS] = address_of(program, arguments, made)
        if (
            bits == 0
            or total == 0
            or total % bits
            or program[made, DESTINATION] + total // bits > capacity(c, target)
        ):
            return -MEMORY_RANGE
        s[S.LOAD_LEFT], s[S.LOAD_PHASE] = total // bits, 0
        s[S.STATE + LOAD] = S.REQUEST
        return 0
    if not inside(windows, 0, 2, s[S.LOAD_ADDRESS], program[made, LENGTH]):
        return -READ_WINDOW
    ask(s, c, LOAD_CLIENT, s[S.LOAD_ADDRESS], program[made, LENGTH] * 256 // c[C.BUS_BITS])
    s[S.STATE + LOAD] = S.MOVE
    return 0


@njit(cache=True, inline="always")
def load_move(s, c, target, blocked):
    """Take a beat, write a word, or both."""
    if not s[S.HELD + LOAD_CLIENT]:
        return 0
    bits = word_bits(c, target)
    stalled = blocked >> target & 1
    if bits >= c[C.BUS_BITS]:
        complete = s[S.LOAD_PHASE] == bits // c[C.BUS_BITS] - 1
        if complete and stalled:
            return 0
        taken, write = True, complete
    else:
        if stalled:
            return 0
        complete = s[S.LOAD_PHASE] == c[C.BUS_BITS] // bits - 1 or s[S.LOAD_LEFT] == 1
        taken, write = complete, True
    s[S.CHANGED] |= S.TRANSFER
    s[S.LOAD_PHASE] = 0 if complete else s[S.LOAD_PHASE] + 1
    if taken:
        s[S.HELD + LOAD_CLIENT] -= 1
        s[S.ROOM + LOAD_CLIENT] += 1
    if write:
        s[S.LOAD_LEFT] -= 1
        if s[S.LOAD_LEFT] == 0:
            return 1
    return 0


@inlined
def store_cycle(s, c, program, arguments, windows):
    """One cycle of the store engine; returns as `load_cycle`."""
    state, made = s[S.STATE + STORE], s[S.CURRENT + STORE]
    target = program[made, TARGET]
    if state == S.MOVE:
        return store_send(s, c, target)
    s[S.CHANGED] = S.OTHERS
    if state == S.CHECK:
        s[S.STORE_ADDRESS] = address_of(program, arguments, made)
        if target > VECTOR or program[made, LENGTH] == 0:
            return -MEMORY_RANGE
        if program[made, SOURCE] + program[made, LENGTH] * 256 // word_bits(c, target) > capacity(c, target):
            return -MEMORY_RANGE
        s[S.STATE + STORE] = S.REQUEST
        return 0
    if not inside(windows, 2, 3, s[S.STORE_ADDRESS], program[made, LENGTH]):
        return -WRITE_WINDOW
    s[S.STORE_WORDS] = program[made, LENGTH] * 256 // word_bits(c, target)
    s[S.STORE_BEATS] = program[made, LENGTH] * 256 // c[C.BUS_BITS]
    s[S.STORE_BEGIN] = s[S.STORE_ADDRESS]
    s[S.STORE_LEVEL] = s[S.STORE_ARRIVING] = s[S.STORE_PHASE] = s[S.STORE_BURST] = s[S.STORE_MISSING] = 0
    s[S.STATE + STORE] = S.MOVE
    return 0


@inlined
def store_send(s, c, target):
    """Read ahead, cut or gather words into beats, send them in bursts, wait for each burst's response."""
    now, bits = s[S.NOW], word_bits(c, target)
    missing, burst, level = s[S.STORE_MISSING], s[S.STORE_BURST], s[S.STORE_LEVEL]
    if s[S.STORE_BEATS] == 0 and not missing:
        return 1
    reading = s[S.STORE_WORDS] > 0 and level + s[S.STORE_ARRIVING] < STORE_QUEUE_WORDS
    if bits >= c[C.BUS_BITS]:
        ready, final = level > 0, s[S.STORE_PHASE] == bits // c[C.BUS_BITS] - 1
    else:
        final = s[S.STORE_PHASE] == c[C.BUS_BITS] // bits - 1
        ready = level > 0 and final
    sent = burst != 0 and ready and not owned(c, now)
    if bits >= c[C.BUS_BITS]:
        popped = sent and final
        if sent:
            s[S.STORE_PHASE] = 0 if final else s[S.STORE_PHASE] + 1
    else:
        popped = level > 0 and (not final or sent)
        if popped:
            s[S.STORE_PHASE] = 0 if final else s[S.STORE_PHASE] + 1
    if reading or sent or popped or s[S.STORE_ARRIVING]:
        s[S.CHANGED] |= S.TRANSFER
    if missing and burst == 0 and now == s[S.STORE_ANSWER]:
        s[S.STORE_MISSING] = 0
        s[S.CHANGED] |= S.TRANSFER
    if s[S.STORE_BEATS] and burst == 0 and not missing:
        page = PAGE - s[S.STORE_BEGIN] % PAGE
        s[S.STORE_BURST] = min(s[S.STORE_BEATS], min(MAX_BURST_BEATS, page * 8 // c[C.BUS_BITS]))
        s[S.STORE_MISSING] = 1
        s[S.CHANGED] |= S.TRANSFER
    if sent:
        s[WRITE_BEATS] += 1
        s[S.STORE_BURST] -= 1
        s[S.STORE_BEATS] -= 1
        s[S.STORE_BEGIN] += c[C.BUS_BITS] // 8
        if burst == 1:
            s[S.STORE_ANSWER] = now + 1 + c[C.DRAM_LATENCY]
    s[S.STORE_LEVEL] = level + s[S.STORE_ARRIVING] - popped
    s[S.STORE_ARRIVING] = reading
    s[S.STORE_WORDS] -= reading
    return 0
