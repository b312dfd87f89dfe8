"""Signatures shared by the parts of the processor; docs/hardware.md describes each."""

from __future__ import annotations

from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from ossicle.hw import config as design
from ossicle.hw import isa

INDEX_BITS = 24
VALUE_BITS = 32

INSTRUCTION = data.StructLayout({"word": isa.INSTRUCTION_BITS, "index": INDEX_BITS})
REQUEST = data.StructLayout({"address": 32, "beats": 24})


def engine_members() -> dict:
    """What every engine has: its instructions, its end, its fault, its state."""
    return {
        "i": In(stream.Signature(INSTRUCTION)),
        "done": Out(1),
        "fault": Out(4),
        "busy": Out(1),
        "value": Out(VALUE_BITS),
    }


def operand(word, opcode: isa.Opcode, name: str):
    """The slice of a 128-bit instruction that holds an operand."""
    form = isa.OPCODES[opcode]
    width = next(f.width for f in form.operands if f.name == name)
    return word[form.offset(name) : form.offset(name) + width]


class WeightWrite(wiring.Signature):
    """One decoder stream's write port into the banks of its lanes."""

    def __init__(self, config: design.NpuConfig):
        super().__init__(
            {
                "valid": Out(1),
                "lane": Out(range(max(2, config.lanes_per_stream))),
                "address": Out(16),
                "halves": Out(2),
                "data": Out(128),
                "tags": Out(16),
            }
        )


class MemoryRead(wiring.Signature):
    """Read port seen from the reader: data one cycle after the address."""

    def __init__(self, address_bits: int, width: int):
        super().__init__({"address": Out(address_bits), "data": In(width)})


class MemoryWrite(wiring.Signature):
    """Write port seen from the writer; `enable` has a bit for each `granularity` bits of the word."""

    def __init__(self, address_bits: int, width: int, granularity: int | None = None):
        super().__init__(
            {
                "valid": Out(1),
                "address": Out(address_bits),
                "enable": Out(width // (granularity or width)),
                "data": Out(width),
            }
        )


class AxiRead(wiring.Signature):
    """AXI4 read channels, one ID, seen from the master (Arm IHI 0022, A3)."""

    def __init__(self, bus_bits: int):
        super().__init__(
            {
                "araddr": Out(32),
                "arlen": Out(8),
                "arsize": Out(3),
                "arburst": Out(2),
                "arvalid": Out(1),
                "arready": In(1),
                "rdata": In(bus_bits),
                "rresp": In(2),
                "rlast": In(1),
                "rvalid": In(1),
                "rready": Out(1),
            }
        )


class AxiWrite(wiring.Signature):
    """AXI4 write channels, one ID, seen from the master (Arm IHI 0022, A3)."""

    def __init__(self, bus_bits: int):
        super().__init__(
            {
                "awaddr": Out(32),
                "awlen": Out(8),
                "awsize": Out(3),
                "awburst": Out(2),
                "awvalid": Out(1),
                "awready": In(1),
                "wdata": Out(bus_bits),
                "wstrb": Out(bus_bits // 8),
                "wlast": Out(1),
                "wvalid": Out(1),
                "wready": In(1),
                "bresp": In(2),
                "bvalid": In(1),
                "bready": Out(1),
            }
        )
