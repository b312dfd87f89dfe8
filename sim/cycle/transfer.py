"""Load and store engines, a cycle at a time (hw/load.py, hw/store.py)."""

from __future__ import annotations

from numba import njit

from ossicle.hw.isa import Engine, Fault, Target
from ossicle.hw.timing import LOAD as LOAD_CLIENT
from ossicle.hw.timing import STORE_QUEUE_WORDS
from ossicle.sim.cycle import state as S
from ossicle.sim.cycle.memory import ask, owned
from ossicle.sim.cycle.setup import OPERAND

LOAD, STORE = int(Engine.LOAD), int(Engine.STORE)
ACTIVATION, VECTOR, PARAMETER = int(Target.ACTIVATION), int(Target.VECTOR), int(Target.PARAMETER)
MEMORY_RANGE, READ_WINDOW, WRITE_WINDOW = int(Fault.MEMORY_RANGE), int(Fault.READ_WINDOW), int(Fault.WRITE_WINDOW)
MASK32 = 0xFFFFFFFF
MAX_BURST_BEATS = 256

TARGET, ADDRESS, LENGTH = OPERAND["target"], OPERAND["address"], OPERAND["length"]
DESTINATION, SOURCE = OPERAND["destination"], OPERAND["source"]
ARGUMENT, STRIDE = OPERAND["argument"], OPERAND["stride"]


@njit(cache=True, inline="always")
def word_bits(c, target):
    """Width of a memory's word; 0 for no memory."""
    if target == ACTIVATION:
        return 128
    if target == VECTOR:
        return 16 * c.vector_width
    if target == PARAMETER:
        return 64 * c.vector_width
    return 0


@njit(cache=True, inline="always")
def capacity(c, target):
    """Words of a memory."""
    if target == ACTIVATION:
        return c.activation_words
    if target == VECTOR:
        return c.vector_words
    return c.parameter_words


@njit(cache=True, inline="always")
def inside(windows, address, granules):
    """Whether a transfer lies in one of the windows, int64[n, 2]."""
    for n in range(len(windows)):
        if address >= windows[n, 0] and address + granules * 32 <= windows[n, 1]:
            return True
    return False


