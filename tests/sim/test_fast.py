"""The fast model's parts against obvious twins; its shortcuts against a run without them."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ossicle.compiler import codec
from ossicle.compiler.api import GEMV, compile_gemv
from ossicle.compiler.assembler import assemble
from ossicle.compiler.program import Entry, Program
from ossicle.hw import numerics
from ossicle.hw.config import INSTRUCTION_BYTES, PRESETS, NpuConfig
from ossicle.hw.isa import Engine, Fault, Opcode, Target, encode, instruction
from ossicle.hw.timing import FETCH
from ossicle.sim.benchmarks import random_matrix
from ossicle.sim.cycle import loop, packed, paths, setup, strides, values
from ossicle.sim.cycle import state as S
from ossicle.sim.cycle.lanes import LANE_STATE, engine_cycles, lane_cycles, multiply, tag_words
from ossicle.sim.cycle.queues import SIDE
from ossicle.sim.fast import FastDevice, Streams
from ossicle.sim.functional import FunctionalDevice
from ossicle.sim.functional_chip import EXECUTE, ROW, ChipState, Job
from ossicle.sim.random_programs import DATA, ENTRY, random_program

INT16 = np.arange(-(1 << 15), 1 << 15)


def lane_by_cycles(masks: list[list[int]], lookahead: int, until: int) -> tuple[int, int]:
    """hw/lane.py with a variable for each of its registers; cycle 0 is `begin`.

    Args:
        masks: by row and word, useful products of a word as bits.
    Returns:
        (cycle in which `finished` is there, products issued up to cycle `until`).
    """
    todo = deque((mask, n == len(row) - 1) for row in masks for n, mask in enumerate(row))
    window: deque[tuple[int, bool]] = deque()
    arrived, rest, end, rows, products = None, None, False, 0, 0
    for cycle in range(1, 1_000_000):
        if end:
            rows += 1
            if rows == len(masks):
                return cycle + 1, products
        goes = bool(todo) and len(window) + (arrived is not None) < lookahead
        end, popped = False, False
        if window:
            mask, last = window[0]
            mask = mask if rest is None else rest
            products += mask != 0 and cycle <= until
            rest = mask & (mask - 1)
            if rest == 0:
                popped, rest, end = True, None, last
        if arrived and (arrived[0] or arrived[1]):
            window.append(arrived)
        if popped:
            window.popleft()
        arrived = todo.popleft() if goes else None
    raise AssertionError("the lane does not end")


SHARES = st.integers(0, 64).map(lambda part: part / 64)


@given(
    seed=st.integers(0, 1 << 32), rows=st.integers(1, 6), words=st.integers(1, 9),
    lookahead=st.integers(2, 16), weights=SHARES, inputs=SHARES, until=st.integers(0, 200),
)  # fmt: skip
@settings(max_examples=300, deadline=None)
def test_lane_takes_the_cycles_of_its_registers(seed, rows, words, lookahead, weights, inputs, until):
    """To its end, and up to a cycle that cuts it short."""
    rng = np.random.default_rng(seed)
    w = rng.integers(1, 128, (rows * words, 16)) * (rng.random((rows * words, 16)) < weights)
    x = rng.integers(-127, 0, (words, 16)) * (rng.random((words, 16)) < inputs)
    w_tags, x_tags = np.zeros(rows * words, np.uint16), np.zeros(words, np.uint16)
    tag_words(w.astype(np.int8), w_tags)
    tag_words(x.astype(np.int8), x_tags)
    masks = [[int(w_tags[r * words + k] & x_tags[k]) for k in range(words)] for r in range(rows)]
    scratch = np.zeros(16, np.int64)
    got = lane_cycles(w_tags, x_tags, rows, words, lookahead, scratch, S.NEVER)
    assert got == lane_by_cycles(masks, lookahead, S.NEVER)
    assert got[1] == np.count_nonzero(w.reshape(rows, -1) * x.reshape(-1))
    cycles, products = lane_cycles(w_tags, x_tags, rows, words, lookahead, scratch, until)
    assert products == lane_by_cycles(masks, lookahead, until)[1]
    assert cycles == got[0] or cycles > until


@given(
    seed=st.integers(0, 1 << 32), lanes=st.sampled_from((4, 8, 32, 64)), rows=st.integers(1, 4),
    words=st.integers(1, 40), lookahead=st.integers(2, 16), weights=SHARES, inputs=SHARES,
    accumulate=st.booleans(),
)  # fmt: skip
@settings(max_examples=400, deadline=None)
def test_matrix_vector(seed, lanes, rows, words, lookahead, weights, inputs, accumulate):
    """Each lane's cycles are those of the lane alone; sums wrap at 32 bits; imbalance is what the lanes that
    finished early waited."""
    rng, base, first, gap = np.random.default_rng(seed), 2, 3, 5
    tile = rng.integers(-128, 128, (lanes, rows, words * 16), np.int8)
    tile[rng.random(tile.shape) >= weights] = 0
    x = rng.integers(-128, 128, words * 16, np.int8)
    x[rng.random(len(x)) >= inputs] = 0
    tags, x_tags = np.zeros((lanes, rows * words), np.uint16), np.zeros(words, np.uint16)
    for lane in range(lanes):
        tag_words(tile[lane].reshape(-1, 16), tags[lane])
    tag_words(x.reshape(-1, 16), x_tags)
    sums = rng.integers(-(1 << 31), 1 << 31, (lanes, base + rows + 1)).astype(np.int32)
    expected = sums.copy()
    new = tile.astype(np.int64) @ x + (sums[:, base : base + rows] if accumulate else 0)
    expected[:, base : base + rows] = new.astype(np.int32)
    stride = rows * words * 16 + gap
    bank = np.zeros(first + lanes * stride, np.int8)
    side_by_side = np.zeros(first + tags.size + SIDE, np.uint16)
    for lane in range(lanes):
        bank[first + lane * stride :][: rows * words * 16] = tile[lane].reshape(-1)
    side_by_side[first : first + tags.size] = tags.T.reshape(-1)
    state, turned = np.zeros(LANE_STATE, np.int32), np.ascontiguousarray(sums.T)
    multiply(bank, first, stride, x, turned, rows, base, accumulate)
    cycles, products, idle = engine_cycles(state, side_by_side, first, lanes, x_tags, rows, lookahead)
    np.testing.assert_array_equal(turned.T, expected)
    scratch = np.zeros(16, np.int64)
    lane = [lane_cycles(tags[n], x_tags, rows, words, lookahead, scratch, S.NEVER) for n in range(lanes)]
    assert cycles == max(c for c, _ in lane)
    assert products == sum(p for _, p in lane)
    # A lane finished in cycle c is idle in c .. the end, both included.
    assert idle == sum(cycles - c + 1 for c, _ in lane)


@pytest.mark.skipif(not packed.PACKS, reason="this CPU does not spread bytes (AVX-512 VBMI2)")
@given(
    seed=st.integers(0, 1 << 32), lanes=st.sampled_from((32, 64, 128)), rows=st.integers(1, 4),
    words=st.integers(1, 20), before=st.integers(0, 3), after=st.integers(0, 3),
    weights=SHARES, inputs=SHARES, accumulate=st.booleans(),
)  # fmt: skip
@settings(max_examples=300, deadline=None)
def test_packed_products(seed, lanes, rows, words, before, after, weights, inputs, accumulate):
    """Those of a tile with words of the same stream before and after it, behind another stream."""
    rng, base, count = np.random.default_rng(seed), 2, before + rows * words + after
    stream = rng.integers(-128, 128, (lanes, count, 16), np.int8)
    stream[rng.random(stream.shape) >= weights] = 0
    x = rng.integers(-128, 128, words * 16, np.int8)
    x[rng.random(len(x)) >= inputs] = 0
    sums = rng.integers(-(1 << 31), 1 << 31, (lanes, base + rows + 1)).astype(np.int32)
    expected = sums.copy()
    tile = stream[:, before : before + rows * words].reshape(lanes, rows, -1)
    new = tile.astype(np.int64) @ x + (sums[:, base : base + rows] if accumulate else 0)
    expected[:, base : base + rows] = new.astype(np.int32)
    streams = Streams(PRESETS["base"].replace(lanes=lanes))
    streams._add(0, banks=rng.integers(-1, 2, (lanes * 3, 16), np.int8))
    handle = streams._add(0, banks=stream.reshape(-1, 16))
    bank, turned = int(streams.pool.index[handle, 3]), np.ascontiguousarray(sums.T)
    packed.multiply(
        streams.pool, bank // SIDE + before, count, bank + before * lanes, x, turned, rows, base, accumulate
    )
    np.testing.assert_array_equal(turned.T, expected)


@pytest.mark.parametrize("name", ["sigmoid", "tanh"])
def test_curves_at_every_input(name):
    ours, theirs = getattr(values, name), getattr(numerics, name)
    assert [ours(int(x)) for x in INT16] == theirs(INT16).tolist()


@given(total=st.integers(-(1 << 32), 1 << 32), multiplier=st.integers(0, 65535), shift=st.integers(0, 47))
@settings(deadline=None)  # the first example compiles the kernel
def test_requantization(total, multiplier, shift):
    assert values.scaled(total, multiplier, shift) == numerics.requantize(total, 0, multiplier, shift)


@given(value=st.integers(-(1 << 50), 1 << 50), shift=st.integers(0, 47))
@settings(deadline=None)  # the first example compiles the kernel
def test_half_goes_to_even(value, shift):
    assert values.round_shift(value, shift) == numerics.round_shift(value, shift)
    half = (value >> shift << shift) + (1 << shift >> 1)
    assert values.round_shift(half, shift) == numerics.round_shift(half, shift)


def random_vector_instruction(rng, config: NpuConfig):
    """A legal LSTM, LINEAR or ADD that overlaps itself in no way that depends on the pipeline."""
    steps, width = int(rng.integers(1, 9)), config.vector_width
    opcode = (Opcode.LSTM, Opcode.LINEAR, Opcode.ADD)[int(rng.integers(3))]
    operands = {"steps": steps}
    if opcode != Opcode.ADD:
        operands |= {"accumulator": int(rng.integers(0, 8)), "parameter": int(rng.integers(0, 8))}
    if opcode != Opcode.LINEAR:
        operands |= {"source": int(rng.integers(0, 4))}
    if opcode == Opcode.ADD:
        operands |= {"source2": int(rng.integers(4, 8))}
    if opcode == Opcode.LSTM:
        return instruction(opcode, destination=int(rng.integers(8)) * (width // 4), **operands)
    target = Target(int(rng.integers(2)))
    place = int(rng.integers(8)) * width if target == Target.ACTIVATION else int(rng.integers(16, 24))
    return instruction(opcode, destination=place, target=target, function=int(rng.integers(4)), **operands)


@given(seed=st.integers(0, 1 << 32), width=st.sampled_from((4, 8, 16)))
@settings(max_examples=150, deadline=None)
def test_vector_instructions(seed, width):
    """numba's element at a time against numpy's whole arrays."""
    rng = np.random.default_rng(seed)
    config = PRESETS["small"].replace(lanes=16, vector_width=width, accumulators=32, vector_words=32)
    chip = ChipState.cleared(config)
    chip.accumulators[:] = rng.integers(-(1 << 20), 1 << 20, chip.accumulators.shape)
    chip.vectors[:] = rng.integers(-(1 << 15), 1 << 15, chip.vectors.shape)
    rows = np.zeros(chip.parameters.shape, ROW)
    rows["bias"] = rng.integers(-(1 << 20), 1 << 20, rows.shape)
    rows["multiplier"] = rng.integers(0, 1 << 16, rows.shape)
    rows["shift"] = rng.choice([0, 1, 15, 20, 24, 47], rows.shape)
    rows["lane"] = rng.integers(0, 256, rows.shape)
    chip.parameters[:] = rows
    made = random_vector_instruction(rng, config)
    word = np.frombuffer(encode(made).to_bytes(16, "little"), np.uint8)
    activations, vectors = chip.activations.copy(), chip.vectors.copy()
    values.vector_instruction(
        setup.instruction_table(word[None])[0], np.ascontiguousarray(chip.accumulators.T),
        chip.parameters.view(np.int32).reshape(-1, 2), activations.reshape(-1), vectors,
        np.zeros(chip.parameters.size, np.int64), np.zeros(config.lanes, np.int64),
    )  # fmt: skip
    EXECUTE[made.opcode](chip, made, Job(np.zeros(0, np.uint8), [0] * 8, (), (0, 0)))
    np.testing.assert_array_equal(activations, chip.activations)
    np.testing.assert_array_equal(vectors, chip.vectors)


CONFIGS = {
    "tiny": PRESETS["small"].replace(
        lanes=4, decoder_streams=1, weight_words=64, lookahead=2, burst_beats=4, outstanding=1, queue_depth=2
    ),
    "small": PRESETS["small"],
    "wide": PRESETS["base"].replace(lanes=16, decoder_streams=16, bus_bits=256, outstanding=3),
}


SHORTCUTS = ("leap", "beats", "stream")
FETCHED = "stream, and a beat of instructions comes"


def observed(config: NpuConfig, music: int, seeds: range) -> list:
    """All that a device shows of random programs."""
    seen = []
    for seed in seeds:
        device = FastDevice(config, music_percent=music)
        made = random_program(seed, config, 30)
        data = made.run_on(device)
        seen.append((data.tobytes(), device.counters(), device.events().tolist()))
    return seen


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("latency, music", [(0, 0), (40, 0), (7, 30), (200, 75)])
def test_shortcuts_change_nothing(monkeypatch, name, latency, music):
    """Leaps over idle cycles and the loops of beats and decoder give what cycle after cycle gives."""
    config, seeds = CONFIGS[name].replace(dram_latency=latency), range(6)
    short = observed(config, music, seeds)
    taken = without_shortcuts(monkeypatch)
    assert observed(config, music, seeds) == short
    assert min(taken[kind] for kind in SHORTCUTS) > 100
    assert taken[FETCHED] > 10 or name == "wide"


def without_shortcuts(monkeypatch) -> Counter:
    """Let the model go cycle after cycle; returns how often it would have tried each shortcut, and how often
    instructions came that the decoder's loop must leave to the others."""
    taken = Counter()

    def without(kind):
        def nothing(state, *_):
            taken[kind] += 1
            taken[FETCHED] += kind == "stream" and state[S.ARRIVED] == FETCH

        return nothing

    # Python versions of the two outer functions, which look the shortcuts up when they need them.
    for outer in ("run", "advance"):
        monkeypatch.setattr(loop, outer, getattr(loop, outer).py_func)
    for kind in SHORTCUTS:
        monkeypatch.setattr(loop, kind, without(kind))
    return taken


