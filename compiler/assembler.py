"""Program <-> text. One instruction a line, as `str(Instruction)` prints it; directives begin with a dot.

    .entry NAME                      instructions of a job follow; padded with END to an even count
    .data NAME [weights|constants]   bytes follow (constants by default), from a granule of 32 bytes
    .hex 00 11 2233                  bytes
    .zeros COUNT                     zero bytes
    .symbol NAME TYPE COUNT SLOTS    an array in the data, COUNT elements of int8 or int16 a slot
    load target=vector address=NAME+32 length=1 destination=0 argument=1 stride=2 wait=mac   ; op layer

Operands left out are 0. An address may be a number, or the name of data or of a symbol with an offset; target
and function may be names. What follows the semicolon is the instruction's origin: its op and its layer.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np
from ossicle.compiler.program import IMAGE_SECTIONS, Entry, Origin, Program, Symbol
from ossicle.hw.config import GRANULE_BYTES, INSTRUCTION_BYTES, NpuConfig
from ossicle.hw.isa import (
    EncodingError,
    Engine,
    Function,
    Instruction,
    Opcode,
    Target,
    encode,
    instruction,
)

NAMES = {"target": Target, "function": Function}
HEX_BYTES = 64
TYPES = ("int8", "int16")


class AssemblyError(ValueError):
    """A line that cannot be assembled; the message begins with its number."""


@dataclass
class _Source:
    """What the lines say, before addresses are known."""

    entries: dict[str, list[tuple[int, str]]] = field(default_factory=dict)
    data: dict[str, tuple[str, bytearray]] = field(default_factory=dict)
    symbols: dict[str, tuple[str, int, int]] = field(default_factory=dict)


def assemble(text: str, config: NpuConfig, name: str = "assembled") -> Program:
    """Assemble a program for a configuration.

    Raises:
        AssemblyError: the first line that is wrong.
    """
    source = _parse(text)
    counts = {entry: len(lines) + len(lines) % 2 for entry, lines in source.entries.items()}
    address, entries = 0, {}
    for entry, count in counts.items():
        entries[entry] = Entry(address, count)
        address += count * INSTRUCTION_BYTES
    contents, places = {"weights": bytearray(), "constants": bytearray()}, {}
    for section, content in contents.items():
        start = address + sum(len(c) for c in contents.values())
        for label, (where, body) in source.data.items():
            if where == section:
                places[label] = start + len(content)
                content += body + bytes(-len(body) % GRANULE_BYTES)
    sizes = [address, *map(len, contents.values())]
    symbols, top = _place_symbols(source, sum(sizes))
    places |= {label: symbol.address for label, symbol in symbols.items()}
    code, debug = _code(source, counts, places)
    sections = {key: (sum(sizes[:i]), sizes[i]) for i, key in enumerate(IMAGE_SECTIONS)}
    image = code + b"".join(contents.values())
    meta = {"name": name, "config": config.to_toml()}
    return Program(config.digest(), image, sections, top, symbols, entries, debug, meta)


def parse_instruction(text: str, places: dict[str, int] | None = None) -> Instruction:
    """One instruction. `places`: addresses by name.

    Raises:
        ValueError: an unknown opcode, operand or name, or a value that does not fit.
    """
    mnemonic, *fields = text.split()
    if mnemonic.upper() not in Opcode.__members__:
        raise ValueError(f"{mnemonic} is none of {', '.join(Opcode.__members__).lower()}")
    operands: dict[str, int] = {}
    tokens: dict[str, tuple[Engine, ...]] = {"wait": (), "signal": ()}
    for item in fields:
        key, separator, value = item.partition("=")
        if not separator or key in operands:
            raise ValueError(f"{item} is not operand=value, or is there twice")
        if key in tokens:
            tokens[key] = tuple(Engine(_member(Engine, part)) for part in value.split("+"))
        else:
            operands[key] = _value(key, value, places or {})
    opcode = Opcode[mnemonic.upper()]
    return instruction(opcode, wait=tokens["wait"], signal=tokens["signal"], **operands)


def disassemble(program: Program, data: bool = False) -> str:
    """Text of a program, entry by entry. With `data` also its bytes: it then assembles to the same image."""
    lines = [f"; {program.meta.get('name', 'program')} for configuration {program.config_digest:#010x}"]
    for s in program.symbols.values():
        lines += [f".symbol {s.name} {s.dtype} {s.count} {s.slots}  ; at {s.address}"]
    if data:
        for section in IMAGE_SECTIONS[1:]:
            lines += _dump(program, section)
    for name in program.entries:
        lines.append(f".entry {name}")
        for made, origin in zip(program.instructions(name), program.debug[name], strict=True):
            lines.append(f"    {_short(made):<100} ; {origin.op} {origin.layer}".rstrip())
    return "\n".join(lines) + "\n"


def _short(made: Instruction) -> str:
    """`str(made)` with names of targets and functions."""
    text = str(made)
    for key, kind in NAMES.items():
        if key in made.operands:
            text = re.sub(rf"\b{key}=\d+", f"{key}={kind(made[key]).name.lower()}", text)
    return text


def _dump(program: Program, section: str) -> Iterator[str]:
    address, size = program.sections[section]
    yield f".data {section} {section}"
    for start in range(address, address + size, HEX_BYTES):
        yield f".hex {program.image[start : min(start + HEX_BYTES, address + size)].hex()}"


def _parse(text: str) -> _Source:
    source, entry, body = _Source(), None, None
    for number, line in enumerate(text.splitlines(), 1):
        words = line.partition(";")[0].split()
        if not words:
            continue
        try:
            if words[0] == ".entry":
                entry = source.entries.setdefault(_fresh(words[1], source.entries), [])
            elif words[0] == ".data":
                section = words[2] if len(words) > 2 else "constants"
                if section not in IMAGE_SECTIONS[1:]:
                    raise ValueError(f"data go to weights or constants, not to {section}")
                body = bytearray()
                source.data[_fresh(words[1], source.data | source.symbols)] = (section, body)
            elif words[0] == ".symbol":
                kind, count, slots = words[2], int(words[3], 0), int(words[4], 0)
                if kind not in TYPES or count < 1 or slots < 1:
                    raise ValueError(f"a symbol is {' or '.join(TYPES)} with a count and slots of 1 or more")
                source.symbols[_fresh(words[1], source.data | source.symbols)] = (kind, count, slots)
            elif words[0] in (".hex", ".zeros"):
                if body is None:
                    raise ValueError(f"{words[0]} comes after .data")
                body += bytes.fromhex("".join(words[1:])) if words[0] == ".hex" else bytes(int(words[1], 0))
            elif words[0].startswith("."):
                raise ValueError(f"there is no directive {words[0]}")
            elif entry is None:
                raise ValueError("an instruction comes after .entry")
            else:
                entry.append((number, line))
        except (ValueError, IndexError) as error:
            raise AssemblyError(f"line {number}: {_reason(error)}") from None
    return source


def _reason(error: Exception) -> str:
    return "something is missing at its end" if isinstance(error, IndexError) else str(error)


def _fresh(name: str, known: dict) -> str:
    if name in known or not re.fullmatch(r"[A-Za-z_][\w.]*", name):
        raise ValueError(f"{name} is taken, or is no name")
    return name


def _place_symbols(source: _Source, top: int) -> tuple[dict[str, Symbol], int]:
    symbols = {}
    for name, (kind, count, slots) in source.symbols.items():
        stride = -(-count * np.dtype(kind).itemsize // GRANULE_BYTES) * GRANULE_BYTES
        symbols[name] = Symbol(name, top, kind, count, slots, stride)
        top += slots * stride
    return symbols, top


def _code(source: _Source, counts: dict[str, int], places: dict[str, int]) -> tuple[bytes, dict]:
    code, debug = bytearray(), {}
    for name, lines in source.entries.items():
        debug[name] = []
        for number, line in [*lines, *[(0, "end ; end")] * (counts[name] - len(lines))]:
            text, _, comment = line.partition(";")
            try:
                made = parse_instruction(text, places)
            except (ValueError, EncodingError) as error:
                raise AssemblyError(f"line {number}: {error}") from None
            code += encode(made).to_bytes(INSTRUCTION_BYTES, "little")
            origin = [*comment.split(), "", ""][:2]
            debug[name].append(Origin(*origin))
    return bytes(code), debug


def _value(key: str, text: str, places: dict[str, int]) -> int:
    if re.fullmatch(r"\d+|0[xX][0-9a-fA-F]+", text):
        return int(text, 0)
    if key in NAMES:
        return _member(NAMES[key], text)
    label, _, offset = text.partition("+")
    if key != "address" or label not in places:
        raise ValueError(f"{key}={text} is neither a number nor a name that is known")
    return places[label] + int(offset or "0", 0)


def _member(kind: type[IntEnum], name: str) -> int:
    if name.upper() not in kind.__members__:
        raise ValueError(f"{name} is none of {', '.join(kind.__members__).lower()}")
    return kind[name.upper()]

