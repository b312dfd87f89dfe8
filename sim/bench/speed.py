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


def bare_speed(device: RtlDevice, jobs: Sequence[Registers]) -> dict[str, float]:
    """Run jobs on a device just opened, then again in the bare loop, counters and event log on in both.

    Args:
        device: its memory as the first job shall find it, with no job run on it yet.
        jobs: the registers of each, as `RtlDevice.job_registers` gives them.

    Returns:
        cycles, cocotb_cycles_per_second, bare_cycles_per_second, ratio_to_bare_cpp.

    Raises:
        DeviceError: the two loops disagree on the cycles.
    """
    memory = device.read(0, count=device.memory_bytes).tobytes()
    begin = time.perf_counter()
    for job in jobs:
        device.run_registers(job)
    seconds = time.perf_counter() - begin
    requests = [device.run_request(job) for job in jobs]
    cycles, last_cycle, bare_seconds = _run_bare(device, memory, requests)
    if last_cycle != device.last_cycle:
        raise DeviceError(f"the bare loop ended in cycle {last_cycle}, the device in {device.last_cycle}")
    return {
        "cycles": cycles,
        "cocotb_cycles_per_second": cycles / seconds,
        "bare_cycles_per_second": cycles / bare_seconds,
        "ratio_to_bare_cpp": bare_seconds / seconds,
    }


def _run_bare(device: RtlDevice, memory: bytes, requests: list[bytes]) -> tuple[int, int, float]:
    """Cycles of all jobs, the last cycle of the last one, and the seconds of all, in the bare loop."""
    binary = build.build(
        device.verilog, bus_bits=device.config.bus_bits, memory_bytes=device.memory_bytes, cocotb=False
    )
    with scratch_folder() as folder:
        (folder / LOAD_FILE).write_bytes(memory)
        load = request(Operation.LOAD, address=0, bytes=len(memory))
        (folder / "requests.bin").write_bytes(load + b"".join(requests))
        done = subprocess.run(
            [str(binary), "requests.bin"], cwd=folder, capture_output=True, text=True, check=False
        )
    if done.returncode:
        raise DeviceError(f"the bare loop failed with status {done.returncode}: {done.stdout}{done.stderr}")
    rows = [line.split() for line in done.stdout.splitlines()][1:]  # the first is the load
    ends = [int(cycle) for cycle, _ in rows]
    return sum(ends), ends[-1], sum(float(seconds) for _, seconds in rows)
