"""The RTL device on a stand-in for the processor (stub.v): its memory, mailbox, life."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from ossicle.compiler.program import Entry, Origin, Program, ProgramError, Symbol
from ossicle.hw.config import PRESETS, NpuConfig
from ossicle.hw.isa import Engine, Fault
from ossicle.hw.registers import Register
from ossicle.sim import build
from ossicle.sim.bench.process import SimulatorDied
from ossicle.sim.bench.speed import bare_speed
from ossicle.sim.device import DeviceError, DeviceFault
from ossicle.sim.rtl import RtlDevice
from ossicle.sim.trace import Kind

pytestmark = pytest.mark.rtl

MEMORY_BYTES = 1 << 20
START, DONE = Kind.START, Kind.DONE


@pytest.fixture(scope="module", autouse=True)
def tools():
    try:
        build.find_tools()
    except build.ToolMissing as error:
        pytest.skip(str(error))


def stub(config: NpuConfig) -> str:
    text = Path(__file__).with_name("stub.v").read_text(encoding="utf-8")
    return f"`define BUS {config.bus_bits}\n`define DIGEST 32'h{config.digest():x}\n{text}"


@pytest.fixture(scope="module")
def shared():
    """A device for the tests that leave it as good as new."""
    with opened() as device:
        yield device


def opened(config: NpuConfig = PRESETS["base"], **options) -> RtlDevice:
    return RtlDevice(config, memory_bytes=MEMORY_BYTES, verilog=stub(config), **options)


def job(*, address=0, bursts=0, beats=1, pause=0, writes=0, to=0, fault=0, hang=0) -> list[tuple[int, int]]:
    arguments = (bursts, beats, pause, writes, fault, hang)
    registers = [(Register.ENTRY, address), (Register.WRITE_BASE, to)]
    return registers + [(Register.ARGUMENT + 1 + i, value) for i, value in enumerate(arguments)]


def owned(cycle: int, music: int) -> bool:
    return (cycle + 1) * music // 100 > cycle * music // 100


def expected_events(latency, music, *, bursts, beats, pause, writes) -> list[tuple[int, int, int]]:
    """The stub's job on the memory that the bench promises: (cycle, engine, kind)."""
    events, waiting, given, issued, free, cycle = [(0, Engine.CONTROL, START)], [], 0, 0, 1, 1
    while given < bursts * beats:
        accept = issued < bursts and cycle >= free
        if waiting and waiting[0][0] <= cycle and not owned(cycle, music):
            events.append((cycle, Engine.LOAD, DONE))
            given += 1
            waiting[0][1] -= 1
            if not waiting[0][1]:
                waiting.pop(0)
        if accept and len(waiting) < 16:
            events.append((cycle, Engine.LOAD, START))
            waiting.append([cycle + 1 + latency, beats])
            issued += 1
            free = cycle + 1 + pause
        cycle += 1
    if writes:
        events.append((cycle, Engine.STORE, START))
        for _ in range(writes):
            cycle += 1
            while owned(cycle, music):
                cycle += 1
            events.append((cycle, Engine.MAC, DONE))
        cycle += latency + 1
        events.append((cycle, Engine.STORE, DONE))
    return sorted([*events, (cycle, Engine.CONTROL, DONE)])


SHAPES = [
    {"bursts": 1, "beats": 1, "pause": 0, "writes": 0},
    {"bursts": 40, "beats": 4, "pause": 0, "writes": 7},
    {"bursts": 24, "beats": 1, "pause": 0, "writes": 1},
    {"bursts": 9, "beats": 16, "pause": 33, "writes": 16},
    {"bursts": 5, "beats": 2, "pause": 100, "writes": 3},
]


@pytest.mark.parametrize("latency", [0, 1, 40])
@pytest.mark.parametrize("music", [0, 30, 75])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_memory_timing(shared, monkeypatch, latency, music, shape):
    monkeypatch.setattr(shared, "config", PRESETS["base"].replace(dram_latency=latency))
    monkeypatch.setattr(shared, "music_percent", music)
    result = shared.run_registers(job(**shape))
    events = shared.events()
    found = [tuple(row) for row in events[["cycle", "engine", "kind"]].tolist()]
    assert found == expected_events(latency, music, **shape)
    assert result.cycles == found[-1][0] == shared.last_cycle - 1
    assert shared.counters()["read_beats"] == shape["bursts"] * shape["beats"]


