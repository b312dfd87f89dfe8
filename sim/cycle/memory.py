"""The read master and the simulated DRAM, a cycle at a time (hw/reader.py, sim/bench/dram.sv)."""

from __future__ import annotations

from numba import njit
from ossicle.sim.cycle import setup as C
from ossicle.sim.cycle import state as S
from ossicle.sim.cycle.jit import inlined

CLIENTS = 3


@njit(cache=True, inline="always")
def owned(c, cycle):
    """Whether the competitor has the memory in this cycle: percent of the cycles, evenly spread."""
    return (cycle + 1) * c[C.MUSIC] // 100 > cycle * c[C.MUSIC] // 100


@inlined
def ask(s, c, client, address, beats):
    """Transfer a request to the reader; it may be picked from the next cycle on."""
    s[S.CHANGED] = S.OTHERS
    s[S.BEAT + client] = address // (c[C.BUS_BITS] // 8)
    s[S.LEFT + client] = beats


@inlined
def reader_cycle(s, c, stop):
    """One cycle of the address channel, the memory and the data channel.

    Call this before the engines: it sees requests and room as they stood at the beginning of the cycle.
    The beat that arrives is in ARRIVED (its client, or -1), and is the engines' from the next cycle on.
    Returns:
        1 for a beat, 2 for a cycle waited in vain, else 0.
    """
    under_way = s[S.UNDER_WAY]
    s[S.ARRIVED] = -1
    if under_way == 0 and not s[S.ADDRESS_VALID] and s[S.LEFT] + s[S.LEFT + 1] + s[S.LEFT + 2] == 0:
        return 0
    now = s[S.NOW]
    outcome, arrived, last = 0, -1, False
    if s[S.BURST_LEVEL]:
        head = s[S.BURST_HEAD]
        if now >= s[S.BURST_DUE + head] and not owned(c, now):
            arrived = s[S.BURST_CLIENT + head]
            s[S.BURST_BEATS + head] -= 1
            last = s[S.BURST_BEATS + head] == 0
            if last:
                s[S.BURST_HEAD] = (head + 1) % S.MAX_BURSTS
                s[S.BURST_LEVEL] -= 1
    if arrived >= 0:
        outcome = 1
    elif under_way:
        outcome = 2
    if s[S.ADDRESS_VALID]:
        s[S.CHANGED] |= S.MEMORY
        slot = (s[S.BURST_HEAD] + s[S.BURST_LEVEL]) % S.MAX_BURSTS
        s[S.BURST_CLIENT + slot] = s[S.ADDRESS_CLIENT]
        s[S.BURST_BEATS + slot] = s[S.ADDRESS_BEATS]
        s[S.BURST_DUE + slot] = now + 1 + c[C.DRAM_LATENCY]
        s[S.BURST_LEVEL] += 1
        s[S.ADDRESS_VALID] = 0
    if not stop and under_way != c[C.OUTSTANDING]:
        pick(s, c)
    if arrived >= 0:
        s[S.ARRIVED] = arrived
        s[S.CHANGED] |= S.MEMORY
    if last:
        s[S.UNDER_WAY] -= 1
    return outcome


@njit(cache=True, inline="always")
def wants(s, c, client):
    """Beats of the burst that a client would have picked in this cycle, 0 for none."""
    if s[S.LEFT + client] == 0:
        return 0
    length = min(s[S.LEFT + client], c[C.BURST_BEATS] - (s[S.BEAT + client] & (c[C.BURST_BEATS] - 1)))
    return length if s[S.ROOM + client] >= length else 0


@njit(cache=True, inline="always")
def request(s, client, length):
    """A client's next beats go on the address channel."""
    s[S.ADDRESS_CLIENT], s[S.ADDRESS_BEATS] = client, length
    s[S.BEAT + client] += length
    s[S.LEFT + client] -= length
    s[S.ROOM + client] -= length


@njit(cache=True, inline="always")
def pick(s, c):
    """Put the burst of the first client that wants one on the address channel."""
    for client in range(CLIENTS):
        length = wants(s, c, client)
        if length:
            s[S.CHANGED] |= S.MEMORY
            s[S.ADDRESS_VALID] = 1
            request(s, client, length)
            s[S.UNDER_WAY] += 1
            return
