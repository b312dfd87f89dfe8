"""cocotb side of test_load: runs each job, is the reader, holds writes up, writes down what was written.

A job: `word`, the instruction; `arguments`; `beats`; `gaps` before each; `delay` before the request is taken;
`refused`; `blocked`, in each cycle the bits of the targets held up. Cycle 0 is the start.
"""

import json
from pathlib import Path

import cocotb
import cosim
from cocotb.triggers import ReadOnly, RisingEdge

LIMIT = 20_000
TARGETS = ("activation", "vector", "parameter")


@cocotb.test()
async def jobs(dut):
    parameters = cosim.parameters()
    for name in ("i__valid", "request__ready", "refused", "data__valid", "blocked"):
        getattr(dut, name).value = 0
    await cosim.start_clock(dut)
    seen = [await run(dut, job) for job in parameters["jobs"]]
    Path(parameters["observed"]).write_text(json.dumps(seen), encoding="utf-8")


async def run(dut, job: dict) -> dict:
    seen = {"writes": [], "request": None}
    for n, value in enumerate(job["arguments"]):
        getattr(dut, f"arguments__{n}").value = value
    dut.refused.value = job["refused"]
    dut.i__valid.value = 1
    dut.i__payload.value = int(job["word"], 16)
    await ReadOnly()
    assert dut.i__ready.value == 1 and dut.busy.value == 0
    taken, due = 0, None
    for cycle in range(1, LIMIT):
        await RisingEdge(dut.clk)
        dut.i__valid.value = 0
        for n in range(len(job["arguments"])):
            getattr(dut, f"arguments__{n}").value = 0
        dut.request__ready.value = int(cycle >= 2 + job["delay"])
        dut.blocked.value = job["blocked"][cycle] if cycle < len(job["blocked"]) else 0
        there = due is not None and cycle >= due and taken < len(job["beats"])
        dut.data__valid.value = int(there)
        dut.data__payload.value = int(job["beats"][taken], 16) if there else 0
        await ReadOnly()
        assert dut.busy.value == 1
        if dut.request__valid.value == 1 and dut.request__ready.value == 1:
            payload = int(dut.request__payload.value)
            seen["request"] = [cycle, payload & 0xFFFFFFFF, payload >> 32]
            due = cycle + 1 + (job["gaps"][0] if job["gaps"] else 0)
        if there and dut.data__ready.value == 1:
            taken += 1
            due = cycle + 1 + (job["gaps"][taken] if taken < len(job["gaps"]) else 0)
        for target, name in enumerate(TARGETS):
            if getattr(dut, f"{name}__valid").value == 1:
                assert int(getattr(dut, f"{name}__enable").value) == 1
                place, data = (int(getattr(dut, f"{name}__{part}").value) for part in ("address", "data"))
                seen["writes"].append([cycle, target, place, f"{data:x}"])
        if dut.done.value == 1 or int(dut.fault.value):
            seen |= {"end": cycle, "fault": int(dut.fault.value), "done": int(dut.done.value)}
            seen |= {"value": int(dut.value.value), "taken": taken}
            break
    else:
        raise AssertionError(f"no end in {LIMIT} cycles")
    await RisingEdge(dut.clk)
    dut.data__valid.value = 0
    return seen
