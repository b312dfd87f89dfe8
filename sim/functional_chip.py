"""The memories of the chip, and what each instruction does to them: one short numpy function an opcode."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from ossicle.compiler import codec
from ossicle.hw import numerics
from ossicle.hw.code import TABLE_GRANULES
from ossicle.hw.config import GRANULE_BYTES, WEIGHTS_PER_WORD, NpuConfig
from ossicle.hw.isa import PREDICATES, Fault, Function, Instruction, Opcode, Target

ROW = np.dtype([("bias", "<i4"), ("multiplier", "<u2"), ("shift", "u1"), ("lane", "u1")])
"""Row parameters as they lie in DRAM; of `shift` the low 6 bits count, `lane` counts modulo the lanes."""


class Stop(Exception):
    """An instruction's fault."""

    def __init__(self, fault: Fault):
        super().__init__(fault.name)
        self.fault = fault


def require(condition: bool, fault: Fault = Fault.MEMORY_RANGE) -> None:
    """Raises Stop unless the condition holds."""
    if not condition:
        raise Stop(fault)


@dataclass
class ChipState:
    """The memories of the chip, each as docs/hardware.md has it."""

    config: NpuConfig
    weights: np.ndarray
    """int8[lanes, weight_words, 16]"""
    activations: np.ndarray
    """int8[activation_words, 16]"""
    vectors: np.ndarray
    """int16[vector_words, vector_width]"""
    parameters: np.ndarray
    """ROW[parameter_words, vector_width]"""
    accumulators: np.ndarray
    """int32[lanes, accumulators]"""
    predicates: np.ndarray
    """bool[8], cleared at the start of a job"""
    tables: list[codec.TableSet | None]
    """table_sets of them; None: never built"""
    products: int = 0
    """Of all MAC instructions: products of two factors that are not zero, and the others."""
    skipped: int = 0

    @classmethod
    def cleared(cls, config: NpuConfig) -> ChipState:
        """A chip after reset."""
        return cls(
            config=config,
            weights=np.zeros((config.lanes, config.weight_words, WEIGHTS_PER_WORD), np.int8),
            activations=np.zeros((config.activation_words, WEIGHTS_PER_WORD), np.int8),
            vectors=np.zeros((config.vector_words, config.vector_width), np.int16),
            parameters=np.zeros((config.parameter_words, config.vector_width), ROW),
            accumulators=np.zeros((config.lanes, config.accumulators), np.int32),
            predicates=np.zeros(PREDICATES, bool),
            tables=[None] * config.table_sets,
        )

    def words_of(self, target: int) -> np.ndarray:
        """The memory that LOAD and STORE know by this number: uint8[words, bytes a word], a view.

        Raises:
            Stop: there is none.
        """
        require(target in tuple(Target))
        memory = (self.activations, self.vectors, self.parameters)[target]
        return memory.view(np.uint8).reshape(len(memory), -1)


@dataclass
class Job:
    """What instructions see beside the chip: DRAM, arguments and windows (base, limit) of the job."""

    dram: np.ndarray
    arguments: list[int]
    read_windows: tuple[tuple[int, int], ...]
    write_window: tuple[int, int]

    def read(self, address: int, granules: int) -> np.ndarray:
        """Bytes of DRAM that the job may read, a view."""
        return self._span(address, granules, self.read_windows, Fault.READ_WINDOW)

    def write(self, address: int, granules: int) -> np.ndarray:
        """Bytes of DRAM that the job may write, a view."""
        return self._span(address, granules, (self.write_window,), Fault.WRITE_WINDOW)

    def address(self, made: Instruction) -> int:
        """DRAM address of a LOAD or STORE."""
        offset = self.arguments[made["argument"]] * made["stride"] * GRANULE_BYTES
        return (made["address"] + offset) % (1 << 32)

    def _span(self, address: int, granules: int, windows, fault: Fault) -> np.ndarray:
        end = address + granules * GRANULE_BYTES
        require(address % GRANULE_BYTES == 0, fault)
        require(any(base <= address and end <= limit for base, limit in windows), fault)
        return self.dram[address:end]


