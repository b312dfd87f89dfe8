"""The instruction set: encode and decode are inverse for every field, and refuse what cannot be."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ossicle.hw.isa import (
    INSTRUCTION_BITS,
    OPCODES,
    OPERAND_START,
    EncodingError,
    Engine,
    Opcode,
    decode,
    encode,
    instruction,
)


@st.composite
def instructions(draw):
    opcode = draw(st.sampled_from(Opcode))
    operands = {f.name: draw(st.integers(0, (1 << f.width) - 1)) for f in OPCODES[opcode].operands}
    wait, signal = (draw(st.sets(st.sampled_from(Engine))) for _ in range(2))
    return instruction(opcode, wait=wait, signal=signal, **operands)


@given(instructions())
def test_round_trip(made):
    word = encode(made)
    assert 0 <= word < 1 << INSTRUCTION_BITS
    assert decode(word) == made
    assert made.engine == OPCODES[made.opcode].engine


@pytest.mark.parametrize("form", OPCODES.values(), ids=lambda f: f.opcode.name)
def test_each_operand_has_its_own_bits(form):
    empty, used = encode(instruction(form.opcode)), (1 << OPERAND_START) - 1
    for field in form.operands:
        full = (1 << field.width) - 1
        mask = encode(instruction(form.opcode, **{field.name: full})) ^ empty
        assert mask == full << form.offset(field.name)
        assert mask & used == 0
        used |= mask


def test_layout_of_the_header():
    signal = [Engine.VECTOR, Engine.CONTROL]
    made = instruction(Opcode.MAC, wait=[Engine.DECODE], signal=signal, weights=0xABCD)
    assert encode(made) == 6 | 1 << (4 + 2) | 1 << (10 + 4) | 1 << 10 | 0xABCD << 16


@pytest.mark.parametrize("code", [0, 12, 15])
def test_no_such_opcode(code):
    with pytest.raises(EncodingError, match=f"opcode {code} is no instruction"):
        decode(code)


def test_bits_beyond_the_operands():
    with pytest.raises(EncodingError, match="END: bits set beyond its operands"):
        decode(encode(instruction(Opcode.END)) | 1 << 16)


def test_operand_too_wide():
    with pytest.raises(EncodingError, match="MAC rows = 1024 needs more than 10 bits"):
        instruction(Opcode.MAC, rows=1024)


def test_unknown_operand():
    with pytest.raises(EncodingError, match="SKIP has no operand rows"):
        instruction(Opcode.SKIP, rows=1)
    with pytest.raises(KeyError, match="SKIP has no operand rows"):
        OPCODES[Opcode.SKIP].offset("rows")


def test_text():
    made = instruction(Opcode.SKIP, predicate=3, sense=1, count=2, wait=[Engine.VECTOR, Engine.LOAD])
    assert str(made) == "skip predicate=3 sense=1 count=2 wait=load+vector"
