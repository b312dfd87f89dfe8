"""Two devices' jobs against each other: outcome, words, counters, and each instruction's cycles."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from ossicle.compiler.program import Origin, Program
from ossicle.hw.isa import Engine
from ossicle.sim.recording import Job
from ossicle.sim.trace import Kind

Names = tuple[str, str]
"""The two devices, in the order of the arguments."""


class Difference(NamedTuple):
    """Differences of a kind, "value" or "cycle": how many, and where the first one is."""

    kind: str
    number: int
    where: str


class Comparison:
    """The jobs of one device against those of another, as they come.

        comparison = Comparison(jobs_of_fast, ("fast", "rtl"), program)
        for job in jobs_of_rtl:
            comparison.add(job)
        comparison.end()

    Once the two ran different jobs, what follows cannot be compared, and is not.

    Args:
        reference: jobs of the first device.
        step: the entry whose jobs count the frames.
    """

    def __init__(self, reference: Iterable[Job], names: Names, program: Program, step: str = "") -> None:
        self._reference: Iterator[Job] | None = iter(reference)
        self.names = names
        self._program, self._step = program, step
        self.jobs = self.words = self.instructions = self.cycles = 0
        self.value_differences = self.cycle_differences = 0
        self.first_difference: str | None = None
        self._frame = -1

    def add(self, job: Job) -> None:
        """Compare the next job."""
        if self._reference is None:
            return
        ours = next(self._reference, None)
        place = self._next_job(job.entry)
        if ours is None or (ours.entry, ours.arguments) != (job.entry, job.arguments):
            self._reference = None
            values = f"{_called(ours)} on {self.names[0]}, {_called(job)} on {self.names[1]}"
            self.note("value", 1, f"{place} is {values}")
            return
        self.words += sum(len(_words(self._program, *output)[1]) for output in job.outputs)
        if _timed(ours, job):
            self.instructions += int(np.count_nonzero(job.events["kind"] == Kind.DONE))
            self.cycles += job.result.cycles or 0
        for kind, number, where in compare_jobs(ours, job, self.names, self._program):
            self.note(kind, number, f"{place} ({job.entry}): {where}")

    def end(self) -> None:
        """No more jobs: the reference must have no more either."""
        left = next(self._reference, None) if self._reference is not None else None
        if left is not None:
            place = self._next_job(left.entry)
            self.note("value", 1, f"{place} is {_called(left)} on {self.names[0]}, none on {self.names[1]}")

    def note(self, kind: str, number: int, where: str) -> None:
        """Count differences of a kind, "value" or "cycle"; keep the first."""
        if kind == "value":
            self.value_differences += number
        else:
            self.cycle_differences += number
        self.first_difference = self.first_difference or where

    def _next_job(self, entry: str) -> str:
        """Where the next job is: frames and jobs count from 0."""
        self._frame += entry == self._step
        self.jobs += 1
        return ("" if self._frame < 0 else f"frame {self._frame}, ") + f"job {self.jobs - 1}"


def compare_jobs(ours: Job, theirs: Job, names: Names, program: Program) -> Iterator[Difference]:
    """Differences of a job run on two devices: of values always, of times where both keep them."""
    mine, other = ours.result, theirs.result
    if mine.fault != other.fault:
        yield Difference("value", 1, _both(f"ends with {mine.fault.name}", other.fault.name, names))
    for one, two in zip(ours.outputs, theirs.outputs, strict=True):
        yield from compare_words(program, one[0], one[1], two[1], names)
    if _timed(ours, theirs):
        yield from compare_events(ours.events, theirs.events, names, program.debug.get(ours.entry))
        yield from compare_counters(ours.counters, theirs.counters, names)
        if mine.cycles != other.cycles:
            yield Difference("cycle", 1, _both(f"its cycles are {mine.cycles}", other.cycles, names))


def compare_words(
    program: Program, address: int, ours: np.ndarray, theirs: np.ndarray, names: Names
) -> Iterator[Difference]:
    """Difference of what two devices have in memory from an address on, bytes."""
    name, mine = _words(program, address, ours)
    _, other = _words(program, address, theirs)
    differ = np.flatnonzero(mine != other)
    if len(differ):
        first = int(differ[0])
        where = _both(f"word {first} of {name} is {mine[first]}", other[first], names)
        yield Difference("value", len(differ), where)


def compare_events(
    ours: np.ndarray, theirs: np.ndarray, names: Names, origins: Sequence[Origin] | None = None
) -> Iterator[Difference]:
    """Difference of two logs of one job: each instruction's start and end, and the value at its end.

    Args:
        origins: where each instruction of the entry comes from, to say so.
    """
    mine, other = _by_instruction(ours), _by_instruction(theirs)
    wrong = [key for key in mine.keys() | other.keys() if mine.get(key) != other.get(key)]
    if wrong:
        first = min(wrong, key=lambda key: (min(at[key] for at in (mine, other) if key in at), key))
        index, engine, kind = first
        about = [Engine(engine).name.lower(), *filter(None, origins[index] if origins else ())]
        what = f"instruction {index} ({' '.join(about)}) {'starts' if kind == Kind.START else 'ends'}"
        where = _both(f"{what} {_moment(mine.get(first))}", _moment(other.get(first)), names)
        yield Difference("cycle", len(wrong), where)
    elif len(ours) != len(theirs):
        where = _both(f"the log has {len(ours)} events", len(theirs), names)
        yield Difference("cycle", abs(len(ours) - len(theirs)), where)


def compare_counters(
    ours: Mapping[str, int], theirs: Mapping[str, int], names: Names
) -> Iterator[Difference]:
    """Difference of the counters of one job, on two devices that keep the same ones."""
    wrong = [name for name in ours if ours[name] != theirs[name]]
    if wrong:
        first = wrong[0]
        where = _both(f"counter {first} is {ours[first]}", theirs[first], names)
        yield Difference("cycle", len(wrong), where)


def _timed(ours: Job, theirs: Job) -> bool:
    return ours.result.cycles is not None and theirs.result.cycles is not None


def _both(ours: object, theirs: object, names: Names) -> str:
    return f"{ours} on {names[0]}, {theirs} on {names[1]}"


def _by_instruction(events: np.ndarray) -> dict[tuple[int, int, int], tuple[int, int]]:
    """(instruction, engine, kind) to (cycle, value): a job meets an instruction once at most."""
    return {(index, engine, kind): (cycle, value) for cycle, engine, kind, index, value in events.tolist()}


def _moment(found: tuple[int, int] | None) -> str:
    return "never" if found is None else f"in cycle {found[0]} (value {found[1]})"


def _called(job: Job | None) -> str:
    if job is None:
        return "none"
    return f"{job.entry}({', '.join(str(job.arguments[n]) for n in sorted(job.arguments))})"


def _words(program: Program, address: int, content: np.ndarray) -> tuple[str, np.ndarray]:
    """Name of the place at an address, and the bytes there as words of its type."""
    for symbol in program.symbols.values():
        slot, start = divmod(address - symbol.address, symbol.stride)
        if 0 <= slot < symbol.slots and start + len(content) <= symbol.stride:
            name = f"{symbol.name}[{slot}]" + (f" from byte {start}" if start else "")
            return name, content.view(symbol.dtype)
    return f"the DRAM from {address:#x}", content
