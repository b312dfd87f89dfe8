"""Cycle counts fixed by the RTL, shared with the simulators. No Amaranth here."""

from __future__ import annotations

from ossicle.hw.config import NpuConfig

# Reader -----------------------------------------------------------------------------------------------

FETCH, LOAD, DECODE = range(3)
"""Clients of the read master, in order of priority."""


def reader_queue_beats(config: NpuConfig, client: int) -> int:
    """Beats that the reader can hold for a client: all bursts under way for the decoder, two for others."""
    return config.burst_beats * (max(2, config.outstanding) if client == DECODE else 2)


STORE_QUEUE_WORDS = 4
"""Words that the store engine reads ahead of the bus."""
