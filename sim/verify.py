"""Check that functional, fast and RTL devices agree: every output byte, every event's cycle, every
counter."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass

import numpy as np
from ossicle.compiler.program import Program
from ossicle.hw.config import NpuConfig
from ossicle.hw.isa import ARGUMENTS
from ossicle.sim.comparison import compare_counters, compare_events
from ossicle.sim.device import Device
from ossicle.sim.fast import FastDevice
from ossicle.sim.functional import FunctionalDevice
from ossicle.sim.random_programs import DATA, ENTRY, random_program

LATENCIES = (40, 0, 1, 7, 200)
MUSIC = (0, 0, 10, 50, 75)
"""Memory conditions that random programs meet in turn."""
REPEATED = 2
"""Runs of each entry but the first ones."""


@dataclass
class Findings:
    """What was compared, and how much of it differed."""

    programs: int = 0
    jobs: int = 0
    instructions: int = 0
    cycles: int = 0
    value_differences: int = 0
    cycle_differences: int = 0
    first_difference: str = ""

    def note(self, kind: str, count: int, where: str) -> None:
        if count:
            setattr(self, kind, getattr(self, kind) + count)
            self.first_difference = self.first_difference or where


@dataclass(frozen=True)
class Job:
    """An entry to run, with its arguments."""

    entry: str
    arguments: Mapping[int, int]


def verify_program(program: Program, config: NpuConfig, *, seed: int = 0, rtl: bool = True) -> dict:
    """Run every entry of a program on random data on each device; compare after each job.

    Args:
        seed: of the data and of the arguments (slots of the symbols).
        rtl: compare with the RTL too, else functional and fast alone.
    Returns:
        the fields of `Findings`.
    """
    rng = np.random.default_rng(seed)
    found = Findings(programs=1)
    with ExitStack() as stack:
        devices = {name: stack.enter_context(device) for name, device in _open(config, rtl).items()}
        begin, end = program.windows[1]
        data = rng.integers(0, 256, end - begin, np.uint8)
        for device in devices.values():
            device.load(program)
            device.write(begin, data.tobytes())
        for job in _jobs(program, rng):
            _compare(devices, job, (begin, end - begin), program, found)
            if found.first_difference:
                break
    return asdict(found)


def verify_random(
    count: int,
    seed: int,
    configs: Sequence[NpuConfig],
    *,
    rtl: bool = True,
    length: int = 60,
    progress: Callable[[], None] = lambda: None,
) -> dict:
    """Run `count` random programs, spread over the configurations and over memory latencies and music.

    Returns:
        the fields of `Findings`.
    """
    found = Findings()
    shares = np.array_split(np.arange(seed, seed + count), len(configs))
    for config, seeds in zip(configs, shares, strict=True):
        with ExitStack() as stack:
            simulator = stack.enter_context(_rtl(config)) if rtl and len(seeds) else None
            for n in seeds:
                latency, music = LATENCIES[n % len(LATENCIES)], MUSIC[n // len(LATENCIES) % len(MUSIC)]
                _verify_one(int(n), config.replace(dram_latency=latency), music, simulator, length, found)
                progress()
    return asdict(found)


def _verify_one(seed: int, config: NpuConfig, music: int, simulator, length: int, found: Findings) -> None:
    made = random_program(seed, config, length)
    devices: dict[str, Device] = {
        "functional": FunctionalDevice(config),
        "fast": FastDevice(config, music_percent=music),
    }
    if simulator is not None:
        simulator.config, simulator.music_percent = config, music
        devices["rtl"] = simulator
    for device in devices.values():
        device.load(made.program)
        device.write(DATA, made.data)
    symbol = made.program.symbols[DATA]
    before = found.value_differences + found.cycle_differences
    _compare(devices, Job(ENTRY, made.arguments), (symbol.address, symbol.stride), made.program, found)
    found.programs += 1
    if before == 0 and found.first_difference:
        found.first_difference += (
            f" (random program {seed} on {config.name}, latency {config.dram_latency}, music {music} %)"
        )


def _open(config: NpuConfig, rtl: bool) -> dict:
    devices = {"functional": FunctionalDevice(config), "fast": FastDevice(config)}
    return devices | ({"rtl": _rtl(config)} if rtl else {})


def _rtl(config: NpuConfig):
    from ossicle.sim.rtl import RtlDevice

    return RtlDevice(config)


def _jobs(program: Program, rng: np.random.Generator) -> Iterator[Job]:
    """Every entry in the program's order; then all again but the first, with other slots."""
    slots = max((symbol.slots for symbol in program.symbols.values()), default=1)
    smallest = min((symbol.slots for symbol in program.symbols.values() if symbol.slots > 1), default=slots)
    for round_ in range(REPEATED):
        for n, entry in enumerate(program.entries):
            if round_ == 0 or n:
                yield Job(entry, {k: int(rng.integers(smallest)) for k in range(1, min(4, ARGUMENTS))})


def _compare(devices: dict, job: Job, data: tuple[int, int], program: Program, found: Findings) -> None:
    """Run a job everywhere; compare outcomes, data, then times and counters."""
    results = {name: device.run(job.entry, job.arguments, check=False) for name, device in devices.items()}
    found.jobs += 1
    names = list(devices)
    reference = devices[names[0]].read(data[0], count=data[1])
    for name in names[1:]:
        ours, theirs = results[names[0]].fault, results[name].fault
        if ours != theirs:
            where = f"{job.entry}: {names[0]} ends with {ours.name}, {name} with {theirs.name}"
            found.note("value_differences", 1, where)
        differ = np.flatnonzero(devices[name].read(data[0], count=data[1]) != reference)
        if len(differ):
            where = (
                f"{job.entry}: byte {data[0] + differ[0]:#x} of DRAM is not the same on {names[0]} and {name}"
            )
            found.note("value_differences", len(differ), where)
    fast = devices["fast"]
    found.cycles += results["fast"].cycles
    found.instructions += fast.counters()["instructions"]
    if "rtl" in devices:
        _compare_times(fast, devices["rtl"], job, program, found)


def _compare_times(fast: Device, rtl: Device, job: Job, program: Program, found: Findings) -> None:
    names, origins = ("fast", "rtl"), program.debug.get(job.entry)
    for kind, number, where in (
        *compare_events(fast.events(), rtl.events(), names, origins),
        *compare_counters(fast.counters(), rtl.counters(), names),
    ):
        found.note(f"{kind}_differences", number, f"{job.entry}: {where}")
