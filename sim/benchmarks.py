"""Measurements behind `ossicle bench`: each returns the rows of a table."""

from __future__ import annotations

import numpy as np
from ossicle.compiler.api import compile_gemv
from ossicle.compiler.program import Program
from ossicle.hw.config import NpuConfig
from ossicle.hw.isa import Engine
from ossicle.sim import trace
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


def rtl(*, config: NpuConfig) -> list[dict]:
    """Speed of the RTL device, counters and event log on, and of a bare C++ loop on the same model."""
    from ossicle.sim.bench.speed import bare_speed
    from ossicle.sim.rtl import RtlDevice

    program = work(config)
    with RtlDevice(config) as device:
        device.load(program)
        entries = (program.entries["prepare"], *[program.entries["gemv"]] * 8)
        jobs = [device.job_registers(entry, [0] * 8) for entry in entries]
        return [{"npu": config.name, **bare_speed(device, jobs)}]