def load(chip: ChipState, made: Instruction, job: Job) -> None:
    memory = chip.words_of(made["target"])
    words, rest = divmod(made["length"] * GRANULE_BYTES, memory.shape[1])
    require(rest == 0 and words > 0 and made["destination"] + words <= len(memory))
    data = job.read(job.address(made), made["length"])
    memory[made["destination"] : made["destination"] + words] = data.reshape(words, -1)


def store(chip: ChipState, made: Instruction, job: Job) -> None:
    require(made["target"] != Target.PARAMETER)
    memory = chip.words_of(made["target"])
    words = made["length"] * GRANULE_BYTES // memory.shape[1]
    require(words > 0 and made["source"] + words <= len(memory))
    data = job.write(job.address(made), made["length"])
    data[:] = memory[made["source"] : made["source"] + words].reshape(-1)


def table(chip: ChipState, made: Instruction, job: Job) -> None:
    require(made["length"] > 0 and made["set"] < chip.config.table_sets)
    require(made["length"] <= TABLE_GRANULES, Fault.DECODER)
    data = job.read(made["address"], made["length"])
    try:
        chip.tables[made["set"]] = codec.TableSet.from_bytes(data.tobytes(), chip.config.table_log)
    except codec.CodecError:
        raise Stop(Fault.DECODER) from None


