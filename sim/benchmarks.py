"""Measurements behind `ossicle bench`: each returns what its tables show."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter

import numpy as np
from ossicle.compiler.api import compile_gemv
from ossicle.compiler.program import Program
from ossicle.hw.config import NpuConfig
from ossicle.hw.isa import Engine
from ossicle.sim import build, trace
from ossicle.sim.device import Device, open_device

ZEROS = (0.0, 0.5, 0.75, 0.9, 0.95)
SEED = 1


def random_matrix(rows: int, cols: int, zeros: float, seed: int = SEED) -> np.ndarray:
    """int8[rows, cols], independent weights of sigma 32, a share of them zero."""
    rng = np.random.default_rng(seed)
    weights = np.rint(np.clip(rng.normal(0, 32, (rows, cols)), -127, 127))
    weights[weights == 0] = 1
    return np.where(rng.random((rows, cols)) < zeros, 0, weights).astype(np.int8)


def gemv(
    *, engine: str, config: NpuConfig, rows: int = 2048, cols: int = 1024, zeros: tuple[float, ...] = ZEROS
) -> list[dict]:
    """Cycles of one resident matrix-vector product against the ideal, by the share of zeros.

    `cycles` are those of the MAC instructions, from the start of the first to the end of the last; `ideal`
    is the count of useful products over the lanes.
    """
    found = []
    with open_device(engine, config) as device:
        for share in zeros:
            matrix = random_matrix(rows, cols, share)
            program = compile_gemv(matrix, config)
            run_gemv(device, program, cols)
            spans = trace.spans(device.events())
            own = spans[spans["engine"] == Engine.MAC]
            cycles = int(own["end"].max() - own["start"].min())
            products = device.counters()["lane_products"]
            ideal = -(-products // config.lanes)
            found.append(
                {
                    "zeros": share,
                    "cycles": cycles,
                    "ideal": ideal,
                    "ratio": round(cycles / ideal, 4),
                    "lane_use": round(products / (config.lanes * cycles), 4),
                    "job_cycles": device.counters()["cycles"],
                }
            )
    return found


def run_gemv(device: Device, program: Program, cols: int) -> None:
    """Load a program of `compile_gemv` and run it once on an input without zeros."""
    rng = np.random.default_rng(SEED)
    x = rng.integers(1, 128, cols) * rng.choice((-1, 1), cols)
    device.load(program)
    device.write("input", x.astype(np.int8))
    device.run("prepare")
    device.run("gemv", {1: 0, 2: 0})


def work(config: NpuConfig) -> Program:
    """A layer too large for the weight memory of most processors: decoder, lanes and bus all at work."""
    return compile_gemv(random_matrix(1024, 768, 0.65), config, resident=False)


PARTS = {
    "work": "the processor's work",
    "idle": "clocking the processor, were it idle",
    "memory": "clocking memory, bus and bench",
    "registers": "registers, before and after each job",
    "cocotb": "cocotb: Python, VPI and link, each job",
    "cache": "finding the simulator in the cache",
    "start": "starting it, with Python in it",
    "load": "loading the program",
}


def rtl(*, config: NpuConfig) -> dict:
    """Speed of the RTL device, counters and event log on, and of a bare C++ loop on the same model.

    `parts`: what the seconds from the start of the simulator, once built, to the end of the jobs went to.
    """
    from ossicle.sim.bench.speed import bare_speed
    from ossicle.sim.rtl import RtlDevice

    program = work(config)
    RtlDevice(config).close()  # builds it
    cached = _least_seconds(lambda: build.build(build.verilog_of(config), bus_bits=config.bus_bits))
    opened = _least_seconds(lambda: RtlDevice(config).close())
    with RtlDevice(config) as device:
        loaded = _least_seconds(lambda: device.load(program))
        device.power_cycle()
        device.load(program)
        entries = (program.entries["prepare"], *[program.entries["gemv"]] * 8)
        jobs = [device.job_registers(entry, [0] * 8) for entry in entries]
        found = bare_speed(device, jobs)
    seconds = found.pop("seconds") | {"cache": cached, "start": opened - cached, "load": loaded}
    whole = sum(seconds.values())
    parts = [
        {"part": PARTS[name], "seconds": taken, "percent": 100 * taken / whole}
        for name, taken in seconds.items()
    ]
    return {"npu": config.name, **found, "parts": parts}


def _least_seconds(action: Callable[[], object], rounds: int = 3) -> float:
    def once() -> float:
        begin = perf_counter()
        action()
        return perf_counter() - begin

    return min(once() for _ in range(rounds))
