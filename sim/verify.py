"""Check that functional, fast and RTL devices agree: every output byte, every event's cycle, every
counter."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from itertools import pairwise

import numpy as np
from ossicle.compiler.program import Program
from ossicle.hw.config import NpuConfig
from ossicle.hw.isa import ARGUMENTS, Fault
from ossicle.sim.comparison import Names, compare_counters, compare_events
from ossicle.sim.device import Device, RunResult
from ossicle.sim.fast import WATCHDOG_CYCLES, FastDevice
from ossicle.sim.functional import FunctionalDevice
from ossicle.sim.random_faults import CAUSES, spoiled
from ossicle.sim.random_programs import DATA, ENTRY, RandomProgram, random_program

LATENCIES = (40, 0, 1, 7, 200)
MUSIC = (0, 0, 10, 50, 75)
"""Memory conditions that random programs meet in turn."""
STOPPED = (100, 6000)
"""Cycles after which programs that do not end are stopped, mostly in the midst of their good instructions."""
REPEATED = 2
"""Runs of each entry but the first ones."""


@dataclass
class Findings:
    """What was compared, and how much of it differed."""

    programs: int = 0
    jobs: int = 0
    faults: int = 0
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


@dataclass(frozen=True)
class Case:
    """A random program, the memory that it meets, and the cycles after which it is stopped."""

    seed: int
    made: RandomProgram
    config: NpuConfig
    music: int
    watchdog: int

    @classmethod
    def draw(cls, seed: int, config: NpuConfig, length: int, faulty: int) -> Case:
        """The program of a seed; for one seed in `faulty`, with a fault."""
        made, watchdog = random_program(seed, config, length), WATCHDOG_CYCLES
        if seed % faulty == faulty - 1:
            rng, cause = np.random.default_rng([seed, 1]), CAUSES[seed // faulty % len(CAUSES)]
            made = spoiled(made, cause, rng)
            watchdog = int(rng.integers(*STOPPED)) if cause == Fault.WATCHDOG else watchdog
        latency, music = LATENCIES[seed % len(LATENCIES)], MUSIC[seed // len(LATENCIES) % len(MUSIC)]
        return cls(seed, made, config.replace(dram_latency=latency), music, watchdog)

    def __str__(self) -> str:
        name, latency = self.config.name, self.config.dram_latency
        return f"random program {self.seed} on {name}, latency {latency}, music {self.music} %"


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
    faulty: int = 4,
    progress: Callable[[], None] = lambda: None,
) -> dict:
    """Run `count` random programs, spread over the configurations and over memory latencies and music.

    Args:
        faulty: one in so many has a fault, of each cause in turn.
    Returns:
        the fields of `Findings`.
    """
    found = Findings()
    shares = np.array_split(np.arange(seed, seed + count), len(configs))
    for config, seeds in zip(configs, shares, strict=True):
        with ExitStack() as stack:
            simulator = stack.enter_context(_rtl(config)) if rtl and len(seeds) else None
            for n in seeds:
                _verify_one(Case.draw(int(n), config, length, faulty), simulator, found)
                progress()
    return asdict(found)


def _verify_one(case: Case, simulator, found: Findings) -> None:
    made, config = case.made, case.config
    devices: dict[str, Device] = {
        "functional": FunctionalDevice(config),
        "fast": FastDevice(config, music_percent=case.music, watchdog=case.watchdog),
    }
    if simulator is not None:
        simulator.config, simulator.music_percent, simulator.watchdog = config, case.music, case.watchdog
        devices["rtl"] = simulator
    for device in devices.values():
        device.load(made.program)
        device.write(DATA, made.data)
    symbol = made.program.symbols[DATA]
    before = found.value_differences + found.cycle_differences
    _compare(devices, Job(ENTRY, made.arguments), (symbol.address, symbol.stride), made.program, found)
    found.programs += 1
    if before == 0 and found.first_difference:
        found.first_difference += f" ({case})"


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
    for names in pairwise(devices):
        _compare_results(results, names, job, found)
    found.faults += results["fast"].fault != Fault.NONE
    _compare_data(devices, results, job, data, found)
    fast = devices["fast"]
    found.cycles += results["fast"].cycles
    found.instructions += fast.counters()["instructions"]
    if "rtl" in devices:
        _compare_times(fast, devices["rtl"], job, program, found)


def _compare_results(results: Mapping[str, RunResult], names: Names, job: Job, found: Findings) -> None:
    """Whether two devices name the same fault, engine and, where both know it, instruction."""
    ours, theirs = (results[name] for name in names)
    mine, other = (ours.fault, ours.fault_engine), (theirs.fault, theirs.fault_engine)
    if None not in (ours.fault_instruction, theirs.fault_instruction):
        mine, other = (*mine, ours.fault_instruction), (*other, theirs.fault_instruction)
    if mine != other:
        where = f"{job.entry}: {names[0]} ends with {_outcome(ours)}, {names[1]} with {_outcome(theirs)}"
        found.note("value_differences", 1, where)


def _outcome(result: RunResult) -> str:
    if not result.fault:
        return result.fault.name
    engine = result.fault_engine.name.lower()
    return f"{result.fault.name} of instruction {result.fault_instruction} ({engine})"


def _compare_data(
    devices: Mapping[str, Device], results: Mapping[str, RunResult], job: Job, data: tuple[int, int],
    found: Findings,
) -> None:  # fmt: skip
    """Compare memory. Which instructions had ended before a fault, functional does not know."""
    first, *others = (name for name in devices if name != "functional" or not results[name].fault)
    reference = devices[first].read(data[0], count=data[1])
    for name in others:
        differ = np.flatnonzero(devices[name].read(data[0], count=data[1]) != reference)
        if len(differ):
            where = f"byte {data[0] + differ[0]:#x} of DRAM is not the same on {first} and {name}"
            found.note("value_differences", len(differ), f"{job.entry}: {where}")


def _compare_times(fast: Device, rtl: Device, job: Job, program: Program, found: Findings) -> None:
    names, origins = ("fast", "rtl"), program.debug.get(job.entry)
    for kind, number, where in (
        *compare_events(fast.events(), rtl.events(), names, origins),
        *compare_counters(fast.counters(), rtl.counters(), names),
    ):
        found.note(f"{kind}_differences", number, f"{job.entry}: {where}")
