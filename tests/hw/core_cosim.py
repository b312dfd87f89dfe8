"""cocotb side of test_core: a host at the registers, a memory of random patience at the buses.

A job: `registers`, address and value in the order of writing; `patience`, the chance that the memory is
ready in a cycle; `latency`, least and most; `read_error`, `write_error`: the beat or burst answered with an
error, or -1; `dump`, first and count of the bytes to show afterwards; `load`, address and bytes written
before.
"""

import json
import random
from collections import deque
from pathlib import Path

import cocotb
import cosim
from cocotb.triggers import ReadOnly, RisingEdge
from ossicle.hw.isa import Engine
from ossicle.hw.registers import COUNTERS, Register, counter_offset

LIMIT = 30_000
VALUE_BITS, INDEX_BITS = 32, 24


@cocotb.test()
async def jobs(dut):
    parameters = cosim.parameters()
    memory = bytearray(parameters["memory_bytes"])
    for name in ("csr__r_stb", "csr__w_stb", "axi_read__rvalid", "axi_read__rlast", "axi_write__bvalid"):
        getattr(dut, name).value = 0
    await cosim.start_clock(dut)
    seen = []
    for number, job in enumerate(parameters["jobs"]):
        for address, content in job["load"]:
            memory[address : address + len(content) // 2] = bytes.fromhex(content)
        seen.append(await run(dut, job, Memory(dut, memory, job, number)))
    Path(parameters["observed"]).write_text(json.dumps(seen), encoding="utf-8")


async def run(dut, job: dict, memory: "Memory") -> dict:
    for address, value in [*job["registers"], (Register.INTERRUPT, 1), (Register.INTERRUPT_ENABLE, 1)]:
        await write(dut, address, value)
    await write(dut, Register.CONTROL, 1)
    events = []
    for cycle in range(1, LIMIT):
        memory.drive(cycle)
        await ReadOnly()
        memory.sample(cycle)
        events += trace(dut, cycle)
        if dut.interrupt.value == 1:
            break
        await RisingEdge(dut.clk)
    else:
        raise AssertionError(f"no interrupt in {LIMIT} cycles")
    await RisingEdge(dut.clk)
    seen = {"cycle": cycle, "events": events, "missing": len(memory.bursts)}
    seen |= {name: await read(dut, Register[name.upper()]) for name in ("status", "fault")}
    seen["counters"] = {}
    for name in COUNTERS:
        low, high = await read(dut, counter_offset(name)), await read(dut, counter_offset(name) + 1)
        seen["counters"][name] = high << 32 | low
    first, count = job["dump"]
    return seen | {"data": bytes(memory.content[first : first + count]).hex()}


def trace(dut, cycle: int) -> list[list[int]]:
    """(cycle, engine, done, index, value) of what starts and ends."""
    starts, ends = int(dut.trace__start.value), int(dut.trace__done.value)
    if not starts | ends:
        return []
    index, value = int(dut.trace__index.value), int(dut.trace__value.value)
    return [
        [
            cycle,
            n,
            kind,
            index >> (INDEX_BITS * n) & 0xFFFFFF,
            kind * (value >> (VALUE_BITS * n) & 0xFFFFFFFF),
        ]
        for n in range(len(Engine))
        for kind, bits in enumerate((starts, ends))
        if bits >> n & 1
    ]


async def write(dut, address: int, value: int) -> None:
    dut.csr__addr.value, dut.csr__w_data.value, dut.csr__w_stb.value = address, value, 1
    await RisingEdge(dut.clk)
    dut.csr__w_stb.value = 0


async def read(dut, address: int) -> int:
    dut.csr__addr.value, dut.csr__r_stb.value = address, 1
    await RisingEdge(dut.clk)
    dut.csr__r_stb.value = 0
    await ReadOnly()
    value = int(dut.csr__r_data.value)
    await RisingEdge(dut.clk)
    return value


class Memory:
    """An AXI slave over bytes, in order, of random times."""

    def __init__(self, dut, content: bytearray, job: dict, seed: int):
        self.dut, self.content, self.job = dut, content, job
        self.random = random.Random(seed)
        self.size = len(dut.axi_read__rdata) // 8
        self.bursts: deque[list[int]] = deque()
        self.beats = self.answers = 0
        self.place, self.left, self.answer = 0, 0, None

    def ready(self) -> int:
        return int(self.random.random() < self.job["patience"])

    def drive(self, cycle: int) -> None:
        dut = self.dut
        dut.axi_read__arready.value = self.ready()
        dut.axi_write__awready.value = self.ready() if not self.left and self.answer is None else 0
        dut.axi_write__wready.value = self.ready()
        there = bool(self.bursts) and cycle >= self.bursts[0][0] and self.ready()
        dut.axi_read__rvalid.value = int(there)
        if there:
            _, address, left = self.bursts[0]
            dut.axi_read__rdata.value = int.from_bytes(self.content[address : address + self.size], "little")
            dut.axi_read__rlast.value = int(left == 1)
            dut.axi_read__rresp.value = 2 if self.beats == self.job["read_error"] else 0
        answers = self.answer is not None and cycle >= self.answer
        dut.axi_write__bvalid.value = int(answers)
        dut.axi_write__bresp.value = 3 if self.answers == self.job["write_error"] else 0

    def sample(self, cycle: int) -> None:
        dut = self.dut
        if dut.axi_read__arvalid.value == 1 and dut.axi_read__arready.value == 1:
            due = cycle + 1 + self.random.randint(*self.job["latency"])
            self.bursts.append([due, int(dut.axi_read__araddr.value), int(dut.axi_read__arlen.value) + 1])
        if dut.axi_read__rvalid.value == 1:
            assert dut.axi_read__rready.value == 1
            self.beats += 1
            burst = self.bursts[0]
            burst[1:] = [burst[1] + self.size, burst[2] - 1]
            if burst[2] == 0:
                self.bursts.popleft()
        if dut.axi_write__bvalid.value == 1:
            self.answers, self.answer = self.answers + 1, None
        if dut.axi_write__wvalid.value == 1 and dut.axi_write__wready.value == 1:
            data = int(dut.axi_write__wdata.value).to_bytes(self.size, "little")
            self.content[self.place : self.place + self.size] = data
            self.place, self.left = self.place + self.size, self.left - 1
            assert (dut.axi_write__wlast.value == 1) == (self.left == 0)
            if self.left == 0:
                self.answer = cycle + 1 + self.random.randint(*self.job["latency"])
        if dut.axi_write__awvalid.value == 1 and dut.axi_write__awready.value == 1:
            self.place, self.left = int(dut.axi_write__awaddr.value), int(dut.axi_write__awlen.value) + 1
