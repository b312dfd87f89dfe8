"""How near a run is to what the processor cannot pass: the bus, and the useful products of the MAC lanes.

    bus cycles = bytes / bytes a cycle of the bus          MAC cycles = products / lanes

No layer can take less than the longer of the two; a layer is bounded for so many of its cycles, and the rest
is start, fill, imbalance and waiting. What a layer's cycles are: see `profile.py`. Weights may come while the
layer before is at work, so that a layer's bus cycles can be more than its cycles: then all are bounded.
"""

from __future__ import annotations

from collections.abc import Sequence

from ossicle.hw.config import NpuConfig
from ossicle.runtime.profile import LayerRow


def limits(layers: Sequence[LayerRow], config: NpuConfig) -> list[dict]:
    """A row a layer that takes cycles, and one for all: cycles, both limits, which binds, percent bounded."""
    rows, bounded, total = [], 0.0, LayerRow("all")
    for layer in layers:
        total.macs_done += layer.macs_done
        total.bytes_read += layer.bytes_read
        total.bytes_written += layer.bytes_written
        if layer.cycles:
            bounded += min(layer.cycles, max(_limits(layer, config)))
            rows.append(_row(layer, layer.cycles, min(layer.cycles, max(_limits(layer, config))), config))
    return [*rows, _row(total, sum(layer.cycles for layer in layers), bounded, config)]


def _limits(layer: LayerRow, config: NpuConfig) -> tuple[float, float]:
    """Bus cycles and MAC cycles."""
    return (layer.bytes_read + layer.bytes_written) / config.bus_bytes, layer.macs_done / config.lanes


def _row(layer: LayerRow, cycles: int, bounded: float, config: NpuConfig) -> dict:
    bus, mac = _limits(layer, config)
    return {
        "layer": layer.layer,
        "cycles": cycles,
        "bus cycles": round(bus),
        "MAC cycles": round(mac),
        "limit": "bus" if bus > mac else "MAC",
        "bounded %": round(100 * bounded / max(cycles, 1), 1),
    }
