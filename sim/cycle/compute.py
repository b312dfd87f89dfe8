"""MAC and vector engines: an instruction's checks, its values and its end, all known in the cycle after its start."""

from __future__ import annotations

from numba import njit

from ossicle.hw.isa import Engine, Fault, Opcode, Target
from ossicle.sim.cycle import state as S
from ossicle.sim.cycle.lanes import matrix_vector, tag_words
from ossicle.sim.cycle.setup import LATENCY, OPCODE, OPERAND
from ossicle.sim.cycle.values import vector_instruction

MAC, VECTOR = int(Engine.MAC), int(Engine.VECTOR)
MEMORY_RANGE = int(Fault.MEMORY_RANGE)
LSTM, LINEAR, ADD, COMPARE = int(Opcode.LSTM), int(Opcode.LINEAR), int(Opcode.ADD), int(Opcode.COMPARE)
TO_ACTIVATION, TO_VECTOR = int(Target.ACTIVATION), int(Target.VECTOR)

WEIGHTS, ROWS, WORDS = OPERAND["weights"], OPERAND["rows"], OPERAND["words"]
X, SPLIT, X2 = OPERAND["activation"], OPERAND["split"], OPERAND["activation2"]
BASE, ACCUMULATE = OPERAND["accumulator"], OPERAND["accumulate"]
STEPS, PARAMETER, TARGET = OPERAND["steps"], OPERAND["parameter"], OPERAND["target"]
SOURCE, SOURCE2, DESTINATION = OPERAND["source"], OPERAND["source2"], OPERAND["destination"]
THRESHOLD, PREDICATE = OPERAND["threshold"], OPERAND["predicate"]


@njit(cache=True)
def mac_cycle(s, c, made, chip):
    """One cycle of the MAC engine; returns 0, or 1 when it is done, or a negative fault."""
    if s[S.STATE + MAC] == S.RUN:
        return 1 if s[S.NOW] >= s[S.DUE + MAC] else 0
    rows, words = made[ROWS], made[WORDS]
    first = min(made[SPLIT], words)
    if (
        rows * words == 0
        or made[WEIGHTS] + rows * words > c.weight_words
        or made[X] + first > c.activation_words
        or (first != words and made[X2] + words - first > c.activation_words)
        or made[BASE] + rows > c.accumulators
    ):
        return -MEMORY_RANGE
    gather(chip, made[X], first, made[X2], words)
    cycles, products, imbalance = matrix_vector(
        chip.weights, chip.tags, chip.x, chip.x_tags, chip.accumulators, rows, words, c.lookahead,
        made[WEIGHTS], made[BASE], made[ACCUMULATE],
    )
    s[S.DUE + MAC] = s[S.NOW] + cycles
    s[S.VALUE + MAC] = products
    s[S.MAC_PRODUCTS], s[S.MAC_IMBALANCE] = products, imbalance
    s[S.MAC_SKIPPED] = rows * words * 16 * c.lanes - products
    s[S.STATE + MAC] = S.RUN
    return 0


@njit(cache=True)
def gather(chip, first, count, second, words):
    """Put the two segments of the input one behind the other."""
    for w in range(words):
        source = first + w if w < count else second + w - count
        for i in range(16):
            chip.x[w, i] = chip.activations[source, i]
    tag_words(chip.x[:words], chip.x_tags)


@njit(cache=True)
def vector_check(c, made):
    """Whether a vector instruction's operands lie in their memories."""
    opcode, steps = made[OPCODE], made[STEPS]
    if opcode == COMPARE:
        return made[SOURCE] < c.vector_words
    units = c.vector_width // 4 if opcode == LSTM else c.vector_width
    if steps == 0:
        return False
    if opcode != ADD and (made[BASE] >= c.accumulators or made[PARAMETER] + steps > c.parameter_words):
        return False
    if opcode != LINEAR and made[SOURCE] + steps > c.vector_words:
        return False
    if opcode == ADD and made[SOURCE2] + steps > c.vector_words:
        return False
    if opcode == LSTM or made[TARGET] == TO_ACTIVATION:
        return made[DESTINATION] % units == 0 and made[DESTINATION] + steps * units <= c.activation_words * 16
    return made[TARGET] == TO_VECTOR and made[DESTINATION] + steps <= c.vector_words


@njit(cache=True)
def vector_cycle(s, c, made, chip):
    """One cycle of the vector unit; returns 0, or 1 when it is done, or a negative fault."""
    opcode = made[OPCODE]
    if s[S.STATE + VECTOR] == S.RUN:
        if s[S.NOW] < s[S.DUE + VECTOR]:
            return 0
        if opcode == COMPARE:
            s[S.PREDICATE + made[PREDICATE]] = s[S.VALUE + VECTOR]
        return 1
    if not vector_check(c, made):
        return -MEMORY_RANGE
    steps = 1 if opcode == COMPARE else made[STEPS]
    start = s[S.NOW] - 1
    s[S.VECTOR_FIRST] = start + LATENCY[opcode]
    s[S.DUE + VECTOR] = s[S.VECTOR_FIRST] + steps - 1
    s[S.VECTOR_TARGETS] = 0
    if opcode == LSTM:
        s[S.VECTOR_TARGETS] = 1 << TO_ACTIVATION | 1 << TO_VECTOR
    elif opcode != COMPARE:
        s[S.VECTOR_TARGETS] = 1 << made[TARGET]
    if opcode == COMPARE:
        threshold = made[THRESHOLD] - (made[THRESHOLD] >> 15 << 16)
        s[S.VALUE + VECTOR] = 1 if chip.vectors[made[SOURCE], 0] > threshold else 0
    else:
        s[S.VALUE + VECTOR] = steps
        vector_instruction(made, chip.accumulators, chip.parameters, chip.activations.reshape(-1), chip.vectors)
    s[S.STATE + VECTOR] = S.RUN
    return 0
