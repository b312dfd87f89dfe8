import json

import numpy as np
import pytest
from ossicle.compiler.program import Entry, Origin, Program
from ossicle.hw.config import PRESETS
from ossicle.hw.isa import Engine, Opcode, encode, instruction
from ossicle.sim import trace
from ossicle.sim.trace import Kind


def events(*rows) -> np.ndarray:
    return np.array(list(rows), dtype=trace.EVENT)


LOG = events(
    (5, Engine.LOAD, Kind.START, 0, 0),
    (9, Engine.LOAD, Kind.DONE, 0, 7),
    (9, Engine.MAC, Kind.START, 1, 0),
    (10, Engine.LOAD, Kind.START, 2, 0),
    (12, Engine.MAC, Kind.DONE, 1, 3),
    (14, Engine.CONTROL, Kind.START, 3, 0),
    (14, Engine.CONTROL, Kind.DONE, 3, 0),
)


@pytest.fixture
def program():
    code = [instruction(op) for op in (Opcode.LOAD, Opcode.MAC, Opcode.LOAD, Opcode.END)]
    image = b"".join(encode(made).to_bytes(16, "little") for made in code)
    origins = [Origin("x", ""), Origin("matmul", "encoder.0"), Origin("y", ""), Origin("", "")]
    digest, entries = PRESETS["base"].digest(), {"main": Entry(0, 4)}
    return Program(digest, image, {"instructions": (0, 64)}, 64, {}, entries, {"main": origins})


def test_records_of_the_bench():
    records = np.array([(5, 9, 3, 2, 1, 0), (6, 8, 4, 1, 0, 0)], dtype=trace.RECORD)
    made = trace.from_records(records.tobytes() + b"rest of an older log", 2)
    assert made.tolist() == [(5, 2, 1, 3, 9), (6, 1, 0, 4, 8)]


def test_spans():
    assert trace.spans(LOG).tolist() == [(1, 0, 5, 9, 7), (3, 1, 9, 12, 3), (0, 3, 14, 14, 0)]
    assert len(trace.spans(LOG[:0])) == 0


def test_spans_refuse_what_does_not_pair():
    with pytest.raises(trace.TraceError, match="engine LOAD do not pair"):
        trace.spans(LOG[1:])


def test_first_difference():
    other = LOG.copy()
    assert trace.first_difference(LOG, other) is None
    other["value"][4] = 0
    assert trace.first_difference(LOG, other) == 4
    assert trace.first_difference(LOG, LOG[:3]) == 3


def test_to_pandas(program):
    pytest.importorskip("pandas")
    table = trace.to_pandas(LOG, program, "main")
    assert list(table.columns) == [
        "engine",
        "index",
        "start",
        "end",
        "cycles",
        "value",
        "text",
        "op",
        "layer",
    ]
    assert table.engine.tolist() == ["load", "mac", "control"]
    assert table.cycles.tolist() == [5, 4, 1]
    assert table.layer.tolist() == ["", "encoder.0", ""]
    assert list(trace.to_pandas(LOG).columns) == ["engine", "index", "start", "end", "cycles", "value"]


def test_to_perfetto(program, tmp_path):
    path = tmp_path / "job.json"
    trace.save_perfetto(path, LOG, clock_mhz=100, program=program, entry="main")
    content = json.loads(path.read_text())
    slices = [e for e in content["traceEvents"] if e["ph"] == "X"]
    tracks = {e["tid"]: e["args"]["name"] for e in content["traceEvents"] if e["name"] == "thread_name"}
    assert content["otherData"]["version"] == trace.TRACE_VERSION
    assert tracks == {int(e): e.name.lower() for e in Engine}
    assert [(s["name"], s["ts"], s["dur"]) for s in slices] == [
        ("x", 0.05, 0.05), ("matmul", 0.09, 0.04), (str(program.instructions("main")[3]), 0.14, 0.01),
    ]  # fmt: skip
    assert slices[1]["cat"] == "encoder.0"
    assert trace.to_perfetto(LOG, clock_mhz=100)["traceEvents"][-1]["name"] == "instruction 3"


def test_unknown_entry(program):
    with pytest.raises(trace.TraceError, match="no entry 'other'; there are main"):
        trace.to_perfetto(LOG, clock_mhz=100, program=program, entry="other")


def test_file(tmp_path):
    trace.save(tmp_path / "log.npz", LOG)
    assert trace.first_difference(trace.load(tmp_path / "log.npz"), LOG) is None
    np.savez(tmp_path / "new.npz", version=99, events=LOG)
    with pytest.raises(trace.TraceError, match="version 99"):
        trace.load(tmp_path / "new.npz")
    (tmp_path / "bad.npz").write_bytes(b"no")
    with pytest.raises(trace.TraceError, match="not an event log"):
        trace.load(tmp_path / "bad.npz")
