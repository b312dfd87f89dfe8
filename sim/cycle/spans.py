"""What passes from the start of a stream to that of the next one: of each job, found once.

Where streams are what a job waits for, nothing in such a span follows from data but the end of the MAC
instruction that began with it. All else follows from the registers at its beginning, SPAN to SPAN_END; where
they are as they were in a span that is kept, it passes as that one did.

A span is found cycle by cycle, on a copy of the registers, with a MAC instruction that ends at once. One that
ends later, but before the stream, makes these differences and no other: the time and the value of its end;
its counters; and that the MAC engine idles from then on, which of the kept count of its idle cycles leaves
those that come later. Its tokens are for the decoder alone, and a decoder at work looks at none.

So a span is not kept if anything else starts or ends in it, if anything else is at work at its beginning, or
if the MAC engine would wait for anything but the decoder; nor is any taken beside other traffic on the
memory, whose turns follow the time of the job.
"""

from __future__ import annotations

from ossicle.hw.isa import Engine
from ossicle.hw.registers import COUNTERS
from ossicle.sim.cycle import state as S
from ossicle.sim.cycle.decode import UNBUILT
from ossicle.sim.cycle.jit import uncounted
from ossicle.sim.cycle.setup import HANDLE, SIGNAL, SPANS

LOAD, DECODE, MAC = int(Engine.LOAD), int(Engine.DECODE), int(Engine.MAC)
VECTOR, STORE = int(Engine.VECTOR), int(Engine.STORE)
BOTH = S.WORK_STREAM | S.WORK_MAC
"""WORK where a span begins: a stream and a MAC instruction have started together."""

COUNTS = len(COUNTERS)
COUNTED = {name: n for n, name in enumerate(COUNTERS)}
IDLE_BUS, IDLE_DECODE = COUNTED["mac_idle_bus"], COUNTED["mac_idle_decode"]
PRODUCTS, IMBALANCE = COUNTED["lane_products"], COUNTED["lane_imbalance"]
SKIPPED, BUSY = COUNTED["macs_skipped"], COUNTED["load_busy"] - 1

WAYS = 4
"""Spans kept of a stream: they differ by what came before."""
MOST_CYCLES = 1 << 12
EVENTS, EVENT_WORDS = 4, 5
REGISTERS = S.SPAN_END - S.SPAN
LENGTH, FREE, WAITED, VALUE = range(4)
"""Cycles of the span, 0: none is kept, REFUSED: none can be; the one in which the stream ends; WAITED and the
decoder's VALUE at its end."""
REFUSED, MASK32 = -1, (1 << 32) - 1
ADDED = 4
LOGGED = ADDED + COUNTS
BEGIN = LOGGED + EVENTS * EVENT_WORDS
END = BEGIN + REGISTERS
IDLED = END + REGISTERS
WORDS = max(IDLED + MOST_CYCLES, S.SIZE)
"""Parts of a row: what the span adds to the counters; its events, the MAC instruction's end first; registers
at its beginning and its end; after each of its cycles, in how many the MAC engine had waited for the bus
and, in the upper half, for the decoder. Times are from the span's beginning, or, at its end, from there."""
SCRATCH, SCRATCH_EVENTS, FIRST = range(3)
"""Rows in which one is found, and the first of those kept, WAYS for each stream."""


@uncounted
def sought(s, program, spans):
    """Row of the span that begins, the negative of one to find it for, or 0 for none."""
    for engine in (LOAD, VECTOR, STORE):
        if s[S.STATE + engine] != S.IDLE:
            return 0
    first = program[s[S.CURRENT + DECODE], SPANS]
    fit = s[S.STATE + MAC] == S.RUN and s[S.STATE + DECODE] == S.RUN and s[S.PHASE] == S.RUNNING
    if not fit or first == 0 or s[S.FAULT] or program[s[S.CURRENT + MAC], SIGNAL] != 1 << DECODE:
        return 0
    from_now(s, spans[SCRATCH, S.SIZE :])
    found = 0
    for row in range(first, first + WAYS):
        if spans[row, LENGTH] == 0:
            found = -row
            break
        if alike(s[S.SPAN : S.SPAN_END], spans[row, BEGIN:END]):
            found = row if spans[row, LENGTH] > 0 else 0
            break
    from_start(s)
    return found


@uncounted
def put(target, place, source, first, count):
    """Numbers of an array into another one."""
    for n in range(count):
        target[place + n] = source[first + n]


@uncounted
def alike(one, other):
    """Whether registers are equal."""
    differences = 0
    for n in range(REGISTERS):
        differences |= one[n] ^ other[n]
    return differences == 0


