import numpy as np
import pytest
import random_models
from ossicle.compiler.api import compile_graph
from ossicle.compiler.assembler import AssemblyError, assemble, disassemble, parse_instruction
from ossicle.compiler.program import verify
from ossicle.hw.config import PRESETS
from ossicle.hw.isa import OPCODES, Engine, instruction

SMALL = PRESETS["small"]
SOURCE = """
.symbol result int16 4 2
.data numbers
.hex 0001 0200 ff
.entry main             ; loads and stores
    load target=vector address=numbers length=1 signal=store      ; input layer
    store target=vector address=result+0 length=1 argument=1 stride=1 wait=load
    end
"""


@pytest.mark.parametrize("opcode", OPCODES)
def test_every_instruction_round_trips(opcode):
    rng = np.random.default_rng(int(opcode))
    operands = {f.name: int(rng.integers(0, 1 << f.width)) for f in OPCODES[opcode].operands}
    made = instruction(opcode, wait=[Engine.MAC], signal=[Engine.LOAD, Engine.STORE], **operands)
    assert parse_instruction(str(made)) == made


@pytest.mark.parametrize("preset", PRESETS)
def test_compiled_programs_round_trip(preset):
    graph = random_models.model(np.random.default_rng(1), random_models.TINY)
    program = compile_graph(graph, PRESETS[preset])
    again = assemble(disassemble(program, data=True), PRESETS[preset])
    assert again.image == program.image
    assert (again.entries, again.symbols, again.debug) == (program.entries, program.symbols, program.debug)
    assert again.dram_bytes == program.dram_bytes


def test_assembles_a_program_by_hand():
    program = assemble(SOURCE, SMALL)
    verify(program)
    load, store, *ends = program.instructions("main")
    assert load["address"] == program.sections["constants"][0]
    assert store["address"] == program.symbols["result"].address
    assert [made.opcode.name for made in ends] == ["END", "END"]
    assert program.debug["main"][0] == ("input", "layer")
    assert program.image[load["address"] :][:6] == bytes([0, 1, 2, 0, 255, 0])


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("jump", "line 9: jump is none of end, skip"),
        ("load address=nowhere", "line 9: address=nowhere is neither a number nor a name"),
        ("load target=heaven", "line 9: heaven is none of activation, vector, parameter"),
        ("load length=65536", "line 9: LOAD length = 65536 needs more than 16 bits"),
        ("load size=1", "line 9: LOAD has no operand size"),
        ("mac rows", "line 9: rows is not operand=value"),
        ("mac rows=1 rows=2", "rows=2 is not operand=value, or is there twice"),
        ("end wait=gpu", "gpu is none of control, load"),
        (".data numbers", "line 9: numbers is taken"),
        (".data more heap", "data go to weights or constants, not to heap"),
        (".symbol more float 4 4", "a symbol is int8 or int16"),
        (".symbol more", "line 9: something is missing at its end"),
        (".hex 0", "line 9: non-hex"),
        (".org 5", "there is no directive .org"),
    ],
)
def test_wrong_lines_are_refused(line, message):
    with pytest.raises(AssemblyError, match=message):
        assemble(SOURCE + line, SMALL)


def test_order_of_lines():
    with pytest.raises(AssemblyError, match=r"line 1: an instruction comes after .entry"):
        assemble("end", SMALL)
    with pytest.raises(AssemblyError, match=r"line 1: .hex comes after .data"):
        assemble(".hex 00", SMALL)
