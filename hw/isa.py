"""The instruction set: one table that the RTL, the assembler, the disassembler and both simulators use.

An instruction is 128 bits, little-endian in memory:

    bits   field    meaning
    0..3   opcode   which of `OPCODES`
    4..9   wait     bit e: take one token that engine e gave to this engine, before starting
    10..15 signal   bit e: give one token to engine e, when done
    16..   operands of the opcode, low bits first, in the order of its table

Tokens: `tokens[giver][taker]` counts from 0 at the start of a job to TOKEN_MAX. An engine takes its
instructions in program order and starts one when every token it waits for is there.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

ISA_VERSION = 3
INSTRUCTION_BITS = 128
OPERAND_START = 16
TOKEN_MAX = 15
PREDICATES = 8
ARGUMENTS = 8


class Engine(IntEnum):
    CONTROL = 0
    LOAD = 1
    DECODE = 2
    MAC = 3
    VECTOR = 4
    STORE = 5


class Opcode(IntEnum):
    """0 is no instruction, so that cleared memory faults."""

    END = 1
    SKIP = 2
    LOAD = 3
    TABLE = 4
    STREAM = 5
    MAC = 6
    LSTM = 7
    LINEAR = 8
    ADD = 9
    COMPARE = 10
    STORE = 11


class Target(IntEnum):
    """Memories of the chip that LOAD writes and STORE reads."""

    ACTIVATION = 0
    VECTOR = 1
    PARAMETER = 2


class Function(IntEnum):
    """What the vector unit applies to a pre-activation."""

    IDENTITY = 0
    RELU = 1
    SIGMOID = 2
    TANH = 3


class Fault(IntEnum):
    """Why a job stopped: the cause register."""

    NONE = 0
    OPCODE = 1
    """An opcode that is none of `Opcode`, or an operand that names no such memory."""
    READ_WINDOW = 2
    """A read outside the job's read windows, or from an address that is no multiple of 32."""
    WRITE_WINDOW = 3
    """A write outside the job's write window, or to an address that is no multiple of 32."""
    MEMORY_RANGE = 4
    """An address beyond the end of a memory of the chip."""
    DECODER = 5
    """A compressed stream that ends early, runs over, or a table whose frequencies do not add up."""
    TOKEN_OVERFLOW = 6
    """A token counter above TOKEN_MAX; the engine and the instruction are the token's giver."""
    WATCHDOG = 7
    """More cycles than the job's limit; it names no engine and no instruction (both 0)."""
    BUS = 8
    """An error response from the memory."""
    NO_END = 9
    """The job's instructions ran out before END."""


@dataclass(frozen=True)
class Field:
    name: str
    width: int
    meaning: str


@dataclass(frozen=True)
class Format:
    """One opcode: its engine and its operands, low bits first."""

    opcode: Opcode
    engine: Engine
    operands: tuple[Field, ...]
    meaning: str

    def offset(self, name: str) -> int:
        """Bit position of an operand."""
        position = OPERAND_START
        for field in self.operands:
            if field.name == name:
                return position
            position += field.width
        raise KeyError(f"{self.opcode.name} has no operand {name}")


def _format(opcode: Opcode, engine: Engine, meaning: str, *operands: tuple[str, int, str]) -> Format:
    made = Format(opcode, engine, tuple(Field(*o) for o in operands), meaning)
    assert OPERAND_START + sum(f.width for f in made.operands) <= INSTRUCTION_BITS, opcode
    return made