def of_a_product(config: NpuConfig, zeros: float) -> list:
    """All that a device shows of the jobs of a matrix-vector product."""
    program = compile_gemv(random_matrix(128, 256, zeros), config)
    device = FastDevice(config)
    device.load(program)
    seen = []
    for name in program.entries:
        device.run(name)
        seen.append((device.counters(), device.events().tolist()))
    return seen


@pytest.mark.parametrize("bus", (32, 64, 256))
@pytest.mark.parametrize("latency", (0, 40, 200))
@pytest.mark.parametrize("zeros", (0.0, 0.9))
def test_strides_change_nothing(monkeypatch, bus, latency, zeros):
    """Leaps along a decoder's path give what cycle after cycle gives, and are taken where a burst's beats
    come without a gap."""
    config = PRESETS["small"].replace(
        weight_words=4096, decoder_streams=8, bus_bits=bus, dram_latency=latency, burst_beats=8, outstanding=8
    )
    expected, beats = of_a_product(config, zeros), []

    def counted(*arguments):
        found = strides.stride(*arguments)
        beats.append(found[0])
        return found

    with monkeypatch.context() as patch:
        for outer in ("run", "advance", "stream"):
            patch.setattr(loop, outer, getattr(loop, outer).py_func)
        patch.setattr(loop, "stride", counted)
        assert of_a_product(config, zeros) == expected
    without_shortcuts(monkeypatch)
    assert of_a_product(config, zeros) == expected
    assert sum(beats) > 100 * config.burst_beats or bus > 32 or latency > 40


