"""The functional device on small programs whose results are known by hand, and each of its faults."""

import numpy as np
import pytest
from ossicle.compiler import codec
from ossicle.compiler.assembler import assemble
from ossicle.compiler.program import ProgramError
from ossicle.hw import numerics
from ossicle.hw.config import PRESETS
from ossicle.hw.isa import Engine, Fault, Opcode, Target, instruction
from ossicle.sim.device import DeviceError, DeviceFault, open_device
from ossicle.sim.functional import FunctionalDevice
from ossicle.sim.functional_chip import ROW, ChipState, linear

CONFIG = PRESETS["small"]
LANES, WIDTH = CONFIG.lanes, CONFIG.vector_width


def run(text, arguments=None, config=CONFIG, check=True):
    """A device after the entry `main` of an assembled program."""
    device = FunctionalDevice(config)
    device.load(assemble(text, config))
    device.result = device.run("main", arguments, check=check)
    return device


def hex_of(content):
    return "\n".join(".hex " + content[n : n + 32].hex() for n in range(0, len(content), 32))


def row_parameters(steps, multiplier=1, shift=0, bias=0):
    rows = np.zeros((steps, WIDTH), ROW)
    rows["multiplier"], rows["shift"], rows["bias"], rows["lane"] = multiplier, shift, bias, np.arange(WIDTH)
    return rows.tobytes()


def coded(banks):
    """Directives for the tables and the stream of int8[lanes, groups, 8], and the granules of each."""
    tables = codec.TableSet.from_weights([banks], CONFIG.table_log)
    data, image = codec.encode(banks, tables, CONFIG), tables.to_bytes()
    text = f".data tables weights\n{hex_of(image)}\n.data tile weights\n{hex_of(data)}\n"
    return text, len(image) // 32, len(data) // 32


def test_copy_with_argument():
    device = run(
        """
        .entry main
        load target=vector address=source length=2 destination=8 signal=store argument=2 stride=1
        store target=vector address=out length=2 source=8 wait=load argument=3 stride=2
        end
        .data source
        .zeros 32
        .hex 0102030405060708 090a0b0c0d0e0f10 1112131415161718 191a1b1c1d1e1f20
        .hex 2122232425262728 292a2b2c2d2e2f30 3132333435363738 393a3b3c3d3e3f40
        .symbol out int8 64 2
        """,
        {2: 1, 3: 1},
    )
    assert device.read("out", slot=1).tolist() == list(range(1, 65))
    assert not device.read("out", slot=0).any()
    assert device.counters()["instructions"] == 3
    assert device.result.cycles is None and device.result.fault == Fault.NONE
    assert len(device.events()) == 0


def matrix_program(banks, words, x, *, split=255, activation2=0, shift=0, function="identity", twice=False):
    """Text of accumulator = banks x, requantized into `out`, a row slot a step."""
    text, table_granules, granules = coded(banks)
    rows = banks.shape[1] // (2 * words)
    mac = f"mac rows={rows} words={words} split={split} activation2={activation2}"
    again = f"{mac} accumulate=1\n" if twice else ""
    return f"""
        .entry main
        load target=activation address=x length={len(x) // 32} signal=mac
        load target=parameter address=rows length={rows} signal=vector
        table address=tables length={table_granules}
        stream address=tile length={granules} groups={banks.shape[1]} signal=mac
        {mac} wait=load+decode
        {again}mac rows=1 words=1 weights={rows * words} accumulator=200 signal=vector
        linear steps={rows} function={function} target=vector wait=mac+load signal=store
        store target=vector address=out length={rows * WIDTH * 2 // 32} wait=vector
        end
        {text}
        .data x
        {hex_of(x.tobytes())}
        .data rows
        {hex_of(row_parameters(rows, shift=shift))}
        .symbol out int16 {rows * WIDTH} 1
    """


