"""The Program image: what the compiler hands to every device, and the file `program.npu` that holds it.

    file  = magic 8 | version u32 | ISA version u32 | configuration digest u32 | sections u32 | DRAM bytes u64
          | sections x (name 16 bytes | offset u32 | bytes u32 | CRC-32 u32 | 0 u32) | CRC-32 of all that u32
          | sections' bytes, in the order of `SECTIONS`, each from a multiple of 32
    image = instructions | weights | constants       read by the chip, at DRAM address 0
    DRAM  = image | data                             data: the slots of every symbol

All integers are little-endian. A job may read the image and the data, and write the data alone (`windows`).
"""

from __future__ import annotations

import json
import os
import struct
import tempfile
import zlib
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
from ossicle.hw.config import GRANULE_BYTES, INSTRUCTION_BYTES, NpuConfig
from ossicle.hw.isa import ISA_VERSION, EncodingError, Instruction, decode

MAGIC = b"OSSICLE\0"
VERSION = 1
IMAGE_SECTIONS = ("instructions", "weights", "constants")
JSON_SECTIONS = ("symbols", "entries", "debug", "meta")
SECTIONS = IMAGE_SECTIONS + JSON_SECTIONS
HEADER = struct.Struct("<8sIIIIQ")
SECTION = struct.Struct("<16sIIII")


class ProgramError(ValueError):
    """A program file that cannot be used; one sentence that says why, and what would do."""


@dataclass(frozen=True)
class Symbol:
    """An array in DRAM that the host and the chip share: `slots` slots of `count` elements of `dtype`."""

    name: str
    address: int
    """Bytes, a multiple of 32."""
    dtype: str
    """A numpy type name: int8 or int16."""
    count: int
    """Elements a slot, padding at its end not counted."""
    slots: int
    stride: int
    """Bytes from one slot to the next, a multiple of 32."""

    def at(self, slot: int) -> int:
        """Address of a slot, bytes.

        Raises:
            ProgramError: a slot that does not exist.
        """
        if not 0 <= slot < self.slots:
            raise ProgramError(f"{self.name} has slots 0 to {self.slots - 1}, not {slot}")
        return self.address + slot * self.stride


@dataclass(frozen=True)
class Entry:
    """A job: `count` instructions (even) from `address` (bytes, a multiple of 32)."""

    address: int
    count: int


class Windows(NamedTuple):
    """Address windows of every job: (first byte, byte after the last)."""

    read0: tuple[int, int]
    read1: tuple[int, int]
    write: tuple[int, int]


class Origin(NamedTuple):
    """Where an instruction comes from: an op of the graph, and its layer ('' where it has none)."""

    op: str
    layer: str


