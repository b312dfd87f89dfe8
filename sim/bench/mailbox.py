"""The mailbox between a host and the Verilog bench: the words of requests and results, one table for both.

A host deposits a request (REQUEST_WORDS words of 32 bits), toggles `go` and waits until `finished` toggles;
the result (RESULT_WORDS words) is then there. Bulk data pass through files in the simulator's folder.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum

import numpy as np
from ossicle.hw.isa import Engine
from ossicle.hw.registers import COUNTER_BASE, COUNTERS, CSR_ADDRESS_BITS, Register, counter_offset

LINK_VARIABLE = "OSSICLE_LINK"
"""Environment variable of the simulator: the file descriptor of its connection to the host."""
LOAD_FILE = "load.bin"
"""Bytes that a LOAD request copies to the memory, from a file of the working folder."""
DUMP_FILE = "dump.bin"
"""Where a DUMP request copies memory to: whole bus words, the first one holding the first byte asked for."""
EVENT_FILE = "events.bin"
"""Event records of the last job, 16 bytes each: see `ossicle.sim.trace.RECORD`."""

REGISTER_WRITES = 24
"""Register writes a request has room for."""
READ_REGISTERS = (
    Register.STATUS,
    Register.FAULT,
    Register.ID,
    Register.DIGEST,
    *range(COUNTER_BASE, COUNTER_BASE + 2 * len(COUNTERS)),
)
"""Registers that the bench reads after each job, in the order of the result."""


class Operation(IntEnum):
    PROBE = 0
    """Reads the registers."""
    RUN = 1
    """Writes the registers given, waits for the interrupt, reads the registers."""
    LOAD = 2
    DUMP = 3
    CLEAR = 4
    """The simulator as it was when it started; of one without waveforms."""


class Request(IntEnum):
    """Word of each field of a request."""

    OPERATION = 0
    ADDRESS = 1
    """LOAD, DUMP: first byte of the memory."""
    BYTES = 2
    LATENCY = 3
    """RUN: cycles between an accepted address and its first beat, less one."""
    MUSIC = 4
    """RUN: percent of the cycles that the competitor owns, 0 to 99."""
    LIMIT = 5
    """RUN: cycles after which the bench gives up waiting for the interrupt."""
    WAVE_FIRST = 6
    """RUN: first and last job cycle of the waveform."""
    WAVE_LAST = 7
    WRITES = 8
    WRITE = 9
    """The first of REGISTER_WRITES pairs (offset, value)."""


class Result(IntEnum):
    """Word of each field of a result."""

    FLAGS = 0
    """Bit 0: no interrupt came within the limit; the processor was reset."""
    EVENTS = 1
    """Records in the event file."""
    CYCLE = 2
    """Job cycle in which the interrupt was seen."""
    ACCESSES = 3
    """Bursts that reached beyond the memory and were answered with an error."""
    REGISTER = 4
    """The first of READ_REGISTERS."""


REQUEST_WORDS = Request.WRITE + 2 * REGISTER_WRITES
RESULT_WORDS = Result.REGISTER + len(READ_REGISTERS)


def request(operation: Operation, writes: Iterable[tuple[int, int]] = (), **fields: int) -> bytes:
    """A request: fields by their name in `Request`, lower case; `writes` are (offset, value)."""
    words = np.zeros(REQUEST_WORDS, dtype="<u4")
    words[Request.OPERATION] = operation
    for name, value in fields.items():
        words[Request[name.upper()]] = value
    pairs = np.array(list(writes), dtype="<u4").reshape(-1)
    if len(pairs) > 2 * REGISTER_WRITES:
        raise ValueError(f"{len(pairs) // 2} register writes; a request has room for {REGISTER_WRITES}")
    words[Request.WRITES] = len(pairs) // 2
    words[Request.WRITE : Request.WRITE + len(pairs)] = pairs
    return words.tobytes()


def register_of(words: np.ndarray, register: int) -> int:
    """A register's value in the words of a result."""
    return int(words[Result.REGISTER + READ_REGISTERS.index(register)])


def counters_of(words: np.ndarray) -> dict[str, int]:
    """Every counter in the words of a result."""
    return {
        name: register_of(words, counter_offset(name)) | register_of(words, counter_offset(name) + 1) << 32
        for name in COUNTERS
    }


def constants() -> str:
    """The Verilog header that the bench includes."""
    values = {
        "CSR_ADDRESS_BITS": CSR_ADDRESS_BITS,
        "CSR_CONTROL": Register.CONTROL,
        "CSR_INTERRUPT": Register.INTERRUPT,
        "COUNTER_BASE": COUNTER_BASE,
        "COUNTER_WORDS": 2 * len(COUNTERS),
        "ENGINES": len(Engine),
        "REQUEST_WORDS": REQUEST_WORDS,
        "RESULT_WORDS": RESULT_WORDS,
        **{f"OPERATION_{field.name}": field for field in Operation},
        **{f"REQUEST_{field.name}": field for field in Request},
        **{f"RESULT_{field.name}": field for field in Result},
    }
    lines = [f"localparam int {name} = {int(value)};" for name, value in values.items()]
    lines += [
        f'localparam string {name} = "{globals()[name]}";'
        for name in ("LOAD_FILE", "DUMP_FILE", "EVENT_FILE")
    ]
    reads = ", ".join(str(int(offset)) for offset in READ_REGISTERS)
    lines.append(f"localparam int READ_REGISTERS [{len(READ_REGISTERS)}] = '{{{reads}}};")
    return "\n".join(lines) + "\n"