def with_one_linear(program: Program) -> Program:
    """A streamed product whose results are all made at the end: between its streams are MAC instructions
    alone."""
    made = program.instructions(GEMV)
    linears = [each for each in made if each.opcode is Opcode.LINEAR]
    rest = [each for each in made if each.opcode is not Opcode.LINEAR]
    last = max(n for n, each in enumerate(rest) if each.opcode is Opcode.MAC)
    code = [
        replace(each, signal=each.signal & {Engine.DECODE}) if each.opcode is Opcode.MAC else each
        for each in rest[:last]
    ]
    steps = sum(each["steps"] for each in linears)
    linear = replace(linears[-1], operands=linears[0].operands | {"steps": steps})
    code += [rest[last], linear, *rest[last + 1 :]]
    code += code[-1:] * (len(code) % 2)
    entry = program.entries[GEMV]
    image = bytearray(program.image)
    words = b"".join(encode(each).to_bytes(INSTRUCTION_BYTES, "little") for each in code)
    image[entry.address : entry.address + len(words)] = words
    entries = program.entries | {GEMV: Entry(entry.address, len(code))}
    return replace(program, image=bytes(image), entries=entries)


@pytest.mark.parametrize("bus", (32, 64, 256))
@pytest.mark.parametrize("latency", (0, 40, 200))
def test_paths_change_nothing(bus, latency):
    """Jobs again on a device that keeps what passes between streams, and each on a new one: MAC instructions
    that take none, all or some of the time of a stream, and a watchdog that ends a job amid one."""
    config = PRESETS["small"].replace(weight_words=256, bus_bits=bus, dram_latency=latency)
    program = with_one_linear(compile_gemv(random_matrix(256, 512, 0.5), config, resident=False))
    device, rng = FastDevice(config), np.random.default_rng(bus + latency)
    device.load(program)
    device.run("prepare")
    for density, watchdog in ((0, 0), (1, 0), (0.1, 0), (1, 0), (0.5, 4000), (0.5, 0), (0, 0)):
        given = rng.integers(-128, 128, 512) * (rng.random(512) < density)
        once = FastDevice(config)
        once.load(program)
        once.run("prepare")
        seen = []
        for each in (device, once):
            each.watchdog = watchdog
            each.write("input", given.astype(np.int8))
            result = each.run("gemv", check=False)
            output = [] if result.fault else each.read("output").tolist()
            seen.append((result, each.counters(), each.events().tolist(), output))
        assert seen[0] == seen[1]
        assert (result.fault == Fault.WATCHDOG) == bool(watchdog)
    (job,) = (job for job in device._jobs.values() if job.runs > 1)
    kept = job.paths.steps[: job.paths.used[paths.STEPS], paths.KIND].tolist()
    assert kept.count(paths.EARLY) >= 2 and paths.WAITS in kept and paths.ENDS in kept