@dataclass(frozen=True)
class Program:
    """A compiled model.

    `image` lies at DRAM address 0; `entries` lie in its first section. `meta` holds what a runtime needs
    beside the arrays: name, config (TOML), topology, frontend, tokenizer (base64), vocabulary, report.
    """

    config_digest: int
    image: bytes
    sections: dict[str, tuple[int, int]]
    """Sections of the image: address and bytes."""
    dram_bytes: int
    """Image and data, the least memory a device must have."""
    symbols: dict[str, Symbol]
    entries: dict[str, Entry]
    debug: dict[str, list[Origin]]
    """Of each entry: the origin of each instruction."""
    meta: dict = field(default_factory=dict)

    @property
    def windows(self) -> Windows:
        data = (len(self.image), self.dram_bytes)
        return Windows((0, len(self.image)), data, data)

    @cached_property
    def config(self) -> NpuConfig:
        """The configuration the program was compiled for."""
        return NpuConfig.from_toml(self.meta["config"])

    def instructions(self, entry: str) -> list[Instruction]:
        """Decoded instructions of an entry."""
        place = self.entries[entry]
        code = self.image[place.address : place.address + place.count * INSTRUCTION_BYTES]
        words = [code[i : i + INSTRUCTION_BYTES] for i in range(0, len(code), INSTRUCTION_BYTES)]
        return [decode(int.from_bytes(word, "little")) for word in words]

    def __str__(self) -> str:
        name = self.meta.get("name", "")
        lines = [f"program {name}: image {len(self.image)} bytes, DRAM {self.dram_bytes} bytes"]
        lines += [f"  {key}: {size} bytes at {start:#x}" for key, (start, size) in self.sections.items()]
        lines += [
            f"  {s.name}: {s.dtype}[{s.slots}][{s.count}] at {s.address:#x}, {s.stride} bytes a slot"
            for s in self.symbols.values()
        ]
        for entry, origins in self.debug.items():
            lines.append(f"{entry}:")
            for index, made in enumerate(self.instructions(entry)):
                lines.append(f"  {index:4d}  {made!s:<100}  ; {' '.join(filter(None, origins[index]))}")
        return "\n".join(lines)

    def check_config(self, config: NpuConfig) -> None:
        """Raises ProgramError unless the program was compiled for this configuration."""
        if config.digest() != self.config_digest:
            raise ProgramError(
                f"the program is for configuration {self.config_digest:#010x}, not for '{config.name}' "
                f"({config.digest():#010x}); compile it again with this configuration"
            )

    def to_bytes(self) -> bytes:
        """The file's content."""
        bodies = {name: self.image[a : a + size] for name, (a, size) in self.sections.items()}
        bodies["symbols"] = _json([asdict(s) for s in self.symbols.values()])
        bodies["entries"] = _json({name: asdict(entry) for name, entry in self.entries.items()})
        bodies["debug"] = _json(self.debug)
        bodies["meta"] = _json(self.meta)
        offset = _align(HEADER.size + len(SECTIONS) * SECTION.size + 4)
        table = HEADER.pack(MAGIC, VERSION, ISA_VERSION, self.config_digest, len(SECTIONS), self.dram_bytes)
        content = bytearray()
        for name in SECTIONS:
            body = bodies[name]
            table += SECTION.pack(name.encode(), offset + len(content), len(body), zlib.crc32(body), 0)
            content += body + bytes(_align(len(body)) - len(body))
        table += struct.pack("<I", zlib.crc32(table))
        return table + bytes(offset - len(table)) + bytes(content)

    def save(self, path: str | Path) -> None:
        """Write the file whole or not at all."""
        path = Path(path)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".part")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(self.to_bytes())
            Path(temporary).chmod(0o644)
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise

    @classmethod
    def load(cls, path: str | Path, config: NpuConfig | None = None) -> Program:
        """Read a file and check all of it.

        Args:
            config: the configuration that must match; None takes any.
        Raises:
            ProgramError: no such file, not a program, corrupt, of another version or configuration.
        """
        try:
            content = Path(path).read_bytes()
        except OSError as error:
            raise ProgramError(f"{path}: cannot be read ({error.strerror})") from None
        try:
            program = cls.from_bytes(content)
            if config is not None:
                program.check_config(config)
        except ProgramError as error:
            raise ProgramError(f"{path}: {error}") from None
        return program

    @classmethod
    def from_bytes(cls, content: bytes) -> Program:
        """`load` of a file's content."""
        digest, dram_bytes, bodies = _split(content)
        image, sections = b"", {}
        for name in IMAGE_SECTIONS:
            sections[name] = (len(image), len(bodies[name]))
            image += bodies[name]
        try:
            symbols, entries, debug, meta = (json.loads(bodies[name]) for name in JSON_SECTIONS)
            program = cls(
                digest, image, sections, dram_bytes,
                {s["name"]: Symbol(**s) for s in symbols},
                {name: Entry(**entry) for name, entry in entries.items()},
                {name: [Origin(*origin) for origin in origins] for name, origins in debug.items()},
                meta,
            )  # fmt: skip
            verify(program)
        except (TypeError, KeyError, AttributeError, UnicodeDecodeError, json.JSONDecodeError) as error:
            raise ProgramError(f"a table is not of version {VERSION} ({error}); compile it again") from None
        return program