@pytest.mark.parametrize("bus_bits", [64, *(pytest.param(n, marks=pytest.mark.slow) for n in (32, 256))])
def test_data_of_reads_and_writes(bus_bits):
    config = PRESETS["base"].replace(bus_bits=bus_bits)
    data = np.random.default_rng(bus_bits).integers(0, 256, 4096, dtype=np.uint8)
    with opened(config) as device:
        device.write(0x200, data)
        device.write(0x203, b"odd")
        data[3:6] = list(b"odd")
        np.testing.assert_array_equal(device.read(0x200, count=4096), data)
        np.testing.assert_array_equal(device.read(0x205, count=3), data[5:8])
        device.run_registers(job(address=0x200, bursts=8, beats=4, writes=2, to=0x4000))
        events = device.events()
        beats = events[(events["engine"] == Engine.LOAD) & (events["kind"] == DONE)]
        first = data[: 32 * config.bus_bytes].reshape(32, -1)[:, :4].copy().view("<u4")[:, 0]
        np.testing.assert_array_equal(beats["value"], first)
        word = int(np.sum(first, dtype=np.uint32)).to_bytes(config.bus_bytes, "little")
        assert device.read(0x4000, count=2 * config.bus_bytes).tobytes() == 2 * word
        np.testing.assert_array_equal(device.read(0x200, count=4096), data)


def test_beyond_the_memory(shared):
    shared.write(MEMORY_BYTES - 8, b"\xff" * 8)
    shared.run_registers(job(address=MEMORY_BYTES - 8, bursts=2, beats=1, writes=1, to=MEMORY_BYTES))
    events = shared.events()
    done = events[events["kind"] == DONE]
    assert done["value"][done["engine"] == Engine.LOAD].tolist() == [0xFFFFFFFF, 0]
    assert done["value"][done["engine"] == Engine.STORE].tolist() == [2]
    with pytest.raises(DeviceError, match="outside the 1048576 bytes"):
        shared.read(MEMORY_BYTES - 4, count=8)
    with pytest.raises(DeviceError, match="outside"):
        shared.write(-8, b"12345678")


def program(config: NpuConfig, seed: int) -> Program:
    image = np.random.default_rng(seed).integers(0, 256, 1024, dtype=np.uint8).tobytes()
    symbol = Symbol("output", 1024, "int16", 3, 2, 32)
    entries = {"main": Entry(64 * seed, 2)}
    return Program(
        config.digest(), image, {"instructions": (0, 1024)}, 2048, {"output": symbol}, entries,
        {"main": [Origin("", "")] * 2}, {"name": f"p{seed}"},
    )  # fmt: skip


def test_programs_one_after_another(shared):
    config = PRESETS["base"]
    with pytest.raises(DeviceError, match="no program"):
        shared.run("main")
    for seed in (1, 2, 1):
        loaded = program(config, seed)
        shared.load(loaded)
        assert not shared.read("output", slot=1).any()
        shared.write("output", [1, -2, 3], slot=1)
        assert shared.read("output", slot=1).tolist() == [1, -2, 3]
        assert shared.read("output", slot=1, count=2).tolist() == [1, -2]
        assert shared.read("output").tolist() == [0, 0, 0]
        result = shared.run("main", {1: 1, 2: 4})
        events = shared.events()
        values = events["value"][(events["engine"] == Engine.LOAD) & (events["kind"] == DONE)]
        place = 64 * seed
        image = np.frombuffer(loaded.image[place : place + 32], dtype="<u4")[::2]
        np.testing.assert_array_equal(values, image)
        assert result.fault == Fault.NONE
    with pytest.raises(DeviceError, match=r"no entry 'other'; there are main"):
        shared.run("other")
    with pytest.raises(DeviceError, match="no argument 0"):
        shared.run("main", {0: 1})
    with pytest.raises(DeviceError, match=r"no symbol 'input'; there are output"):
        shared.read("input")
    with pytest.raises(DeviceError, match="holds 3 elements"):
        shared.write("output", [1, 2, 3, 4])
    with pytest.raises(ProgramError, match="compile it again"):
        shared.load(program(PRESETS["small"], 1))


def test_fault_is_reported(shared):
    code = Fault.DECODER | Engine.DECODE << 4 | 77 << 8
    result = shared.run_registers(job(bursts=1, fault=code))
    assert (result.fault, result.fault_engine, result.fault_instruction) == (
        Fault.DECODER,
        Engine.DECODE,
        77,
    )


def test_fault_of_a_program_is_raised():
    class Faulty(RtlDevice):
        def job_registers(self, entry, arguments):
            return [*super().job_registers(entry, arguments), (Register.ARGUMENT + 5, Fault.OPCODE)]

    config = PRESETS["base"]
    with Faulty(config, memory_bytes=MEMORY_BYTES, verilog=stub(config)) as device:
        device.load(program(config, 1))
        with pytest.raises(DeviceFault, match="OPCODE"):
            device.run("main", {1: 1, 2: 1})
        assert device.run((0, 2), {1: 1, 2: 1}, check=False).fault == Fault.OPCODE


