"""AXI4 read master shared by instruction fetch, load engine and decoder.

Requests are cut into bursts that end at multiples of `burst_beats` beats (so none crosses 4096 bytes) and
go out only when the client's queue has room for the whole burst: the data channel is never held up.
Fetch goes before load, load before the decoder. Bursts return in order.

Cycles: a request transferred in cycle c may be picked in c + 1 and stands on the address channel in c + 2; a
beat on the data channel in c is in the client's queue in c + 1.
"""

from __future__ import annotations

from enum import IntEnum

from amaranth.hdl import Array, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2
from ossicle.hw.config import NpuConfig
from ossicle.hw.signatures import REQUEST, AxiRead
from ossicle.hw.timing import reader_queue_beats


class Client(IntEnum):
    """Who reads, in order of priority."""

    FETCH = 0
    LOAD = 1
    DECODE = 2


class Reader(wiring.Component):
    """The read master.

    Ports:
        request, data: one a client; data come in order, as many beats as were asked for.
        stop: pick no further burst. quiet: no burst is under way.
        error: a beat came with an error response. beat, waiting: for the counters.
    """

    def __init__(self, *, config: NpuConfig):
        self._config = config
        super().__init__(
            {
                "axi": Out(AxiRead(config.bus_bits)),
                "request": In(stream.Signature(REQUEST)).array(len(Client)),
                "data": Out(stream.Signature(config.bus_bits)).array(len(Client)),
                "stop": In(1),
                "quiet": Out(1),
                "error": Out(1),
                "beat": Out(1),
                "waiting": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        under_way = Signal(range(self._config.outstanding + 1))
        may_pick = Signal()
        m.d.comb += may_pick.eq(
            ~self.stop & (under_way != self._config.outstanding) & (~self.axi.arvalid | self.axi.arready)
        )
        clients = [self._client(m, client) for client in Client]
        picked = self._pick(m, clients, may_pick)
        last = self._receive(m, picked, clients)
        m.d.sync += under_way.eq(under_way + picked.any() - last)
        m.d.comb += [
            self.quiet.eq((under_way == 0) & ~self.axi.arvalid),
            self.waiting.eq((under_way != 0) & ~self.axi.rvalid),
        ]
        return m

    def _client(self, m: Module, client: Client) -> dict:
        """Request registers, queue and room of one client."""
        config = self._config
        depth = reader_queue_beats(config, client)
        m.submodules[f"queue_{client.name.lower()}"] = queue = SyncFIFO(width=config.bus_bits, depth=depth)
        request, output = self.request[client], self.data[client]
        beat, left, room = Signal(32), Signal(24), Signal(range(depth + 1), init=depth)
        length, taken = Signal(range(config.burst_beats + 1)), Signal()
        to_boundary = config.burst_beats - beat[: exact_log2(config.burst_beats)]
        m.d.comb += [
            request.ready.eq(left == 0),
            length.eq(Mux(left < to_boundary, left, to_boundary)),
            output.payload.eq(queue.r_data),
            output.valid.eq(queue.r_rdy),
            queue.r_en.eq(output.ready),
        ]
        with m.If(request.valid & request.ready):
            m.d.sync += [
                beat.eq(request.payload.address >> exact_log2(config.bus_bytes)),
                left.eq(request.payload.beats),
            ]
        with m.If(taken):
            m.d.sync += [beat.eq(beat + length), left.eq(left - length)]
        m.d.sync += room.eq(room + (output.valid & output.ready) - Mux(taken, length, 0))
        return {
            "queue": queue,
            "beat": beat,
            "length": length,
            "taken": taken,
            "wants": (left != 0) & (room >= length),
        }

    def _pick(self, m: Module, clients: list[dict], may_pick) -> Signal:
        """Put the burst of the first client that wants one on the address channel."""
        picked = Signal(len(Client))
        axi = self.axi
        with m.If(axi.arready):
            m.d.sync += axi.arvalid.eq(0)
        higher = 0
        for n, client in enumerate(clients):
            m.d.comb += [picked[n].eq(may_pick & client["wants"] & ~higher), client["taken"].eq(picked[n])]
            higher = higher | client["wants"]
            with m.If(picked[n]):
                m.d.sync += [
                    axi.arvalid.eq(1),
                    axi.araddr.eq(client["beat"] << exact_log2(self._config.bus_bytes)),
                    axi.arlen.eq(client["length"] - 1),
                ]
        m.d.comb += [axi.arsize.eq(exact_log2(self._config.bus_bytes)), axi.arburst.eq(1), axi.rready.eq(1)]
        return picked

    def _receive(self, m: Module, picked, clients: list[dict]) -> Signal:
        """Hand each beat to the client whose burst it is of."""
        depth = self._config.outstanding
        owners = Array(Signal(2, name=f"owner{i}") for i in range(depth))
        put, get = Signal(range(depth)), Signal(range(depth))
        with m.If(picked.any()):
            m.d.sync += put.eq(Mux(put == depth - 1, 0, put + 1))
            m.d.sync += owners[put].eq(Mux(picked[0], 0, Mux(picked[1], 1, 2)))
        last = Signal()
        m.d.comb += [
            self.beat.eq(self.axi.rvalid),
            self.error.eq(self.axi.rvalid & (self.axi.rresp != 0)),
            last.eq(self.axi.rvalid & self.axi.rlast),
        ]
        with m.If(last):
            m.d.sync += get.eq(Mux(get == depth - 1, 0, get + 1))
        for n, client in enumerate(clients):
            queue = client["queue"]
            m.d.comb += [queue.w_data.eq(self.axi.rdata), queue.w_en.eq(self.axi.rvalid & (owners[get] == n))]
        return last
