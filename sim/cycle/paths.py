"""What passes from work to work: of each job, found once.

A place is how a job stands (`sim.cycle.standing`) where work has just been done, where a MAC instruction is
about to end and nothing else moves, or at its beginning. What passes from there is a step: it follows from
the place, and from when the MAC instruction at work ends, if one is. A step holds for a range of the cycles
left to that end:

- from the step's cycles on: the instruction then ends after it;
- from the cycles on after which nothing else moves: it is then waited for, however long that takes;
- up to the end of a stream: EARLY, see there;
- or for one number of cycles.

Steps are found on a copy of the registers and kept with their counters and events. So a job goes along its
path without its registers, which are there again where it leaves it.

EARLY: where a decoder is at work, a MAC instruction's tokens are for the decoder alone, the next stream and
MAC instruction start together, and nothing else starts or ends, an end before that of the stream makes these
differences and no other: its time and value; its counters; and that the MAC engine idles from then on, which
of its idle cycles leaves those that come later. A decoder at work looks at no tokens.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from ossicle.hw.isa import Opcode
from ossicle.hw.registers import COUNTERS
from ossicle.sim.cycle import state as S
from ossicle.sim.cycle.jit import uncounted
from ossicle.sim.cycle.setup import OPCODE, SIGNAL
from ossicle.sim.cycle.standing import (
    ALIGNED,
    BUSY,
    COUNTS,
    DECODE,
    LOAD,
    MAC,
    STORE,
    VECTOR,
    WORDS,
    pause,
    put,
    restore,
    stand,
)
from ossicle.sim.cycle.transfer import address_of

COUNTED = {name: S.COUNTER + n for n, name in enumerate(COUNTERS)}
IDLE_BUS, IDLE_DECODE = COUNTED["mac_idle_bus"], COUNTED["mac_idle_decode"]
PRODUCTS, IMBALANCE, SKIPPED = (COUNTED[n] for n in ("lane_products", "lane_imbalance", "macs_skipped"))
COMPARE = int(Opcode.COMPARE)
BOTH = S.WORK_STREAM | S.WORK_MAC
MASK32 = (1 << 32) - 1

EVENT_WORDS, MOST_EVENTS = 5, 64
MOST_CYCLES = 1 << 13
"""Of a step that is EARLY."""
MOST_EXACT = 8
"""Steps of a place that hold for one number of cycles."""

FIRST, EXACT, SOUGHT = range(WORDS, WORDS + 3)
PLACE_WORDS = WORDS + 3
"""A place: how the job stands; its first step, or NONE; steps for one number of cycles that were sought;
whether those for a range were."""

(
    LEAST, MOST, NEXT, TO, CYCLES, KIND, TODO, STORED, LOADED, DECODED, MULTIPLIED, MADE, FIRST_EVENT, EVENTS,
    MAC_ENDS, FIRST_IDLED,
) = range(16)  # fmt: skip
ADDED = 16
STEP_WORDS = ADDED + COUNTS
"""A step: the range it holds for; the place's next one and the place it leads to, or NONE; its cycles; its
kind; WORK at its end, and the instructions of that; its events among those kept, and which is the MAC
instruction's end, or NONE; if EARLY, where in `idled` it begins; what it adds to the counters."""
PLAIN, WAITS, EARLY, ENDS = range(4)
NONE = -1
PLACES, STEPS, LOGGED, TRACED = range(4)
"""Places of `used`."""


class Paths(NamedTuple):
    """What is kept of a job. used: int64[4], how much of each array; hashes: of the places; trial, log:
    registers to find a step with, its events; scratch: a place; aligned: how this job's transfers are."""

    used: np.ndarray
    hashes: np.ndarray
    places: np.ndarray
    steps: np.ndarray
    events: np.ndarray
    idled: np.ndarray
    trial: np.ndarray
    log: np.ndarray
    scratch: np.ndarray
    aligned: np.ndarray


def paths_for(instructions: int) -> Paths:
    """Room for the paths of a job; 0: of none."""
    return Paths(
        np.zeros(4, np.int64),
        np.zeros(4 * instructions, np.int64),
        np.zeros((4 * instructions, PLACE_WORDS), np.int64),
        np.zeros((8 * instructions, STEP_WORDS), np.int64),
        np.zeros((32 * instructions, EVENT_WORDS), np.int64),
        np.zeros(2048 * instructions, np.int64),
        np.zeros(S.SIZE, np.int64),
        np.zeros((MOST_EVENTS, EVENT_WORDS), np.int64),
        np.zeros(WORDS, np.int64),
        np.zeros(ALIGNED, np.int64),
    )


