"""cocotb side of test_sequencer: beats of instructions, engines that take some time, a log of every cycle.

A job: `beats`, `gaps` before each; `limit`; `predicates`; `durations` by index of the instruction;
`refuse`, what `refused` says; `patience`, the chance that the reader takes a request. It ends some cycles
after the sequencer ends it or finds a fault, or after `cycles`.
"""

import json
import random
from pathlib import Path

import cocotb
import cosim
from cocotb.triggers import ReadOnly, RisingEdge

ENGINES = 5
AFTER = 8
ENDS = ("ended", "bad_opcode", "overflow", "no_end")
SHOWN = (*ENDS, "overflow_engine", "skipped", "index", "dispatched", "mac_waiting", "mac_lacks")


@cocotb.test()
async def jobs(dut):
    parameters = cosim.parameters()
    dut.stop.value = 1
    for name in ("beats__valid", "done", "request__ready", "refused", "predicates"):
        getattr(dut, name).value = 0
    dut.idle.value = 1
    for n in range(ENGINES):
        getattr(dut, f"i__{n}__ready").value = 0
    await cosim.start_clock(dut)
    seen = []
    for job in parameters["jobs"]:
        seen.append(await run(dut, job))
        dut.rst.value = 1
        await RisingEdge(dut.clk)
        dut.rst.value = 0
    Path(parameters["observed"]).write_text(json.dumps(seen), encoding="utf-8")


async def run(dut, job: dict) -> list[dict]:
    chance = random.Random(job["seed"])
    log, until = [], job["cycles"]
    taken, due, stop = 0, job["gaps"][0] if job["gaps"] else 0, 0
    ends: list[int | None] = [None] * ENGINES
    dut.limit.value = job["limit"]
    dut.predicates.value = job["predicates"]
    dut.refused.value = job["refuse"]
    for cycle in range(job["cycles"]):
        there = taken < len(job["beats"]) and cycle >= due
        dut.beats__valid.value = int(there)
        dut.beats__payload.value = int(job["beats"][taken], 16) if there else 0
        done = sum(1 << n for n, end in enumerate(ends) if end == cycle)
        dut.done.value = done
        for n, end in enumerate(ends):
            getattr(dut, f"i__{n}__ready").value = int(end is None)
        dut.idle.value = int(not any(end is not None for end in ends))
        dut.request__ready.value = int(chance.random() < job["patience"])
        dut.stop.value = stop
        await ReadOnly()
        row: dict = {name: int(getattr(dut, name).value) for name in SHOWN}
        row |= {"there": int(there), "took": int(there and dut.beats__ready.value == 1), "done": done}
        row |= {"stop": stop, "idle": int(dut.idle.value), "starts": [], "valid": 0, "request": None}
        for n in range(ENGINES):
            port = f"i__{n}__"
            if getattr(dut, port + "valid").value == 1:
                row["valid"] |= 1 << n
                if ends[n] is None:
                    payload = int(getattr(dut, port + "payload").value)
                    index = payload >> 128
                    row["starts"].append([n, index, f"{payload & (1 << 128) - 1:x}"])
                    ends[n] = cycle + job["durations"][index]
        for n in range(ENGINES):
            if done >> n & 1:
                ends[n] = None
        if dut.request__valid.value == 1 and dut.request__ready.value == 1:
            payload = int(dut.request__payload.value)
            row["request"] = [payload & 0xFFFFFFFF, payload >> 32]
        log.append(row)
        if row["took"]:
            taken += 1
            due = cycle + 1 + (job["gaps"][taken] if taken < len(job["gaps"]) else 0)
        if any(row[name] for name in ENDS) and not stop:
            stop, until = 1, cycle + AFTER
        await RisingEdge(dut.clk)
        if cycle >= until:
            break
    return log
