"""A job, cycle by cycle, skipping over cycles in which nothing can change."""

from __future__ import annotations

import numpy as np
from numba import njit

from ossicle.hw.config import GRANULE_BYTES
from ossicle.hw.isa import TOKEN_MAX, Engine, Fault, Opcode
from ossicle.hw.registers import COUNTERS
from ossicle.hw.timing import DECODE as DECODE_CLIENT
from ossicle.hw.timing import FETCH as FETCH_CLIENT
from ossicle.sim.cycle import state as S
from ossicle.sim.cycle.compute import mac_cycle, vector_cycle
from ossicle.sim.cycle.decode import decode_cycle, starved
from ossicle.sim.cycle.memory import ask, reader_cycle
from ossicle.sim.cycle.setup import ENGINE, ENGINE_OF, HANDLE, OPCODE, OPERAND, SIGNAL, WAIT
from ossicle.sim.cycle.transfer import inside, load_cycle, store_cycle, word_bits

LOAD, DECODE, MAC = int(Engine.LOAD), int(Engine.DECODE), int(Engine.MAC)
VECTOR, STORE, CONTROL = int(Engine.VECTOR), int(Engine.STORE), int(Engine.CONTROL)
END, SKIP, TABLE, STREAM = int(Opcode.END), int(Opcode.SKIP), int(Opcode.TABLE), int(Opcode.STREAM)
BAD_OPCODE, NO_END, OVERFLOW = int(Fault.OPCODE), int(Fault.NO_END), int(Fault.TOKEN_OVERFLOW)
READ_WINDOW, WATCHDOG = int(Fault.READ_WINDOW), int(Fault.WATCHDOG)
COUNTER = {name: S.COUNTER + n for n, name in enumerate(COUNTERS)}
CYCLES, INSTRUCTIONS, BUSY = COUNTER["cycles"], COUNTER["instructions"], COUNTER["load_busy"] - 1
IDLE_BUS, IDLE_DECODE, IDLE_LOAD = COUNTER["mac_idle_bus"], COUNTER["mac_idle_decode"], COUNTER["mac_idle_load"]
IDLE_VECTOR, IDLE_STORE, IDLE_CONTROL = (COUNTER[f"mac_idle_{n}"] for n in ("vector", "store", "control"))
PRODUCTS, FETCHING, IMBALANCE = COUNTER["lane_products"], COUNTER["lane_fetch"], COUNTER["lane_imbalance"]
SKIPPED, READ_BEATS, READ_WAIT = COUNTER["macs_skipped"], COUNTER["read_beats"], COUNTER["read_wait"]
WRITE_BEATS = COUNTER["write_beats"]

ADDRESS, LENGTH, SET, DESTINATION = (OPERAND[n] for n in ("address", "length", "set", "destination"))
SKIP_PREDICATE, SENSE, COUNT, GROUPS = OPERAND["predicate"], OPERAND["sense"], OPERAND["count"], OPERAND["groups"]
TARGET, SOURCE = OPERAND["target"], OPERAND["source"]
ENGINES = S.ENGINES
JOB_ENDED, NEEDS_STREAM, EVENTS_FULL = range(3)
NEVER = 1 << 62