@uncounted
def place_of(s, c, paths):
    """The place at which a job stands, a new one if need be; NONE if there is no room for it."""
    own, count = paths.scratch, paths.used[PLACES]
    stand(s, c, paths.aligned, own)
    total = np.int64(0)
    for n in range(WORDS):
        total += own[n] * (2 * n + 1) * 0x9E3779B97F4A7C1
    for place in range(count):
        if paths.hashes[place] == total and alike(own, paths.places[place]):
            return place
    if count == len(paths.places):
        return NONE
    new = paths.places[count]
    put(new, 0, own, 0, WORDS)
    new[FIRST], new[EXACT], new[SOUGHT], paths.hashes[count] = NONE, 0, 0, total
    paths.used[PLACES] = count + 1
    return count


@uncounted
def alike(one, other):
    """Whether two jobs stand alike."""
    differences = 0
    for n in range(WORDS):
        differences |= one[n] ^ other[n]
    return differences == 0


@uncounted
def left(s, own):
    """Cycles left to the MAC instruction at work in a place; 0 if none is."""
    return s[S.DUE + MAC] - s[S.NOW] if own[S.STATE + MAC] == S.RUN else 0


@uncounted
def step_from(s, paths, place):
    """The step that a job takes, or NONE."""
    cycles, step = left(s, paths.places[place]), paths.places[place, FIRST]
    while step != NONE and not paths.steps[step, LEAST] <= cycles <= paths.steps[step, MOST]:
        step = paths.steps[step, NEXT]
    return step


@uncounted
def fits(s, paths, place, step, events, watchdog):
    """Whether a step's events have room, and the watchdog does not end the job in it."""
    made, now = paths.steps[step], s[S.NOW]
    cycles = max(made[CYCLES], left(s, paths.places[place]))
    room = s[S.EVENTS] + made[EVENTS] + 2 * S.ENGINES + 4 <= len(events)
    return room and not now <= watchdog < now + cycles


@uncounted
def pass_over(s, paths, place, step, events, program, arguments):
    """Take a step: time, counters, events, and what the work at its end looks at."""
    made, now, before = paths.steps[step], s[S.NOW], left(s, paths.places[place])
    late = max(before, 0) if made[KIND] == EARLY else 0
    for n in range(COUNTS):
        s[S.COUNTER + n] += made[ADDED + n]
    if late:
        idled = paths.idled[made[FIRST_IDLED] + late]
        s[IDLE_BUS] -= idled & MASK32
        s[IDLE_DECODE] -= idled >> 32
        s[BUSY + MAC] += late
    if made[MAC_ENDS] != NONE:
        s[PRODUCTS] += s[S.MAC_PRODUCTS]
        s[IMBALANCE] += s[S.MAC_IMBALANCE]
        s[SKIPPED] += s[S.MAC_SKIPPED]
    first = s[S.EVENTS]
    for n in range(made[EVENTS]):
        put(events[first + n], 0, paths.events[made[FIRST_EVENT] + n], 0, EVENT_WORDS)
        events[first + n, 0] += now
    if made[MAC_ENDS] != NONE:
        events[first + made[MAC_ENDS], 0] += late
        events[first + made[MAC_ENDS], 4] = s[S.VALUE + MAC]
    s[S.EVENTS] += made[EVENTS]
    s[S.NOW] += made[CYCLES]
    if made[KIND] == WAITS:
        s[S.NOW] += before - made[CYCLES]
        s[BUSY + MAC] += before - made[CYCLES]
    elif made[KIND] == ENDS:
        s[S.STATE : S.STATE + S.ENGINES] = S.IDLE
        s[S.PHASE] = S.ENDED
    prepare_work(s, made, program, arguments)


@uncounted
def prepare_work(s, made, program, arguments):
    """What `work` looks at after a step."""
    s[S.WORK] = made[TODO]
    s[S.CURRENT + DECODE], s[S.CURRENT + MAC] = made[DECODED], made[MULTIPLIED]
    s[S.CURRENT + VECTOR] = made[MADE]
    if made[TODO] & S.WORK_LOAD:
        s[S.DONE + LOAD] = made[LOADED]
        s[S.LOAD_FROM] = address_of(program, arguments, made[LOADED])
    if made[TODO] & S.WORK_STORE:
        s[S.DONE + STORE] = made[STORED]
        s[S.STORE_TO] = address_of(program, arguments, made[STORED])
    if made[TODO] & S.WORK_MAC:
        s[S.DUE + MAC] = s[S.MAC_BEGIN] = s[S.NOW] - 1


