"""What a job of the cycle model is made of, besides its registers: the configuration and the instructions."""

from __future__ import annotations

import numpy as np
from ossicle.hw.config import NpuConfig
from ossicle.hw.isa import OPCODES
from ossicle.hw.timing import (
    DECODE,
    FETCH,
    LOAD,
    VECTOR_LATENCY,
    reader_queue_beats,
    table_build_cycles,
    table_wait_cycles,
)

CONFIG_FIELDS = (
    "lanes",
    "lookahead",
    "weight_words",
    "accumulators",
    "activation_words",
    "vector_width",
    "vector_words",
    "parameter_words",
    "table_sets",
    "bus_bits",
    "burst_beats",
    "outstanding",
    "queue_depth",
    "window_bits",
    "dram_latency",
)
(
    LANES,
    LOOKAHEAD,
    WEIGHT_WORDS,
    ACCUMULATORS,
    ACTIVATION_WORDS,
    VECTOR_WIDTH,
    VECTOR_WORDS,
    PARAMETER_WORDS,
    TABLE_SETS,
    BUS_BITS,
    BURST_BEATS,
    OUTSTANDING,
    QUEUE_DEPTH,
    WINDOW_BITS,
    DRAM_LATENCY,
    MUSIC,
    FETCH_ROOM,
    LOAD_ROOM,
    DECODE_ROOM,
    TABLE_BUILD,
    TABLE_WAIT,
) = range(21)
"""Places of what the kernels know of a configuration, one int64 each."""


def config_of(config: NpuConfig, music_percent: int) -> np.ndarray:
    """The kernels' view of a configuration: int64[21]."""
    derived = [
        music_percent,
        reader_queue_beats(config, FETCH),
        reader_queue_beats(config, LOAD),
        reader_queue_beats(config, DECODE),
        table_build_cycles(config),
        table_wait_cycles(config),
    ]
    return np.array([getattr(config, name) for name in CONFIG_FIELDS] + derived, np.int64)


OPERAND_NAMES = tuple(dict.fromkeys(f.name for form in OPCODES.values() for f in form.operands))
OPCODE, ENGINE, WAIT, SIGNAL, HANDLE = range(5)
OPERAND = {name: 5 + n for n, name in enumerate(OPERAND_NAMES)}
COLUMNS = 5 + len(OPERAND_NAMES)
"""Columns of an instruction in the table that the kernels read; HANDLE is a STREAM's decoded weights, or
-1."""

ENGINE_OF = np.zeros(16, np.int64)
for _form in OPCODES.values():
    ENGINE_OF[_form.opcode] = _form.engine

LATENCY = np.zeros(16, np.int64)
for _opcode, _cycles in VECTOR_LATENCY.items():
    LATENCY[_opcode] = _cycles


def instruction_table(words: np.ndarray) -> np.ndarray:
    """int64[n, COLUMNS] of instructions as uint8[n, 16]; bits beyond the operands are ignored, as in the
    RTL."""
    bits = np.unpackbits(words, axis=1, bitorder="little").astype(np.int64)

    def field(position: int, width: int) -> np.ndarray:
        return bits[:, position : position + width] @ (np.int64(1) << np.arange(width, dtype=np.int64))

    table = np.zeros((len(words), COLUMNS), np.int64)
    table[:, OPCODE], table[:, WAIT], table[:, SIGNAL] = field(0, 4), field(4, 6), field(10, 6)
    table[:, ENGINE] = ENGINE_OF[table[:, OPCODE]]
    table[:, HANDLE] = -1
    for opcode, form in OPCODES.items():
        rows = table[:, OPCODE] == opcode
        for operand in form.operands:
            values = field(form.offset(operand.name), operand.width)
            table[rows, OPERAND[operand.name]] = values[rows]
    return table
