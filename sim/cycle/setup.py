"""What a job of the cycle model is made of, besides its registers: the configuration and the instructions."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ossicle.hw.config import GRANULE_BYTES, NpuConfig
from ossicle.hw.isa import OPCODES, Engine, Opcode
from ossicle.hw.timing import DECODE, FETCH, LOAD, VECTOR_LATENCY, reader_queue_beats, table_build_cycles, table_sum_cycles


class Config(NamedTuple):
    """`NpuConfig` and what follows from it, in integers, for the kernels."""

    lanes: int
    lookahead: int
    weight_words: int
    accumulators: int
    activation_words: int
    vector_width: int
    vector_words: int
    parameter_words: int
    table_sets: int
    bus_bits: int
    burst_beats: int
    outstanding: int
    queue_depth: int
    window_bits: int
    dram_latency: int
    music_percent: int
    fetch_room: int
    load_room: int
    decode_room: int
    table_build: int
    table_sum: int


def config_of(config: NpuConfig, music_percent: int) -> Config:
    """The kernels' view of a configuration."""
    own = {name: getattr(config, name) for name in Config._fields if hasattr(config, name)}
    return Config(
        **own,
        music_percent=music_percent,
        fetch_room=reader_queue_beats(config, FETCH),
        load_room=reader_queue_beats(config, LOAD),
        decode_room=reader_queue_beats(config, DECODE),
        table_build=table_build_cycles(config),
        table_sum=table_sum_cycles(config),
    )


OPERAND_NAMES = tuple(dict.fromkeys(f.name for form in OPCODES.values() for f in form.operands))
OPCODE, ENGINE, WAIT, SIGNAL, HANDLE = range(5)
OPERAND = {name: 5 + n for n, name in enumerate(OPERAND_NAMES)}
COLUMNS = 5 + len(OPERAND_NAMES)
"""Columns of an instruction in the table that the kernels read; HANDLE is a STREAM's decoded weights, or -1."""

ENGINE_OF = np.zeros(16, np.int64)
for _form in OPCODES.values():
    ENGINE_OF[_form.opcode] = _form.engine

LATENCY = np.zeros(16, np.int64)
for _opcode, _cycles in VECTOR_LATENCY.items():
    LATENCY[_opcode] = _cycles


def instruction_table(words: np.ndarray) -> np.ndarray:
    """int64[n, COLUMNS] of instructions as uint8[n, 16]; bits beyond the operands are ignored, as in the RTL."""
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


assert Opcode.STREAM in OPCODES and Engine.DECODE and GRANULE_BYTES == 32
