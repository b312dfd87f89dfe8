"""The cocotb test inside the simulator: requests from a connection to the bench's mailbox, results back."""

from __future__ import annotations

import os
from multiprocessing.connection import Connection

import cocotb
from ossicle.sim.bench.mailbox import LINK_VARIABLE


@cocotb.test()
async def serve(dut) -> None:
    """Serve until the host closes the connection. Python is awake between jobs only, waiting for the host."""
    bytes_out = len(dut.result) // 8
    go = 0
    dut.go.value = go
    with Connection(int(os.environ[LINK_VARIABLE])) as link:
        while True:
            try:
                request = link.recv_bytes()
            except (EOFError, ConnectionResetError):
                return
            go = 1 - go
            dut.request.value = int.from_bytes(request, "little")
            dut.go.value = go
            await dut.finished.value_change
            link.send_bytes(int(dut.result.value).to_bytes(bytes_out, "little"))
