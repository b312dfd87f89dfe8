"""cocotb side of test_mac: fills the banks, starts instructions, counts by the cycle, reads the accumulators.

A step of the script: `weights` (lane, word, half, data, tags) and `activations` (word, data) to write first;
`word`, the instruction; `clear_at`, a cycle in which to clear the lanes, or None; `read`, first and count of
the accumulators to read. Cycle 0 is the start.
"""

import json
from pathlib import Path

import cocotb
import cosim
from cocotb.triggers import FallingEdge, ReadOnly, RisingEdge

LIMIT = 20_000
AFTER_CLEAR = 50
"""Cycles in which cleared lanes are watched."""


@cocotb.test()
async def script(dut):
    parameters = cosim.parameters()
    streams, lanes = parameters["streams"], parameters["lanes"]
    for name in ("i__valid", "activation__valid", "clear", "begin_read", "take"):
        getattr(dut, name).value = 0
    for n in range(streams):
        getattr(dut, f"weight__{n}__valid").value = 0
    await cosim.start_clock(dut)
    seen = []
    for step in parameters["steps"]:
        await fill(dut, step, streams)
        outcome = await run(dut, step)
        if step["clear_at"] is not None:
            dut.rst.value = 1
            await RisingEdge(dut.clk)
            dut.rst.value = 0
        outcome["accumulators"] = await read_back(dut, lanes, *step["read"])
        seen.append(outcome)
    Path(parameters["observed"]).write_text(json.dumps(seen), encoding="utf-8")


OTHER_HALF = 0x0123456789ABCDEF
"""Not to be written."""


async def fill(dut, step: dict, streams: int) -> None:
    for lane, word, half, data, tags in step["weights"]:
        port = f"weight__{lane % streams}__"
        values = {
            "valid": 1,
            "lane": lane // streams,
            "address": word,
            "halves": 1 << half,
            "data": data << 64 * half | OTHER_HALF << 64 * (1 - half),
            "tags": tags << 8 * half | 0x5A << 8 * (1 - half),
        }
        for name, value in values.items():
            getattr(dut, port + name).value = value
        await RisingEdge(dut.clk)
        getattr(dut, port + "valid").value = 0
    for word, data in step["activations"]:
        dut.activation__valid.value = 1
        dut.activation__address.value = word
        dut.activation__enable.value = 0xFFFF
        dut.activation__data.value = int(data, 16)
        await RisingEdge(dut.clk)
    dut.activation__valid.value = 0
    await FallingEdge(dut.clk)
    await RisingEdge(dut.clk)


async def run(dut, step: dict) -> dict:
    seen = {"products": [], "idle": []}
    dut.i__valid.value = 1
    dut.i__payload.value = int(step["word"], 16)
    await ReadOnly()
    assert dut.i__ready.value == 1, "the engine is not idle"
    last = LIMIT if step["clear_at"] is None else step["clear_at"] + AFTER_CLEAR
    for cycle in range(1, last):
        await RisingEdge(dut.clk)
        dut.i__valid.value = 0
        dut.clear.value = int(cycle == step["clear_at"])
        await ReadOnly()
        assert dut.busy.value == 1 and dut.i__ready.value == 0
        seen["products"].append(int(dut.products.value))
        seen["idle"].append(int(dut.idle_lanes.value))
        if dut.done.value == 1 or int(dut.fault.value):
            seen |= {"end": cycle, "fault": int(dut.fault.value), "done": int(dut.done.value)}
            seen |= {"value": int(dut.value.value), "skipped": int(dut.skipped.value)}
            break
    else:
        assert step["clear_at"] is not None, f"no end in {LIMIT} cycles"
    await RisingEdge(dut.clk)
    return seen


async def read_back(dut, lanes: int, base: int, count: int) -> list[list[int]]:
    """Accumulators base .. base + count - 1 of every lane, by the vector unit's port."""
    dut.begin_read.value = 1
    dut.base.value = base
    await RisingEdge(dut.clk)
    dut.begin_read.value = 0
    dut.take.value = (1 << lanes) - 1
    rows = []
    for _ in range(count):
        await RisingEdge(dut.clk)
        await ReadOnly()
        data = int(dut.accumulators.value)
        rows.append([data >> (32 * lane) & 0xFFFFFFFF for lane in range(lanes)])
    await RisingEdge(dut.clk)
    dut.take.value = 0
    await RisingEdge(dut.clk)
    return rows