def verify(program: Program) -> None:
    """Raises ProgramError unless the parts agree: granules, entries and instructions, symbols in the data."""
    for name, (address, size) in program.sections.items():
        if address % GRANULE_BYTES or size % GRANULE_BYTES:
            raise ProgramError(f"section {name} needs whole granules of 32 bytes, not {size} at {address:#x}")
    code = program.sections["instructions"][1]
    if program.entries.keys() != program.debug.keys():
        raise ProgramError("every entry must have a debug table, and no other")
    for name, entry in program.entries.items():
        end = entry.address + entry.count * INSTRUCTION_BYTES
        if entry.address % GRANULE_BYTES or entry.count % 2 or entry.count < 2 or end > code:
            raise ProgramError(f"entry {name} needs an even count of instructions in {code} bytes of code")
        if len(program.debug[name]) != entry.count:
            rows = len(program.debug[name])
            raise ProgramError(f"the debug table of {name} has {rows} rows, not {entry.count}")
        try:
            program.instructions(name)
        except EncodingError as error:
            raise ProgramError(f"entry {name}: {error}") from None
    for symbol in program.symbols.values():
        _verify_symbol(symbol, *program.windows.read1)


def _verify_symbol(symbol: Symbol, low: int, high: int) -> None:
    size = symbol.count * np.dtype(symbol.dtype).itemsize
    if symbol.address % GRANULE_BYTES or symbol.stride % GRANULE_BYTES or not 0 < size <= symbol.stride:
        raise ProgramError(f"symbol {symbol.name} needs slots of whole granules that hold its {size} bytes")
    if not low <= symbol.address <= symbol.address + symbol.slots * symbol.stride <= high:
        raise ProgramError(f"symbol {symbol.name} lies outside the data, {low:#x} to {high:#x}")


def _split(content: bytes) -> tuple[int, int, dict[str, bytes]]:
    """Configuration digest, DRAM bytes and sections of a file, CRCs checked."""
    if len(content) < HEADER.size or not content.startswith(MAGIC):
        raise ProgramError("not an Ossicle program (it does not begin with OSSICLE)")
    _, version, isa, digest, count, dram_bytes = HEADER.unpack_from(content)
    if version != VERSION:
        raise ProgramError(f"version {version}, where this Ossicle reads {VERSION}; compile it again")
    if isa != ISA_VERSION:
        raise ProgramError(f"instruction set {isa}, where this Ossicle has {ISA_VERSION}; compile it again")
    end = HEADER.size + count * SECTION.size
    if len(content) < end + 4 or struct.unpack_from("<I", content, end)[0] != zlib.crc32(content[:end]):
        raise ProgramError("the header is damaged (wrong CRC-32); compile or copy it again")
    bodies, following = {}, end + 4
    for index in range(count):
        raw, offset, size, crc, _ = SECTION.unpack_from(content, HEADER.size + index * SECTION.size)
        name, body = raw.rstrip(b"\0").decode("ascii", "replace"), content[offset : offset + size]
        if len(body) != size or zlib.crc32(body) != crc:
            raise ProgramError(f"section {name} is damaged (wrong CRC-32); compile or copy it again")
        if offset < following or any(content[following:offset]):
            raise ProgramError(f"there are stray bytes before section {name}; compile or copy it again")
        bodies[name], following = body, offset + size
    if any(content[following:]):
        raise ProgramError("there are stray bytes at the end; compile or copy it again")
    missing = [name for name in SECTIONS if name not in bodies]
    if missing:
        raise ProgramError(f"section {missing[0]} is missing; compile it again")
    return digest, dram_bytes, bodies


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _align(size: int) -> int:
    return -(-size // GRANULE_BYTES) * GRANULE_BYTES