@pytest.mark.parametrize("twice", [False, True])
def test_matrix_vector_product(twice):
    rng = np.random.default_rng(0)
    shape = (LANES, 16, 8)
    banks = np.where(rng.random(shape) < 0.4, rng.integers(-90, 90, shape), 0).astype(np.int8)
    x = np.where(rng.random(64) < 0.7, rng.integers(-128, 128, 64), 0).astype(np.int8)
    # Words 0 and 2, 3 of the activation memory, times a 4-row tile of 2 words: split after the first.
    device = run(matrix_program(banks, 2, x, split=1, activation2=3, twice=twice))
    used = np.concatenate([x[:16], x[48:64]]).astype(int)
    product = banks.reshape(LANES, 4, 32).astype(int) @ used * (2 if twice else 1)
    expected = numerics.saturate(product.T[:, :WIDTH], 16)
    assert np.array_equal(device.read("out").reshape(4, WIDTH), expected)
    dense = (4 * 2 * (2 if twice else 1) + 1) * 16 * LANES
    assert device.counters()["lane_products"] + device.counters()["macs_skipped"] == dense
    nonzero = np.count_nonzero(banks.reshape(LANES, 4, 32)[..., used != 0])
    # The last MAC's weights were never written.
    assert device.counters()["lane_products"] == nonzero * (2 if twice else 1)


def test_function_of_a_product():
    rng = np.random.default_rng(1)
    banks = rng.integers(-90, 90, (LANES, 8, 8)).astype(np.int8)
    x = rng.integers(-128, 128, 32).astype(np.int8)
    device = run(matrix_program(banks, 1, x, function="tanh", shift=3))
    product = banks.reshape(LANES, 4, 16).astype(int) @ x[:16]
    expected = numerics.tanh(numerics.requantize(product, 0, 1, 3)).T[:, :WIDTH]
    assert np.array_equal(device.read("out").reshape(4, WIDTH), expected)


def test_lstm_writes_cells_in_place_and_hidden_bytes():
    gates = np.array([[3000, 2500, -1800, 900], [-400, 5000, 1200, -77]])
    cells = np.array([[1500, 7, 8, 9], [-2222, 4, 5, 6]], np.int16)
    rows = b"".join(row_parameters(1, bias=g) for g in gates)
    device = run(f"""
        .entry main
        load target=parameter address=rows length=2
        load target=vector address=cells length=1 signal=vector
        lstm steps=2 source=0 destination=32 wait=load signal=store
        store target=vector address=out length=1 wait=vector
        store target=activation source=2 address=out+32 length=1
        end
        .data rows
        {hex_of(rows)}
        .data cells
        {hex_of(cells.tobytes())}
        .symbol out int8 64 1
    """)
    cell, hidden = numerics.lstm_cell(*gates.T, cells[:, 0])
    out = device.read("out").view(np.int16)
    assert out[:8].tolist() == [cell[0], 0, 0, 0, cell[1], 0, 0, 0]
    assert device.read("out")[32:34].tolist() == hidden.tolist()


def test_two_rows_of_one_lane():
    chip = ChipState.cleared(CONFIG)
    chip.accumulators[3, :2] = [70, -5]
    chip.parameters["multiplier"], chip.parameters["lane"] = 1, 3 + LANES
    linear(chip, instruction(Opcode.LINEAR, steps=2, target=Target.VECTOR), None)
    assert chip.vectors[:2].tolist() == [[70] * WIDTH, [-5] * WIDTH]


@pytest.mark.parametrize(("threshold", "copied"), [(4, True), (5, False), (0x10000 - 7, True)])
def test_skip_on_a_predicate(threshold, copied):
    """vector[0] = 5 > threshold lets the STORE run."""
    device = run(f"""
        .entry main
        load target=vector address=five length=1 signal=vector
        compare source=0 threshold={threshold} predicate=6 wait=load signal=control
        skip predicate=6 sense=0 count=1 wait=vector
        store target=vector address=out length=1
        end
        .data five
        .hex 0500
        .symbol out int8 32 1
    """)
    assert (device.read("out")[0] == 5) == copied
    assert device.counters()["instructions"] == (5 if copied else 4)