def with_streams_for_tables(program: Program) -> Program:
    """A random program with a STREAM where a TABLE was: it runs on tables that are there."""
    code, entry = program.instructions(ENTRY), program.entries[ENTRY]
    streams = [each for each in code if each.opcode is Opcode.STREAM]
    image = bytearray(program.image)
    for n, each in enumerate(code):
        if each.opcode is Opcode.TABLE:
            own = [stream for stream in streams if stream["set"] == each["set"]] or streams
            made = replace(own[0], wait=each.wait, signal=each.signal)
            place = entry.address + n * INSTRUCTION_BYTES
            image[place : place + INSTRUCTION_BYTES] = encode(made).to_bytes(INSTRUCTION_BYTES, "little")
    return replace(program, image=bytes(image))


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("seed", range(8))
def test_paths_of_random_programs(name, seed):
    """All engines at work at once, again and again with other activations, some of them up to a watchdog:
    on a device that keeps paths, and on one that forgets them."""
    rng, config = np.random.default_rng(seed), CONFIGS[name]
    made = random_program(seed, config, 20)
    program = with_streams_for_tables(made.program)
    with_tables, devices = FastDevice(config), (FastDevice(config), FastDevice(config))
    made.run_on(with_tables)
    for device in devices:
        device.load(program)
        device.write(DATA, made.data)
        device.chip.tables[:] = with_tables.chip.tables
    loads = [each for each in program.instructions(ENTRY) if each.opcode is Opcode.LOAD]
    loads = [each for each in loads if each["target"] == Target.ACTIVATION and each["argument"] == 0]
    for watchdog in (20_000, 20_000, 20_000, int(rng.integers(50, 2000)), 20_000):
        for load in loads:
            count, density = load["length"] * 32, rng.random()
            given = rng.integers(0, 256, count) * (rng.random(count) < density)
            for device in devices:
                device.dram[load["address"] : load["address"] + count] = given
        seen = []
        devices[1]._jobs.clear()
        for device in devices:
            device.watchdog = watchdog
            result = device.run(ENTRY, made.arguments, check=False)
            memories = device.read(DATA), device.chip.vectors, device.chip.accumulators, device.events()
            seen.append((result, device.counters(), *(memory.tolist() for memory in memories)))
        assert seen[0] == seen[1]
    (job,) = devices[0]._jobs.values()
    assert job.paths.used[paths.STEPS] > 0


