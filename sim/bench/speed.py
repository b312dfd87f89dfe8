"""How fast the RTL device runs beside a bare C++ loop on the same model, and where its time goes.

What cannot be timed by itself is left out of a round: cocotb in the bare loop, the job in one whose processor
is only clocked, the processor in one with `traffic.sv` in its place. The rounds of all loops are run in turn.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from ossicle.hw.config import NpuConfig
from ossicle.hw.registers import Register
from ossicle.sim import build
from ossicle.sim.bench.mailbox import LOAD_FILE, Operation, request
from ossicle.sim.bench.process import scratch_folder
from ossicle.sim.device import DeviceError
from ossicle.sim.rtl import Registers, RtlDevice

PROBE = request(Operation.PROBE)
PROBES = 50
BURST_BEATS = 16
BURSTS = Register.ARGUMENT + 1

Timed = tuple[int, float]
"""The last cycle of a request, and its seconds."""
Loop = Callable[[bytes], Timed]


def bare_speed(device: RtlDevice, jobs: Sequence[Registers], *, repeats: int = 5) -> dict:
    """Run jobs on a device just opened and in the bare loop, in turn, counters and event log on in both.

    Args:
        device: its memory as the first job shall find it, with no job run on it yet.
        jobs: the registers of each, as `RtlDevice.job_registers` gives them.
        repeats: rounds of all jobs; each job counts at its fastest.

    Returns:
        cycles of a round, cocotb_cycles_per_second, bare_cycles_per_second, ratio_to_bare_cpp, and `seconds`:
        those of a round under cocotb, by what they went to: `work` of the processor, what clocking it `idle`
        takes, `memory` (with bus and bench), `registers` (written before a job, read after it), `cocotb`
        (Python, the VPI, the link to the host).

    Raises:
        DeviceError: the loops disagree on the cycles.
    """
    memory = device.read(0, count=device.memory_bytes).tobytes()
    requests = [device.run_request(job) for job in jobs]
    here, there, idle, bus = [], [], [], []
    with (
        _bare_loop(device, device.verilog, memory) as bare,
        _bare_loop(device, device.verilog, memory) as bare_idle,
        _bare_loop(device, traffic(device.config), memory) as bare_bus,
    ):
        for _ in range(repeats):
            here.append([_timed(device, job) for job in jobs])
            there.append([bare(each) for each in requests])
            idle.append([bare_idle(_no_job(device, cycle)) for cycle, *_ in here[-1]])
            bus.append([bare_bus(_same_traffic(device, cycle, beats)) for cycle, _, beats in here[-1]])
        probe, bare_probe = (_least(each) for each in (device.probe, partial(bare, PROBE)))
    for name, loop in {"the bare loop": there, "one without a job": idle, "one that only reads": bus}.items():
        _check_cycles(here, loop, name)
    cycles = sum(cycle for cycle, *_ in here[0])
    return _split(cycles, len(jobs), [_fastest(loop) for loop in (here, there, idle, bus)], probe, bare_probe)


def _split(cycles: int, jobs: int, seconds: list[float], probe: float, bare_probe: float) -> dict:
    """What `bare_speed` returns, from the seconds of a round in each loop, and of a request without a job."""
    total, bare, idle, bus = seconds
    in_jobs, clocked = total - jobs * probe, bare - jobs * bare_probe
    return {
        "cycles": cycles,
        "cocotb_cycles_per_second": cycles / total,
        "bare_cycles_per_second": cycles / bare,
        "ratio_to_bare_cpp": bare / total,
        "seconds": {
            "work": in_jobs * (1 - idle / clocked),
            "idle": in_jobs * (idle - bus) / clocked,
            "memory": in_jobs * bus / clocked,
            "registers": jobs * bare_probe,
            "cocotb": jobs * (probe - bare_probe),
        },
    }


def traffic(config: NpuConfig) -> str:
    """Verilog of a module in the processor's place that only reads; see `traffic.sv`."""
    macros = {
        "BUS_BITS": config.bus_bits, "COUNT": Register.COUNT, "BURSTS": BURSTS,
        "CONTROL": Register.CONTROL, "INTERRUPT": Register.INTERRUPT,
    }  # fmt: skip
    lines = [f"`define {name} {int(value)}\n" for name, value in macros.items()]
    return "".join(lines) + Path(__file__).with_name("traffic.sv").read_text(encoding="utf-8")


def _same_traffic(device: RtlDevice, last_cycle: int, beats: int) -> bytes:
    """The request that makes `traffic` end in that cycle, after as many beats."""
    return device.run_request([(Register.COUNT, last_cycle - 1), (BURSTS, beats // BURST_BEATS)])


def _no_job(device: RtlDevice, last_cycle: int) -> bytes:
    """The request that clocks the processor up to that cycle without a job, and resets it."""
    return request(
        Operation.RUN, [(Register.COUNT, 0)], latency=device.config.dram_latency, limit=last_cycle
    )


def _timed(device: RtlDevice, job: Registers) -> tuple[int, float, int]:
    """Last cycle, seconds and beats read of a job under cocotb."""
    begin = time.perf_counter()
    device.run_registers(job)
    seconds = time.perf_counter() - begin
    return device.last_cycle, seconds, device.counters()["read_beats"]


def _least(probe: Callable[[], object]) -> float:
    """Seconds of a request that only reads the registers: by the loop's clock, or from here."""
    found = []
    for _ in range(PROBES):
        begin = time.perf_counter()
        timed = probe()
        found.append(timed[1] if isinstance(timed, tuple) else time.perf_counter() - begin)
    return min(found)


def _fastest(rounds: list[list]) -> float:
    """Seconds of a round in which each job counts at its fastest."""
    return sum(min(seconds for _, seconds, *_ in job) for job in zip(*rounds, strict=True))


def _check_cycles(here: list[list], there: list[list], name: str) -> None:
    ours, theirs = ([[cycle for cycle, *_ in each] for each in rounds] for rounds in (here, there))
    if ours != theirs:
        raise DeviceError(f"the jobs ended in cycles {ours} under cocotb and {theirs} in {name}")


@contextmanager
def _bare_loop(device: RtlDevice, verilog: str, memory: bytes) -> Iterator[Loop]:
    """A function that runs a request in a bare loop on this Verilog and a copy of the memory."""
    size = len(memory)
    binary = build.build(verilog, bus_bits=device.config.bus_bits, memory_bytes=size, cocotb=False)
    with (
        scratch_folder() as folder,
        subprocess.Popen(
            [str(binary), "/dev/stdin"], cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        ) as process,
    ):  # fmt: skip

        def run(each: bytes) -> Timed:
            with suppress(BrokenPipeError):  # it has ended; what it said says why
                process.stdin.write(each)
                process.stdin.flush()
            cycle, _, seconds = (said := process.stdout.readline().decode()).partition(" ")
            if not cycle.isdecimal():
                said += process.communicate()[0].decode()
                raise DeviceError(f"the bare loop failed with status {process.returncode}: {said}")
            return int(cycle), float(seconds)

        (folder / LOAD_FILE).write_bytes(memory)
        run(request(Operation.LOAD, address=0, bytes=size))
        yield run
