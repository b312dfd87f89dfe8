"""Give the rows of every slot to the lanes so that a tile's lanes finish together."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from ossicle.compiler.plan import Layer, Plan

SWEEPS = 4


def balance(plan: Plan) -> Plan:
    """In each slot every lane takes one row, by count of non-zeros; tile by tile."""
    return plan.update_layers(lane={name: _lanes(plan, layer) for name, layer in plan.layers.items()})


def _lanes(plan: Plan, layer: Layer) -> NDArray[np.int64]:
    lanes = plan.config.lanes
    work = np.count_nonzero(layer.weight, axis=1).reshape(layer.slots, lanes)
    parts = [assign(work[t.first : t.first + t.slots]) for t in layer.tiles]
    return np.concatenate(parts).ravel()


def assign(work: NDArray[np.integer]) -> NDArray[np.int64]:
    """Lane of each row of a tile, a permutation of the lanes in every slot.

    The heaviest row of a slot goes to the lane with the least work so far. Then sweeps: each slot is given
    out again, against the work of all others, and the best is kept. No lane has more than the mean and the
    largest spread of work within one slot.

    Args:
        work: [slots, lanes], count of useful products of each row.
    """
    slots, lanes = work.shape
    lane = np.zeros((slots, lanes), np.int64)
    load = np.zeros(lanes, np.int64)
    placed = np.zeros((slots, lanes), np.int64)
    best, best_top = lane, None
    for _ in range(1 + SWEEPS):
        for slot in range(slots):
            load -= placed[slot]
            lane[slot, np.argsort(-work[slot], kind="stable")] = np.argsort(load, kind="stable")
            placed[slot, lane[slot]] = work[slot]
            load += placed[slot]
        if best_top is None or load.max() < best_top:
            best, best_top = lane.copy(), load.max()
    return best
