import dataclasses
import struct
import zlib

import numpy as np
import pytest
import random_models
from hypothesis import given, settings
from hypothesis import strategies as st
from ossicle.compiler.api import compile_graph
from ossicle.compiler.program import HEADER, SECTION, SECTIONS, Program, ProgramError, Symbol, verify
from ossicle.hw.config import PRESETS
from ossicle.hw.isa import Opcode

SMALL = PRESETS["small"]


@pytest.fixture(scope="module")
def program() -> Program:
    return compile_graph(random_models.model(np.random.default_rng(1), random_models.TINY), SMALL)


@pytest.fixture(scope="module")
def content(program) -> bytes:
    return program.to_bytes()


def test_round_trip(program, tmp_path):
    program.save(tmp_path / "program.npu")
    assert Program.load(tmp_path / "program.npu", SMALL) == program
    assert [path.name for path in tmp_path.iterdir()] == ["program.npu"]


def test_layout(program):
    assert sum(size for _, size in program.sections.values()) == len(program.image)
    assert program.windows.read0 == (0, len(program.image))
    assert program.windows.read1 == program.windows.write == (len(program.image), program.dram_bytes)
    for name, entry in program.entries.items():
        assert entry.count % 2 == 0
        assert program.instructions(name)[-1].opcode is Opcode.END
        assert len(program.debug[name]) == entry.count
    assert program.config == SMALL


def test_symbols(program):
    features, logits = program.symbols["features"], program.symbols["logits"]
    assert (features.dtype, features.count, features.slots, features.stride) == ("int8", 64, 64, 64)
    assert (logits.dtype, logits.count, logits.stride) == ("int16", 31, 64)
    assert logits.at(1) == logits.address + 64
    with pytest.raises(ProgramError, match="slots 0 to 63, not 64"):
        logits.at(64)


def test_prints(program):
    assert "mac" in str(program) and "encoder.1" in str(program)


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_every_damaged_byte_is_refused(content, data):
    at = data.draw(st.integers(0, len(content) - 1))
    damaged = bytearray(content)
    damaged[at] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(ProgramError):
        Program.from_bytes(bytes(damaged))


@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_every_truncation_is_refused(content, data):
    last = max(offset + size for offset, size in places(content).values())
    with pytest.raises(ProgramError):
        Program.from_bytes(content[: data.draw(st.integers(0, last - 1))])


def places(content: bytes) -> dict[str, tuple[int, int]]:
    rows = [SECTION.unpack_from(content, HEADER.size + i * SECTION.size) for i in range(len(SECTIONS))]
    return {row[0].rstrip(b"\0").decode(): (row[1], row[2]) for row in rows}


def with_header(content: bytes, at: int, value: int) -> bytes:
    """Another word in the header, and its CRC made right."""
    end = HEADER.size + len(SECTIONS) * SECTION.size
    changed = bytearray(content)
    struct.pack_into("<I", changed, at, value)
    struct.pack_into("<I", changed, end, zlib.crc32(changed[:end]))
    return bytes(changed)


@pytest.mark.parametrize(
    ("at", "value", "message"),
    [(8, 2, "version 2, where this Ossicle reads 1"), (12, 9, "instruction set 9")],
)
def test_other_versions_are_refused(content, at, value, message):
    with pytest.raises(ProgramError, match=message):
        Program.from_bytes(with_header(content, at, value))


@pytest.mark.parametrize("name", SECTIONS)
def test_damaged_section_is_named(content, name):
    offset, size = places(content)[name]
    damaged = bytearray(content)
    damaged[offset + size // 2] ^= 1
    with pytest.raises(ProgramError, match=f"section {name} is damaged"):
        Program.from_bytes(bytes(damaged))


def test_other_configuration_is_refused(program, tmp_path):
    program.save(tmp_path / "program.npu")
    with pytest.raises(ProgramError, match="not for 'base'"):
        Program.load(tmp_path / "program.npu", PRESETS["base"])


def test_foreign_and_missing_files_are_refused(tmp_path):
    (tmp_path / "text").write_text("not a program")
    with pytest.raises(ProgramError, match="not an Ossicle program"):
        Program.load(tmp_path / "text")
    with pytest.raises(ProgramError, match="cannot be read"):
        Program.load(tmp_path / "absent")


def test_save_leaves_the_old_file_if_it_fails(program, tmp_path, monkeypatch):
    path = tmp_path / "program.npu"
    path.write_bytes(b"old")
    broken = dataclasses.replace(program, meta={"config": object()})
    with pytest.raises(TypeError):
        broken.save(path)
    assert path.read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 1


def test_symbols_outside_the_data_are_refused(program):
    stray = {"stray": Symbol("stray", 0, "int8", 32, 1, 32)}
    with pytest.raises(ProgramError, match="outside the data"):
        verify(dataclasses.replace(program, symbols=stray))
