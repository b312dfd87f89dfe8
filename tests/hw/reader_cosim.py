"""cocotb side of test_reader: requests of three clients, a memory of random times, a log of every cycle.

The memory's beat at address a is a itself, in units of beats. The log has a row a cycle, as it stands just
before the edge that ends it.
"""

import json
import random
from collections import deque
from pathlib import Path

import cocotb
import cosim
from cocotb.triggers import ReadOnly, RisingEdge

CLIENTS = 3
AFTER = 20
"""Cycles watched after the last beat was taken."""


@cocotb.test()
async def transfers(dut):
    parameters = cosim.parameters()
    bench = Bench(dut, parameters)
    bench.idle()
    await cosim.start_clock(dut)
    for cycle in range(parameters["cycles"]):
        bench.drive(cycle)
        await ReadOnly()
        bench.sample(cycle)
        await RisingEdge(dut.clk)
        if not any(bench.missing) and cycle > bench.last + AFTER:
            break
    Path(parameters["observed"]).write_text(json.dumps(bench.log), encoding="utf-8")


class Bench:
    def __init__(self, dut, parameters: dict):
        self.dut = dut
        self.random = random.Random(parameters["seed"])
        self.latency, self.address_ready = parameters["latency"], parameters["address_ready"]
        self.beat_ready, self.client_ready = parameters["beat_ready"], parameters["client_ready"]
        self.stops, self.errors = parameters["stops"], set(parameters["errors"])
        self.size = parameters["bus_bytes"]
        self.requests = [deque(r) for r in parameters["requests"]]
        self.missing = [sum(beats for _, _, beats in r) for r in self.requests]
        self.last = 0
        self.bursts: deque[list[int]] = deque()
        self.beats = 0
        self.log: list[dict] = []

    def idle(self) -> None:
        for n in range(CLIENTS):
            getattr(self.dut, f"request__{n}__valid").value = 0
            getattr(self.dut, f"data__{n}__ready").value = 0
        for name in ("stop", "axi__arready", "axi__rvalid", "axi__rlast", "axi__rresp"):
            getattr(self.dut, name).value = 0

    def drive(self, cycle: int) -> None:
        dut, chance = self.dut, self.random.random
        for n in range(CLIENTS):
            due = bool(self.requests[n]) and cycle >= self.requests[n][0][0]
            getattr(dut, f"request__{n}__valid").value = int(due)
            if due:
                _, address, beats = self.requests[n][0]
                getattr(dut, f"request__{n}__payload").value = address | beats << 32
            getattr(dut, f"data__{n}__ready").value = int(chance() < self.client_ready[n])
        dut.stop.value = int(any(first <= cycle < last for first, last in self.stops))
        dut.axi__arready.value = int(chance() < self.address_ready)
        there = bool(self.bursts) and cycle >= self.bursts[0][0] and chance() < self.beat_ready
        dut.axi__rvalid.value = int(there)
        if there:
            _, beat, left = self.bursts[0]
            dut.axi__rdata.value = beat
            dut.axi__rlast.value = int(left == 1)
            dut.axi__rresp.value = 2 if self.beats in self.errors else 0

    def sample(self, cycle: int) -> None:
        dut = self.dut
        row = {
            name: int(getattr(dut, name).value)
            for name in (
                "stop",
                "quiet",
                "error",
                "beat",
                "waiting",
                "axi__arvalid",
                "axi__arready",
                "axi__araddr",
            )
        }
        row |= {
            name: int(getattr(dut, f"axi__{name}").value) for name in ("arlen", "rvalid", "rlast", "rresp")
        }
        assert dut.axi__rready.value == 1
        if row["axi__arvalid"]:
            assert (1 << int(dut.axi__arsize.value), int(dut.axi__arburst.value)) == (self.size, 1)
            if row["axi__arready"]:
                first = row["axi__araddr"] // self.size
                self.bursts.append([cycle + 1 + self.random.randint(*self.latency), first, row["arlen"] + 1])
        if row["rvalid"]:
            self.beats += 1
            burst = self.bursts[0]
            burst[1:] = [burst[1] + 1, burst[2] - 1]
            if burst[2] == 0:
                self.bursts.popleft()
        row["asked"], row["data"] = [], []
        for n in range(CLIENTS):
            port, out = f"request__{n}__", f"data__{n}__"
            asked = getattr(dut, port + "valid").value == 1 and getattr(dut, port + "ready").value == 1
            row["asked"].append(self.requests[n].popleft()[1:] if asked else None)
            taken = getattr(dut, out + "valid").value == 1 and getattr(dut, out + "ready").value == 1
            self.missing[n] -= taken
            self.last = cycle if taken else self.last
            row["data"].append(int(getattr(dut, out + "payload").value) if taken else None)
        self.log.append(row)