FAULTS = [
    ("linear steps=0 target=vector", Fault.MEMORY_RANGE, Engine.VECTOR),
    ("linear steps=1 target=parameter", Fault.MEMORY_RANGE, Engine.VECTOR),
    ("linear steps=2 target=vector destination=1023", Fault.MEMORY_RANGE, Engine.VECTOR),
    ("linear steps=1 target=activation destination=2", Fault.MEMORY_RANGE, Engine.VECTOR),
    ("linear steps=1 target=vector accumulator=256", Fault.MEMORY_RANGE, Engine.VECTOR),
    ("lstm steps=2 parameter=319", Fault.MEMORY_RANGE, Engine.VECTOR),
    ("lstm steps=2 destination=2047", Fault.MEMORY_RANGE, Engine.VECTOR),
    ("add steps=1 target=vector source2=1024", Fault.MEMORY_RANGE, Engine.VECTOR),
    ("compare source=1024", Fault.MEMORY_RANGE, Engine.VECTOR),
    ("mac rows=0 words=1", Fault.MEMORY_RANGE, Engine.MAC),
    ("mac rows=2 words=1 weights=511", Fault.MEMORY_RANGE, Engine.MAC),
    ("mac rows=1 words=2 split=1 activation2=128", Fault.MEMORY_RANGE, Engine.MAC),
    ("mac rows=2 words=1 accumulator=255", Fault.MEMORY_RANGE, Engine.MAC),
    ("load target=vector length=0", Fault.MEMORY_RANGE, Engine.LOAD),
    ("load target=3 length=1", Fault.MEMORY_RANGE, Engine.LOAD),
    ("load target=activation length=1 destination=127", Fault.MEMORY_RANGE, Engine.LOAD),
    ("load target=vector length=1 address=0x100000", Fault.READ_WINDOW, Engine.LOAD),
    ("store target=parameter length=1", Fault.MEMORY_RANGE, Engine.STORE),
    ("store target=vector length=1 address=0", Fault.WRITE_WINDOW, Engine.STORE),
    ("store target=vector length=2 address=out", Fault.WRITE_WINDOW, Engine.STORE),
    ("table address=0 length=32 set=1", Fault.MEMORY_RANGE, Engine.DECODE),
    ("table address=0 length=33", Fault.DECODER, Engine.DECODE),
    ("table address=zeros length=32", Fault.DECODER, Engine.DECODE),
    ("stream address=zeros length=1 groups=3", Fault.MEMORY_RANGE, Engine.DECODE),
    ("stream address=zeros length=1 groups=2 destination=512", Fault.MEMORY_RANGE, Engine.DECODE),
    ("stream address=zeros length=1 groups=2", Fault.DECODER, Engine.DECODE),
    ("mac rows=1 words=1 wait=load", Fault.WATCHDOG, Engine.CONTROL),
    ("load target=vector length=1 address=16", Fault.READ_WINDOW, Engine.LOAD),
    ("store target=vector length=1 address=out+8", Fault.WRITE_WINDOW, Engine.STORE),
    ("table address=zeros+4 length=32", Fault.READ_WINDOW, Engine.DECODE),
    ("stream address=zeros+1 length=1 groups=2", Fault.READ_WINDOW, Engine.DECODE),
    ("skip count=3", Fault.NO_END, Engine.CONTROL),
]


@pytest.mark.parametrize(("line", "fault", "engine"), FAULTS, ids=[line for line, *_ in FAULTS])
def test_faults(line, fault, engine):
    text = f".entry main\ncompare\n{line}\nend\n.data zeros\n.zeros 1024\n.symbol out int8 32 1\n"
    result = run(text, check=False).result
    where = {Fault.NO_END: 4, Fault.WATCHDOG: 0}.get(fault, 1)
    assert (result.fault, result.fault_engine, result.fault_instruction) == (fault, engine, where)


