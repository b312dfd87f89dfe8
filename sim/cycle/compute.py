"""MAC and vector engines: an instruction's checks, its values and its end, all known in the cycle after
its start."""

from __future__ import annotations

from ossicle.hw.isa import Engine, Fault, Opcode, Target
from ossicle.sim.cycle import packed
from ossicle.sim.cycle import setup as C
from ossicle.sim.cycle import state as S
from ossicle.sim.cycle.jit import WORD, copy, inlined, tag, uncounted, widen
from ossicle.sim.cycle.lanes import cut_short, engine_cycles, multiply
from ossicle.sim.cycle.packed import PACKS
from ossicle.sim.cycle.queues import SIDE
from ossicle.sim.cycle.setup import LATENCY, OPCODE, OPERAND
from ossicle.sim.cycle.values import vector_instruction
from ossicle.sim.cycle.weights import collected, in_a_row

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


@inlined
def mac_cycle(s, c, program):
    """One cycle of the MAC engine; returns 0, or 1 when it is done, or a negative fault.

    A legal instruction asks for `compute_mac` before the next cycle, which finds out when it ends.
    """
    if s[S.STATE + MAC] == S.RUN:
        return 1 if s[S.NOW] >= s[S.DUE + MAC] else 0
    made = s[S.CURRENT + MAC]
    rows, words = program[made, ROWS], program[made, WORDS]
    first = min(program[made, SPLIT], words)
    if (
        rows * words == 0
        or program[made, WEIGHTS] + rows * words > c[C.WEIGHT_WORDS]
        or program[made, X] + first > c[C.ACTIVATION_WORDS]
        or (first != words and program[made, X2] + words - first > c[C.ACTIVATION_WORDS])
        or program[made, BASE] + rows > c[C.ACCUMULATORS]
    ):
        return -MEMORY_RANGE
    s[S.STATE + MAC], s[S.CHANGED] = S.RUN, S.OTHERS
    s[S.DUE + MAC] = s[S.MAC_BEGIN] = s[S.NOW]
    s[S.WORK] |= S.WORK_MAC
    return 0


@uncounted
def compute_mac(s, c, made, chip, pool):
    """The values of a MAC instruction, and its end. DUE is the cycle of `begin`."""
    rows, words, lanes = made[ROWS], made[WORDS], chip.accumulators.shape[1]
    gather(chip, made[X], min(made[SPLIT], words), made[X2], words)
    x, x_tags, weights = chip.x[: words * WORD], chip.x_tags[:words], made[WEIGHTS]
    if PACKS and lanes % SIDE == 0 and in_a_row(chip.homes, weights, rows * words):
        bank, offset, length = chip.homes[weights]
        tags, place = pool.tags, bank + offset * lanes
        begin = bank // SIDE + offset
        packed.multiply(pool, begin, length, place, x, chip.accumulators, rows, made[BASE], made[ACCUMULATE])
    else:
        banks, first, stride, tags, place = tile(chip, pool, weights, rows * words)
        wide = chip.wide[: words * WORD]
        for w in range(words):
            widen(wide, w * WORD, x, w * WORD)
        multiply(
            banks.reshape(-1), first * WORD, stride * WORD, wide, chip.accumulators, rows, made[BASE],
            made[ACCUMULATE],
        )  # fmt: skip
    cycles, products, imbalance = engine_cycles(
        chip.lanes, tags, place, lanes, x_tags, rows, c[C.LOOKAHEAD]
    )
    s[S.DUE + MAC] += cycles
    s[S.VALUE + MAC] = products
    s[S.MAC_PRODUCTS], s[S.MAC_IMBALANCE] = products, imbalance
    s[S.MAC_SKIPPED] = rows * words * 16 * lanes - products


@uncounted
def tile(chip, pool, first, count):
    """Words first .. first + count - 1 of the weight memory.

    Returns:
        (words, int8[n, 16]; lane 0's first among them; from lane to lane so many; tags, uint16[n]; lane 0's
        first among them).
    """
    lanes = chip.accumulators.shape[1]
    if in_a_row(chip.homes, first, count):
        bank, offset, words = chip.homes[first]
        return pool.banks, bank + offset, words, pool.tags, bank + offset * lanes
    collected(chip.homes, first, count, pool.banks, pool.tags, chip.words, chip.tags)
    return chip.words, 0, count, chip.tags, 0


