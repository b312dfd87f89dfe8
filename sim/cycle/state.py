"""Registers of the cycle model: one int64 array, one slot a register, named as in the RTL.

The model is numba kernels over arrays. A kernel sees the state at the beginning of a cycle and leaves it
as it stands at the end; `NOW` counts the job's cycles.
"""

from __future__ import annotations

from ossicle.hw.config import ALLOWED
from ossicle.hw.isa import PREDICATES, Engine
from ossicle.hw.registers import COUNTERS

_slots = 0


def _slot(count: int = 1) -> int:
    global _slots
    first, _slots = _slots, _slots + count
    return first


ENGINES = len(Engine)
MAX_QUEUE = 32
MAX_BURSTS = 32
MAX_TABLE_SETS = max(ALLOWED["table_sets"])

NOW = _slot()
CHANGED = _slot()
"""What the cycle changed beside the time and the counters: nothing, MEMORY (reader, memory, decoder),
TRANSFER (beats of load and store engine), or OTHERS too, which is all."""
MEMORY, TRANSFER, OTHERS = 1, 2, 7
WORK = _slot()
"""Values to compute before the next cycle: bits WORK_*."""
WORK_MAC, WORK_VECTOR, WORK_LOAD, WORK_STORE, WORK_STREAM = 1, 2, 4, 8, 16
WAITED = _slot()
"""Whether the reader waited in vain in the last cycle."""
PHASE = _slot()
FAULT, FAULT_ENGINE, FAULT_INDEX = _slot(), _slot(), _slot()
EVENTS = _slot()
PREDICATE = _slot(PREDICATES)
COUNTER = _slot(len(COUNTERS))
"""The counters, in the order of `registers.COUNTERS`."""

# Sequencer
THERE, INDEX, PART, TO_SKIP = _slot(), _slot(), _slot(), _slot()
QUEUE = _slot(ENGINES * MAX_QUEUE)
QUEUE_HEAD, QUEUE_LEVEL = _slot(ENGINES), _slot(ENGINES)
TOKEN = _slot(ENGINES * ENGINES)
"""TOKEN + giver * ENGINES + taker."""
READY = _slot(ENGINES)
"""Of each taker: bit g: giver g's tokens for it are not 0."""
GIVEN = _slot()
"""Tokens of this cycle's ends, a bit for each of TOKEN."""
AHEAD = _slot(MAX_QUEUE * 2)
AHEAD_HEAD, AHEAD_LEVEL = _slot(), _slot()

# Reader and memory
LEFT, BEAT, ROOM, HELD = _slot(3), _slot(3), _slot(3), _slot(3)
"""A client's beats not yet asked for, the next one's number, room and beats in its queue."""
ADDRESS_VALID, ADDRESS_CLIENT, ADDRESS_BEATS, UNDER_WAY = _slot(), _slot(), _slot(), _slot()
BURST_CLIENT, BURST_BEATS = _slot(MAX_BURSTS), _slot(MAX_BURSTS)
BURST_HEAD, BURST_LEVEL, ARRIVED = _slot(), _slot(), _slot()

# Engines: the instruction each is on, and where it stands
CURRENT = _slot(ENGINES)
STATE = _slot(ENGINES)
DECODE_FILL, DECODE_LEFT, DECODE_STEP, DECODE_STEPS, DECODE_FIRST = (
    _slot(),
    _slot(),
    _slot(),
    _slot(),
    _slot(),
)
DECODE_HELD, DECODE_WRONG, DECODE_OUTCOME = _slot(), _slot(), _slot()
DECODE_STRIDE = _slot()
"""Row of the pool's strides behind the stream's last."""
BURST_DUE = _slot(MAX_BURSTS)
DUE = _slot(ENGINES)
"""Cycle in which an engine that runs for a known time ends."""
VALUE = _slot(ENGINES)
DONE = _slot(ENGINES)
"""The instruction an engine ended last, for the work that is left to do."""
LOAD_FROM, STORE_TO = _slot(), _slot()

LOAD_LEFT, LOAD_ADDRESS, LOAD_PHASE = _slot(), _slot(), _slot()
BUILT = _slot(MAX_TABLE_SETS)
"""A set's tables built in this job: handle of the last TABLE that ended well, plus 1; 0: none."""
MAC_BEGIN, MAC_SKIPPED, MAC_PRODUCTS, MAC_IMBALANCE = _slot(), _slot(), _slot(), _slot()
VECTOR_FIRST, VECTOR_TARGETS = _slot(), _slot()
STORE_WORDS, STORE_LEVEL, STORE_ARRIVING, STORE_PHASE = _slot(), _slot(), _slot(), _slot()
STORE_BEATS, STORE_BURST, STORE_MISSING, STORE_ADDRESS, STORE_ANSWER = (
    _slot(),
    _slot(),
    _slot(),
    _slot(),
    _slot(),
)
STORE_BEGIN = _slot()

SIZE = _slots
NEVER = 1 << 62
"""Later than any cycle."""

# Values of STATE
IDLE, CHECK, REQUEST, MOVE, COLLECT, BUILD, RUN, DRAIN, FAULTING = range(9)
# Values of PHASE
RUNNING, FINISHING, CLEARING, ENDED = range(4)
