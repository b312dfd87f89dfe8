"""Everything that can go wrong in a job ends in a fault with its cause, soon, and the next job runs."""

from __future__ import annotations

import numpy as np
import pytest
from ossicle.compiler import codec
from ossicle.compiler.assembler import assemble
from ossicle.compiler.program import Program
from ossicle.hw.config import NpuConfig
from ossicle.hw.isa import Engine, Fault, Opcode
from ossicle.sim import build, trace
from ossicle.sim.device import Device, RunResult
from ossicle.sim.fast import FastDevice
from ossicle.sim.functional import FunctionalDevice
from ossicle.sim.random_programs import DATA, ENTRY, random_program

CONFIG = NpuConfig(
    name="tiny", lanes=4, lookahead=2, weight_words=256, accumulators=64, activation_words=64, vector_width=4,
    vector_words=128, parameter_words=64, decoder_streams=1, table_log=9, table_sets=1, bus_bits=32,
    burst_beats=4, outstanding=2, queue_depth=2,
)  # fmt: skip
WATCHDOG = 5000
BOUND = WATCHDOG + 500
FAR = 1 << 20
TOKENS = "\n".join(["    load target=vector address=numbers length=1 signal=mac"] * 17)
STOPS = f""".symbol big int16 256 1
    linear steps=60 target=vector signal=mac
    mac rows=1 words=1 split=1 wait=vector
    store target=vector address=big length=16 source=64
    load target=vector address={FAR} length=1"""
"""The fault comes while the vector unit is at work; the store, which must end, is longer."""

FAULTS: dict[str, tuple[str, Fault, Engine]] = {
    "load far away": (f"load target=vector address={FAR} length=1", Fault.READ_WINDOW, Engine.LOAD),
    "load over the end": (
        "load target=vector address=numbers length=1 destination=127", Fault.MEMORY_RANGE, Engine.LOAD,
    ),
    "load nowhere": ("load target=3 address=numbers length=1", Fault.MEMORY_RANGE, Engine.LOAD),
    "load nothing": ("load target=vector address=numbers", Fault.MEMORY_RANGE, Engine.LOAD),
    "store far away": (f"store target=vector address={FAR} length=1", Fault.WRITE_WINDOW, Engine.STORE),
    "store into the image": (
        "store target=vector address=numbers length=1", Fault.WRITE_WINDOW, Engine.STORE,
    ),
    "store over the end": (
        "store target=vector address=result length=1 source=127", Fault.MEMORY_RANGE, Engine.STORE,
    ),
    "store parameters": ("store target=parameter address=result length=1", Fault.MEMORY_RANGE, Engine.STORE),
    "stream far away": (f"stream address={FAR} length=1 groups=2", Fault.READ_WINDOW, Engine.DECODE),
    "stream of odd groups": ("stream address=numbers length=1 groups=3", Fault.MEMORY_RANGE, Engine.DECODE),
    "stream over the end": (
        "stream address=numbers length=1 groups=4 destination=255", Fault.MEMORY_RANGE, Engine.DECODE,
    ),
    "stream of tables never built": (
        "stream address=numbers length=1 groups=2", Fault.DECODER, Engine.DECODE,
    ),
    "long stream of tables never built": (
        "stream address=zeros length=32 groups=16", Fault.DECODER, Engine.DECODE,
    ),
    "table of the wrong length": ("table address=numbers length=1", Fault.DECODER, Engine.DECODE),
    "table that adds up to nothing": ("table address=zeros length=32", Fault.DECODER, Engine.DECODE),
    "rows beyond the weights": ("mac weights=250 rows=2 words=4", Fault.MEMORY_RANGE, Engine.MAC),
    "no rows": ("mac words=4", Fault.MEMORY_RANGE, Engine.MAC),
    "input beyond the activations": (
        "mac rows=1 words=4 split=4 activation=62", Fault.MEMORY_RANGE, Engine.MAC,
    ),
    "sums beyond the accumulators": (
        "mac rows=4 words=1 split=1 accumulator=62", Fault.MEMORY_RANGE, Engine.MAC,
    ),
    "lstm of no steps": ("lstm", Fault.MEMORY_RANGE, Engine.VECTOR),
    "linear beyond the parameters": (
        "linear steps=2 parameter=63 target=vector", Fault.MEMORY_RANGE, Engine.VECTOR,
    ),
    "add beyond the vectors": ("add steps=4 source=126 target=vector", Fault.MEMORY_RANGE, Engine.VECTOR),
    "compare beyond the vectors": ("compare source=128", Fault.MEMORY_RANGE, Engine.VECTOR),
    "token that nobody gives": (
        "load target=vector address=numbers length=1 wait=mac", Fault.WATCHDOG, Engine.CONTROL,
    ),
    "token given while the job stops": (STOPS, Fault.READ_WINDOW, Engine.LOAD),
    "too many tokens": (TOKENS.strip(), Fault.TOKEN_OVERFLOW, Engine.LOAD),
    "too many tokens of control": (
        "\n".join(["    skip signal=mac"] * 17).strip(), Fault.TOKEN_OVERFLOW, Engine.CONTROL,
    ),
    "load inside a granule": (
        "load target=vector address=numbers+4 length=1", Fault.READ_WINDOW, Engine.LOAD,
    ),
    "load inside a granule by its argument": (
        "load target=vector address=zeros+1 length=1 argument=1 stride=1", Fault.READ_WINDOW, Engine.LOAD,
    ),
    "store inside a granule": (
        "store target=vector address=result+16 length=1", Fault.WRITE_WINDOW, Engine.STORE,
    ),
    "store inside a granule of a longer symbol": (
        ".symbol big int16 64 1\n    store target=vector address=big+8 length=2", Fault.WRITE_WINDOW,
        Engine.STORE,
    ),
    "stream inside a granule": (
        "stream address=zeros+31 length=1 groups=2", Fault.READ_WINDOW, Engine.DECODE,
    ),
    "table inside a granule": ("table address=numbers+2 length=32", Fault.READ_WINDOW, Engine.DECODE),
}  # fmt: skip