@given(
    seed=st.integers(0, 1 << 32), name=st.sampled_from(sorted(CONFIGS)), music=st.sampled_from((0, 10, 50))
)
@settings(max_examples=30, deadline=None)
def test_events_and_counters_add_up(seed, name, music):
    config = CONFIGS[name]
    device = FastDevice(config, music_percent=music)
    made = random_program(seed, config)
    made.run_on(device)
    counters, events = device.counters(), device.events()
    order = np.lexsort((events["kind"], events["engine"], events["cycle"]))
    assert (order == np.arange(len(events))).all()
    assert np.count_nonzero(events["kind"] == 0) * 2 == len(events) == 2 * counters["instructions"]
    causes = sum(value for key, value in counters.items() if key.startswith("mac_idle_"))
    assert counters["mac_busy"] + causes == counters["cycles"]
    lanes = sum(value for key, value in counters.items() if key.startswith("lane_"))
    assert lanes == config.lanes * counters["mac_busy"]
    assert min(counters.values()) >= 0
    for n, engine in enumerate(("load", "decode", "mac", "vector", "store"), 1):
        mine = events[events["engine"] == n]
        spans = mine["cycle"][mine["kind"] == 1] - mine["cycle"][mine["kind"] == 0]
        assert spans.sum() == counters[f"{engine}_busy"]


