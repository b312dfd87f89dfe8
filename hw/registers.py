"""The register map on the CSR bus: one table for the RTL, the driver and the documentation.

Every register is 32 bits wide; `offset` counts 32-bit words. Counters are 48 bits in two registers,
low word first; they count within one job and hold until the next start.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

IDENTITY: Final = 0x4F535331
"""'OSS1': what the ID register reads."""
CSR_ADDRESS_BITS: Final = 7
CSR_DATA_BITS: Final = 32
COUNTER_BITS: Final = 48
COUNTER_BASE: Final = 64


class Register(IntEnum):
    """Offset of each register, in 32-bit words."""

    ID = 0
    DIGEST = 1
    CONTROL = 2
    STATUS = 3
    FAULT = 4
    INTERRUPT = 5
    INTERRUPT_ENABLE = 6
    ENTRY = 7
    COUNT = 8
    WATCHDOG = 9
    READ0_BASE = 10
    READ0_LIMIT = 11
    READ1_BASE = 12
    READ1_LIMIT = 13
    WRITE_BASE = 14
    WRITE_LIMIT = 15
    ARGUMENT = 16
    """The first of `isa.ARGUMENTS` argument registers; argument 0 always reads as 0."""


class Access(IntEnum):
    READ = 0
    WRITE = 1
    READ_WRITE = 2
    CLEAR = 3
    """Reads the value; writing 1 clears a bit."""


@dataclass(frozen=True)
class Description:
    access: Access
    meaning: str


REGISTERS: dict[Register, Description] = {
    Register.ID: Description(Access.READ, "0x4F535331"),
    Register.DIGEST: Description(Access.READ, "NpuConfig.digest() of this processor"),
    Register.CONTROL: Description(Access.WRITE, "bit 0: start a job (ignored while one runs)"),
    Register.STATUS: Description(Access.READ, "bit 0: busy; bit 1: done; bit 2: fault"),
    Register.FAULT: Description(
        Access.READ, "bits 0..3: isa.Fault; bits 4..6: isa.Engine; bits 8..31: instruction"
    ),
    Register.INTERRUPT: Description(Access.CLEAR, "bit 0: the job ended"),
    Register.INTERRUPT_ENABLE: Description(Access.READ_WRITE, "bit 0: drive the interrupt line"),
    Register.ENTRY: Description(Access.READ_WRITE, "address of the first instruction, a multiple of 32"),
    Register.COUNT: Description(Access.READ_WRITE, "instructions to fetch, an even number, 2 or more"),
    Register.WATCHDOG: Description(Access.READ_WRITE, "cycles after which the job is stopped; 0: never"),
    Register.READ0_BASE: Description(Access.READ_WRITE, "first byte of read window 0"),
    Register.READ0_LIMIT: Description(Access.READ_WRITE, "byte after read window 0"),
    Register.READ1_BASE: Description(Access.READ_WRITE, "first byte of read window 1"),
    Register.READ1_LIMIT: Description(Access.READ_WRITE, "byte after read window 1"),
    Register.WRITE_BASE: Description(Access.READ_WRITE, "first byte of the write window"),
    Register.WRITE_LIMIT: Description(Access.READ_WRITE, "byte after the write window"),
    Register.ARGUMENT: Description(Access.READ_WRITE, "argument registers 0..7, 16 bits each"),
}

COUNTERS: dict[str, str] = {
    "cycles": "from the start to the end of the job",
    "instructions": "instructions dispatched, skipped ones not counted",
    "load_busy": "cycles in which the load engine ran an instruction",
    "decode_busy": "likewise the decoder",
    "mac_busy": "likewise the MAC lanes",
    "vector_busy": "likewise the vector unit",
    "store_busy": "likewise the store engine",
    "mac_idle_bus": "MAC idle: waits for the decoder, which waits for the bus",
    "mac_idle_decode": "MAC idle: waits for the decoder, which is decoding",
    "mac_idle_load": "MAC idle: waits for the load engine",
    "mac_idle_vector": "MAC idle: waits for the vector unit",
    "mac_idle_store": "MAC idle: waits for the store engine",
    "mac_idle_control": "MAC idle: anything else (fetch, dispatch, start and end of the job)",
    "lane_products": "products issued, all lanes",
    "lane_fetch": "lane-cycles in a MAC instruction with no product ready (zero words, pipeline)",
    "lane_imbalance": "lane-cycles of lanes that had finished while others had not",
    "macs_skipped": "products not issued because a factor was zero",
    "read_beats": "beats read from the bus",
    "read_wait": "cycles with a read under way and no beat",
    "write_beats": "beats written to the bus",
}
"""mac_busy and the mac_idle_* sum to cycles; lane_* sum to lanes * mac_busy."""


def counter_offset(name: str) -> int:
    """Offset of the low word of a counter."""
    return COUNTER_BASE + 2 * list(COUNTERS).index(name)