def program(body: str) -> Program:
    return assemble(
        f"""
.symbol result int16 16 1
.data numbers
.hex 0100 0200 0300 0400
.data zeros
.zeros 1024
.entry bad
    {body}
    end
.entry good
    load target=vector address=numbers length=1 signal=store
    store target=vector address=result length=1 wait=load
    end
""",
        CONFIG,
    )


@pytest.fixture(scope="module", params=("functional", "fast", pytest.param("rtl", marks=pytest.mark.rtl)))
def device(request):
    made: Device
    if request.param == "functional":
        made = FunctionalDevice(CONFIG)
    elif request.param == "fast":
        made = FastDevice(CONFIG, watchdog=WATCHDOG)
    else:
        try:
            build.find_tools()
        except build.ToolMissing as error:
            pytest.skip(str(error))
        from ossicle.sim.rtl import RtlDevice

        made = RtlDevice(CONFIG, watchdog=WATCHDOG)
    yield made
    made.close()


def ends_well(device: Device) -> None:
    """The device is as good as new."""
    assert device.run("good").fault == Fault.NONE
    assert device.read("result", count=4).tolist() == [1, 2, 3, 4]


def check(result: RunResult, fault: Fault, engine: Engine) -> None:
    assert result.fault == fault
    assert result.fault_engine == engine
    assert result.cycles is None or result.cycles < BOUND


@pytest.mark.parametrize("name", FAULTS)
def test_instruction_that_cannot_be_carried_out(device, name):
    body, fault, engine = FAULTS[name]
    device.load(program(body))
    check(device.run("bad", check=False), fault, engine)
    ends_well(device)


@pytest.mark.parametrize("name", FAULTS)
def test_functional_and_fast_name_the_same_instruction(name):
    functional, fast = FunctionalDevice(CONFIG), FastDevice(CONFIG, watchdog=WATCHDOG)
    for device in (functional, fast):
        device.load(program(FAULTS[name][0]))
    one, other = (device.run("bad", check=False) for device in (functional, fast))
    assert (one.fault, one.fault_engine) == (other.fault, other.fault_engine)
    # Which token is one too many is a matter of time.
    unknown = one.fault == Fault.TOKEN_OVERFLOW
    assert one.fault_instruction == (None if unknown else other.fault_instruction)


