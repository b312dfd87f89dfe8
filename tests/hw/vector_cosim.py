"""cocotb side of test_vector: memories around the unit, its instructions in turn, a log of what it did."""

import json
from pathlib import Path

import cocotb
import cosim
from cocotb.triggers import FallingEdge, ReadOnly, RisingEdge


class Memories:
    """What answers the unit's reads; values are whole words as integers."""

    def __init__(self, given: dict):
        self.parameter = given["parameter"]
        self.vector = given["vector"]
        self.activation = bytearray(given["activation"])
        self.accumulators = given["accumulators"]
        self.predicates = given["predicates"]
        self.pointers = [0] * len(self.accumulators)


def lanes_of(memories: Memories, take: int) -> int:
    """The accumulator port's answer to `take`, and the pointers' step."""
    data = 0
    for lane, bank in enumerate(memories.accumulators):
        pointer = memories.pointers[lane]
        data |= (bank[pointer % len(bank)] & 0xFFFFFFFF) << (32 * lane)
        memories.pointers[lane] += take >> lane & 1
    return data


def apply_writes(dut, memories: Memories) -> list[str]:
    """Carry out this cycle's writes; say which there were."""
    kinds = []
    if int(dut.vector_write__valid.value):
        memories.vector[int(dut.vector_write__address.value)] = int(dut.vector_write__data.value)
        kinds.append("vector")
    if int(dut.activation_write__valid.value):
        enable, data = int(dut.activation_write__enable.value), int(dut.activation_write__data.value)
        first = 16 * int(dut.activation_write__address.value)
        for byte in range(16):
            if enable >> byte & 1:
                memories.activation[first + byte] = data >> (8 * byte) & 255
        kinds.append("activation")
    if int(dut.predicate_write__valid.value):
        memories.predicates[int(dut.predicate_write__index.value)] = int(dut.predicate_write__value.value)
        kinds.append("predicate")
    return kinds


def answer_reads(dut, memories: Memories) -> dict:
    """What the unit's inputs become after the next edge, by this cycle's addresses."""
    answers = {}
    for port in ("parameter", "read_a", "read_b"):
        memory = memories.parameter if port == "parameter" else memories.vector
        address = int(getattr(dut, f"{port}__address").value)
        answers[f"{port}__data"] = memory[address] if address < len(memory) else 0
    answers["accumulator__data"] = lanes_of(memories, int(dut.accumulator__take.value))
    if int(dut.accumulator__begin.value):
        memories.pointers = [int(dut.accumulator__base.value)] * len(memories.pointers)
    return answers


@cocotb.test()
async def log(dut):
    """Write what happened to the file named: starts, ends, faults, writes, and the memories at the end."""
    given = cosim.parameters()
    memories, events = Memories(given), []
    waiting = list(enumerate(given["words"]))
    gaps = list(given["gaps"])
    dut.i__valid.value = 0
    for name in ("parameter__data", "read_a__data", "read_b__data", "accumulator__data"):
        getattr(dut, name).value = 0
    await cosim.start_clock(dut)
    cycle, quiet, gap = 0, 0, gaps[0]
    while quiet < 40:
        cycle += 1
        offer = bool(waiting) and gap == 0
        await FallingEdge(dut.clk)
        dut.i__valid.value = offer
        dut.i__payload.value = waiting[0][1] | waiting[0][0] << 128 if waiting else 0
        await ReadOnly()
        quiet = 0 if waiting or int(dut.busy.value) else quiet + 1
        events += [[cycle, kind, 0] for kind in apply_writes(dut, memories)]
        if int(dut.done.value):
            events.append([cycle, "done", int(dut.value.value)])
        if int(dut.fault.value):
            events.append([cycle, "fault", int(dut.fault.value)])
        if int(dut.busy.value):
            events.append([cycle, "busy", 0])
        gap = max(gap - 1, 0)
        if offer and int(dut.i__ready.value):
            events.append([cycle, "start", waiting.pop(0)[0]])
            gap = gaps[len(given["words"]) - len(waiting)] if waiting else 0
        answers = answer_reads(dut, memories)
        await RisingEdge(dut.clk)
        for name, value in answers.items():
            getattr(dut, name).value = value
    state = {"events": events, "vector": memories.vector, "activation": list(memories.activation)}
    Path(given["log"]).write_text(json.dumps(state | {"predicates": memories.predicates}), encoding="utf-8")
