"""A job, cycle by cycle, skipping over cycles in which nothing can change."""

from __future__ import annotations

import numpy as np
from numba import njit
from ossicle.hw.isa import TOKEN_MAX, Engine, Fault, Opcode
from ossicle.hw.registers import COUNTERS
from ossicle.hw.timing import DECODE as DECODE_CLIENT
from ossicle.hw.timing import FETCH as FETCH_CLIENT
from ossicle.hw.timing import LOAD as LOAD_CLIENT
from ossicle.sim.cycle import setup as C
from ossicle.sim.cycle import state as S
from ossicle.sim.cycle.compute import compute_mac, compute_vector, mac_cycle, mac_until, vector_cycle
from ossicle.sim.cycle.decode import decode_cycle, starved
from ossicle.sim.cycle.decode import run as decode_run
from ossicle.sim.cycle.jit import copy, inlined, uncounted
from ossicle.sim.cycle.memory import ask, owned, reader_cycle, request, wants
from ossicle.sim.cycle.paths import (
    EARLY,
    EXACT,
    MOST_CYCLES,
    MOST_EXACT,
    NONE,
    PLAIN,
    SOUGHT,
    TO,
    TRACED,
    WAITS,
    end_of_stream,
    fits,
    keep,
    left,
    may_be_early,
    pass_over,
    place_of,
    prepare_trial,
    stands_still,
    step_from,
)
from ossicle.sim.cycle.setup import ENGINE, ENGINE_OF, HANDLE, OPCODE, OPERAND, SIGNAL, WAIT
from ossicle.sim.cycle.standing import alignments, pause, restore
from ossicle.sim.cycle.strides import in_hand, stride
from ossicle.sim.cycle.transfer import inside, load_cycle, load_move, store_cycle, store_send, word_bits
from ossicle.sim.cycle.weights import hold

LOAD, DECODE, MAC = int(Engine.LOAD), int(Engine.DECODE), int(Engine.MAC)
VECTOR, STORE, CONTROL = int(Engine.VECTOR), int(Engine.STORE), int(Engine.CONTROL)
END, SKIP, TABLE, STREAM = int(Opcode.END), int(Opcode.SKIP), int(Opcode.TABLE), int(Opcode.STREAM)
BAD_OPCODE, NO_END, OVERFLOW = int(Fault.OPCODE), int(Fault.NO_END), int(Fault.TOKEN_OVERFLOW)
READ_WINDOW, WATCHDOG = int(Fault.READ_WINDOW), int(Fault.WATCHDOG)
COUNTER = {name: S.COUNTER + n for n, name in enumerate(COUNTERS)}
CYCLES, INSTRUCTIONS, BUSY = COUNTER["cycles"], COUNTER["instructions"], COUNTER["load_busy"] - 1
IDLE_BUS, IDLE_DECODE, IDLE_LOAD = (
    COUNTER["mac_idle_bus"],
    COUNTER["mac_idle_decode"],
    COUNTER["mac_idle_load"],
)
IDLE_VECTOR, IDLE_STORE, IDLE_CONTROL = (COUNTER[f"mac_idle_{n}"] for n in ("vector", "store", "control"))
PRODUCTS, FETCHING, IMBALANCE = COUNTER["lane_products"], COUNTER["lane_fetch"], COUNTER["lane_imbalance"]
SKIPPED, READ_BEATS, READ_WAIT = COUNTER["macs_skipped"], COUNTER["read_beats"], COUNTER["read_wait"]
WRITE_BEATS = COUNTER["write_beats"]

ADDRESS, LENGTH, SET, DESTINATION = (OPERAND[n] for n in ("address", "length", "set", "destination"))
SKIP_PREDICATE, SENSE, COUNT, GROUPS = (
    OPERAND["predicate"],
    OPERAND["sense"],
    OPERAND["count"],
    OPERAND["groups"],
)
TARGET, SOURCE = OPERAND["target"], OPERAND["source"]
ENGINES = S.ENGINES
JOB_ENDED, NEEDS_STREAM, EVENTS_FULL, WORK_WAITS, NOTHING_MOVES = range(5)
TRIAL = -2
"""A watchdog that never comes, of registers that stop where nothing moves."""