def stream(chip: ChipState, made: Instruction, job: Job) -> None:
    groups, first = made["groups"], made["destination"]
    require(made["length"] > 0 and made["set"] < chip.config.table_sets)
    require(groups > 0 and groups % 2 == 0 and first + groups // 2 <= chip.config.weight_words)
    data = job.read(made["address"], made["length"])
    tables = chip.tables[made["set"]]
    require(tables is not None, Fault.DECODER)
    try:
        decoded = codec.decode(data.tobytes(), groups, tables, chip.config)
    except codec.CodecError:
        raise Stop(Fault.DECODER) from None
    words = decoded.banks.reshape(chip.config.lanes, -1, WEIGHTS_PER_WORD)
    chip.weights[:, first : first + groups // 2] = words


def mac(chip: ChipState, made: Instruction, job: Job) -> None:
    rows, words, accumulator = made["rows"], made["words"], made["accumulator"]
    first = min(made["split"], words)
    second = words - first
    require(rows * words > 0 and made["weights"] + rows * words <= chip.config.weight_words)
    require(made["activation"] + first <= chip.config.activation_words)
    require(second == 0 or made["activation2"] + second <= chip.config.activation_words)
    require(accumulator + rows <= chip.config.accumulators)

    segments = [
        chip.activations[made["activation"] :][:first],
        chip.activations[made["activation2"] :][:second],
    ]
    x = np.concatenate(segments).reshape(-1)
    w = chip.weights[:, made["weights"] :][:, : rows * words].reshape(chip.config.lanes, rows, -1)
    # Sums of products of bytes are exact in float64, and its product is the fast one.
    total = (w.astype(np.float64) @ x).astype(np.int64)
    into = chip.accumulators[:, accumulator : accumulator + rows]
    into[:] = wrap_int32(total + into if made["accumulate"] else total)
    products = int(np.count_nonzero(w[..., x != 0]))
    chip.products += products
    chip.skipped += w.size - products


def lstm(chip: ChipState, made: Instruction, job: Job) -> None:
    steps, source, destination = made["steps"], made["source"], made["destination"]
    units = chip.config.units_per_step
    require(steps > 0 and source + steps <= chip.config.vector_words)
    require(destination % units == 0 and destination + steps * units <= chip.activations.size)
    gates = preactivations(chip, made).reshape(steps, units, 4)
    cells = chip.vectors[source : source + steps]
    cell, hidden = numerics.lstm_cell(*np.moveaxis(gates, -1, 0), cells[:, :units])
    cells[:] = 0
    cells[:, :units] = cell
    chip.activations.reshape(-1)[destination : destination + steps * units] = hidden.reshape(-1)


def linear(chip: ChipState, made: Instruction, job: Job) -> None:
    require(made["steps"] > 0)
    check_destination(chip, made)
    apply_function(chip, made, preactivations(chip, made))


def add(chip: ChipState, made: Instruction, job: Job) -> None:
    steps = made["steps"]
    require(steps > 0 and max(made["source"], made["source2"]) + steps <= chip.config.vector_words)
    check_destination(chip, made)
    one, two = (chip.vectors[made[name] :][:steps].astype(np.int64) for name in ("source", "source2"))
    apply_function(chip, made, numerics.saturate(one + two, 16))


def compare(chip: ChipState, made: Instruction, job: Job) -> None:
    require(made["source"] < chip.config.vector_words)
    threshold = (made["threshold"] ^ 0x8000) - 0x8000
    chip.predicates[made["predicate"]] = chip.vectors[made["source"], 0] > threshold


def preactivations(chip: ChipState, made: Instruction) -> np.ndarray:
    """Requantized accumulators of an LSTM or LINEAR: int64[steps, vector_width]."""
    steps, first = made["steps"], made["parameter"]
    require(first + steps <= chip.config.parameter_words and made["accumulator"] < chip.config.accumulators)
    rows = chip.parameters[first : first + steps]
    taken = take_accumulators(chip, rows["lane"].astype(np.int64) % chip.config.lanes, made["accumulator"])
    return numerics.requantize(taken, rows["bias"], rows["multiplier"], rows["shift"] & 63)


def take_accumulators(chip: ChipState, lanes: np.ndarray, first: int) -> np.ndarray:
    """For lanes[steps, vector_width]: each lane's accumulators in order, one a step that names the lane."""
    pointers = np.full(chip.config.lanes, first)
    taken = np.empty(lanes.shape, np.int64)
    for step, named in enumerate(lanes):
        # What lies beyond the last accumulator is not defined; this is one possibility.
        taken[step] = chip.accumulators[named, pointers[named] % chip.config.accumulators]
        pointers[np.unique(named)] += 1
    return taken


def check_destination(chip: ChipState, made: Instruction) -> None:
    """Raises Stop unless a LINEAR's or ADD's results fit their target."""
    destination, steps, width = made["destination"], made["steps"], chip.config.vector_width
    if made["target"] == Target.ACTIVATION:
        require(destination % width == 0 and destination + steps * width <= chip.activations.size)
    else:
        require(made["target"] == Target.VECTOR and destination + steps <= chip.config.vector_words)


def apply_function(chip: ChipState, made: Instruction, value: np.ndarray) -> None:
    """Write function(value) of int64[steps, vector_width] to the target."""
    function = Function(made["function"])
    value = FUNCTIONS[function](value)
    destination = made["destination"]
    if made["target"] == Target.VECTOR:
        chip.vectors[destination : destination + len(value)] = value
        return
    is_gate = function in (Function.SIGMOID, Function.TANH)
    narrow = numerics.gate_to_activation if is_gate else numerics.preactivation_to_activation
    chip.activations.reshape(-1)[destination : destination + value.size] = narrow(value).reshape(-1)


def wrap_int32(value: np.ndarray) -> np.ndarray:
    """The low 32 bits, two's complement."""
    return value.astype(np.uint32).view(np.int32)


FUNCTIONS: dict[Function, Callable[[np.ndarray], np.ndarray]] = {
    Function.IDENTITY: lambda value: value,
    Function.RELU: numerics.relu,
    Function.SIGMOID: numerics.sigmoid,
    Function.TANH: numerics.tanh,
}

EXECUTE: dict[Opcode, Callable[[ChipState, Instruction, Job], None]] = {
    Opcode.LOAD: load,
    Opcode.TABLE: table,
    Opcode.STREAM: stream,
    Opcode.MAC: mac,
    Opcode.LSTM: lstm,
    Opcode.LINEAR: linear,
    Opcode.ADD: add,
    Opcode.COMPARE: compare,
    Opcode.STORE: store,
}
