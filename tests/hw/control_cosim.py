"""cocotb side of test_control: the host at the CSR bus, the processor's part at the other ports."""

import random

import cocotb
import cosim
from cocotb.triggers import ReadOnly, RisingEdge
from ossicle.hw.config import PRESETS
from ossicle.hw.isa import ARGUMENTS, Engine, Fault
from ossicle.hw.registers import COUNTER_BITS, COUNTERS, IDENTITY, REGISTERS, Access, Register, counter_offset

BUSY, DONE, FAULT = 1, 2, 4
WRITABLE = [r for r in REGISTERS if REGISTERS[r].access == Access.READ_WRITE and r != Register.ARGUMENT]
PORTS = {Register.ENTRY: "entry", Register.COUNT: "count"} | {
    Register(Register.READ0_BASE + n): f"windows__{n}" for n in range(6)
}


class Host:
    """A cycle of the bus each; `cycle` counts from the last write of CONTROL, which is cycle 0."""

    def __init__(self, dut):
        self.dut = dut
        self.random = random.Random(7)

    async def reset(self) -> None:
        dut = self.dut
        for name in ("csr__r_stb", "csr__w_stb", "ended", "fails", "fault", "fault_engine", "fault_index"):
            getattr(dut, name).value = 0
        dut.quiet.value = 1
        dut.rst.value = 1
        await RisingEdge(dut.clk)
        dut.rst.value = 0

    async def write(self, address: int, value: int) -> None:
        dut = self.dut
        dut.csr__addr.value, dut.csr__w_data.value, dut.csr__w_stb.value = address, value, 1
        await RisingEdge(dut.clk)
        dut.csr__w_stb.value = 0

    async def read(self, address: int) -> int:
        dut = self.dut
        dut.csr__addr.value, dut.csr__r_stb.value = address, 1
        await RisingEdge(dut.clk)
        dut.csr__r_stb.value = 0
        await ReadOnly()
        value = int(dut.csr__r_data.value)
        await RisingEdge(dut.clk)
        return value

    async def shown(self, **expected: int) -> None:
        """Check outputs in this cycle, go to the next."""
        await ReadOnly()
        got = {name: int(getattr(self.dut, name).value) for name in expected}
        assert got == expected
        await RisingEdge(self.dut.clk)


@cocotb.test()
async def everything(dut):
    await cosim.start_clock(dut)
    for part in (registers, counters, job, busy, watchdog, faults, interrupt):
        host = Host(dut)
        await host.reset()
        await part(dut, host)


async def registers(dut, host: Host) -> None:
    """Each register reads what it should; those of the job show at their ports; the others keep still."""
    digest = PRESETS[cosim.parameters()["config"]].digest()
    fixed = {Register.ID: IDENTITY, Register.DIGEST: digest}
    fixed |= dict.fromkeys((Register.STATUS, Register.FAULT, Register.INTERRUPT, Register.ARGUMENT), 0)
    assert set(fixed) | set(WRITABLE) | {Register.CONTROL} == set(REGISTERS)
    for _ in range(3):
        values = {r: host.random.getrandbits(32) for r in WRITABLE}
        arguments = [0] + [host.random.getrandbits(32) for _ in range(1, ARGUMENTS)]
        everywhere = [*values.items(), *((r, 0xFFFFFFFF) for r in fixed)]
        everywhere += [(Register.ARGUMENT + n, v) for n, v in enumerate(arguments) if n]
        host.random.shuffle(everywhere)
        for address, value in everywhere:
            await host.write(address, value)
        for register, value in (values | fixed).items():
            assert await host.read(register) == value, register.name
        for n, value in enumerate(arguments):
            assert await host.read(Register.ARGUMENT + n) == value & 0xFFFF
        await ReadOnly()
        for register, port in PORTS.items():
            assert int(getattr(dut, port).value) == values[register] & (1 << len(getattr(dut, port))) - 1
        for n, value in enumerate(arguments):
            assert int(getattr(dut, f"arguments__{n}").value) == value & 0xFFFF
        await RisingEdge(dut.clk)
    for address in (Register.CONTROL, Register.ARGUMENT + ARGUMENTS, 40, 63):
        assert await host.read(address) == 0
    # Without a read strobe the data stay as they are.
    dut.csr__addr.value = Register.ID
    await RisingEdge(dut.clk)
    await host.shown(csr__r_data=0, active=0)


async def counters(dut, host: Host) -> None:
    values = [host.random.getrandbits(COUNTER_BITS) for _ in COUNTERS]
    dut.counters.value = sum(value << (COUNTER_BITS * n) for n, value in enumerate(values))
    for name, value in zip(COUNTERS, values, strict=True):
        low, high = await host.read(counter_offset(name)), await host.read(counter_offset(name) + 1)
        assert high << 32 | low == value, name


async def start(dut, host: Host) -> None:
    """Cycle 0 of a job; returns in cycle 1."""
    dut.csr__addr.value, dut.csr__w_data.value, dut.csr__w_stb.value = Register.CONTROL, 1, 1
    await host.shown(start=1, active=0, stop=1, clear=0)
    dut.csr__w_stb.value = 0