OPCODES: dict[Opcode, Format] = {
    f.opcode: f
    for f in (
        _format(
            Opcode.END, Engine.CONTROL, "End the job when every engine has finished; raise the interrupt."
        ),
        _format(
            Opcode.SKIP,
            Engine.CONTROL,
            "Skip the next `count` instructions if a predicate equals `sense`.",
            ("predicate", 3, "predicate register"),
            ("sense", 1, "value that skips"),
            ("count", 8, "instructions to skip"),
        ),
        _format(
            Opcode.LOAD,
            Engine.LOAD,
            "Copy from DRAM to a memory of the chip.",
            ("target", 2, "Target"),
            ("address", 32, "bytes, a multiple of 32"),
            ("length", 16, "granules of 32 bytes, 1 or more"),
            ("destination", 16, "word of the target"),
            ("argument", 3, "argument register added as argument * stride * 32 bytes; 0: none"),
            ("stride", 16, "granules"),
        ),
        _format(
            Opcode.TABLE,
            Engine.DECODE,
            "Build one pair of decoding tables from an image of their frequencies.",
            ("address", 32, "bytes, a multiple of 32"),
            ("length", 16, "granules of 32 bytes, 1 to 32"),
            ("set", 2, "table set"),
        ),
        _format(
            Opcode.STREAM,
            Engine.DECODE,
            "Decode compressed weights into every lane's bank.",
            ("address", 32, "bytes, a multiple of 32"),
            ("length", 20, "granules of 32 bytes"),
            ("set", 2, "table set"),
            ("destination", 16, "first word in each lane's bank"),
            ("groups", 20, "groups of 8 weights in each lane's bank, even"),
        ),
        _format(
            Opcode.MAC,
            Engine.MAC,
            "Matrix-vector product: every lane, its `rows` rows of `words` words.",
            ("weights", 16, "first word in each lane's bank"),
            ("rows", 10, "rows a lane, 1 or more"),
            ("words", 8, "words of 16 columns a row, 1 or more"),
            ("activation", 12, "word of the first segment of the input"),
            ("split", 8, "words in the first segment"),
            ("activation2", 12, "word of the second segment"),
            ("accumulator", 12, "first accumulator of each lane"),
            ("accumulate", 1, "add to what the accumulators hold"),
        ),
        _format(
            Opcode.LSTM,
            Engine.VECTOR,
            "LSTM cell update from the accumulators of 4 gates a unit.",
            ("steps", 12, "steps of vector_width rows (vector_width / 4 units), 1 or more"),
            ("accumulator", 12, "first accumulator of each lane"),
            ("parameter", 14, "first word of row parameters, a word a step"),
            ("source", 16, "vector word of the cell states, a word a step, updated in place"),
            ("destination", 16, "byte of the activation memory for h, a multiple of vector_width / 4"),
        ),
        _format(
            Opcode.LINEAR,
            Engine.VECTOR,
            "Requantize accumulators, apply a function.",
            ("steps", 12, "steps of vector_width rows, 1 or more"),
            ("accumulator", 12, "first accumulator of each lane"),
            ("parameter", 14, "first word of row parameters, a word a step"),
            ("function", 2, "Function"),
            ("target", 2, "Target: VECTOR (16 bit) or ACTIVATION (8 bit)"),
            ("destination", 16, "vector word, or byte of the activation memory, a multiple of vector_width"),
        ),
        _format(
            Opcode.ADD,
            Engine.VECTOR,
            "Saturating sum of two vectors, then a function.",
            ("steps", 12, "steps of vector_width elements, 1 or more"),
            ("source", 16, "vector word of the first"),
            ("source2", 16, "vector word of the second"),
            ("function", 2, "Function"),
            ("target", 2, "Target: VECTOR (16 bit) or ACTIVATION (8 bit)"),
            ("destination", 16, "vector word, or byte of the activation memory, a multiple of vector_width"),
        ),
        _format(
            Opcode.COMPARE,
            Engine.VECTOR,
            "predicate = element 0 of a vector word > threshold (signed).",
            ("source", 16, "vector word"),
            ("threshold", 16, "two's complement"),
            ("predicate", 3, "predicate register"),
        ),
        _format(
            Opcode.STORE,
            Engine.STORE,
            "Copy from a memory of the chip to DRAM.",
            ("target", 2, "Target: ACTIVATION or VECTOR"),
            ("address", 32, "bytes, a multiple of 32"),
            ("length", 16, "granules of 32 bytes, 1 or more"),
            ("source", 16, "word of the target"),
            ("argument", 3, "argument register added as argument * stride * 32 bytes; 0: none"),
            ("stride", 16, "granules"),
        ),
    )
}


class EncodingError(ValueError):
    """An operand that does not exist, or does not fit its field."""


@dataclass(frozen=True)
class Instruction:
    """One decoded instruction. `operands` holds unsigned field values by name, all of them."""

    opcode: Opcode
    wait: frozenset[Engine]
    signal: frozenset[Engine]
    operands: dict[str, int]

    @property
    def engine(self) -> Engine:
        return OPCODES[self.opcode].engine

    def __getitem__(self, operand: str) -> int:
        return self.operands[operand]

    def __str__(self) -> str:
        """One line of assembly, as `ossicle disasm` prints it and the assembler reads it."""
        parts = [self.opcode.name.lower()]
        parts += [f"{name}={value}" for name, value in self.operands.items()]
        if self.wait:
            parts.append("wait=" + "+".join(e.name.lower() for e in sorted(self.wait)))
        if self.signal:
            parts.append("signal=" + "+".join(e.name.lower() for e in sorted(self.signal)))
        return " ".join(parts)


def instruction(opcode: Opcode, *, wait=(), signal=(), **operands: int) -> Instruction:
    """An instruction with operands by name; those left out are 0.

    Raises:
        EncodingError: an unknown operand, or one that does not fit.
    """
    form = OPCODES[opcode]
    unknown = set(operands) - {f.name for f in form.operands}
    if unknown:
        raise EncodingError(f"{opcode.name} has no operand {', '.join(sorted(unknown))}")
    values = {f.name: int(operands.get(f.name, 0)) for f in form.operands}
    for field in form.operands:
        if not 0 <= values[field.name] < 1 << field.width:
            raise EncodingError(
                f"{opcode.name} {field.name} = {values[field.name]} needs more than {field.width} bits"
            )
    return Instruction(opcode, frozenset(map(Engine, wait)), frozenset(map(Engine, signal)), values)


def encode(made: Instruction) -> int:
    """128-bit word of an instruction."""
    word = int(made.opcode) | _mask(made.wait) << 4 | _mask(made.signal) << 10
    position = OPERAND_START
    for field in OPCODES[made.opcode].operands:
        word |= made.operands[field.name] << position
        position += field.width
    return word


def decode(word: int) -> Instruction:
    """Instruction of a 128-bit word.

    Raises:
        EncodingError: an opcode that is none, or bits set beyond the operands.
    """
    code = word & 15
    if code not in Opcode.__members__.values():
        raise EncodingError(f"opcode {code} is no instruction")
    form = OPCODES[Opcode(code)]
    position, values = OPERAND_START, {}
    for field in form.operands:
        values[field.name] = word >> position & ((1 << field.width) - 1)
        position += field.width
    if word >> position:
        raise EncodingError(f"{form.opcode.name}: bits set beyond its operands")
    return Instruction(form.opcode, _engines(word >> 4), _engines(word >> 10), values)


def _mask(engines: frozenset[Engine]) -> int:
    return sum(1 << e for e in engines)


def _engines(bits: int) -> frozenset[Engine]:
    return frozenset(e for e in Engine if bits >> e & 1)
