"""The event log: when each engine started and finished each instruction; from all devices that count cycles.

Events are ordered by cycle, then engine, then kind. Job cycle 0 is that of the write that starts the job.
"""

from __future__ import annotations

import json
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from ossicle.hw.isa import Engine

if TYPE_CHECKING:
    import pandas
    from ossicle.compiler.program import Program

TRACE_VERSION = 1


class Kind(IntEnum):
    START = 0
    """The engine takes the instruction."""
    DONE = 1
    """The last cycle in which it works on it."""


EVENT = np.dtype([("cycle", "<u8"), ("engine", "u1"), ("kind", "u1"), ("index", "<u4"), ("value", "<u4")])
"""One event: `index` is the instruction's place in its job; `value` comes with DONE, else it is 0."""

SPAN = np.dtype([("engine", "u1"), ("index", "<u4"), ("start", "<u8"), ("end", "<u8"), ("value", "<u4")])
"""An instruction's time on its engine, both cycles included."""

RECORD = np.dtype(
    [("cycle", "<u4"), ("value", "<u4"), ("index", "<u4"), ("engine", "u1"), ("kind", "u1"), ("zero", "<u2")]
)
"""One event as the Verilog bench writes it."""


class TraceError(ValueError):
    """An event log that cannot be read, or does not fit its program."""


def from_records(content: bytes, count: int) -> np.ndarray:
    """Events of the first `count` records of a bench's file."""
    records = np.frombuffer(content, dtype=RECORD, count=count)
    events = np.zeros(count, dtype=EVENT)
    for name in EVENT.names:
        events[name] = records[name]
    return events


def spans(events: np.ndarray) -> np.ndarray:
    """One `SPAN` an instruction that ended, in the order of the ends."""
    rows = np.zeros(np.count_nonzero(events["kind"] == Kind.DONE), dtype=SPAN)
    place = 0
    for engine in Engine:
        own = events[events["engine"] == engine]
        done = own[own["kind"] == Kind.DONE]
        start = own[own["kind"] == Kind.START][: len(done)]
        if len(start) != len(done) or np.any(start["index"] != done["index"]):
            raise TraceError(f"events of engine {engine.name} do not pair up: each end must follow its start")
        part = rows[place : place + len(done)]
        part["engine"], part["index"], part["value"] = engine, done["index"], done["value"]
        part["start"], part["end"] = start["cycle"], done["cycle"]
        place += len(done)
    return rows[np.lexsort((rows["engine"], rows["end"]))]


def first_difference(one: np.ndarray, two: np.ndarray) -> int | None:
    """Place of the first event in which two logs differ; None if they are equal."""
    both = min(len(one), len(two))
    unequal = np.flatnonzero(one[:both] != two[:both])
    if len(unequal):
        return int(unequal[0])
    return None if len(one) == len(two) else both


def to_pandas(
    events: np.ndarray, program: Program | None = None, entry: str | None = None
) -> pandas.DataFrame:
    """A row an instruction: engine, index, start, end, cycles, value; with a program also text, op, layer."""
    import pandas

    rows = spans(events)
    table = pandas.DataFrame({name: rows[name] for name in SPAN.names})
    table["engine"] = [Engine(e).name.lower() for e in rows["engine"]]
    table.insert(4, "cycles", rows["end"] - rows["start"] + 1)
    if program is not None:
        names = _names(program, entry)
        for column, place in (("text", 0), ("op", 1), ("layer", 2)):
            table[column] = [names[i][place] for i in rows["index"]]
    return table


def to_perfetto(
    events: np.ndarray, *, clock_mhz: float, program: Program | None = None, entry: str | None = None
) -> dict:
    """A Chrome trace, which Perfetto opens: a track an engine, a slice an instruction, times in microseconds.

    Args:
        clock_mhz: what turns cycles into time.
        program: names the slices by the op each instruction comes from, of the entry named.
    """
    names = _names(program, entry) if program is not None else None
    slices = [
        {"ph": "M", "pid": 0, "tid": int(e), "name": "thread_name", "args": {"name": e.name.lower()}}
        for e in Engine
    ]
    slices.insert(0, {"ph": "M", "pid": 0, "name": "process_name", "args": {"name": "ossicle"}})
    for engine, index, start, end, value in spans(events).tolist():
        text, op, layer = names[index] if names else (f"instruction {index}", "", "")
        slices.append(
            {
                "ph": "X",
                "pid": 0,
                "tid": engine,
                "name": op or text,
                "cat": layer or "job",
                "ts": start / clock_mhz,
                "dur": (end - start + 1) / clock_mhz,
                "args": {"instruction": index, "text": text, "start": start, "end": end, "value": value},
            }
        )
    return {
        "traceEvents": slices,
        "displayTimeUnit": "ns",
        "otherData": {"version": TRACE_VERSION, "clock_mhz": clock_mhz, "entry": entry or ""},
    }


def save_perfetto(path: str | Path, events: np.ndarray, **options) -> None:
    """`to_perfetto` into a JSON file."""
    Path(path).write_text(json.dumps(to_perfetto(events, **options)), encoding="utf-8")


def save(path: str | Path, events: np.ndarray) -> None:
    """Write events to an .npz file, with the version."""
    with Path(path).open("wb") as file:
        np.savez_compressed(file, version=TRACE_VERSION, events=events)


def load(path: str | Path) -> np.ndarray:
    """Events that `save` wrote.

    Raises:
        TraceError: no event log, or one of another version.
    """
    try:
        with np.load(path) as content:
            version, events = int(content["version"]), content["events"]
    except (OSError, ValueError, KeyError) as error:
        raise TraceError(f"{path}: not an event log ({error})") from None
    if version != TRACE_VERSION:
        raise TraceError(
            f"{path}: event log of version {version}; this Ossicle reads version {TRACE_VERSION}"
        )
    return events


def _names(program: Program, entry: str | None) -> list[tuple[str, str, str]]:
    """Text, op and layer of each instruction of an entry."""
    if entry not in program.entries:
        raise TraceError(f"the program has no entry {entry!r}; there are {', '.join(program.entries)}")
    origins = program.debug[entry]
    return [(str(made), o.op, o.layer) for made, o in zip(program.instructions(entry), origins, strict=True)]
