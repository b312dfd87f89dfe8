"""The cocotb test inside the simulator: requests from a connection to the bench's mailbox, results back.

The simulator's first process only waits: a copy of it serves. CLEAR ends the copy, and the next one finds
every memory of the model as it was, for the price of a fork.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from multiprocessing.connection import Connection

import cocotb
from ossicle.sim.bench.mailbox import LINK_VARIABLE, Operation

CLEARED = 77
"""Exit status of a copy that was asked to CLEAR."""
PR_SET_PDEATHSIG = 1


@cocotb.test()
async def serve(dut) -> None:
    """Serve until the host closes the connection. Python is awake between jobs only, waiting for the host."""
    bytes_out = len(dut.result) // 8
    with Connection(int(os.environ[LINK_VARIABLE])) as link:
        if "waves" not in cocotb.plusargs:  # their writer has threads, which a fork leaves behind
            continue_in_copy()
        go = 0
        dut.go.value = go
        while True:
            try:
                request = link.recv_bytes()
            except (EOFError, ConnectionResetError):
                return
            if int.from_bytes(request[:4], "little") == Operation.CLEAR:
                link.send_bytes(bytes(bytes_out))
                os._exit(CLEARED)
            go = 1 - go
            dut.request.value = int.from_bytes(request, "little")
            dut.go.value = go
            await dut.finished.value_change
            link.send_bytes(int(dut.result.value).to_bytes(bytes_out, "little"))


def continue_in_copy() -> None:
    """Return in a copy of this process, as often as one ends with CLEARED; then end as the last one did."""
    sys.stdout.flush()
    parent = os.getpid()
    while (copy := os.fork()) != 0:
        status = os.waitstatus_to_exitcode(os.waitpid(copy, 0)[1])
        if status != CLEARED:
            os._exit(status if status >= 0 else 128 - status)
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before the line above
        os._exit(1)