def test_power_cycle():
    with opened() as device:
        device.write(0, b"1234")
        device.run_registers(job(bursts=1))
        device.power_cycle()
        assert not device.read(0, count=4).any()
        assert device.counters() == {} and not len(device.events())
        with pytest.raises(DeviceError, match="no job"):
            _ = device.last_cycle


def test_job_that_hangs():
    with opened(watchdog=100) as device:
        with pytest.raises(DeviceError, match=r"no interrupt in \d+ cycles"):
            device.run_registers(job(bursts=1, hang=1))
        assert device.run_registers(job(bursts=2)).cycles == 44


@pytest.mark.slow
def test_waves(tmp_path):
    path = tmp_path / "job.vcd"
    with opened(waves=path, window=(10, 19)) as device:
        device.run_registers(job(bursts=3, beats=8))
    text = path.read_text(encoding="utf-8")
    assert "axi_read__araddr" in text
    assert sum(line.startswith("#") for line in text.splitlines()) == 20


def test_simulator_killed():
    with opened() as device:
        device.run_registers(job(bursts=1))
        os.kill(device.pid, signal.SIGKILL)
        while running(device.pid):
            time.sleep(0.01)
        with pytest.raises(SimulatorDied, match=r"simulator ended \(status -9\)"):
            device.run_registers(job(bursts=1))
        with pytest.raises(SimulatorDied, match="closed"):
            device.read(0, count=4)


def test_simulator_ends_with_a_host_that_was_killed(tmp_path):
    """A host killed in the middle of a job leaves no simulator that runs on."""
    script = tmp_path / "host.py"
    script.write_text(HOST.format(folder=str(Path(__file__).parent)), encoding="utf-8")
    host = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    assert host.stdout is not None
    simulator = int(host.stdout.readline())
    time.sleep(0.5)
    host.kill()
    host.wait()
    deadline = time.monotonic() + 20
    while running(simulator) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not running(simulator)


HOST = """
import sys
sys.path.insert(0, {folder!r})
from test_rtl import job, opened
device = opened(watchdog=0)
print(device.pid, flush=True)
device.run_registers(job(hang=1))
"""


def running(pid: int) -> bool:
    """Whether a process lives; one that has ended but was not waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_close_leaves_nothing():
    device = opened()
    folder = device._simulator.folder
    assert folder.is_dir()
    device.close()
    assert device._simulator._process.returncode == 0  # it ended by itself
    device.close()
    assert not folder.exists()
    with pytest.raises(ProcessLookupError):
        os.kill(device.pid, 0)


def test_wrong_verilog_is_refused():
    with pytest.raises(DeviceError, match="not of this configuration"):
        RtlDevice(PRESETS["base"].replace(lanes=64), memory_bytes=MEMORY_BYTES, verilog=stub(PRESETS["base"]))


@pytest.mark.parametrize("options", [{"music_percent": 100}, {"music_percent": -1}, {"waves": "wave.txt"}])
def test_options_are_checked(options):
    with pytest.raises(DeviceError, match=r"use 0 to 99|ends in .vcd or .fst"):
        opened(**options)


def test_bare_loop_runs_the_same_job():
    with opened(music_percent=30) as device:
        device.write(0, np.arange(4096, dtype=np.uint8))
        measured = bare_speed(device, [job(bursts=50, beats=16), job(bursts=200, beats=16, writes=4)])
    assert measured["cycles"] > 4000
    assert measured["bare_cycles_per_second"] > 0
    assert sum(measured["seconds"].values()) * measured["cocotb_cycles_per_second"] == pytest.approx(
        measured["cycles"]
    )
    assert measured["seconds"].keys() == {"work", "idle", "memory", "registers", "cocotb"}
    assert all(measured["seconds"][name] > 0 for name in ("memory", "registers", "cocotb"))


def test_loops_that_disagree_are_told():
    with opened() as device:
        device.verilog = device.verilog.replace("cycles + 1", "cycles + 1; if (cycles == 9) busy <= 0")
        with pytest.raises(DeviceError, match=r"ended in cycles .* under cocotb and .* in the bare loop"):
            bare_speed(device, [job(bursts=5, beats=16)], repeats=1)


def test_a_bare_loop_that_ends_says_why():
    with opened() as device:
        device.verilog = device.verilog.replace("axi_read__rready = 1", "axi_read__rready = 0")
        with pytest.raises(DeviceError, match=r"(?s)the bare loop failed with status .*rready is low"):
            bare_speed(device, [job(bursts=5, beats=16)], repeats=1)