def test_fault_is_raised():
    message = r"main: instruction 0 stopped the job with MEMORY_RANGE \(mac engine\)"
    with pytest.raises(DeviceFault, match=message):
        run(".entry main\nmac\nend\n")


def test_token_overflow():
    text = ".entry main\n" + "compare signal=mac\n" * 16 + "end\n"
    result = run(text, check=False).result
    assert (result.fault, result.fault_engine, result.fault_instruction) == (
        Fault.TOKEN_OVERFLOW, Engine.VECTOR, None,
    )  # fmt: skip


def test_opcode_zero_faults():
    device = run(".entry main\nend\nend\n.data zeros\n.zeros 32\n")
    result = device.run((32, 2), check=False)
    assert (result.fault, result.fault_engine) == (Fault.OPCODE, Engine.CONTROL)


def test_chip_keeps_its_memories_from_job_to_job_and_loses_them_on_load():
    text = """
        .entry main
        load target=vector address=out length=1
        end
        .entry back
        store target=vector address=out length=1
        end
        .symbol out int8 32 1
    """
    program = assemble(text, CONFIG)
    with open_device("functional", CONFIG) as device:
        device.load(program)
        device.write("out", np.arange(32))
        device.run("main")
        device.write("out", np.zeros(32))
        device.run("back")
        assert device.read("out").tolist() == list(range(32))
        device.load(program)
        device.run("back")
        assert not device.read("out").any()


class TestDevice:
    """What every device with a numpy DRAM refuses."""

    def device(self):
        return run(".entry main\nend\nend\n.symbol out int16 3 2\n")

    def test_program_of_another_configuration(self):
        program = assemble(".entry main\nend\nend\n", PRESETS["base"])
        with pytest.raises(ProgramError, match="compile it again"):
            FunctionalDevice(CONFIG).load(program)

    def test_read_and_write(self):
        device = self.device()
        device.write("out", [1, -2], slot=1)
        assert device.read("out", slot=1).tolist() == [1, -2, 0]
        assert device.read("out", slot=1, count=2).dtype == np.int16
        address = device.program.symbols["out"].at(1)
        assert device.read(address, count=2).tolist() == [1, 0]
        device.write(address, b"\7")
        assert device.read("out", slot=1)[0] == 7

    @pytest.mark.parametrize(
        ("call", "message"),
        [
            (lambda d: d.run("other"), "no entry 'other'; there are main"),
            (lambda d: d.run("main", {0: 1}), "no argument 0; use 1 to 7"),
            (lambda d: d.run("main", {1: 1 << 16}), "argument 1 = 65536 must fit 16 bits"),
            (lambda d: d.read("in"), "no symbol 'in'; there are out"),
            (lambda d: d.read(0), "needs the count of bytes"),
            (lambda d: d.read(0, count=1 << 20), "lie outside the 96 bytes"),
            (lambda d: d.write("out", [0] * 4), "holds 3 elements a slot, not 4"),
        ],
    )
    def test_refuses(self, call, message):
        with pytest.raises(DeviceError, match=message):
            call(self.device())

    @pytest.mark.parametrize("job", [(16, 2), (1, 2), (0, 0), (0, 3), (0, -2)])
    def test_refuses_what_is_no_job(self, job):
        with pytest.raises(ValueError, match=f"not {job[1]} from {job[0]:#x}"):
            self.device().run(job)

    def test_no_program(self):
        with pytest.raises(DeviceError, match="no program is loaded"):
            FunctionalDevice(CONFIG).run("main")

    def test_no_such_engine(self):
        with pytest.raises(DeviceError, match="no engine 'slow'; use functional, fast, rtl"):
            open_device("slow", CONFIG)