@uncounted
def begin(s, c, entry, count, windows):
    """Cycle 0: the start of a job on a chip that stands still."""
    s[:] = 0
    s[S.NOW] = 1
    s[S.ROOM], s[S.ROOM + 1], s[S.ROOM + 2] = c[C.FETCH_ROOM], c[C.LOAD_ROOM], c[C.DECODE_ROOM]
    if inside(windows, 0, 2, entry, (count + 1) // 2):
        ask(
            s,
            c,
            FETCH_CLIENT,
            entry,
            max(count * 128 // c[C.BUS_BITS], (count * 128 + c[C.BUS_BITS] - 1) // c[C.BUS_BITS]),
        )
    else:
        s[S.FAULT], s[S.FAULT_ENGINE] = READ_WINDOW, CONTROL


@uncounted
def run(s, c, program, arguments, windows, chip, dram, pool, events, paths, watchdog):
    """Run until the job ends, a stream is to be decoded (its index in VALUE), or the event log is full.

    Args:
        paths: what `sim.cycle.paths` keeps of the job; without rows: nothing.
    """
    steps, strides = pool.steps, pool.strides
    outcome, place = WORK_WAITS, NONE
    keeps = len(paths.places) > 0 and alignments(c, program, arguments, windows, paths.aligned)
    while s[S.PHASE] != S.ENDED:
        if place == NONE and keeps and s[S.PHASE] == S.RUNNING and s[S.FAULT] == 0:
            place = place_of(s, c, paths)
            if place != NONE:
                pause(s)
        step = NONE
        if place != NONE:
            step = step_from(s, paths, place)
            if step == NONE:
                step = learn(s, c, program, arguments, windows, pool, paths, place)
            if step != NONE and not fits(s, paths, place, step, events, watchdog):
                step = NONE
            if step == NONE:
                restore(s, paths.places[place], program, arguments)
        if step != NONE:
            pass_over(s, paths, place, step, events, program, arguments)
            place, outcome = paths.steps[step, TO], WORK_WAITS
        else:
            outcome = advance(s, c, program, arguments, windows, steps, strides, events, s[:0], watchdog)
            place = NONE
        if s[S.WORK]:
            work(s, c, program, chip, dram, pool)
        if outcome != WORK_WAITS:
            break
    if s[S.PHASE] == S.ENDED:
        if s[S.STATE + MAC] == S.RUN:
            products, imbalance = mac_until(s, c, program[s[S.CURRENT + MAC]], chip, pool)
            s[PRODUCTS] += products
            s[IMBALANCE] += imbalance
        s[CYCLES] = s[S.NOW] - 1
        for engine in range(1, ENGINES):
            if s[S.STATE + engine] != S.IDLE:
                s[BUSY + engine] += s[CYCLES]
        s[FETCHING] = c[C.LANES] * s[BUSY + MAC] - s[PRODUCTS] - s[IMBALANCE]
        return JOB_ENDED
    return outcome


@uncounted
def learn(s, c, program, arguments, windows, pool, paths, place):
    """Find the step that a job takes from a place; returns it, or NONE."""
    own, cycles = paths.places[place], left(s, paths.places[place])
    if own[S.STATE + MAC] == S.RUN and not own[SOUGHT]:
        own[SOUGHT] = 1
        learn_ranges(s, c, program, arguments, windows, pool, paths, place)
        step = step_from(s, paths, place)
        if step != NONE:
            return step
    if own[EXACT] == MOST_EXACT:
        return NONE
    own[EXACT] += 1
    outcome = attempt(s, c, program, arguments, windows, pool, paths, place, s[S.NOW] + cycles, s[:0])
    if outcome != WORK_WAITS:
        return NONE
    return keep(c, s[S.NOW], program, paths, place, cycles, cycles, PLAIN)


@uncounted
def learn_ranges(s, c, program, arguments, windows, pool, paths, place):
    """Find the steps from a place that hold whenever the MAC instruction ends, after them or EARLY."""
    trial, now = paths.trial, s[S.NOW]
    outcome = attempt(s, c, program, arguments, windows, pool, paths, place, S.NEVER, s[:0])
    if outcome == WORK_WAITS and trial[S.PHASE] == S.RUNNING:
        keep(c, now, program, paths, place, trial[S.NOW] - now, S.NEVER, PLAIN)
    elif outcome == NOTHING_MOVES and stands_still(trial):
        # Where nothing moves from the beginning, a MAC instruction that is due is not waited for.
        keep(c, now, program, paths, place, max(trial[S.NOW] - now, 1), S.NEVER, WAITS)
    first = paths.used[TRACED]
    if not may_be_early(paths.places[place], program) or first + MOST_CYCLES > len(paths.idled):
        return
    trace = paths.idled[first : first + MOST_CYCLES]
    outcome = attempt(s, c, program, arguments, windows, pool, paths, place, now, trace)
    free = end_of_stream(trial, paths.log, trace, now)
    if outcome == WORK_WAITS and free:
        step = keep(c, now, program, paths, place, -S.NEVER, free - 1, EARLY)
        paths.used[TRACED] += free if step != NONE else 0


@uncounted
def attempt(s, c, program, arguments, windows, pool, paths, place, due, trace):
    """What passes from a place, on the trial's registers, if the MAC instruction ends in cycle `due`."""
    trial = paths.trial
    prepare_trial(s, paths, place, program, arguments)
    trial[S.DUE + MAC] = due
    watchdog = np.int64(TRIAL)  # for a literal, `advance` and all it calls would be compiled once more
    outcome = advance(
        trial, c, program, arguments, windows, pool.steps, pool.strides, paths.log, trace, watchdog
    )
    if outcome == WORK_WAITS and trial[S.WORK] & S.WORK_STREAM:
        begin_stream(trial, program[trial[S.CURRENT + DECODE]], pool)
    return outcome


@uncounted
def advance(s, c, program, arguments, windows, steps, strides, events, trace, watchdog):
    """Cycle after cycle, until there is work to do or a reason to stop.

    Args:
        trace: cycles one by one, as many as it has room for, with IDLE_BUS and IDLE_DECODE after each; if it
            has none, any number.
    """
    traced = 0
    while s[S.PHASE] != S.ENDED:
        if s[S.EVENTS] + 2 * ENGINES + 4 > len(events):
            return EVENTS_FULL
        if needs_stream(s, program):
            return NEEDS_STREAM
        if s[S.PHASE] == S.RUNNING and len(trace) == 0 and settled(s, c, program):
            if s[S.CHANGED]:
                beats(s, c, program, steps, watchdog)
            if s[S.CHANGED] == 0:
                if not leap(s, c, program, steps, watchdog) and watchdog == TRIAL:
                    return NOTHING_MOVES
            elif s[S.STATE + DECODE] == S.RUN:
                stream(s, c, program, steps, strides, watchdog)
        cycle(s, c, program, arguments, windows, steps, events, watchdog)
        if s[S.WORK]:
            return WORK_WAITS
        if len(trace):
            trace[traced] = s[IDLE_BUS] | s[IDLE_DECODE] << 32
            traced += 1
            if traced == len(trace):
                return WORK_WAITS
    return WORK_WAITS


@uncounted
def work(s, c, program, chip, dram, pool):
    """Values that the last cycle asked for."""
    todo = s[S.WORK]
    s[S.WORK] = 0
    if todo & S.WORK_STORE:
        move(s, program[s[S.DONE + STORE]], c, chip, dram, False)
    if todo & S.WORK_LOAD:
        move(s, program[s[S.DONE + LOAD]], c, chip, dram, True)
    if todo & S.WORK_STREAM:
        place_stream(s, program[s[S.CURRENT + DECODE]], chip, pool)
    if todo & S.WORK_MAC:
        compute_mac(s, c, program[s[S.CURRENT + MAC]], chip, pool)
    if todo & S.WORK_VECTOR:
        compute_vector(s, program[s[S.CURRENT + VECTOR]], chip)


@uncounted
def move(s, made, c, chip, dram, loads):
    """The bytes of a LOAD or STORE that has ended."""
    memory = chip.words0 if made[TARGET] == 0 else chip.words1 if made[TARGET] == 1 else chip.words2
    word_bytes = word_bits(c, made[TARGET]) // 8
    place, count = made[DESTINATION if loads else SOURCE] * word_bytes, made[LENGTH] * 32
    if loads:
        copy(memory, place, dram, s[S.LOAD_FROM], within(count, memory, place, dram, s[S.LOAD_FROM]))
    else:
        copy(dram, s[S.STORE_TO], memory, place, within(count, memory, place, dram, s[S.STORE_TO]))


@njit(cache=True, inline="always")
def within(count, one, first, other, place):
    """So many bytes, as far as both arrays reach."""
    return max(0, min(count, min(len(one) - first, len(other) - place)))


@njit(cache=True, inline="always")
def needs_stream(s, program):
    """Whether the decoder is about to start an instruction whose data have not been decoded."""
    if s[S.QUEUE_LEVEL + DECODE] == 0 or s[S.STATE + DECODE] != S.IDLE:
        return False
    index = s[S.QUEUE + DECODE * S.MAX_QUEUE + s[S.QUEUE_HEAD + DECODE]]
    if program[index, HANDLE] >= 0 or not ready(s, DECODE, program[index, WAIT]):
        return False
    s[S.VALUE + DECODE] = index
    return True


@njit(cache=True, inline="always")
def ready(s, taker, wait):
    """Whether every token that an instruction waits for is there."""
    return wait & ~s[S.READY + taker] == 0


@inlined
def spend(s, taker, wait):
    """Take the tokens that an instruction waited for."""
    for giver in range(ENGINES):
        if wait >> giver & 1:
            s[S.TOKEN + giver * ENGINES + taker] -= 1
            if s[S.TOKEN + giver * ENGINES + taker] == 0:
                s[S.READY + taker] &= ~(1 << giver)


@njit(cache=True, inline="always")
def log(s, events, engine, kind, index, value):
    n = s[S.EVENTS]
    events[n, 0], events[n, 1], events[n, 2], events[n, 3], events[n, 4] = (
        s[S.NOW],
        engine,
        kind,
        index,
        value,
    )
    s[S.EVENTS] = n + 1


@njit(cache=True, inline="always")
def fail(s, fault, engine, index):
    """Keep the first fault of the job."""
    if s[S.FAULT] == 0 and s[S.PHASE] == S.RUNNING:
        s[S.FAULT], s[S.FAULT_ENGINE], s[S.FAULT_INDEX] = fault, engine, index


@inlined
def settled(s, c, program):
    """Whether nothing but beats can move before more instructions come or an engine ends."""
    if s[S.HELD + FETCH_CLIENT] and (s[S.THERE] == 0 or s[S.PART] < 128 // c[C.BUS_BITS] - 1):
        return False
    busy = heads = 0
    for engine in range(1, ENGINES):
        state = s[S.STATE + engine]
        if state == S.IDLE:
            if s[S.QUEUE_LEVEL + engine]:
                head = s[S.QUEUE + engine * S.MAX_QUEUE + s[S.QUEUE_HEAD + engine]]
                if ready(s, engine, program[head, WAIT]):
                    return False
                heads = 1
            continue
        busy = 1
        if state not in (S.MOVE, S.RUN, S.BUILD):
            return False
    index = s[S.INDEX]
    if index == len(program):
        return False
    if s[S.THERE] == 0:
        return True
    engine, opcode = program[index, ENGINE], program[index, OPCODE]
    if s[S.TO_SKIP]:
        return False
    if opcode in (SKIP, END):
        blocked = opcode == END and (busy or heads)
        return blocked or not ready(s, CONTROL, program[index, WAIT])
    return engine != 0 and s[S.QUEUE_LEVEL + engine] == c[C.QUEUE_DEPTH]


@inlined
def cycle(s, c, program, arguments, windows, steps, events, watchdog):
    """One cycle."""
    stop = s[S.PHASE] != S.RUNNING
    quiet = s[S.UNDER_WAY] == 0 and not s[S.ADDRESS_VALID] and s[S.STATE + STORE] == S.IDLE
    decoder_free = s[S.LEFT + DECODE_CLIENT] == 0
    busy = heads = 0
    for engine in range(1, ENGINES):
        busy |= np.int64(s[S.STATE + engine] != S.IDLE) << engine
        heads |= np.int64(s[S.QUEUE_LEVEL + engine] != 0) << engine
    s[S.CHANGED] = s[S.GIVEN] = 0
    account(s, program, starved(s, program, steps), 1)
    outcome = reader_cycle(s, c, stop)
    s[READ_BEATS] += outcome == 1
    s[READ_WAIT] += outcome == 2
    s[S.WAITED] = outcome == 2
    engines(s, c, program, arguments, windows, steps, events)
    ended = False
    if not stop:
        if s[S.AHEAD_LEVEL] and decoder_free:
            send_ahead(s, c)
        used = dispatch(s, c, program, windows, events, busy | heads)
        ended = used == 2
        assemble(s, c, used == 1)
        starts(s, program, events, heads & ~busy)
    give(s)
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


@inlined
def account(s, program, lacking, cycles):
    """Count why the MAC engine is idle in cycles that are all like the one at the beginning of which this is
    called."""
    if lacking:
        s[S.VALUE + DECODE] += cycles
    if s[S.STATE + MAC] != S.IDLE:
        return
    waiting = s[S.QUEUE_LEVEL + MAC] > 0
    wait = program[s[S.QUEUE + MAC * S.MAX_QUEUE + s[S.QUEUE_HEAD + MAC]], WAIT] & ~s[S.READY + MAC]
    for engine in (DECODE, LOAD, VECTOR, STORE):
        if wait >> engine & 1 if waiting else s[S.STATE + engine] != S.IDLE:
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


@inlined
def engines(s, c, program, arguments, windows, steps, events):
    """A cycle of each engine that is at work."""
    blocked = 0
    if s[S.STATE + VECTOR] == S.RUN and s[S.NOW] >= s[S.VECTOR_FIRST]:
        blocked = s[S.VECTOR_TARGETS]
    for engine in range(1, ENGINES):
        if s[S.STATE + engine] == S.IDLE:
            continue
        index = s[S.CURRENT + engine]
        if engine == LOAD:
            result = load_cycle(s, c, program, arguments, windows, blocked)
        elif engine == DECODE:
            result = decode_cycle(s, c, program, windows, steps)
        elif engine == MAC:
            result = mac_cycle(s, c, program)
        elif engine == VECTOR:
            result = vector_cycle(s, c, program)
        else:
            result = store_cycle(s, c, program, arguments, windows)
        if result == 0:
            continue
        s[S.CHANGED] = S.OTHERS
        s[S.STATE + engine] = S.IDLE
        s[BUSY + engine] += s[S.NOW]
        if result < 0:
            fail(s, -result, engine, index)
            continue
        s[S.GIVEN] |= program[index, SIGNAL] << engine * ENGINES
        finish(s, program, engine, index)
        log(s, events, engine, 1, index, s[S.VALUE + engine])


@inlined
def finish(s, program, engine, index):
    """What an engine's end leaves behind."""
    if engine == MAC:
        s[PRODUCTS] += s[S.MAC_PRODUCTS]
        s[IMBALANCE] += s[S.MAC_IMBALANCE]
        s[SKIPPED] += s[S.MAC_SKIPPED]
    elif engine == DECODE and program[index, OPCODE] == TABLE:
        s[S.BUILT + program[index, SET]] = program[index, HANDLE] + 1
    elif engine in (LOAD, STORE):
        s[S.VALUE + engine] = program[index, LENGTH]
        s[S.DONE + engine] = index
        s[S.WORK] |= S.WORK_LOAD if engine == LOAD else S.WORK_STORE
        if engine == LOAD:
            s[S.LOAD_FROM] = s[S.LOAD_ADDRESS]
        else:
            s[S.STORE_TO] = s[S.STORE_ADDRESS]


@njit(cache=True, inline="always")
def send_ahead(s, c):
    """Hand the decoder's next request to the reader."""
    head = s[S.AHEAD_HEAD]
    ask(s, c, DECODE_CLIENT, s[S.AHEAD + 2 * head], s[S.AHEAD + 2 * head + 1])
    s[S.AHEAD_HEAD] = (head + 1) % S.MAX_QUEUE
    s[S.AHEAD_LEVEL] -= 1


@inlined
def dispatch(s, c, program, windows, events, occupied):
    """The sequencer's head instruction; returns 0, 1 when it leaves, 2 when it ends the job.

    Args:
        occupied: engines that have, or had in this cycle, something to do.
    """
    index = s[S.INDEX]
    if index == len(program):
        fail(s, NO_END, CONTROL, index)
    if not s[S.THERE]:
        return 0
    if s[S.TO_SKIP]:
        s[S.TO_SKIP] -= 1
        return 1
    opcode = program[index, OPCODE]
    if opcode in (SKIP, END):
        return control(s, program, index, events, occupied)
    if ENGINE_OF[opcode] == 0:
        fail(s, BAD_OPCODE, CONTROL, index)
        return 0
    engine = program[index, ENGINE]
    if s[S.QUEUE_LEVEL + engine] == c[C.QUEUE_DEPTH]:
        return 0
    slot = (s[S.QUEUE_HEAD + engine] + s[S.QUEUE_LEVEL + engine]) % S.MAX_QUEUE
    s[S.QUEUE + engine * S.MAX_QUEUE + slot] = index
    s[S.QUEUE_LEVEL + engine] += 1
    s[INSTRUCTIONS] += 1
    address, length = program[index, ADDRESS], program[index, LENGTH]
    if engine == DECODE and length and inside(windows, 0, 2, address, length):
        slot = (s[S.AHEAD_HEAD] + s[S.AHEAD_LEVEL]) % S.MAX_QUEUE
        s[S.AHEAD + 2 * slot], s[S.AHEAD + 2 * slot + 1] = address, length * 256 // c[C.BUS_BITS]
        s[S.AHEAD_LEVEL] += 1
    return 1


@inlined
def control(s, program, index, events, occupied):
    """SKIP and END."""
    ends = program[index, OPCODE] == END
    if not ready(s, CONTROL, program[index, WAIT]) or (ends and occupied):
        return 0
    spend(s, CONTROL, program[index, WAIT])
    s[S.GIVEN] |= program[index, SIGNAL] << CONTROL * ENGINES
    s[S.CURRENT + CONTROL] = index
    s[INSTRUCTIONS] += 1
    s[S.CHANGED] = S.OTHERS
    log(s, events, CONTROL, 0, index, 0)
    log(s, events, CONTROL, 1, index, 0)
    if ends:
        return 2
    if s[S.PREDICATE + program[index, SKIP_PREDICATE]] == program[index, SENSE]:
        s[S.TO_SKIP] = program[index, COUNT]
    return 1


@njit(cache=True, inline="always")
def assemble(s, c, leaves):
    """Take a beat of instructions; `leaves`: the head instruction goes in this cycle."""
    if leaves:
        s[S.CHANGED] = S.OTHERS
        s[S.INDEX] += 1
        s[S.THERE] = 0
    if not s[S.HELD + FETCH_CLIENT]:
        return
    room = s[S.THERE] == 0
    if c[C.BUS_BITS] < 128:
        final = s[S.PART] == 128 // c[C.BUS_BITS] - 1
        if final and not room:
            return
        popped, complete = True, final
    else:
        if not room:
            return
        popped = final = s[S.PART] == c[C.BUS_BITS] // 128 - 1
        complete = True
    s[S.CHANGED] = S.OTHERS
    s[S.PART] = 0 if final else s[S.PART] + 1
    s[S.THERE] = 1 if complete else s[S.THERE]
    if popped:
        s[S.HELD + FETCH_CLIENT] -= 1
        s[S.ROOM + FETCH_CLIENT] += 1


@inlined
def starts(s, program, events, heads):
    """Start what stood at the head of an idle engine's queue, bits in `heads`, with its tokens there."""
    for engine in range(1, ENGINES):
        if not heads >> engine & 1:
            continue
        head = s[S.QUEUE_HEAD + engine]
        index = s[S.QUEUE + engine * S.MAX_QUEUE + head]
        if not ready(s, engine, program[index, WAIT]):
            continue
        spend(s, engine, program[index, WAIT])
        s[S.QUEUE_HEAD + engine] = (head + 1) % S.MAX_QUEUE
        s[S.QUEUE_LEVEL + engine] -= 1
        s[S.CURRENT + engine], s[S.CHANGED] = index, S.OTHERS
        s[S.STATE + engine] = S.REQUEST if engine == DECODE else S.CHECK
        s[BUSY + engine] -= s[S.NOW]
        log(s, events, engine, 0, index, 0)
        if engine == DECODE:
            s[S.VALUE + DECODE] = 0


@uncounted
def place_stream(s, made, chip, pool):
    """The weights of a stream, decoded beforehand, and its steps."""
    begin_stream(s, made, pool)
    bank = pool.index[made[HANDLE], 3]
    if made[OPCODE] == STREAM and bank >= 0:
        hold(chip.homes, made[DESTINATION], bank, made[GROUPS] // 2)


@uncounted
def begin_stream(s, made, pool):
    """A stream's steps."""
    first, steps, outcome, _, stride = pool.index[made[HANDLE]]
    s[S.DECODE_FIRST], s[S.DECODE_STEPS], s[S.DECODE_OUTCOME] = first, steps, outcome
    s[S.DECODE_STRIDE] = stride + s[S.DECODE_LEFT]


@njit(cache=True, inline="always")
def give(s):
    """Tokens of this cycle's ends; they can be taken from the next one on."""
    if s[S.GIVEN] == 0:
        return
    for giver in range(ENGINES - 1, -1, -1):
        takers = s[S.GIVEN] >> giver * ENGINES
        for taker in range(ENGINES):
            if takers >> taker & 1:
                s[S.READY + taker] |= 1 << giver
                s[S.TOKEN + giver * ENGINES + taker] += 1
                if s[S.TOKEN + giver * ENGINES + taker] > TOKEN_MAX:
                    fail(s, OVERFLOW, giver, s[S.CURRENT + giver])


@inlined
def beats(s, c, program, steps, watchdog):
    """Cycles in which beats move and nothing else does: those of `cycle` without what stands still.

    Up to one in which nothing moves, which CHANGED tells, or that something else may have a part in, or that
    `stream` can take.
    """
    until, blocked = horizon(s, watchdog), 0
    if s[S.STATE + VECTOR] == S.RUN:
        blocked = s[S.VECTOR_TARGETS]
    if s[S.STATE + DECODE] == S.BUILD:
        until = min(until, s[S.DUE + DECODE])
    cycles = lacking = 0
    while s[S.CHANGED] and s[S.NOW] < until and alone(s, program, steps, blocked):
        s[S.CHANGED] = 0
        lacking += starved(s, program, steps)
        outcome = reader_cycle(s, c, False)
        s[READ_BEATS] += outcome == 1
        s[READ_WAIT] += outcome == 2
        s[S.WAITED] = outcome == 2
        if s[S.STATE + LOAD] == S.MOVE:
            load_move(s, c, program[s[S.CURRENT + LOAD], TARGET], 0)
        if s[S.STATE + DECODE] == S.RUN:
            decode_run(s, c, steps)
        if s[S.STATE + STORE] == S.MOVE:
            store_send(s, c, program[s[S.CURRENT + STORE], TARGET])
        if s[S.ARRIVED] >= 0:
            s[S.HELD + s[S.ARRIVED]] += 1
        s[S.NOW] += 1
        cycles += 1
    account(s, program, True, lacking)
    account(s, program, False, cycles - lacking)


@njit(cache=True, inline="always")
def alone(s, program, steps, blocked):
    """Whether the next cycle can only move beats, and not the decoder's alone.

    Args:
        blocked: bit t: the vector unit may write target t.
    """
    if s[S.ARRIVED] == FETCH_CLIENT or (s[S.AHEAD_LEVEL] and s[S.LEFT + DECODE_CLIENT] == 0):
        return False
    return load_goes_on(s, program, blocked) and store_goes_on(s) and decoder_goes_on(s, program, steps)


@njit(cache=True, inline="always")
def load_goes_on(s, program, blocked):
    """Whether the load engine, if it moves at all, takes a beat that is not its last one."""
    if s[S.STATE + LOAD] != S.MOVE or not s[S.HELD + LOAD_CLIENT]:
        return s[S.STATE + LOAD] in (S.IDLE, S.MOVE)
    return s[S.LOAD_LEFT] > 1 and not blocked >> program[s[S.CURRENT + LOAD], TARGET] & 1


@njit(cache=True, inline="always")
def store_goes_on(s):
    """Whether the store engine has beats to send, or an answer to wait for, or nothing to do."""
    if s[S.STATE + STORE] == S.MOVE:
        return s[S.STORE_BEATS] > 0 or s[S.STORE_MISSING] > 0
    return s[S.STATE + STORE] == S.IDLE


@njit(cache=True, inline="always")
def decoder_goes_on(s, program, steps):
    """Whether the decoder stands still, or is in the midst of a stream beside other beats."""
    if s[S.STATE + DECODE] != S.RUN:
        return s[S.STATE + DECODE] in (S.IDLE, S.BUILD)
    if s[S.DECODE_STEP] == s[S.DECODE_STEPS] or (s[S.DECODE_LEFT] == 0 and starved(s, program, steps)):
        return False
    if s[S.STATE + STORE] == S.MOVE or s[S.HELD + LOAD_CLIENT]:
        return True
    head = s[S.BURST_HEAD]
    due = s[S.BURST_LEVEL] > 0 and s[S.BURST_DUE + head] <= s[S.NOW]
    return due and s[S.BURST_CLIENT + head] != DECODE_CLIENT


@njit(cache=True, inline="always")
def before_decoder(s, c):
    """The client that the reader would pick a burst of before the decoder's, or -1."""
    if wants(s, c, FETCH_CLIENT):
        return FETCH_CLIENT
    return LOAD_CLIENT if wants(s, c, LOAD_CLIENT) else -1


@inlined
def stream(s, c, program, steps, strides, watchdog):
    """Cycles in which nothing but the reader, the memory and the decoder moves, in one tight loop.

    The same rules as `reader_cycle` and `decode.run`, for the decoder's beats alone, up to the first cycle
    that something else may have a part in: a beat for another client among them, but not that such a client
    waits for one. What the cycle before did not move, and that holds no beats, stands still until then.
    """
    if s[S.STATE + STORE] != S.IDLE or (s[S.AHEAD_LEVEL] and s[S.LEFT + DECODE_CLIENT] == 0):
        return
    loading = s[S.STATE + LOAD]
    if loading != S.IDLE and (loading != S.MOVE or s[S.HELD + LOAD_CLIENT]):
        return
    if s[S.ARRIVED] == FETCH_CLIENT:
        return
    now = first = s[S.NOW]
    until = horizon(s, watchdog)
    bus, latency, window, music = c[C.BUS_BITS], c[C.DRAM_LATENCY], c[C.WINDOW_BITS], c[C.MUSIC]
    burst_beats, outstanding = c[C.BURST_BEATS], c[C.OUTSTANDING]
    left, beat, room, held = (
        s[S.LEFT + DECODE_CLIENT],
        s[S.BEAT + DECODE_CLIENT],
        s[S.ROOM + DECODE_CLIENT],
        s[S.HELD + DECODE_CLIENT],
    )
    address, under_way, level, head = s[S.ADDRESS_VALID], s[S.UNDER_WAY], s[S.BURST_LEVEL], s[S.BURST_HEAD]
    fill, wanted, step = s[S.DECODE_FILL], s[S.DECODE_LEFT], s[S.DECODE_FIRST] + s[S.DECODE_STEP]
    last_step = s[S.DECODE_FIRST] + s[S.DECODE_STEPS]
    beats = waits = lacking = 0
    ahead, fresh = s[S.AHEAD_LEVEL] > 0, not music
    limit, mask = window - bus, burst_beats - 1
    due, remaining = s[S.BURST_DUE + head], s[S.BURST_BEATS + head]
    length, other = min(left, burst_beats - (beat & mask)), before_decoder(s, c)
    # Steps and beats come and go in no pattern that a branch predictor could learn: sums instead of branches.
    while now < until and step < last_step and not (ahead and left == 0):
        if level > 0 and now >= due and s[S.BURST_CLIENT + head] != DECODE_CLIENT:
            break
        if held > 0 and wanted > 0 and not address and not music:
            coming = np.int64(level > 0 and now >= due)
            most, least, whole = min(until - now, wanted), 1, False
            if fresh and coming and room < length and left - ahead >= burst_beats and most >= burst_beats:
                fresh = False
                whole = other < 0 and length == burst_beats
                whole = whole and steady(s, c, now, remaining, room, under_way, level, head)
            if whole:
                most, least = min(most, left - ahead) // burst_beats * burst_beats, burst_beats
            else:
                # A beat comes each cycle, or none, until the burst's last one or the next burst's first; and
                # until there is room to ask for another.
                if coming:
                    most = min(most, remaining - 1)
                else:
                    most = min(most, held if level == 0 else min(held, due - now))
                if under_way != outstanding and other >= 0:
                    most = 0
                elif under_way != outstanding and left > 0:
                    most = min(most, length - room)
            if most > 1:
                row = strides[s[S.DECODE_STRIDE] - wanted :]
                cycles, made = stride(row, in_hand(steps[step:last_step], fill), most, least)
                made += step
                if cycles and made < last_step:
                    fill += bus * cycles - total(steps[step:made])
                    lacking += cycles - (made - step)
                    now, wanted, step = now + cycles, wanted - cycles, made
                    if coming:
                        beats += cycles
                    else:
                        held -= cycles
                        waits += cycles if under_way else 0
                    if whole:
                        beat, left = beat + cycles, left - cycles
                        length = min(left, burst_beats)
                    else:
                        room += cycles
                        remaining -= cycles if coming else 0
                    continue
        need = steps[step]
        stepped = np.int64(fill >= need)
        if wanted == 0 and not stepped:
            break
        arrived = np.int64((level > 0) & (now >= due))
        if music and owned(c, now):
            arrived = 0
        waits += np.int64(under_way > 0) - arrived
        beats += arrived
        remaining -= arrived
        finished = np.int64(arrived & (remaining == 0))
        if finished:
            head = (head + 1) & (S.MAX_BURSTS - 1)
            level, fresh = level - 1, not music
            due, remaining = s[S.BURST_DUE + head], s[S.BURST_BEATS + head]
        if address:
            slot = (head + level) & (S.MAX_BURSTS - 1)
            s[S.BURST_CLIENT + slot], s[S.BURST_BEATS + slot] = s[S.ADDRESS_CLIENT], s[S.ADDRESS_BEATS]
            s[S.BURST_DUE + slot] = now + 1 + latency
            if level == 0:
                due, remaining = now + 1 + latency, s[S.ADDRESS_BEATS]
            level += 1
            address = 0
        if under_way == outstanding:
            pass
        elif other >= 0:
            address, under_way = 1, under_way + 1
            request(s, other, wants(s, c, other))
            other = before_decoder(s, c)
        elif left > 0 and room >= length:
            address, s[S.ADDRESS_CLIENT], s[S.ADDRESS_BEATS] = 1, DECODE_CLIENT, length
            beat, left, room = beat + length, left - length, room - length
            length = min(left, burst_beats - (beat & mask))
            under_way += 1
        under_way -= finished
        taken = np.int64((held > 0) & (wanted > 0) & (fill <= limit))
        fill += bus * taken - need * stepped
        step += stepped
        lacking += 1 - stepped
        held += arrived - taken
        room += taken
        wanted -= taken
        now += 1
    if level:
        s[S.BURST_BEATS + head] = remaining
    s[S.LEFT + DECODE_CLIENT], s[S.BEAT + DECODE_CLIENT] = left, beat
    s[S.ROOM + DECODE_CLIENT], s[S.HELD + DECODE_CLIENT] = room, held
    s[S.ADDRESS_VALID], s[S.UNDER_WAY] = address, under_way
    s[S.BURST_LEVEL], s[S.BURST_HEAD] = level, head
    s[S.DECODE_FILL], s[S.DECODE_LEFT], s[S.DECODE_STEP] = fill, wanted, step - s[S.DECODE_FIRST]
    s[READ_BEATS] += beats
    s[READ_WAIT] += waits
    account(s, program, True, lacking)
    account(s, program, False, now - first - lacking)
    s[S.NOW] = now


@inlined
def total(steps):
    """Bits of steps in a row."""
    bits = np.int64(0)
    for n in range(len(steps)):
        bits += steps[n]
    return bits


@inlined
def steady(s, c, now, remaining, room, under_way, level, head):
    """Whether a decoder that takes a beat in each cycle is brought one in each, and reader and memory stand
    after a burst's cycles as they do now.

    The reader then asks for a burst whenever one was taken, which comes when its turn has come or before.
    `remaining`: beats of the burst at `head`.
    """
    burst = c[C.BURST_BEATS]
    if under_way - (remaining <= burst - room) >= c[C.OUTSTANDING]:
        return False
    turn = now
    for n in range(level):
        slot = (head + n) & (S.MAX_BURSTS - 1)
        if s[S.BURST_CLIENT + slot] != DECODE_CLIENT or s[S.BURST_DUE + slot] > turn:
            return False
        if n and s[S.BURST_BEATS + slot] != burst:
            return False
        turn += burst if n else remaining
    return now + burst - room + 2 + c[C.DRAM_LATENCY] <= turn


@njit(cache=True, inline="always")
def horizon(s, watchdog):
    """First cycle in which the time alone ends something: MAC, vector unit, watchdog."""
    target = watchdog if watchdog >= s[S.NOW] else S.NEVER
    for engine in (MAC, VECTOR):
        if s[S.STATE + engine] == S.RUN:
            target = min(target, s[S.DUE + engine])
    return target


@inlined
def leap(s, c, program, steps, watchdog):
    """Pass the cycles up to the next one in which the time itself changes something; False if none will."""
    target = horizon(s, watchdog)
    if s[S.STATE + VECTOR] == S.RUN and s[S.VECTOR_FIRST] >= s[S.NOW]:
        target = min(target, s[S.VECTOR_FIRST])
    if s[S.STATE + DECODE] == S.BUILD:
        target = min(target, s[S.DUE + DECODE])
    if s[S.BURST_LEVEL]:
        target = min(target, s[S.BURST_DUE + s[S.BURST_HEAD]])
    if s[S.STATE + STORE] == S.MOVE:
        if c[C.MUSIC] and s[S.STORE_BURST]:
            return True
        if s[S.STORE_MISSING] and s[S.STORE_BURST] == 0:
            target = min(target, s[S.STORE_ANSWER])
    cycles = target - s[S.NOW]
    if target == S.NEVER:
        return False
    if cycles <= 0:
        return True
    account(s, program, starved(s, program, steps), cycles)
    s[READ_WAIT] += cycles if s[S.WAITED] else 0
    s[S.NOW] = target
    return True
