"""cocotb side of test_decoder: drives the engine and the reader's side of its ports, writes down what it saw.

A job: instruction `word`; `beats`, the data; `gaps`, idle cycles before each; `delay`, cycles before the
request is transferred; `refused`; `built`. What was seen of each goes to the file `observed`; cycle 0 is the
start.
"""

import json
from pathlib import Path

import cocotb
import cosim
from cocotb.triggers import ReadOnly, RisingEdge

LIMIT = 200_000


@cocotb.test()
async def jobs(dut):
    parameters = cosim.parameters()
    dut.i__valid.value = 0
    dut.request__ready.value = 0
    dut.refused.value = 0
    dut.data__valid.value = 0
    dut.built.value = 1
    await cosim.start_clock(dut)
    seen = [await run_job(dut, job, parameters["streams"]) for job in parameters["jobs"]]
    Path(parameters["observed"]).write_text(json.dumps(seen), encoding="utf-8")


async def run_job(dut, job: dict, streams: int) -> dict:
    seen = {"starved": [], "writes": [], "request": None, "beats": 0}
    source = Source(dut, job)
    dut.i__valid.value = 1
    dut.i__payload.value = int(job["word"], 16)
    dut.refused.value = job["refused"]
    dut.built.value = job["built"]
    await ReadOnly()
    assert dut.i__ready.value == 1, "the engine is not idle"
    for cycle in range(1, LIMIT):
        await RisingEdge(dut.clk)
        dut.i__valid.value = 0
        source.drive(cycle)
        await ReadOnly()
        source.sample(cycle, seen)
        assert dut.busy.value == 1
        if dut.starved.value == 1:
            seen["starved"].append(cycle)
        for n in range(streams):
            if getattr(dut, f"write__{n}__valid").value == 1:
                names = ("lane", "address", "halves", "data", "tags")
                group = [int(getattr(dut, f"write__{n}__{name}").value) for name in names]
                seen["writes"].append([cycle, n, *group])
        if dut.done.value == 1 or int(dut.fault.value):
            seen |= {"end": cycle, "fault": int(dut.fault.value), "done": int(dut.done.value)}
            seen["value"] = int(dut.value.value)
            break
    else:
        raise AssertionError(f"no end in {LIMIT} cycles")
    await RisingEdge(dut.clk)
    dut.data__valid.value = 0
    dut.request__ready.value = 0
    return seen


class Source:
    """The reader: takes the request after the job's delay, then gives its beats, each after its gap."""

    def __init__(self, dut, job: dict):
        self.dut, self.job = dut, job
        self.next, self.due = 0, None

    def drive(self, cycle: int) -> None:
        self.dut.request__ready.value = int(cycle >= 1 + self.job["delay"])
        valid = self.due is not None and self.next < len(self.job["beats"]) and cycle >= self.due
        self.dut.data__valid.value = int(valid)
        if valid:
            self.dut.data__payload.value = int(self.job["beats"][self.next], 16)

    def sample(self, cycle: int, seen: dict) -> None:
        dut = self.dut
        if dut.request__valid.value == 1 and dut.request__ready.value == 1:
            payload = int(dut.request__payload.value)
            seen["request"] = [cycle, payload & 0xFFFFFFFF, payload >> 32]
            self._schedule(cycle)
        if dut.data__valid.value == 1 and dut.data__ready.value == 1:
            self.next += 1
            seen["beats"] += 1
            self._schedule(cycle)

    def _schedule(self, cycle: int) -> None:
        gaps = self.job["gaps"]
        self.due = cycle + 1 + (gaps[self.next] if self.next < len(gaps) else 0)
