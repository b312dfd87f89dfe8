"""How a job stands, apart from when and with which data: two jobs that stand alike go on alike.

Left out is what nothing but work to do and counts looks at, and the end of a MAC instruction, which the data
decide. Times are from now on, addresses as far as bursts depend on them; registers of what stands still are
0. Valid without other traffic on the memory, whose turns follow the time of the job, and without a TABLE.
"""

from __future__ import annotations

from ossicle.hw.isa import Engine, Opcode
from ossicle.hw.registers import COUNTERS
from ossicle.sim.cycle import setup as C
from ossicle.sim.cycle import state as S
from ossicle.sim.cycle.jit import uncounted
from ossicle.sim.cycle.memory import CLIENTS
from ossicle.sim.cycle.setup import OPCODE, OPERAND
from ossicle.sim.cycle.transfer import PAGE, address_of, inside

LOAD, DECODE, MAC = int(Engine.LOAD), int(Engine.DECODE), int(Engine.MAC)
VECTOR, STORE = int(Engine.VECTOR), int(Engine.STORE)
LOAD_OPCODE, STORE_OPCODE = int(Opcode.LOAD), int(Opcode.STORE)
BUSY = S.COUNTER + list(COUNTERS).index("load_busy") - 1
COUNTS = len(COUNTERS)
LENGTH, ARGUMENT, STRIDE = OPERAND["length"], OPERAND["argument"], OPERAND["stride"]
ALIGNED = 32
"""Transfers whose address an argument may move."""
WORDS = S.SIZE + ALIGNED
"""Of how a job stands: its registers, and how its transfers are aligned."""
MAC_END = S.MAC_IMBALANCE + 1
"""MAC_BEGIN to here, DUE and VALUE of the MAC engine, the time and the events stay with the job."""
LEFT_OUT = (
    S.NOW, S.EVENTS, S.MAC_BEGIN, S.MAC_PRODUCTS, S.MAC_SKIPPED, S.MAC_IMBALANCE,
    S.WORK, S.LOAD_FROM, S.STORE_TO, S.LOAD_ADDRESS, S.STORE_ADDRESS, S.GIVEN,
)  # fmt: skip
STEPS_OF_STREAM = (
    S.DECODE_FILL, S.DECODE_LEFT, S.DECODE_STEP, S.DECODE_STEPS, S.DECODE_FIRST, S.DECODE_HELD,
    S.DECODE_WRONG, S.DECODE_OUTCOME, S.DECODE_STRIDE,
)  # fmt: skip
BEATS_OF_STORE = (
    S.STORE_WORDS, S.STORE_LEVEL, S.STORE_ARRIVING, S.STORE_PHASE, S.STORE_BEATS, S.STORE_BURST,
    S.STORE_MISSING, S.STORE_ANSWER, S.STORE_BEGIN,
)  # fmt: skip


@uncounted
def put(target, place, source, first, count):
    """Numbers of an array into another one."""
    for n in range(count):
        target[place + n] = source[first + n]


@uncounted
def alignments(c, program, arguments, windows, found):
    """How the transfers that an argument may move are aligned, into int64[ALIGNED]; False if they are more.
    A LOAD: its beat in a burst; a STORE: bytes up to the page's end, if it goes on; and whether it is legal.
    """
    count = 0
    found[:ALIGNED] = 0
    for n in range(len(program)):
        opcode = program[n, OPCODE]
        if opcode not in (LOAD_OPCODE, STORE_OPCODE) or program[n, STRIDE] == 0 or program[n, ARGUMENT] == 0:
            continue
        if count == ALIGNED:
            return False
        address, granules = address_of(program, arguments, n), program[n, LENGTH]
        if opcode == LOAD_OPCODE:
            place = address // (c[C.BUS_BITS] // 8) & (c[C.BURST_BEATS] - 1)
            legal = inside(windows, 0, 2, address, granules)
        else:
            place = PAGE - address % PAGE
            place = place if place < granules * 32 else 0
            legal = inside(windows, 2, 3, address, granules)
        found[count] = 2 * place + legal
        count += 1
    return True