@uncounted
def from_now(s, spare):
    """Count the times of bursts from now on, with the first burst in place 0, and clear what those that came
    and went have left behind.

    Args:
        spare: int64[MAX_BURSTS] at least, scratch.
    """
    head, level = s[S.BURST_HEAD], s[S.BURST_LEVEL]
    for part in (S.BURST_CLIENT, S.BURST_BEATS, S.BURST_DUE):
        for n in range(level):
            spare[n] = s[part + (head + n) % S.MAX_BURSTS]
        for n in range(S.MAX_BURSTS):
            s[part + n] = spare[n] if n < level else 0
    for n in range(level):
        s[S.BURST_DUE + n] -= s[S.NOW]
    s[S.BURST_HEAD] = 0


@uncounted
def from_start(s):
    """Count them from the start of the job again."""
    for n in range(s[S.BURST_LEVEL]):
        s[S.BURST_DUE + n] += s[S.NOW]


@uncounted
def prepare(s, trial):
    """Registers to find a span with: these, but nothing is counted, and the MAC instruction ends at once."""
    put(trial, 0, s, 0, S.SIZE)
    trial[S.COUNTER : S.COUNTER + COUNTS] = 0
    trial[S.EVENTS] = trial[S.MAC_PRODUCTS] = trial[S.MAC_IMBALANCE] = trial[S.MAC_SKIPPED] = 0
    trial[S.DUE + MAC] = trial[S.NOW]


@uncounted
def keep(s, spans, program, row):
    """Keep in a row what came from registers `s`, if it is a span."""
    own, trial, log = spans[row], spans[SCRATCH], spans[SCRATCH_EVENTS]
    spare, began = trial[S.SIZE :], s[S.NOW]
    from_now(s, spare)
    put(own, BEGIN, s, S.SPAN, REGISTERS)
    from_start(s)
    own[LENGTH] = REFUSED
    if not ends_as_it_began(trial, program):
        return
    put(own, LOGGED, log, 0, EVENTS * EVENT_WORDS)
    for n in range(EVENTS):
        event = own[LOGGED + EVENT_WORDS * n :]
        event[0] -= began
        if event[1] == DECODE and event[2] == 1:
            own[FREE] = event[0]
    idled = own[IDLED + own[FREE]]
    if (idled & MASK32) + (idled >> 32) != own[FREE]:
        return
    from_now(trial, spare)
    put(own, END, trial, S.SPAN, REGISTERS)
    put(own, ADDED, trial, S.COUNTER, COUNTS)
    own[WAITED], own[VALUE] = trial[S.WAITED], trial[S.VALUE + DECODE]
    own[LENGTH] = trial[S.NOW] - began


@uncounted
def ends_as_it_began(trial, program):
    """Whether the next stream and MAC instruction have started together, and nothing else started or
    ended."""
    if trial[S.WORK] != BOTH or trial[S.PHASE] != S.RUNNING or trial[S.FAULT]:
        return False
    return trial[S.EVENTS] == EVENTS and program[trial[S.CURRENT + DECODE], SPANS] > 0


@uncounted
def passes(s, row, program, events, watchdog):
    """Whether the span that begins passes as the one in `row`, which began alike."""
    now, length = s[S.NOW], row[LENGTH]
    following = row[END + S.CURRENT - S.SPAN + DECODE]
    return (
        length > 0
        and s[S.DUE + MAC] - now < row[FREE]
        and program[following, HANDLE] > UNBUILT
        and s[S.EVENTS] + EVENTS + 2 * S.ENGINES + 4 <= len(events)
        and not now <= watchdog < now + length
    )


@uncounted
def pass_over(s, row, events):
    """Let the span pass as the one in `row` did."""
    now = s[S.NOW]
    late = max(s[S.DUE + MAC] - now, 0)
    for n in range(COUNTS):
        s[S.COUNTER + n] += row[ADDED + n]
    s[S.COUNTER + IDLE_BUS] -= row[IDLED + late] & MASK32
    s[S.COUNTER + IDLE_DECODE] -= row[IDLED + late] >> 32
    s[S.COUNTER + BUSY + MAC] += late
    s[S.COUNTER + PRODUCTS] += s[S.MAC_PRODUCTS]
    s[S.COUNTER + IMBALANCE] += s[S.MAC_IMBALANCE]
    s[S.COUNTER + SKIPPED] += s[S.MAC_SKIPPED]
    first = s[S.EVENTS]
    for n in range(EVENTS):
        put(events[first + n], 0, row, LOGGED + EVENT_WORDS * n, EVENT_WORDS)
        events[first + n, 0] += now
    events[first, 0] += late
    events[first, 4] = s[S.VALUE + MAC]
    s[S.EVENTS] += EVENTS
    put(s, S.SPAN, row, END, REGISTERS)
    s[S.NOW] += row[LENGTH]
    from_start(s)
    s[S.WAITED], s[S.VALUE + DECODE] = row[WAITED], row[VALUE]
    s[S.DUE + MAC] = s[S.MAC_BEGIN] = s[S.NOW] - 1
    s[S.CHANGED], s[S.WORK] = S.OTHERS, BOTH
