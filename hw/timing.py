"""Cycle counts fixed by the RTL, shared with the simulators. No Amaranth here."""

from __future__ import annotations

from ossicle.hw.config import NpuConfig
from ossicle.hw.isa import Opcode

# Reader -----------------------------------------------------------------------------------------------

FETCH, LOAD, DECODE = range(3)
"""Clients of the read master, in order of priority."""


def reader_queue_beats(config: NpuConfig, client: int) -> int:
    """Beats that the reader can hold for a client: all bursts under way for the decoder, two for others."""
    return config.burst_beats * (max(2, config.outstanding) if client == DECODE else 2)


STORE_QUEUE_WORDS = 4
"""Words that the store engine reads ahead of the bus."""

# Vector unit ------------------------------------------------------------------------------------------

VECTOR_LATENCY = {Opcode.LSTM: 22, Opcode.LINEAR: 15, Opcode.ADD: 7, Opcode.COMPARE: 3}
"""Started in cycle t, a vector instruction writes step k's result in cycle t + k + VECTOR_LATENCY[opcode],
the last with `done`, in cycle t + steps - 1 + VECTOR_LATENCY[opcode] (COMPARE has one step). Nothing makes it
wait. An LSTM writes both its memories in that cycle."""

# Decoder ----------------------------------------------------------------------------------------------

TABLE_FILL_CYCLES = 2
"""Before the first bits of a table image are read. Each field takes a cycle, each symbol one, the end one:
the codec counts them as it reads an image."""
DECODER_END_CYCLES = 2
"""From the last step of a STREAM to its end, if no beat is outstanding."""
DECODER_FAULT_CYCLES = 1
"""From the cycle in which a STREAM lacks bits and no beat is outstanding to its fault."""


def table_wait_cycles(config: NpuConfig) -> int:
    """From the last beat of a TABLE to the cycle before its image is read."""
    return config.bus_bits // 16


def table_build_cycles(config: NpuConfig) -> int:
    """From the last cycle of reading a TABLE's image to its end: the walk, the scan."""
    return 261 + (2 << config.table_log)