@uncounted
def stand(s, c, aligned, own):
    """How a job stands whose registers are `s`, into int64[WORDS]."""
    now = s[S.NOW]
    put(own, 0, s, 0, S.SIZE)
    put(own, S.SIZE, aligned, 0, ALIGNED)
    own[S.COUNTER : S.COUNTER + COUNTS] = 0
    own[S.DONE : S.DONE + S.ENGINES] = 0
    for n in LEFT_OUT:
        own[n] = 0
    for engine in range(S.ENGINES):
        own[S.DUE + engine] = own[S.VALUE + engine] = 0
        if s[S.STATE + engine] == S.IDLE:
            own[S.CURRENT + engine] = 0
    if s[S.STATE + VECTOR] == S.RUN:
        own[S.DUE + VECTOR], own[S.VALUE + VECTOR] = s[S.DUE + VECTOR] - now, s[S.VALUE + VECTOR]
        own[S.VECTOR_FIRST] = max(s[S.VECTOR_FIRST] - now, -1)
    else:
        own[S.VECTOR_FIRST] = own[S.VECTOR_TARGETS] = 0
    if s[S.STATE + DECODE] != S.IDLE:
        own[S.VALUE + DECODE] = s[S.VALUE + DECODE]
    if s[S.STATE + DECODE] == S.BUILD:
        own[S.DUE + DECODE] = s[S.DUE + DECODE] - now
    if s[S.STATE + LOAD] in (S.IDLE, S.CHECK):
        own[S.LOAD_LEFT] = own[S.LOAD_PHASE] = 0
    if s[S.STATE + DECODE] in (S.IDLE, S.REQUEST):
        for n in STEPS_OF_STREAM:
            own[n] = 0
    if s[S.STATE + STORE] == S.MOVE:
        own[S.STORE_BEGIN] = s[S.STORE_BEGIN] % PAGE
        answered = s[S.STORE_MISSING] and s[S.STORE_BURST] == 0
        own[S.STORE_ANSWER] = s[S.STORE_ANSWER] - now if answered else 0
    else:
        for n in BEATS_OF_STORE:
            own[n] = 0
    stand_bursts(s, c, own)


@uncounted
def stand_bursts(s, c, own):
    """The part of reader and memory: the first burst in place 0."""
    now, head, level = s[S.NOW], s[S.BURST_HEAD], s[S.BURST_LEVEL]
    for client in range(CLIENTS):
        own[S.BEAT + client] = s[S.BEAT + client] & (c[C.BURST_BEATS] - 1) if s[S.LEFT + client] else 0
    if not s[S.ADDRESS_VALID]:
        own[S.ADDRESS_CLIENT] = own[S.ADDRESS_BEATS] = 0
    own[S.BURST_HEAD] = 0
    for n in range(S.MAX_BURSTS):
        slot = (head + n) % S.MAX_BURSTS
        own[S.BURST_CLIENT + n] = s[S.BURST_CLIENT + slot] if n < level else 0
        own[S.BURST_BEATS + n] = s[S.BURST_BEATS + slot] if n < level else 0
        own[S.BURST_DUE + n] = s[S.BURST_DUE + slot] - now if n < level else 0


@uncounted
def restore(s, own, program, arguments):
    """Registers of a job that stands so, from the time, the counters and the data in `s`; engines that are
    at work count their time from now on."""
    now = s[S.NOW]
    events, due, products = s[S.EVENTS], s[S.DUE + MAC], s[S.VALUE + MAC]
    put(s, 0, own, 0, S.COUNTER)
    put(s, S.COUNTER + COUNTS, own, S.COUNTER + COUNTS, S.MAC_BEGIN - S.COUNTER - COUNTS)
    put(s, MAC_END, own, MAC_END, S.SIZE - MAC_END)
    s[S.NOW], s[S.EVENTS], s[S.DUE + MAC], s[S.VALUE + MAC] = now, events, due, products
    if own[S.STATE + DECODE] == S.BUILD:
        s[S.DUE + DECODE] += now
    if own[S.STATE + VECTOR] == S.RUN:
        s[S.DUE + VECTOR] += now
        s[S.VECTOR_FIRST] += now
    if own[S.STATE + LOAD] != S.IDLE:
        s[S.LOAD_ADDRESS] = address_of(program, arguments, own[S.CURRENT + LOAD])
    if own[S.STATE + STORE] != S.IDLE:
        s[S.STORE_ADDRESS] = address_of(program, arguments, own[S.CURRENT + STORE])
        s[S.STORE_ANSWER] += now
    for n in range(own[S.BURST_LEVEL]):
        s[S.BURST_DUE + n] += now
    resume(s)


@uncounted
def resume(s):
    """Engines at work count from now on: what they count at their end is less by now."""
    for engine in range(1, S.ENGINES):
        if s[S.STATE + engine] != S.IDLE:
            s[BUSY + engine] -= s[S.NOW]


@uncounted
def pause(s):
    """Engines at work have counted up to now."""
    for engine in range(1, S.ENGINES):
        if s[S.STATE + engine] != S.IDLE:
            s[BUSY + engine] += s[S.NOW]
