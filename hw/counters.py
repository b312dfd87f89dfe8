"""Performance counters: `registers.COUNTERS`, counted in hardware at every cycle of a job.

Each cycle in which the MAC lanes stand idle has one cause, found from what the head instruction of their
queue lacks, or, where there is none, from who else is at work.
"""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.data import ArrayLayout
from amaranth.lib.wiring import In, Out
from ossicle.hw.config import NpuConfig
from ossicle.hw.isa import Engine
from ossicle.hw.registers import COUNTER_BITS, COUNTERS

WORKERS = len(Engine) - 1


class Counters(wiring.Component):
    """Ports: clear and enable; what is counted; `values` in the order of `registers.COUNTERS`."""

    def __init__(self, *, config: NpuConfig):
        self._config = config
        lanes = range(config.lanes + 1)
        super().__init__(
            {
                "clear": In(1),
                "enable": In(1),
                "dispatched": In(1),
                "busy": In(WORKERS),
                "starved": In(1),
                "mac_waiting": In(1),
                "mac_lacks": In(len(Engine)),
                "mac_done": In(1),
                "products": In(lanes),
                "idle_lanes": In(lanes),
                "skipped": In(32),
                "read_beat": In(1),
                "read_wait": In(1),
                "write_beat": In(1),
                "values": Out(ArrayLayout(COUNTER_BITS, len(COUNTERS))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        amounts = {"cycles": 1, "instructions": self.dispatched}
        amounts |= {f"{e.name.lower()}_busy": self.busy[e - 1] for e in Engine if e != Engine.CONTROL}
        amounts |= self._idle_causes(m)
        mac_busy = self.busy[Engine.MAC - 1]
        active = Mux(mac_busy, self._config.lanes, 0)
        amounts |= {
            "lane_products": self.products,
            "lane_imbalance": self.idle_lanes,
            "lane_fetch": (active - self.products - self.idle_lanes)[: len(self.products)],
            "macs_skipped": Mux(self.mac_done, self.skipped, 0),
            "read_beats": self.read_beat,
            "read_wait": self.read_wait,
            "write_beats": self.write_beat,
        }
        assert set(amounts) == set(COUNTERS)
        for n, name in enumerate(COUNTERS):
            with m.If(self.clear):
                m.d.sync += self.values[n].eq(0)
            # A bit that is late need only enable the count, not go through its carries.
            amount = Value.cast(amounts[name])
            once = len(amount) == 1
            with m.Elif(self.enable & (amount if once else 1)):
                m.d.sync += self.values[n].eq(self.values[n] + (1 if once else amount))
        return m

    def _idle_causes(self, m: Module) -> dict:
        lacks, busy = self.mac_lacks, self.busy
        order = (Engine.DECODE, Engine.LOAD, Engine.VECTOR, Engine.STORE)
        at_work = {e: Mux(self.mac_waiting, lacks[e], busy[e - 1]) for e in order}
        cause = {
            name: Signal(name=f"idle_{name}")
            for name in ("bus", "decode", "load", "vector", "store", "control")
        }
        with m.If(~busy[Engine.MAC - 1]):
            with m.If(at_work[Engine.DECODE]):
                m.d.comb += [cause["bus"].eq(self.starved), cause["decode"].eq(~self.starved)]
            with m.Elif(at_work[Engine.LOAD]):
                m.d.comb += cause["load"].eq(1)
            with m.Elif(at_work[Engine.VECTOR]):
                m.d.comb += cause["vector"].eq(1)
            with m.Elif(at_work[Engine.STORE]):
                m.d.comb += cause["store"].eq(1)
            with m.Else():
                m.d.comb += cause["control"].eq(1)
        return {f"mac_idle_{name}": signal for name, signal in cause.items()}