async def end(dut, host: Host, wait: int = 0) -> None:
    """END in this cycle, the bus quiet `wait` cycles after the next: then cleared, then at rest."""
    dut.ended.value, dut.quiet.value = 1, int(wait == 0)
    await host.shown(active=1, stop=0, clear=0)
    dut.ended.value = 0
    for n in range(wait + 1):
        dut.quiet.value = int(n == wait)
        await host.shown(active=1, stop=1, clear=0)
    await host.shown(active=1, stop=1, clear=1)
    await host.shown(active=0, stop=1, clear=0)


async def job(dut, host: Host) -> None:
    await host.write(Register.CONTROL, 2)
    await host.shown(active=0, start=0)
    for wait in (0, 1, 20):
        await start(dut, host)
        for _ in range(wait):
            await host.shown(start=0, active=1, stop=0, clear=0)
        assert await host.read(Register.STATUS) == BUSY
        await end(dut, host, wait)
        assert await host.read(Register.STATUS) == DONE
        assert await host.read(Register.FAULT) == 0


async def busy(dut, host: Host) -> None:
    """Nothing that the host writes moves a job that runs."""
    for register in WRITABLE:
        await host.write(register, 0x1000 + register)
    await host.write(Register.WATCHDOG, 0)
    await host.write(Register.ARGUMENT + 3, 33)
    await start(dut, host)
    dut.csr__addr.value, dut.csr__w_data.value, dut.csr__w_stb.value = Register.CONTROL, 1, 1
    await host.shown(start=0, active=1, stop=0, clear=0)
    dut.csr__w_stb.value = 0
    for register in (*WRITABLE, Register.ARGUMENT + 3):
        await host.write(register, 1)
    for register in WRITABLE:
        assert await host.read(register) == (0 if register == Register.WATCHDOG else 0x1000 + register)
    assert await host.read(Register.ARGUMENT + 3) == 33
    await end(dut, host)
    await host.write(Register.ARGUMENT + 3, 44)
    assert await host.read(Register.ARGUMENT + 3) == 44


async def watchdog(dut, host: Host) -> None:
    """A limit of n stops the job in cycle n; 0 never does; an END in that cycle wins."""
    for limit in (1, 2, 37):
        await host.write(Register.WATCHDOG, limit)
        await start(dut, host)
        for _ in range(limit):
            await host.shown(active=1, stop=0)
        await host.shown(active=1, stop=1, clear=0)
        await host.shown(active=1, stop=1, clear=1)
        await host.shown(active=0, clear=0)
        assert await host.read(Register.STATUS) == DONE | FAULT
        assert await host.read(Register.FAULT) == Fault.WATCHDOG
        await start(dut, host)
        for _ in range(limit - 1):
            await host.shown(active=1, stop=0)
        await end(dut, host)
        assert await host.read(Register.STATUS) == DONE
    await host.write(Register.WATCHDOG, 0)
    await start(dut, host)
    for _ in range(300):
        await host.shown(active=1, stop=0)
    await end(dut, host)


async def faults(dut, host: Host) -> None:
    """The first one is kept until the next start, with its engine and instruction; it wins over END."""
    for cause in list(Fault)[1:]:
        engine, index = host.random.choice(list(Engine)), host.random.getrandbits(24)
        ends, waits = host.random.getrandbits(1), host.random.randrange(5)
        await start(dut, host)
        await host.shown(active=1, stop=0)
        dut.fails.value, dut.ended.value, dut.quiet.value = 1, ends, 0
        await host.shown(stop=0)
        dut.fault.value, dut.fault_engine.value, dut.fault_index.value = cause, engine, index
        dut.ended.value = 0
        await host.shown(active=1, stop=1, clear=0)
        dut.fault.value, dut.fault_engine.value, dut.fault_index.value = Fault.BUS, Engine.STORE, 5
        for _ in range(waits):
            await host.shown(active=1, stop=1, clear=0)
        dut.quiet.value = 1
        await host.shown(active=1, stop=1, clear=0)
        await host.shown(active=1, stop=1, clear=1)
        dut.fails.value = 0
        assert await host.read(Register.STATUS) == DONE | FAULT
        assert await host.read(Register.FAULT) == cause | engine << 4 | index << 8
    await start(dut, host)
    assert await host.read(Register.FAULT) == 0
    await end(dut, host)


async def interrupt(dut, host: Host) -> None:
    """Pending from the end of a job until 1 is written, on the line if enabled."""
    await start(dut, host)
    await end(dut, host)
    await host.shown(interrupt=0)
    assert await host.read(Register.INTERRUPT) == 1
    await host.write(Register.INTERRUPT_ENABLE, 1)
    await host.shown(interrupt=1)
    await host.write(Register.INTERRUPT, 0)
    await host.shown(interrupt=1)
    await host.write(Register.INTERRUPT, 1)
    await host.shown(interrupt=0)
    assert await host.read(Register.INTERRUPT) == 0
    await start(dut, host)
    dut.ended.value = 1
    await host.shown(interrupt=0)
    dut.ended.value = 0
    await host.shown(interrupt=0)
    await host.shown(interrupt=0, clear=1)
    await host.shown(interrupt=1)
    # A second job may start with the first one's interrupt not yet taken; it may be taken meanwhile.
    await start(dut, host)
    await host.shown(interrupt=1)
    await host.write(Register.INTERRUPT, 1)
    await host.shown(interrupt=0)
    await end(dut, host)
    await host.shown(interrupt=1)