@uncounted
def mac_until(s, c, made, chip, pool):
    """Products and lane-cycles of imbalance of a MAC instruction up to the job's last cycle, which cut it."""
    cycles, rows, words = s[S.NOW] - 1 - s[S.MAC_BEGIN], made[ROWS], made[WORDS]
    _, _, _, tags, place = tile(chip, pool, made[WEIGHTS], rows * words)
    return cut_short(tags, place, c[C.LANES], chip.x_tags, rows, words, c[C.LOOKAHEAD], cycles, chip.pops)


@uncounted
def gather(chip, first, count, second, words):
    """Put the two segments of the input one behind the other."""
    copy(chip.x, 0, chip.activations, first * WORD, count * WORD)
    copy(chip.x, count * WORD, chip.activations, second * WORD, (words - count) * WORD)
    for w in range(words):
        chip.x_tags[w] = tag(chip.x, w * WORD)


@inlined
def vector_check(c, program, made):
    """Whether a vector instruction's operands lie in their memories."""
    opcode, steps = program[made, OPCODE], program[made, STEPS]
    width = c[C.VECTOR_WIDTH]
    if opcode == COMPARE:
        return program[made, SOURCE] < c[C.VECTOR_WORDS]
    units = width // 4 if opcode == LSTM else width
    if steps == 0:
        return False
    if opcode != ADD and (
        program[made, BASE] >= c[C.ACCUMULATORS] or program[made, PARAMETER] + steps > c[C.PARAMETER_WORDS]
    ):
        return False
    if opcode != LINEAR and program[made, SOURCE] + steps > c[C.VECTOR_WORDS]:
        return False
    if opcode == ADD and program[made, SOURCE2] + steps > c[C.VECTOR_WORDS]:
        return False
    place = program[made, DESTINATION]
    if opcode == LSTM or program[made, TARGET] == TO_ACTIVATION:
        return place % units == 0 and place + steps * units <= c[C.ACTIVATION_WORDS] * 16
    return program[made, TARGET] == TO_VECTOR and place + steps <= c[C.VECTOR_WORDS]


@inlined
def vector_cycle(s, c, program):
    """One cycle of the vector unit; returns 0, or 1 when it is done, or a negative fault.

    A legal instruction asks for `compute_vector` before the next cycle.
    """
    made = s[S.CURRENT + VECTOR]
    opcode = program[made, OPCODE]
    if s[S.STATE + VECTOR] == S.RUN:
        if s[S.NOW] < s[S.DUE + VECTOR]:
            return 0
        if opcode == COMPARE:
            s[S.PREDICATE + program[made, PREDICATE]] = s[S.VALUE + VECTOR]
        return 1
    if not vector_check(c, program, made):
        return -MEMORY_RANGE
    steps = 1 if opcode == COMPARE else program[made, STEPS]
    s[S.VECTOR_FIRST] = s[S.NOW] - 1 + LATENCY[opcode]
    s[S.DUE + VECTOR] = s[S.VECTOR_FIRST] + steps - 1
    s[S.VECTOR_TARGETS] = 0
    if opcode == LSTM:
        s[S.VECTOR_TARGETS] = 1 << TO_ACTIVATION | 1 << TO_VECTOR
    elif opcode != COMPARE:
        s[S.VECTOR_TARGETS] = 1 << program[made, TARGET]
    s[S.VALUE + VECTOR] = steps
    s[S.STATE + VECTOR], s[S.CHANGED] = S.RUN, S.OTHERS
    s[S.WORK] |= S.WORK_VECTOR
    return 0


@uncounted
def compute_vector(s, made, chip):
    """The values of a vector instruction."""
    if made[OPCODE] == COMPARE:
        threshold = made[THRESHOLD] - (made[THRESHOLD] >> 15 << 16)
        s[S.VALUE + VECTOR] = 1 if chip.vectors[made[SOURCE], 0] > threshold else 0
    else:
        vector_instruction(
            made,
            chip.accumulators,
            chip.parameters.reshape(-1, 2),
            chip.activations.reshape(-1),
            chip.vectors,
            chip.values,
            chip.pointers,
        )
