"""What became of each layer: size, code, residency, balance."""

from __future__ import annotations

import numpy as np
from ossicle.compiler.codec import TABLE_BYTES, entropy_bits
from ossicle.compiler.plan import Layer, Plan
from ossicle.hw.config import GRANULE_BYTES


def report(plan: Plan) -> list[dict]:
    """A dict a layer, plain numbers:

    name, rows, columns, zeros (fraction), coded_bits and bits_per_weight (code, its padding, and the layer's share
    of its tables by weights), entropy_bits (order 0, of the weights as imported), resident (fraction of the row
    slots), tiles, streamed_bytes (a use), balance (largest lane's non-zeros / mean, over tiles one after another),
    ideal_cycles (non-zeros / lanes).
    """
    return [_layer(plan, layer) for layer in plan.layers.values()]


def _layer(plan: Plan, layer: Layer) -> dict:
    weight = plan.graph.matrices[layer.name].weight
    sharers = plan.tables[layer.table].layers
    weights = sum(plan.graph.matrices[name].weight.size for name in sharers)
    sizes = [code.granules * GRANULE_BYTES for code in layer.coded]
    bits = 8 * (sum(sizes) + TABLE_BYTES * weight.size / weights)
    nonzeros = int(np.count_nonzero(weight))
    streamed = sum(size for size, tile in zip(sizes, layer.tiles, strict=True) if not tile.resident)
    return {
        "name": layer.name,
        "rows": layer.rows,
        "columns": layer.columns,
        "zeros": round(1 - nonzeros / weight.size, 4),
        "coded_bits": round(bits),
        "bits_per_weight": round(bits / weight.size, 4),
        "entropy_bits": round(entropy_bits(weight) / weight.size, 4),
        "resident": round(layer.resident_slots / layer.slots, 4),
        "tiles": len(layer.tiles),
        "streamed_bytes": streamed,
        "balance": round(_longest(plan, layer) / max(nonzeros / plan.config.lanes, 1e-9), 4),
        "ideal_cycles": -(-nonzeros // plan.config.lanes),
    }


def _longest(plan: Plan, layer: Layer) -> int:
    """Non-zeros of the fullest lane of each tile, summed over the tiles."""
    return sum(int(np.count_nonzero(layer.bank(tile), axis=1).max()) for tile in layer.tiles)


def format_report(rows: list[dict]) -> str:
    """The report as a table of text."""
    lines = ["layer                  rows x cols   zeros   bits  entropy  resident  tiles  balance  ideal cycles"]
    for row in rows:
        lines.append(
            f"{row['name']:<22} {row['rows']:>4} x {row['columns']:<4} {row['zeros']:7.1%} {row['bits_per_weight']:6.3f}"
            f"  {row['entropy_bits']:7.3f}  {row['resident']:8.0%}  {row['tiles']:5d}  {row['balance']:7.3f}"
            f"  {row['ideal_cycles']:12d}"
        )
    return "\n".join(lines)
