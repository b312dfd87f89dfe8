"""How fast the RTL device runs beside a bare C++ loop: same model, same bench, same memory, same jobs."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Sequence

from ossicle.sim import build
from ossicle.sim.bench.mailbox import LOAD_FILE, Operation, request
from ossicle.sim.bench.process import scratch_folder
from ossicle.sim.device import DeviceError
from ossicle.sim.rtl import Registers, RtlDevice

REQUEST_FILE = "requests.bin"


def bare_speed(device: RtlDevice, jobs: Sequence[Registers], *, repeats: int = 3) -> dict[str, float]:
    """Run jobs on a device just opened, then again in the bare loop, counters and event log on in both.

    Args:
        device: its memory as the first job shall find it, with no job run on it yet.
        jobs: the registers of each, as `RtlDevice.job_registers` gives them.
        repeats: rounds of all jobs; the fastest round of each loop counts.

    Returns:
        cycles of a round, cocotb_cycles_per_second, bare_cycles_per_second, ratio_to_bare_cpp.

    Raises:
        DeviceError: the two loops disagree on the cycles.
    """
    memory = device.read(0, count=device.memory_bytes).tobytes()
    rounds = [[_timed(device, job) for job in jobs] for _ in range(repeats)]
    bare = _run_bare(device, memory, [device.run_request(job) for job in jobs] * repeats)
    bare_rounds = [bare[i : i + len(jobs)] for i in range(0, len(bare), len(jobs))]
    here, there = ([[cycle for cycle, _ in each] for each in loop] for loop in (rounds, bare_rounds))
    if here != there:
        raise DeviceError(f"the jobs ended in cycles {here} under cocotb and {there} in the bare loop")
    seconds, bare_seconds = (min(sum(s for _, s in each) for each in loop) for loop in (rounds, bare_rounds))
    cycles = sum(here[0])
    return {
        "cycles": cycles,
        "cocotb_cycles_per_second": cycles / seconds,
        "bare_cycles_per_second": cycles / bare_seconds,
        "ratio_to_bare_cpp": bare_seconds / seconds,
    }


def _timed(device: RtlDevice, job: Registers) -> tuple[int, float]:
    begin = time.perf_counter()
    device.run_registers(job)
    return device.last_cycle, time.perf_counter() - begin


def _run_bare(device: RtlDevice, memory: bytes, requests: list[bytes]) -> list[tuple[int, float]]:
    """Last cycle and seconds of each request, in the bare loop."""
    binary = build.build(
        device.verilog, bus_bits=device.config.bus_bits, memory_bytes=device.memory_bytes, cocotb=False
    )
    with scratch_folder() as folder:
        (folder / LOAD_FILE).write_bytes(memory)
        load = request(Operation.LOAD, address=0, bytes=len(memory))
        (folder / REQUEST_FILE).write_bytes(load + b"".join(requests))
        done = subprocess.run(
            [str(binary), REQUEST_FILE], cwd=folder, capture_output=True, text=True, check=False
        )
    if done.returncode:
        raise DeviceError(f"the bare loop failed with status {done.returncode}: {done.stdout}{done.stderr}")
    rows = [line.split() for line in done.stdout.splitlines()][1:]  # the first is the load
    return [(int(cycle), float(seconds)) for cycle, seconds in rows]