@uncounted
def prepare_trial(s, paths, place, program, arguments):
    """Registers to find a step with: the place's, with nothing counted yet."""
    trial = paths.trial
    put(trial, 0, s, 0, S.SIZE)
    trial[S.COUNTER : S.COUNTER + COUNTS] = 0
    trial[S.EVENTS] = trial[S.MAC_PRODUCTS] = trial[S.MAC_IMBALANCE] = trial[S.MAC_SKIPPED] = 0
    restore(trial, paths.places[place], program, arguments)


@uncounted
def keep(c, began, program, paths, place, least, most, kind):
    """Keep what was found with the trial's registers as a step of a place; returns it, or NONE."""
    trial, step, first = paths.trial, paths.used[STEPS], paths.used[LOGGED]
    ended, count = trial[S.PHASE] == S.ENDED, trial[S.EVENTS]
    if step == len(paths.steps) or first + count > len(paths.events) or not keepable(trial, program):
        return NONE
    to = NONE
    if not ended:
        pause(trial)
        to = place_of(trial, c, paths)
        if to == NONE:
            return NONE
    made = paths.steps[step]
    made[LEAST], made[MOST], made[TO], made[CYCLES] = least, most, to, trial[S.NOW] - began
    made[KIND], made[TODO] = ENDS if ended else kind, trial[S.WORK]
    made[FIRST_EVENT], made[EVENTS] = first, count
    made[STORED], made[LOADED] = trial[S.DONE + STORE], trial[S.DONE + LOAD]
    made[DECODED], made[MULTIPLIED] = trial[S.CURRENT + DECODE], trial[S.CURRENT + MAC]
    made[MADE], made[FIRST_IDLED] = trial[S.CURRENT + VECTOR], paths.used[TRACED]
    put(made, ADDED, trial, S.COUNTER, COUNTS)
    made[MAC_ENDS] = NONE
    for n in range(count):
        event = paths.events[first + n]
        put(event, 0, paths.log[n], 0, EVENT_WORDS)
        event[0] -= began
        if event[1] == MAC and event[2] == 1:
            made[MAC_ENDS] = n
    made[NEXT], paths.places[place, FIRST] = paths.places[place, FIRST], step
    paths.used[STEPS], paths.used[LOGGED] = step + 1, first + count
    return step


@uncounted
def keepable(trial, program):
    """Whether what follows a step found with these registers does not depend on data."""
    if trial[S.FAULT]:
        return False
    if trial[S.PHASE] == S.ENDED:
        return trial[S.WORK] == 0 and not at_work(trial, 0)
    compares = program[trial[S.CURRENT + VECTOR], OPCODE] == COMPARE
    return trial[S.PHASE] == S.RUNNING and not (compares and trial[S.WORK] & S.WORK_VECTOR)


@uncounted
def at_work(s, but):
    """Whether any engine is at work, but this one."""
    busy = 0
    for engine in range(1, S.ENGINES):
        busy += engine != but and s[S.STATE + engine] != S.IDLE
    return busy > 0


@uncounted
def stands_still(trial):
    """Whether nothing is counted but the MAC engine's time while nothing moves."""
    return not at_work(trial, MAC) and not trial[S.UNDER_WAY] and not trial[S.WAITED]


@uncounted
def may_be_early(own, program):
    """Whether a step from this place may be EARLY."""
    for engine in (LOAD, VECTOR, STORE):
        if own[S.STATE + engine] != S.IDLE:
            return False
    return own[S.STATE + DECODE] == S.RUN and program[own[S.CURRENT + MAC], SIGNAL] == 1 << DECODE


@uncounted
def end_of_stream(trial, log, trace, began):
    """The cycle of a step in which its stream ends if it is EARLY, or 0. trace: its part of `idled`."""
    if trial[S.WORK] != BOTH or trial[S.EVENTS] != 4:
        return 0
    free = 0
    for n in range(4):
        if log[n, 1] == DECODE and log[n, 2] == 1:
            free = log[n, 0] - began
    idled = trace[free]
    return free if (idled & MASK32) + (idled >> 32) == free else 0
