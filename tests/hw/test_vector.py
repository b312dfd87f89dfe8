"""The vector unit against `sim.functional_chip`: every word, and the cycle of every write, end and fault."""

import json

import cosim
import numpy as np
import pytest
from ossicle.hw.config import PRESETS
from ossicle.hw.isa import OPCODES, Function, Opcode, Target, encode, instruction
from ossicle.hw.timing import VECTOR_LATENCY
from ossicle.hw.vector import VectorUnit
from ossicle.sim.functional_chip import EXECUTE, ChipState, Job, Stop

pytestmark = pytest.mark.rtl

TIGHT = PRESETS["small"].replace(vector_words=40, parameter_words=24, activation_words=20, accumulators=20)
CONFIGS = {
    4: TIGHT,
    8: TIGHT.replace(vector_width=8, lanes=16),
    16: TIGHT.replace(vector_width=16, lanes=16),
}
LARGE = TIGHT.replace(
    vector_width=16,
    lanes=16,
    vector_words=8192,
    parameter_words=4096,
    activation_words=4096,
    accumulators=4096,
)
NO_JOB = Job(np.zeros(0, np.uint8), [0] * 8, (), (0, 0))


def random_chip(config, rng):
    """Memories full of values for every branch of the arithmetic; no two rows of a step share a lane."""
    chip = ChipState.cleared(config)
    chip.vectors[:] = corners(rng, chip.vectors.shape, 16)
    chip.activations[:] = rng.integers(-128, 128, chip.activations.shape)
    chip.accumulators[:] = corners(rng, chip.accumulators.shape, 32)
    rows = chip.parameters
    rows["bias"] = corners(rng, rows.shape, 32)
    rows["multiplier"] = rng.choice([0, 1, 0x8000, 0xFFFF, *rng.integers(0, 1 << 16, 12)], rows.shape)
    # Shifts of 28 and more bring most products into the range of 16 bits.
    rows["shift"] = np.where(
        rng.random(rows.shape) < 0.7, rng.integers(28, 48, rows.shape), rng.integers(0, 63, rows.shape)
    )
    lanes = np.array([rng.permutation(config.lanes)[: config.vector_width] for _ in rows])
    # Bits above those of a lane are ignored.
    rows["lane"] = lanes + config.lanes * rng.integers(0, 256 // config.lanes, lanes.shape)
    return chip


def corners(rng, shape, bits):
    """Signed values: of any magnitude, with extremes among them."""
    value = rng.integers(-(1 << (bits - 1)), 1 << (bits - 1), shape) >> rng.integers(0, bits, shape)
    extreme = rng.choice([-(1 << (bits - 1)), (1 << (bits - 1)) - 1, -1, 0, 1], shape)
    return np.where(rng.random(shape) < 0.1, extreme, value)


def random_instruction(config, rng):
    """Any vector instruction; about one in six breaks a bound."""
    opcode = rng.choice([Opcode.LSTM, Opcode.LINEAR, Opcode.ADD, Opcode.COMPARE])
    steps = int(rng.integers(1, 9))
    target = int(rng.choice([Target.ACTIVATION, Target.VECTOR]))
    bytes_a_step = config.units_per_step if opcode == Opcode.LSTM else config.vector_width
    size = config.activation_words * 16
    to_vector = opcode != Opcode.LSTM and target == Target.VECTOR
    values = {
        "steps": steps,
        "accumulator": rng.integers(0, config.accumulators - steps + 1),
        "parameter": rng.integers(0, config.parameter_words - steps + 1),
        "source": rng.integers(0, config.vector_words - steps + 1),
        "source2": rng.integers(0, config.vector_words - steps + 1),
        "function": rng.integers(0, 4),
        "target": target,
        "destination": rng.integers(0, config.vector_words - steps + 1) if to_vector
        else bytes_a_step * rng.integers(0, size // bytes_a_step - steps + 1),
        "threshold": corners(rng, (), 16) & 0xFFFF,
        "predicate": rng.integers(0, 8),
    }  # fmt: skip
    if rng.random() < 1 / 6:
        name, value = BREAKS[int(rng.integers(len(BREAKS)))](config, steps)
        values[name] = value
    return made_of(opcode, values)


BREAKS = [
    lambda config, steps: ("steps", 0),
    lambda config, steps: ("accumulator", config.accumulators),
    lambda config, steps: ("parameter", config.parameter_words - steps + 1),
    lambda config, steps: ("source", config.vector_words - steps + 1),
    lambda config, steps: ("source2", 0xFFFF),
    lambda config, steps: ("target", 2),
    lambda config, steps: ("target", 3),
    lambda config, steps: ("destination", 1 + config.vector_width // 8),
    lambda config, steps: ("destination", 0xFFFF),
    lambda config, steps: ("destination", config.vector_words - steps + 1),
    lambda config, steps: ("destination", 16 * config.activation_words),
]


def made_of(opcode, values):
    names = [field.name for field in OPCODES[opcode].operands]
    return instruction(opcode, **{name: int(values[name]) for name in names})


def check(config, chip, program, gaps, tmp_path):
    """Run on the RTL and on the model; everything must agree."""
    log = tmp_path / "log.json"
    parameters = {
        "words": [encode(made) for made in program], "gaps": gaps, "log": str(log),
        "parameter": as_words(chip.parameters), "vector": as_words(chip.vectors),
        "activation": chip.activations.view(np.uint8).reshape(-1), "accumulators": chip.accumulators,
        "predicates": chip.predicates.astype(int),
    }  # fmt: skip
    cosim.run(VectorUnit(config=config), "vector_cosim", parameters, tmp_path)
    got = json.loads(log.read_text())
    starts = [cycle for cycle, kind, _ in got["events"] if kind == "start"]
    assert len(starts) == len(program)
    expected, end = [], 0
    for index, (made, start, gap) in enumerate(zip(program, starts, gaps, strict=True)):
        late = max(gap - (end - starts[index - 1]), 0) if index else 0
        assert index == 0 or start == end + 1 + late, f"start of {index}: {made}"
        events = execute(chip, made, start)
        expected += [[start, "start", index], *events]
        end = events[-1][0]
    assert sorted(got["events"]) == sorted(expected)
    assert got["vector"] == as_words(chip.vectors)
    assert got["activation"] == chip.activations.view(np.uint8).reshape(-1).tolist()
    assert got["predicates"] == chip.predicates.astype(int).tolist()


def execute(chip, made, start):
    """Carry an instruction out on the model; the events it must cause, its end or fault the last."""
    try:
        EXECUTE[made.opcode](chip, made, NO_JOB)
    except Stop as stop:
        return [[start + 1, "busy", 0], [start + 1, "fault", int(stop.fault)]]
    steps = 1 if made.opcode == Opcode.COMPARE else made["steps"]
    kinds = {
        Opcode.COMPARE: ["predicate"], Opcode.LSTM: ["vector", "activation"],
    }.get(made.opcode) or [["activation", "vector"][made["target"]]]  # fmt: skip
    first = start + VECTOR_LATENCY[made.opcode]
    end = first + steps - 1
    value = int(chip.predicates[made["predicate"]]) if made.opcode == Opcode.COMPARE else steps
    writes = [[first + k, kind, 0] for k in range(steps) for kind in kinds]
    return [*writes, *([c, "busy", 0] for c in range(start + 1, end + 1)), [end, "done", value]]


def as_words(memory):
    """Each row of an array as one integer, first element lowest."""
    return [int.from_bytes(row.tobytes(), "little") for row in memory]


@pytest.mark.parametrize("width", cosim.mostly_slow(CONFIGS, 8))
@pytest.mark.parametrize("idle", [False, True])
def test_random(width, idle, tmp_path):
    rng = np.random.default_rng(width + idle)
    config = CONFIGS[width]
    program = [random_instruction(config, rng) for _ in range(150)]
    gaps = rng.integers(0, 30, len(program)).tolist() if idle else [0] * len(program)
    check(config, random_chip(config, rng), program, gaps, tmp_path)


def test_every_requantization(tmp_path):
    """Sixty thousand rows of extremes and ordinary values, as they are and through an LSTM."""
    rng = np.random.default_rng(5)
    program = [
        instruction(Opcode.LINEAR, steps=4095, parameter=1, target=Target.VECTOR),
        instruction(Opcode.LSTM, steps=4095, source=4096),
    ]
    check(LARGE, random_chip(LARGE, rng), program, [0, 0], tmp_path)


@pytest.mark.parametrize("target", cosim.mostly_slow([Target.ACTIVATION, Target.VECTOR], Target.ACTIVATION))
@pytest.mark.parametrize("function", Function)
def test_every_input(function, target, tmp_path):
    """All 65536 values plus zero, in place or to the activation memory."""
    chip = ChipState.cleared(LARGE)
    chip.vectors[:4096] = np.arange(-(1 << 15), 1 << 15).reshape(4096, 16)
    scale = 1 if target == Target.VECTOR else 16
    program = [
        instruction(
            Opcode.ADD,
            steps=steps,
            source=at,
            source2=4096,
            function=function,
            target=target,
            destination=at * scale,
        )
        for at, steps in ((0, 4095), (4095, 1))
    ]
    check(LARGE, chip, program, [0, 0], tmp_path)


def test_two_rows_of_one_lane_share_its_accumulator(tmp_path):
    config = CONFIGS[4]
    chip = random_chip(config, np.random.default_rng(9))
    chip.parameters["lane"] = 3
    program = [instruction(Opcode.LINEAR, steps=5, target=Target.VECTOR, destination=3)]
    check(config, chip, program, [0], tmp_path)
