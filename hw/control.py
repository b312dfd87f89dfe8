"""Job control and the register file.

The bus carries what amaranth-soc's CSR bus does: address, read and write strobes, read data in the cycle
after the read strobe. A write of CONTROL.start is cycle 0 of a job; the job runs from cycle 1 to the cycle
E in which
everything is cleared for the next one; the counter `cycles` then reads E, and the interrupt follows.
"""

from __future__ import annotations

from amaranth.hdl import Array, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.data import ArrayLayout
from amaranth.lib.wiring import In, Out
from ossicle.hw.config import NpuConfig
from ossicle.hw.isa import ARGUMENTS, Fault
from ossicle.hw.late import LateChoice
from ossicle.hw.registers import (
    COUNTER_BASE,
    COUNTER_BITS,
    COUNTERS,
    CSR_ADDRESS_BITS,
    CSR_DATA_BITS,
    IDENTITY,
    REGISTERS,
    Access,
    Register,
)


class CsrBus(wiring.Signature):
    """CSR bus seen from the host."""

    def __init__(self):
        super().__init__(
            {
                "addr": Out(CSR_ADDRESS_BITS),
                "r_stb": Out(1),
                "r_data": In(CSR_DATA_BITS),
                "w_stb": Out(1),
                "w_data": Out(CSR_DATA_BITS),
            }
        )


class Control(wiring.Component):
    """Ports:
    csr, interrupt: to the host.
    counters: values to read.
    entry, count, windows, arguments: what the host wrote.
    start: cycle 0. active: cycles 1 .. E. stop: nothing new may begin. clear: the last cycle.
    ended, fails: how the job ends, from the sequencer and the engines; fault (cause), fault_engine,
        fault_index: of what fails, in the cycle after.
    quiet: no transfer is under way.
    """

    def __init__(self, *, config: NpuConfig):
        self._config = config
        super().__init__(
            {
                "csr": In(CsrBus()),
                "interrupt": Out(1),
                "counters": In(ArrayLayout(COUNTER_BITS, len(COUNTERS))),
                "entry": Out(32),
                "count": Out(24),
                "windows": Out(32).array(6),
                "arguments": Out(16).array(ARGUMENTS),
                "start": Out(1),
                "active": Out(1),
                "stop": Out(1),
                "clear": Out(1),
                "ended": In(1),
                "fails": In(1),
                "fault": In(4),
                "fault_engine": In(3),
                "fault_index": In(24),
                "quiet": In(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        store = self._registers(m)
        fault = Signal(32)
        running, finishing, clearing, done = Signal(), Signal(), Signal(), Signal()
        pending, cycle, failed, late = Signal(), Signal(32), Signal(), Signal()
        idle = ~(running | finishing | clearing)
        csr = self.csr
        watchdog = store[Register.WATCHDOG]
        expired = (watchdog != 0) & (cycle == watchdog)
        m.d.comb += [
            self.start.eq(csr.w_stb & (csr.addr == Register.CONTROL) & csr.w_data[0] & idle),
            self.active.eq(~idle),
            self.stop.eq(~running),
            self.clear.eq(clearing),
            self.interrupt.eq(pending & store[Register.INTERRUPT_ENABLE][0]),
        ]
        m.d.sync += [clearing.eq(finishing & self.quiet), cycle.eq(cycle + 1)]
        m.submodules.ends = ends = LateChoice()
        m.d.comb += [
            ends.late.eq(self.fails), ends.yes.eq(running), ends.no.eq(running & (self.ended | expired)),
        ]
        m.d.sync += running.eq(self.start | (running & ~ends.o))
        m.d.sync += finishing.eq(ends.o | (finishing & ~self.quiet))
        with m.If(self.start):
            m.d.sync += [fault.eq(0), done.eq(0), cycle.eq(1)]
        m.d.sync += [failed.eq(running & self.fails), late.eq(running & expired & ~self.ended)]
        with m.If(failed):
            m.d.sync += fault.eq(self.fault | self.fault_engine << 4 | self.fault_index << 8)
        with m.Elif(late):
            m.d.sync += fault.eq(int(Fault.WATCHDOG))
        with m.If(clearing):
            m.d.sync += [done.eq(1), pending.eq(1)]
        with m.Elif(csr.w_stb & (csr.addr == Register.INTERRUPT) & csr.w_data[0]):
            m.d.sync += pending.eq(0)
        self._read(
            m,
            store,
            {
                Register.STATUS: self.active | done << 1 | (fault != 0) << 2,
                Register.FAULT: fault,
                Register.INTERRUPT: pending,
            },
        )
        return m

    def _registers(self, m: Module) -> dict[Register, Signal]:
        """Registers that the host writes and reads back; they keep still while a job runs."""
        writable = [
            r for r, d in REGISTERS.items() if d.access == Access.READ_WRITE and r != Register.ARGUMENT
        ]
        store = {r: Signal(32, name=r.name.lower()) for r in writable}
        write = self.csr.w_stb & ~self.active
        for register, signal in store.items():
            with m.If(write & (self.csr.addr == register)):
                m.d.sync += signal.eq(self.csr.w_data)
        for n in range(1, ARGUMENTS):
            with m.If(write & (self.csr.addr == Register.ARGUMENT + n)):
                m.d.sync += self.arguments[n].eq(self.csr.w_data)
        m.d.comb += [self.entry.eq(store[Register.ENTRY]), self.count.eq(store[Register.COUNT])]
        m.d.comb += [self.windows[n].eq(store[Register(Register.READ0_BASE + n)]) for n in range(6)]
        return store

    def _read(self, m: Module, store: dict[Register, Signal], more: dict) -> None:
        csr = self.csr
        counters = Array(self.counters[n] for n in range(len(COUNTERS)))
        held = Signal(COUNTER_BITS)
        m.d.comb += held.eq(counters[(csr.addr - COUNTER_BASE)[1:6]])
        with m.If(csr.r_stb):
            m.d.sync += csr.r_data.eq(0)
            with m.Switch(csr.addr):
                for register, value in {
                    Register.ID: IDENTITY,
                    Register.DIGEST: self._config.digest(),
                    **store,
                    **more,
                }.items():
                    with m.Case(int(register)):
                        m.d.sync += csr.r_data.eq(value)
                for n in range(1, ARGUMENTS):
                    with m.Case(Register.ARGUMENT + n):
                        m.d.sync += csr.r_data.eq(self.arguments[n])
            with m.If(csr.addr >= COUNTER_BASE):
                high = COUNTER_BITS - 32
                m.d.sync += csr.r_data.eq(held[:32])
                with m.If(csr.addr[0]):
                    m.d.sync += csr.r_data.eq(held[-high:])