@njit(cache=True)
def load_cycle(s, c, made, arguments, windows, blocked):
    """One cycle of the load engine; returns 0, or 1 when it is done, or a negative fault.

    Args:
        made: the instruction's row. blocked: bit t: the vector unit writes target t in this cycle.
    """
    state = s[S.STATE + LOAD]
    target = made[TARGET]
    if state == S.MOVE:
        return load_move(s, c, target, blocked)
    s[S.CHANGED] = 1
    if state == S.CHECK:
        bits = word_bits(c, target)
        total = made[LENGTH] * 256
        s[S.LOAD_ADDRESS] = (made[ADDRESS] + arguments[made[ARGUMENT]] * made[STRIDE] * 32) & MASK32
        if bits == 0 or total == 0 or total % bits or made[DESTINATION] + total // bits > capacity(c, target):
            return -MEMORY_RANGE
        s[S.LOAD_LEFT], s[S.LOAD_PHASE] = total // bits, 0
        s[S.STATE + LOAD] = S.REQUEST
        return 0
    if not inside(windows[:2], s[S.LOAD_ADDRESS], made[LENGTH]):
        return -READ_WINDOW
    ask(s, c, LOAD_CLIENT, s[S.LOAD_ADDRESS], made[LENGTH] * 256 // c.bus_bits)
    s[S.STATE + LOAD] = S.MOVE
    return 0


@njit(cache=True, inline="always")
def load_move(s, c, target, blocked):
    """Take a beat, write a word, or both."""
    if not s[S.HELD + LOAD_CLIENT]:
        return 0
    bits = word_bits(c, target)
    stalled = blocked >> target & 1
    if bits >= c.bus_bits:
        complete = s[S.LOAD_PHASE] == bits // c.bus_bits - 1
        if complete and stalled:
            return 0
        taken, write = True, complete
    else:
        if stalled:
            return 0
        complete = s[S.LOAD_PHASE] == c.bus_bits // bits - 1 or s[S.LOAD_LEFT] == 1
        taken, write = complete, True
    s[S.CHANGED] = 1
    s[S.LOAD_PHASE] = 0 if complete else s[S.LOAD_PHASE] + 1
    if taken:
        s[S.HELD + LOAD_CLIENT] -= 1
        s[S.ROOM + LOAD_CLIENT] += 1
    if write:
        s[S.LOAD_LEFT] -= 1
        if s[S.LOAD_LEFT] == 0:
            return 1
    return 0


@njit(cache=True)
def store_cycle(s, c, made, arguments, windows, counters):
    """One cycle of the store engine; returns as `load_cycle`. counters[0] counts beats."""
    state = s[S.STATE + STORE]
    target = made[TARGET]
    if state == S.MOVE:
        return store_send(s, c, target, counters)
    s[S.CHANGED] = 1
    if state == S.CHECK:
        s[S.STORE_ADDRESS] = (made[ADDRESS] + arguments[made[ARGUMENT]] * made[STRIDE] * 32) & MASK32
        if target > VECTOR or made[LENGTH] == 0:
            return -MEMORY_RANGE
        if made[SOURCE] + made[LENGTH] * 256 // word_bits(c, target) > capacity(c, target):
            return -MEMORY_RANGE
        s[S.STATE + STORE] = S.REQUEST
        return 0
    if not inside(windows[2:], s[S.STORE_ADDRESS], made[LENGTH]):
        return -WRITE_WINDOW
    s[S.STORE_WORDS] = made[LENGTH] * 256 // word_bits(c, target)
    s[S.STORE_BEATS] = made[LENGTH] * 256 // c.bus_bits
    s[S.STORE_BEGIN] = s[S.STORE_ADDRESS]
    s[S.STORE_LEVEL] = s[S.STORE_ARRIVING] = s[S.STORE_PHASE] = s[S.STORE_BURST] = s[S.STORE_MISSING] = 0
    s[S.STATE + STORE] = S.MOVE
    return 0


@njit(cache=True)
def store_send(s, c, target, counters):
    """Read ahead, cut or gather words into beats, send them in bursts, wait for each burst's response."""
    now, bits = s[S.NOW], word_bits(c, target)
    missing, burst, level = s[S.STORE_MISSING], s[S.STORE_BURST], s[S.STORE_LEVEL]
    if s[S.STORE_BEATS] == 0 and not missing:
        return 1
    reading = s[S.STORE_WORDS] > 0 and level + s[S.STORE_ARRIVING] < STORE_QUEUE_WORDS
    if bits >= c.bus_bits:
        ready, final = level > 0, s[S.STORE_PHASE] == bits // c.bus_bits - 1
    else:
        final = s[S.STORE_PHASE] == c.bus_bits // bits - 1
        ready = level > 0 and final
    sent = burst != 0 and ready and not owned(c, now)
    if bits >= c.bus_bits:
        popped = sent and final
        if sent:
            s[S.STORE_PHASE] = 0 if final else s[S.STORE_PHASE] + 1
    else:
        popped = level > 0 and (not final or sent)
        if popped:
            s[S.STORE_PHASE] = 0 if final else s[S.STORE_PHASE] + 1
    if reading or sent or popped or s[S.STORE_ARRIVING]:
        s[S.CHANGED] = 1
    if missing and burst == 0 and now == s[S.STORE_ANSWER]:
        s[S.STORE_MISSING], s[S.CHANGED] = 0, 1
    if s[S.STORE_BEATS] and burst == 0 and not missing:
        page = 4096 - s[S.STORE_BEGIN] % 4096
        s[S.STORE_BURST] = min(s[S.STORE_BEATS], min(MAX_BURST_BEATS, page * 8 // c.bus_bits))
        s[S.STORE_MISSING], s[S.CHANGED] = 1, 1
    if sent:
        counters[0] += 1
        s[S.STORE_BURST] -= 1
        s[S.STORE_BEATS] -= 1
        s[S.STORE_BEGIN] += c.bus_bits // 8
        if burst == 1:
            s[S.STORE_ANSWER] = now + 1 + c.dram_latency
    s[S.STORE_LEVEL] = level + s[S.STORE_ARRIVING] - popped
    s[S.STORE_ARRIVING] = reading
    s[S.STORE_WORDS] -= reading
    return 0