@njit(cache=True)
def begin(s, c, entry, count, windows):
    """Cycle 0: the start of a job on a chip that stands still."""
    s[:] = 0
    s[S.NOW] = 1
    s[S.ROOM], s[S.ROOM + 1], s[S.ROOM + 2] = c.fetch_room, c.load_room, c.decode_room
    if inside(windows[:2], entry, (count + 1) // 2):
        ask(s, c, FETCH_CLIENT, entry, max(count * 128 // c.bus_bits, (count * 128 + c.bus_bits - 1) // c.bus_bits))
    else:
        s[S.FAULT], s[S.FAULT_ENGINE] = READ_WINDOW, CONTROL


@njit(cache=True)
def run(s, c, program, arguments, windows, chip, dram, pool, events, watchdog):
    """Run until the job ends, a stream is to be decoded (its index in VALUE), or the event log is full."""
    level = np.zeros(ENGINES, np.int64)
    idle = np.zeros(ENGINES, np.bool_)
    given = np.zeros(ENGINES, np.int64)
    while s[S.PHASE] != S.ENDED:
        if s[S.EVENTS] + 2 * ENGINES + 4 > len(events):
            return EVENTS_FULL
        if needs_stream(s, program):
            return NEEDS_STREAM
        s[S.CHANGED] = 0
        waited = cycle(s, c, program, arguments, windows, chip, dram, pool, events, watchdog, level, idle, given)
        if s[S.CHANGED] == 0 and s[S.PHASE] == S.RUNNING:
            leap(s, c, program, pool, watchdog, waited)
    s[FETCHING] = c.lanes * s[BUSY + MAC] - s[PRODUCTS] - s[IMBALANCE]
    return JOB_ENDED


@njit(cache=True, inline="always")
def needs_stream(s, program):
    """Whether the decoder is about to start an instruction whose data have not been decoded."""
    if s[S.STATE + DECODE] != S.IDLE or s[S.QUEUE_LEVEL + DECODE] == 0:
        return False
    index = s[S.QUEUE + DECODE * S.MAX_QUEUE + s[S.QUEUE_HEAD + DECODE]]
    s[S.VALUE + DECODE] = index
    return program[index, HANDLE] < 0 and ready(s, DECODE, program[index, WAIT])


@njit(cache=True, inline="always")
def ready(s, taker, wait):
    """Whether every token that an instruction waits for is there."""
    for giver in range(ENGINES):
        if wait >> giver & 1 and s[S.TOKEN + giver * ENGINES + taker] == 0:
            return False
    return True


@njit(cache=True, inline="always")
def log(s, events, engine, kind, index, value):
    n = s[S.EVENTS]
    events[n, 0], events[n, 1], events[n, 2], events[n, 3], events[n, 4] = s[S.NOW], engine, kind, index, value
    s[S.EVENTS] = n + 1


@njit(cache=True, inline="always")
def fail(s, fault, engine, index):
    """Keep the first fault of the job."""
    if s[S.FAULT] == 0 and s[S.PHASE] == S.RUNNING:
        s[S.FAULT], s[S.FAULT_ENGINE], s[S.FAULT_INDEX] = fault, engine, index


@njit(cache=True)
def cycle(s, c, program, arguments, windows, chip, dram, pool, events, watchdog, level, idle, given):
    """One cycle; returns whether the reader waited in vain."""
    stop = s[S.PHASE] != S.RUNNING
    quiet = s[S.UNDER_WAY] == 0 and not s[S.ADDRESS_VALID] and s[S.STATE + STORE] == S.IDLE
    decoder_free = s[S.LEFT + DECODE_CLIENT] == 0
    for engine in range(ENGINES):
        level[engine], idle[engine], given[engine] = s[S.QUEUE_LEVEL + engine], s[S.STATE + engine] == S.IDLE, 0
    lacking = starved(s, program[s[S.CURRENT + DECODE]], pool.steps)
    account(s, program, lacking, 1)
    outcome = reader_cycle(s, c, stop)
    s[READ_BEATS] += outcome == 1
    s[READ_WAIT] += outcome == 2
    engines(s, c, program, arguments, windows, chip, dram, pool, events, given)
    ended = False
    if not stop:
        if s[S.AHEAD_LEVEL] and decoder_free:
            send_ahead(s, c)
        used = dispatch(s, c, program, windows, events, level, idle, given)
        ended = used == 2
        assemble(s, c, used == 1)
        starts(s, c, program, chip, pool, events, level, idle)
        give(s, given)
    if s[S.ARRIVED] >= 0:
        s[S.HELD + s[S.ARRIVED]] += 1
    if s[S.PHASE] == S.RUNNING:
        expired = s[S.NOW] == watchdog
        if expired and not ended:
            fail(s, WATCHDOG, CONTROL, 0)
        if ended or s[S.FAULT]:
            s[S.PHASE] = S.FINISHING
    elif s[S.PHASE] == S.FINISHING:
        s[S.PHASE] = S.CLEARING if quiet else S.FINISHING
    else:
        s[S.PHASE] = S.ENDED
    s[S.NOW] += 1
    return outcome == 2


@njit(cache=True)
def account(s, program, lacking, cycles):
    """Count cycles that are all like the one at the beginning of which this is called."""
    s[CYCLES] += cycles
    for engine in range(1, ENGINES):
        if s[S.STATE + engine] != S.IDLE:
            s[BUSY + engine] += cycles
    if lacking:
        s[S.VALUE + DECODE] += cycles
    if s[S.STATE + MAC] != S.IDLE:
        return
    waiting = s[S.QUEUE_LEVEL + MAC] > 0
    wait = program[s[S.QUEUE + MAC * S.MAX_QUEUE + s[S.QUEUE_HEAD + MAC]], WAIT]
    for engine in (DECODE, LOAD, VECTOR, STORE):
        if waiting:
            cause = wait >> engine & 1 and s[S.TOKEN + engine * ENGINES + MAC] == 0
        else:
            cause = s[S.STATE + engine] != S.IDLE
        if cause:
            if engine == DECODE:
                s[IDLE_BUS if lacking else IDLE_DECODE] += cycles
            elif engine == LOAD:
                s[IDLE_LOAD] += cycles
            elif engine == VECTOR:
                s[IDLE_VECTOR] += cycles
            else:
                s[IDLE_STORE] += cycles
            return
    s[IDLE_CONTROL] += cycles


@njit(cache=True)
def engines(s, c, program, arguments, windows, chip, dram, pool, events, given):
    """A cycle of each engine that is at work."""
    blocked = 0
    if s[S.STATE + VECTOR] == S.RUN and s[S.NOW] >= s[S.VECTOR_FIRST]:
        blocked = s[S.VECTOR_TARGETS]
    for engine in range(1, ENGINES):
        if s[S.STATE + engine] == S.IDLE:
            continue
        index = s[S.CURRENT + engine]
        made = program[index]
        if engine == LOAD:
            result = load_cycle(s, c, made, arguments, windows, blocked)
        elif engine == DECODE:
            result = decode_cycle(s, c, made, windows, pool.steps)
        elif engine == MAC:
            result = mac_cycle(s, c, made, chip)
        elif engine == VECTOR:
            result = vector_cycle(s, c, made, chip)
        else:
            result = store_cycle(s, c, made, arguments, windows, s[WRITE_BEATS : WRITE_BEATS + 1])
        if result == 0:
            continue
        s[S.CHANGED] = 1
        s[S.STATE + engine] = S.IDLE
        if result < 0:
            fail(s, -result, engine, index)
            continue
        given[engine] = made[SIGNAL]
        finish(s, c, engine, made, chip, dram)
        log(s, events, engine, 1, index, s[S.VALUE + engine])


@njit(cache=True)
def finish(s, c, engine, made, chip, dram):
    """What an engine's end leaves behind."""
    if engine == MAC:
        s[PRODUCTS] += s[S.MAC_PRODUCTS]
        s[IMBALANCE] += s[S.MAC_IMBALANCE]
        s[SKIPPED] += s[S.MAC_SKIPPED]
    elif engine == LOAD:
        memory = chip.words0 if made[TARGET] == 0 else chip.words1 if made[TARGET] == 1 else chip.words2
        copy(dram, s[S.LOAD_ADDRESS], memory, made[DESTINATION] * word_bits(c, made[TARGET]) // 8, made[LENGTH] * 32)
        s[S.VALUE + LOAD] = made[LENGTH]
    elif engine == STORE:
        memory = chip.words0 if made[TARGET] == 0 else chip.words1
        copy(memory, made[SOURCE] * word_bits(c, made[TARGET]) // 8, dram, s[S.STORE_ADDRESS], made[LENGTH] * 32)
        s[S.VALUE + STORE] = made[LENGTH]


@njit(cache=True)
def copy(source, first, target, place, count):
    """Bytes, as far as both arrays reach."""
    for n in range(min(count, min(len(source) - first, len(target) - place))):
        target[place + n] = source[first + n]


@njit(cache=True, inline="always")
def send_ahead(s, c):
    """Hand the decoder's next request to the reader."""
    head = s[S.AHEAD_HEAD]
    ask(s, c, DECODE_CLIENT, s[S.AHEAD + 2 * head], s[S.AHEAD + 2 * head + 1])
    s[S.AHEAD_HEAD] = (head + 1) % S.MAX_QUEUE
    s[S.AHEAD_LEVEL] -= 1


@njit(cache=True)
def dispatch(s, c, program, windows, events, level, idle, given):
    """The sequencer's head instruction; returns 0, 1 when it leaves, 2 when it ends the job."""
    index = s[S.INDEX]
    if index == len(program):
        fail(s, NO_END, CONTROL, index)
    if not s[S.THERE]:
        return 0
    made = program[index]
    if s[S.TO_SKIP]:
        s[S.TO_SKIP] -= 1
        return 1
    opcode = made[OPCODE]
    if opcode == SKIP or opcode == END:
        return control(s, made, index, events, level, idle, given)
    if ENGINE_OF[opcode] == 0:
        fail(s, BAD_OPCODE, CONTROL, index)
        return 0
    engine = made[ENGINE]
    if level[engine] == c.queue_depth:
        return 0
    slot = (s[S.QUEUE_HEAD + engine] + s[S.QUEUE_LEVEL + engine]) % S.MAX_QUEUE
    s[S.QUEUE + engine * S.MAX_QUEUE + slot] = index
    s[S.QUEUE_LEVEL + engine] += 1
    s[INSTRUCTIONS] += 1
    if engine == DECODE and made[LENGTH] and inside(windows[:2], made[ADDRESS], made[LENGTH]):
        slot = (s[S.AHEAD_HEAD] + s[S.AHEAD_LEVEL]) % S.MAX_QUEUE
        s[S.AHEAD + 2 * slot], s[S.AHEAD + 2 * slot + 1] = made[ADDRESS], made[LENGTH] * 256 // c.bus_bits
        s[S.AHEAD_LEVEL] += 1
    return 1


@njit(cache=True)
def control(s, made, index, events, level, idle, given):
    """SKIP and END."""
    if not ready(s, CONTROL, made[WAIT]):
        return 0
    ends = made[OPCODE] == END
    if ends:
        for engine in range(1, ENGINES):
            if level[engine] or not idle[engine]:
                return 0
    for giver in range(ENGINES):
        if made[WAIT] >> giver & 1:
            s[S.TOKEN + giver * ENGINES + CONTROL] -= 1
    given[CONTROL] = made[SIGNAL]
    s[INSTRUCTIONS] += 1
    s[S.CHANGED] = 1
    log(s, events, CONTROL, 0, index, 0)
    log(s, events, CONTROL, 1, index, 0)
    if ends:
        return 2
    if s[S.PREDICATE + made[SKIP_PREDICATE]] == made[SENSE]:
        s[S.TO_SKIP] = made[COUNT]
    return 1


@njit(cache=True, inline="always")
def assemble(s, c, leaves):
    """Take a beat of instructions; `leaves`: the head instruction goes in this cycle."""
    if leaves:
        s[S.CHANGED] = 1
        s[S.INDEX] += 1
        s[S.THERE] = 0
    if not s[S.HELD + FETCH_CLIENT]:
        return
    room = s[S.THERE] == 0
    if c.bus_bits < 128:
        final = s[S.PART] == 128 // c.bus_bits - 1
        if final and not room:
            return
        popped, complete = True, final
    else:
        if not room:
            return
        popped = final = s[S.PART] == c.bus_bits // 128 - 1
        complete = True
    s[S.CHANGED] = 1
    s[S.PART] = 0 if final else s[S.PART] + 1
    s[S.THERE] = 1 if complete else s[S.THERE]
    if popped:
        s[S.HELD + FETCH_CLIENT] -= 1
        s[S.ROOM + FETCH_CLIENT] += 1


@njit(cache=True)
def starts(s, c, program, chip, pool, events, level, idle):
    """Start what stood at the head of an idle engine's queue with its tokens there."""
    for engine in range(1, ENGINES):
        if not idle[engine] or level[engine] == 0:
            continue
        head = s[S.QUEUE_HEAD + engine]
        index = s[S.QUEUE + engine * S.MAX_QUEUE + head]
        made = program[index]
        if not ready(s, engine, made[WAIT]):
            continue
        for giver in range(ENGINES):
            if made[WAIT] >> giver & 1:
                s[S.TOKEN + giver * ENGINES + engine] -= 1
        s[S.QUEUE_HEAD + engine] = (head + 1) % S.MAX_QUEUE
        s[S.QUEUE_LEVEL + engine] -= 1
        s[S.CURRENT + engine], s[S.CHANGED] = index, 1
        s[S.STATE + engine] = S.REQUEST if engine == DECODE else S.CHECK
        log(s, events, engine, 0, index, 0)
        if engine == DECODE:
            place_stream(s, made, chip, pool)


@njit(cache=True)
def place_stream(s, made, chip, pool):
    """The weights of a stream, decoded beforehand, and its steps."""
    s[S.VALUE + DECODE] = 0
    first, steps, outcome, bank = pool.index[made[HANDLE]]
    s[S.DECODE_FIRST], s[S.DECODE_STEPS], s[S.DECODE_OUTCOME] = first, steps, outcome
    if made[OPCODE] != STREAM or bank < 0:
        return
    words, place = made[GROUPS] // 2, made[DESTINATION]
    for lane in range(len(chip.weights)):
        start = bank + lane * words
        chip.weights[lane, place : place + words] = pool.banks[start : start + words]
        chip.tags[lane, place : place + words] = pool.tags[start : start + words]


@njit(cache=True, inline="always")
def give(s, given):
    """Tokens of this cycle's ends; they can be taken from the next one on."""
    for giver in range(ENGINES):
        if given[giver]:
            for taker in range(ENGINES):
                if given[giver] >> taker & 1:
                    s[S.TOKEN + giver * ENGINES + taker] += 1
                    if s[S.TOKEN + giver * ENGINES + taker] > TOKEN_MAX:
                        fail(s, OVERFLOW, giver, s[S.INDEX])


@njit(cache=True)
def leap(s, c, program, pool, watchdog, waited):
    """Pass the cycles up to the next one in which the time itself changes something."""
    target = watchdog if watchdog >= s[S.NOW] else NEVER
    for engine in (MAC, VECTOR):
        if s[S.STATE + engine] == S.RUN:
            target = min(target, s[S.DUE + engine])
    if s[S.STATE + VECTOR] == S.RUN and s[S.VECTOR_FIRST] >= s[S.NOW]:
        target = min(target, s[S.VECTOR_FIRST])
    if s[S.STATE + DECODE] == S.BUILD:
        target = min(target, s[S.DUE + DECODE])
    if s[S.BURST_LEVEL]:
        target = min(target, s[S.BURST_DUE + s[S.BURST_HEAD]])
    if s[S.STATE + STORE] == S.MOVE:
        if c.music_percent and s[S.STORE_BURST]:
            return
        if s[S.STORE_MISSING] and s[S.STORE_BURST] == 0:
            target = min(target, s[S.STORE_ANSWER])
    cycles = target - s[S.NOW]
    if cycles <= 0 or target == NEVER:
        return
    account(s, program, starved(s, program[s[S.CURRENT + DECODE]], pool.steps), cycles)
    s[READ_WAIT] += cycles if waited else 0
    s[S.NOW] = target
