"""cocotb side of test_store: memories that answer a cycle later, an AXI slave, a log of bursts and beats.

A job: `word`, the instruction; `arguments`; `refused`; `address_ready`, `data_ready`, whether the slave is
ready in each cycle (it is in later ones); `latency` from a burst's last beat to its response; `error`, the
burst that is answered with one, or -1. Cycle 0 is the start.
"""

import json
from pathlib import Path

import cocotb
import cosim
from cocotb.triggers import ReadOnly, RisingEdge

LIMIT = 50_000
SOURCES = ("activation", "vector")


@cocotb.test()
async def jobs(dut):
    parameters = cosim.parameters()
    memory = {name: [int(word, 16) for word in parameters[name]] for name in SOURCES}
    for name in ("i__valid", "refused", "axi__awready", "axi__wready", "axi__bvalid", "axi__bresp"):
        getattr(dut, name).value = 0
    await cosim.start_clock(dut)
    seen = [await run(dut, job, memory) for job in parameters["jobs"]]
    Path(parameters["observed"]).write_text(json.dumps(seen), encoding="utf-8")


async def run(dut, job: dict, memory: dict) -> dict:
    for n, value in enumerate(job["arguments"]):
        getattr(dut, f"arguments__{n}").value = value
    dut.refused.value = job["refused"]
    dut.i__valid.value = 1
    dut.i__payload.value = int(job["word"], 16)
    await ReadOnly()
    assert dut.i__ready.value == 1 and dut.busy.value == 0
    slave, answers = Slave(dut, job), {}
    for cycle in range(1, LIMIT):
        await RisingEdge(dut.clk)
        dut.i__valid.value = 0
        for name, value in answers.items():
            getattr(dut, f"{name}__data").value = value
        slave.drive(cycle)
        await ReadOnly()
        assert dut.busy.value == 1
        for name in SOURCES:
            place = int(getattr(dut, f"{name}__address").value)
            answers[name] = memory[name][place] if place < len(memory[name]) else 0
        if cycle == 2:
            slave.seen["window"] = [int(dut.address.value), int(dut.granules.value)]
        slave.sample(cycle)
        if dut.done.value == 1 or int(dut.fault.value):
            seen = slave.seen
            seen |= {"end": cycle, "fault": int(dut.fault.value), "done": int(dut.done.value)}
            seen["value"] = int(dut.value.value)
            break
    else:
        raise AssertionError(f"no end in {LIMIT} cycles")
    await RisingEdge(dut.clk)
    dut.axi__bvalid.value = 0
    return seen


class Slave:
    """Takes one burst after another; its ready signals come from the job, whatever the master does."""

    def __init__(self, dut, job: dict):
        self.dut, self.job = dut, job
        self.seen: dict = {"bursts": [], "beats": [], "errors": [], "window": None}
        self.left, self.answer = 0, None
        self.held: dict[str, dict[str, int] | None] = {}

    def drive(self, cycle: int) -> None:
        dut, job = self.dut, self.job
        for name, pattern in (("awready", job["address_ready"]), ("wready", job["data_ready"])):
            getattr(dut, f"axi__{name}").value = pattern[cycle] if cycle < len(pattern) else 1
        dut.axi__bvalid.value = int(cycle == self.answer)
        dut.axi__bresp.value = 2 if len(self.seen["bursts"]) - 1 == job["error"] else 0

    def sample(self, cycle: int) -> None:
        dut, seen = self.dut, self.seen
        self._keeps_still("aw", ("addr", "len"))
        self._keeps_still("w", ("data", "last"))
        assert dut.axi__bready.value == 1
        if dut.axi__awvalid.value == 1 and dut.axi__awready.value == 1:
            assert self.left == 0 and (self.answer is None or cycle > self.answer), (
                "a burst before the response"
            )
            self.left = int(dut.axi__awlen.value) + 1
            shape = (1 << int(dut.axi__awsize.value), int(dut.axi__awburst.value))
            seen["bursts"].append([cycle, int(dut.axi__awaddr.value), self.left, *shape])
        sent = dut.axi__wvalid.value == 1 and dut.axi__wready.value == 1
        assert (dut.beat.value == 1) == sent
        if sent:
            assert self.left, "a beat outside a burst"
            self.left -= 1
            assert (int(dut.axi__wlast.value) == 1) == (self.left == 0)
            assert not ~int(dut.axi__wstrb.value) & (1 << len(dut.axi__wstrb)) - 1
            seen["beats"].append(f"{int(dut.axi__wdata.value):x}")
            if self.left == 0:
                self.answer = cycle + 1 + self.job["latency"]
        if dut.error.value == 1:
            seen["errors"].append(cycle)

    def _keeps_still(self, channel: str, fields: tuple[str, ...]) -> None:
        """A channel that was valid and not ready is the same in the next cycle (AXI, A3.2.1)."""
        dut = self.dut
        valid = int(getattr(dut, f"axi__{channel}valid").value)
        now = {f"{channel}{name}": int(getattr(dut, f"axi__{channel}{name}").value) for name in fields}
        before = self.held.get(channel)
        assert before is None or (valid and before == now), f"{channel} changed while it was not taken"
        waits = valid and not int(getattr(dut, f"axi__{channel}ready").value)
        self.held[channel] = now if waits else None
