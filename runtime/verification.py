"""One recording transcribed on several devices, each by itself; then all they did, side by side."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from ossicle.compiler.program import Program
from ossicle.runtime.driver import ENCODE
from ossicle.runtime.recognizer import Recognizer, Result
from ossicle.runtime.transducer import SearchOptions
from ossicle.sim.comparison import Comparison, compare_words
from ossicle.sim.device import Device, DeviceError, DeviceFault
from ossicle.sim.recording import Job, JobFile, RecordingDevice

NBEST = 5
Progress = Callable[[int, int], None]
"""Told the steps decoded so far, and all steps."""


@dataclass(frozen=True)
class Utterance:
    """What every device transcribes."""

    name: str
    samples: NDArray[np.int16]
    program: Program
    search: SearchOptions


@dataclass(frozen=True)
class Outcome:
    """What a device made of an utterance."""

    result: Result
    memory: NDArray[np.uint8]
    """The program's data at the end: what no job should have written shows here."""


def verify_utterance(
    devices: Mapping[str, Device], utterance: Utterance, begin: Callable[[str], Progress]
) -> dict:
    """Transcribe on each device; compare with the first one.

    Values are compared everywhere, times where both devices keep them.

    Args:
        begin: called with each device's name before its turn; gives what is told of its progress.
    Returns:
        text, and `comparisons`: of each other device what was compared, and what differed.

    Raises:
        DeviceFault: a job stopped with a fault on the first device.
    """
    first, *others = devices
    with tempfile.TemporaryFile() as file:
        jobs = JobFile(file)
        outcome = _transcribe(devices[first], utterance, jobs.add, begin(first))
        comparisons = []
        for name in others:
            comparison = Comparison(jobs, (first, name), utterance.program, ENCODE)
            _compare(comparison, outcome, devices[name], utterance, begin(name))
            comparisons.append(_row(comparison))
    return {"text": outcome.result.text, "comparisons": comparisons}


def _compare(
    comparison: Comparison,
    outcome: Outcome,
    device: Device,
    utterance: Utterance,
    progress: Progress,
) -> None:
    names = comparison.names
    try:
        other = _transcribe(device, utterance, comparison.add, progress)
    except DeviceFault:
        return  # the first device had none: the comparison of the job has found it
    except DeviceError as error:
        comparison.note("value", 1, f"{names[1]}: {error}")
        return
    comparison.end()
    for what in ("text", "nbest", "lattice"):
        ours, theirs = getattr(outcome.result, what), getattr(other.result, what)
        if ours != theirs:
            comparison.note("value", 1, f"{what} is {ours} on {names[0]}, {theirs} on {names[1]}")
    begin, _ = utterance.program.windows.write
    for found in compare_words(utterance.program, begin, outcome.memory, other.memory, names):
        comparison.note(found.kind, found.number, f"at the end, {found.where}")


def _transcribe(
    device: Device, utterance: Utterance, sink: Callable[[Job], None], progress: Progress
) -> Outcome:
    recorded = RecordingDevice(device, sink)
    recognizer = Recognizer(recorded, utterance.program, utterance.search, nbest=NBEST)
    result = recognizer.recognize(utterance.samples, utterance.name, progress)
    begin, end = utterance.program.windows.write
    return Outcome(result, device.read(begin, count=end - begin))


def _row(comparison: Comparison) -> dict:
    timed = comparison.instructions > 0
    return {
        "engines": list(comparison.names),
        "jobs": comparison.jobs,
        "words": comparison.words,
        "instructions": comparison.instructions if timed else None,
        "cycles": comparison.cycles if timed else None,
        "value_differences": comparison.value_differences,
        "cycle_differences": comparison.cycle_differences,
        "first_difference": comparison.first_difference,
    }