REFUSED = {
    "too long": ("table address=b length=33", Fault.DECODER),
    "too short": ("table address=b length={b}-1", Fault.DECODER),
    "inside a granule": ("table address=shifted+4 length={b}", Fault.READ_WINDOW),
    "no such set": ("table address=b length={b} set=1", Fault.MEMORY_RANGE),
    "a wrong image": ("table address=wrong length={b}", Fault.DECODER),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_table_changes_nothing(device, name):
    """Streams of the tables that were there before decode as ever."""
    rng = np.random.default_rng(6)
    bank = rng.integers(-3, 3, (CONFIG.lanes, 16, 8)).astype(np.int8)
    a = codec.TableSet.from_weights([bank], CONFIG.table_log)
    rough = codec.TableSet(a.mask, (1, (2 << CONFIG.table_log) // 256 - 1) * 128, CONFIG.table_log)
    data, images = codec.encode(bank, a, CONFIG), [made.to_bytes() for made in (a, rough)]
    line, fault = REFUSED[name]
    sizes = [len(image) // 32 for image in images]
    wrong = images[1][:-32] + b"\xff" * 32
    stream = f"stream address=data length={len(data) // 32} groups=16"
    device.load(assemble(f"""
        .data a
        .hex {images[0].hex()}
        .data b
        .hex {images[1].hex()}
        .data shifted
        .hex 00000000{images[1].hex()}
        .data wrong
        .hex {wrong.hex()}
        .data data
        .hex {data.hex()}
        .entry first
        table address=a length={sizes[0]}
        {stream}
        end
        .entry bad
        {line.replace("{b}-1", str(sizes[1] - 1)).replace("{b}", str(sizes[1]))}
        end
        .entry again
        {stream}
        end
    """, CONFIG))  # fmt: skip
    assert device.run("first").fault == Fault.NONE
    assert device.run("bad", check=False).fault == fault
    assert device.run("again").fault == Fault.NONE


UNBUILT = """
    .data a
    .hex {a}
    .data b
    .hex {b}
    .data data
    .hex {data}
    .entry build
    table address=a length={tables}
    end
    .entry fail
    table address=b length=1
    end
    .entry stream
    stream address=data length={length} groups=16
    end
"""
"""`a`: tables of `data`; `b`: no table image."""


def unbuilt_program() -> Program:
    bank = np.random.default_rng(6).integers(-3, 3, (CONFIG.lanes, 16, 8)).astype(np.int8)
    tables = codec.TableSet.from_weights([bank], CONFIG.table_log)
    data, image = codec.encode(bank, tables, CONFIG), tables.to_bytes()
    sizes = {"tables": len(image) // 32, "length": len(data) // 32}
    text = UNBUILT.format(a=image.hex(), b=bytes(32).hex(), data=data.hex(), **sizes)
    return assemble(text, CONFIG)


def test_tables_are_built_from_load_to_load(device):
    """By a TABLE that ends well, for all jobs that follow; a fault leaves them, `load` does not."""
    for _ in range(2):
        device.load(unbuilt_program())
        for entry in ("stream", "fail", "stream"):
            assert device.run(entry, check=False).fault == Fault.DECODER
        for entry, fault in (("build", 0), ("stream", 0), ("fail", Fault.DECODER), ("stream", 0)):
            assert device.run(entry, check=False).fault == fault


STALE = f"""
.symbol seen int8 {5 * 1024} 1
.data ones
.hex {"01" * 64}
.data rows
.hex {"".join(f"00000000008000{lane:02x}" for lane in range(4)) * 60}
.entry main
    store target=activation address=seen length=32 signal=load
    store target=vector address=seen+1024 length=32 signal=vector
    linear steps=60 target=vector wait=store signal=store+load
    store target=vector address=seen+2048 length=32 wait=vector signal=vector
    load target=activation address=ones length=2 wait=store signal=mac
    load target=parameter address=rows length=60 wait=vector signal=vector
    linear steps=60 target=vector wait=load+store signal=store+mac
    store target=vector address=seen+3072 length=32 wait=vector signal=vector
    mac rows=60 words=4 split=4 wait=load+vector signal=vector
    linear steps=60 target=vector wait=mac+store signal=store
    store target=vector address=seen+4096 length=32 wait=vector
    end
"""
"""Activations, vectors, parameters and accumulators, accumulators, weights: what it shows of each is not 0 if
they hold anything."""


def test_load_clears_the_chip(device, monkeypatch):
    """A program sees nothing of the one before; its counters and events are gone."""
    monkeypatch.setattr(device, "watchdog", 100 * WATCHDOG, raising=False)
    made = random_program(9, CONFIG, 30)
    for _ in range(2):
        made.run_on(device)
        assert device.counters()["lane_products"] > 0
        device.load(assemble(STALE, CONFIG))
        assert not any(device.counters().values()) and len(device.events()) == 0
        device.run("main")
        assert not device.read("seen").any()


def test_opcode_that_is_none(device):
    made = program("end")
    device.load(made)
    check(device.run((made.symbols["result"].address, 2), check=False), Fault.OPCODE, Engine.CONTROL)
    ends_well(device)


def test_job_without_end(device):
    made = program("\n".join(["load target=vector address=numbers length=1"] * 4))
    device.load(made)
    check(device.run((made.entries["bad"].address, 4), check=False), Fault.NO_END, Engine.CONTROL)
    ends_well(device)


def test_instructions_outside_the_windows(device):
    made = program("end")
    device.load(made)
    check(device.run((FAR, 2), check=False), Fault.READ_WINDOW, Engine.CONTROL)
    ends_well(device)


@pytest.fixture(scope="module")
def both():
    """The fast device and the RTL."""
    try:
        build.find_tools()
    except build.ToolMissing as error:
        pytest.skip(str(error))
    from ossicle.sim.rtl import RtlDevice

    with FastDevice(CONFIG, watchdog=WATCHDOG) as fast, RtlDevice(CONFIG, watchdog=WATCHDOG) as rtl:
        yield fast, rtl


def same(fast: Device, rtl: Device) -> None:
    assert fast.events().tolist() == rtl.events().tolist()
    assert fast.counters() == rtl.counters()


@pytest.mark.rtl
@pytest.mark.parametrize("name", FAULTS)
def test_fast_faults_in_the_cycle_of_the_rtl(both, name):
    """Cause, engine, instruction, cycles, events, counters: of the job that fails and of the next."""
    for device in both:
        device.load(program(FAULTS[name][0]))
    for entry in ("bad", "good"):
        one, other = (device.run(entry, check=False) for device in both)
        assert one == other
        same(*both)


@pytest.mark.rtl
def test_table_cut_short(both, monkeypatch):
    """A set is built from the cycle of its TABLE's end on, no earlier: what follows is as in the RTL."""
    for device in both:
        device.load(unbuilt_program())
        device.run("build")
    end = int(both[0].events()["cycle"][both[0].events()["engine"] == Engine.DECODE][-1])
    seen = []
    for cycle in range(end - 4, end + 3):
        for device in both:
            device.load(unbuilt_program())
            monkeypatch.setattr(device, "watchdog", cycle)
            device.run("build", check=False)
            monkeypatch.setattr(device, "watchdog", WATCHDOG)
        one, other = (device.run("stream", check=False) for device in both)
        assert one == other
        same(*both)
        seen.append(one.fault)
    assert {Fault.NONE, Fault.DECODER} == set(seen)


@pytest.mark.rtl
def test_counters_of_a_job_cut_short(both, monkeypatch):
    """The watchdog ends a job in any cycle of its MAC instructions: every counter as in the RTL."""
    made = random_program(12, CONFIG, 30)
    for device in both:
        monkeypatch.setattr(device, "watchdog", 0)
        device.load(made.program)
        device.write(DATA, made.data)
        device.run(ENTRY, made.arguments)
    same(*both)
    spans = trace.spans(both[0].events())
    spans = spans[spans["engine"] == Engine.MAC]
    rng = np.random.default_rng(2)
    for start, end in spans[["start", "end"]][:12].tolist():
        cycle = int(rng.integers(start, end))
        for device in both:
            monkeypatch.setattr(device, "watchdog", cycle)
        one, other = (device.run(ENTRY, made.arguments, check=False) for device in both)
        assert one == other and one.fault == Fault.WATCHDOG
        same(*both)


@pytest.mark.rtl
def test_corrupted_streams(both, monkeypatch):
    """A bit flipped in a stream: DECODER, or other weights; an end in any case; all devices alike."""
    rng, outcomes, functional = np.random.default_rng(5), [], FunctionalDevice(CONFIG)
    for device in both:
        monkeypatch.setattr(device, "watchdog", 100 * WATCHDOG)
    for seed in range(30):
        made = random_program(seed, CONFIG, 30)
        streams = [i for i in made.program.instructions(ENTRY) if i.opcode == Opcode.STREAM]
        one = streams[int(rng.integers(len(streams)))]
        place, bit = one["address"] + int(rng.integers(32 * one["length"])), 1 << int(rng.integers(8))
        results = []
        for device in (*both, functional):
            device.load(made.program)
            device.write(DATA, made.data)
            device.write(place, device.read(place, count=1) ^ bit)
            results.append(device.run(ENTRY, made.arguments, check=False))
        assert results[0] == results[1]
        same(*both)
        assert results[2].fault == results[0].fault in (Fault.NONE, Fault.DECODER)
        assert results[2].fault_instruction == results[0].fault_instruction
        outcomes.append(results[0].fault)
    assert outcomes.count(Fault.DECODER) > 5