def weights_of(device: FastDevice | FunctionalDevice) -> np.ndarray:
    return device.weights() if isinstance(device, FastDevice) else device.chip.weights.copy()


@pytest.mark.parametrize("beyond", [1, 40, 1000])
def test_refused_stream_changes_nothing(beyond):
    """Good data for a place that is not there: the weights stay what they were."""
    config = CONFIGS["small"]
    made = random_program(3, config, 30)
    code = made.program.instructions(ENTRY)
    index, last = [(n, i) for n, i in enumerate(code) if i.opcode == Opcode.STREAM][-1]
    moved = {**last.operands, "destination": config.weight_words - last["groups"] // 2 + beyond}
    wrong = encode(instruction(last.opcode, wait=last.wait, signal=last.signal, **moved))
    place, seen = made.program.entries[ENTRY].address + 16 * index, []
    for device in (FastDevice(config), FunctionalDevice(config)):
        device.load(made.program)
        device.write(place, wrong.to_bytes(16, "little"))
        result = device.run(ENTRY, made.arguments, check=False)
        assert (result.fault, result.fault_instruction) == (Fault.MEMORY_RANGE, index)
        seen.append(weights_of(device))
    np.testing.assert_array_equal(*seen)


CODED = """
.symbol tables int8 1024 1
.symbol coded int8 {size} 1
.symbol code int8 64 1
.entry build
    table address=tables length={build}
    end
.entry rebuild
    table address=tables length={rebuild}
    end
.entry decode
    stream address=coded length={length} groups=16
    end
.entry after
    stream address=coded length={after} groups=16
    end
.entry take
    load target=activation address=coded length={length} signal=store
    store target=activation address=coded+{size} length={length} wait=load
    end
.entry put
    load target=activation address=coded+{size} length={length} signal=store
    store target=activation address=coded length={length} wait=load
    end
"""
"""Tables and a stream in the data, where jobs and the host may change them."""


def test_what_lies_in_the_data_is_decoded_again():
    """Streams, tables and instructions that a STORE or the host changed between jobs."""
    config, rng = CONFIGS["small"], np.random.default_rng(4)
    first = rng.integers(-60, 60, (config.lanes, 16, 8)).astype(np.int8)
    banks = [first, first[:, rng.permutation(16)]]  # as many bits
    sets = [codec.TableSet.from_weights(own, config.table_log) for own in ([first], [first // 9, first])]
    coded = ((banks[0], sets[0]), (banks[1], sets[0]), (banks[1], sets[1]))
    streams = [codec.encode(bank, tables, config) for bank, tables in coded]
    size, after = len(streams[0]), len(streams[2])
    assert len(streams[1]) == size
    build, rebuild = (len(tables.to_bytes()) // 32 for tables in sets)
    program = assemble(CODED.replace("coded int8 {size}", f"coded int8 {size + after}").format(
        size=size, length=size // 32, after=after // 32, build=build, rebuild=rebuild), config)  # fmt: skip
    seen = []
    for device in (FastDevice(config), FunctionalDevice(config)):
        device.load(program)
        weights = []

        def put(name, content, device=device):
            device.write(name, np.frombuffer(content, np.int8))

        def decode(entry="decode", device=device, weights=weights):
            fault = device.run(entry, check=False).fault
            weights.append(fault or weights_of(device))

        put("tables", sets[0].to_bytes())
        device.run("build")
        for n in (0, 1):
            put("coded", streams[n])
            decode()
            device.run("take")
            put("coded", streams[1 - n])
            decode()
            device.run("put")
            decode()
        put("tables", sets[1].to_bytes())
        device.run("rebuild")
        decode()
        put("coded", streams[2])
        decode("after")
        for opcode in (Opcode.STREAM, Opcode.COMPARE):
            put("code", encode(instruction(opcode)).to_bytes(16, "little") + b"\0" * 16)
            weights.append(device.run((program.symbols["code"].address, 2), check=False).fault)
        seen.append(weights)
    for one, other in zip(*seen, strict=True):
        np.testing.assert_array_equal(one, other)
    kinds = [np.asarray(each).tobytes() for each in seen[0]]
    assert kinds[:6] == [kinds[0], kinds[1], kinds[0], kinds[1], kinds[0], kinds[1]] and kinds[7] == kinds[1]
    assert seen[0][6] == Fault.DECODER  # the tables are others


def test_decoded_streams_outlive_load(monkeypatch):
    """Of another program too; what a program holds that `write` altered is forgotten with the next load."""
    config, made = CONFIGS["small"], random_program(3, CONFIGS["small"])
    device = FastDevice(config)
    first = made.run_on(device).tobytes(), device.events().tolist()
    device.load(made.program)
    device.write(made.program.entries[ENTRY].address, bytes(32))
    assert device.run(ENTRY, made.arguments, check=False).fault
    random_program(4, config).run_on(device)
    monkeypatch.setattr(codec, "decode", None)
    assert (made.run_on(device).tobytes(), device.events().tolist()) == first


def test_twice_the_same():
    """A job again on the same device: the same cycles, though its streams are known by now."""
    config = CONFIGS["small"]
    made, device = random_program(3, config), FastDevice(config)
    made.run_on(device)
    first = device.events().tolist()
    for _ in range(3):
        made.run_on(device)
        assert device.events().tolist() == first
