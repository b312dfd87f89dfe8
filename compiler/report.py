"""What became of each layer: size, code, residency, balance."""

from __future__ import annotations

import numpy as np
from ossicle.compiler.codec import entropy_bits
from ossicle.compiler.plan import Layer, Plan
from ossicle.hw.config import GRANULE_BYTES


def report(plan: Plan) -> list[dict]:
    """A dict a layer, plain numbers:

    layer, weights, rows, columns, zeros (fraction), coded_bits and bits_per_weight (code, its padding, and
    the layer's share of its tables by weights), entropy_bits (order 0, a weight, as imported), resident and
    held for a job (fractions of the row slots), tiles, streamed_bytes (a use), balance (largest lane's
    non-zeros / mean, over tiles one after another), ideal_cycles (non-zeros / lanes).
    """
    return [_layer(plan, layer) for layer in plan.layers.values()]


def _layer(plan: Plan, layer: Layer) -> dict:
    weight = plan.graph.matrices[layer.name].weight
    tables = plan.tables[layer.table]
    weights = sum(plan.graph.matrices[name].weight.size for name in tables.layers)
    sizes = [code.granules * GRANULE_BYTES for code in layer.coded]
    bits = 8 * (sum(sizes) + len(tables.content) * weight.size / weights)
    nonzeros = int(np.count_nonzero(weight))
    streamed = sum(size for size, tile in zip(sizes, layer.tiles, strict=True) if not tile.resident)
    return {
        "layer": layer.name,
        "weights": weight.size,
        "rows": layer.rows,
        "columns": layer.columns,
        "zeros": round(1 - nonzeros / weight.size, 4),
        "coded_bits": round(bits),
        "bits_per_weight": round(bits / weight.size, 4),
        "entropy_bits": round(entropy_bits(weight) / weight.size, 4),
        "resident": round(layer.resident_slots / layer.slots, 4),
        "held": round(layer.held_slots / layer.slots, 4),
        "tiles": len(layer.tiles),
        "streamed_bytes": streamed,
        "balance": round(_longest(plan, layer) / max(nonzeros / plan.config.lanes, 1e-9), 4),
        "ideal_cycles": -(-nonzeros // plan.config.lanes),
    }


def _longest(plan: Plan, layer: Layer) -> int:
    """Non-zeros of the fullest lane of each tile, summed over the tiles."""
    return sum(int(np.count_nonzero(layer.bank(tile), axis=1).max()) for tile in layer.tiles)


COLUMNS = {
    "layer": "<22",
    "rows": "5d",
    "columns": "8d",
    "zeros": "7.1%",
    "bits_per_weight": "16.3f",
    "entropy_bits": "13.3f",
    "resident": "9.0%",
    "tiles": "6d",
    "balance": "8.3f",
    "ideal_cycles": "13d",
}


def format_report(rows: list[dict]) -> str:
    """The report as a table of text."""
    widths = {key: spec.lstrip("<").rstrip("df%").split(".")[0] for key, spec in COLUMNS.items()}
    aligned = {key: "<" if spec[0] == "<" else ">" for key, spec in COLUMNS.items()}
    lines = ["".join(f"{key:{aligned[key]}{widths[key]}}" for key in COLUMNS)]
    lines += ["".join(f"{row[key]:{spec}}" for key, spec in COLUMNS.items()) for row in rows]
    return "\n".join(lines)
