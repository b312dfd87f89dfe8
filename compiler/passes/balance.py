"""Give the rows of every slot to the lanes so that a tile's lanes finish together."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from ossicle.compiler.plan import Layer, Plan

SWEEPS = 4
PAIR_SWEEPS = 12


def balance(plan: Plan) -> Plan:
    """In each slot every lane takes one row, by count of non-zeros; tile by tile.

    A row's products with the inputs and with h are summed in one lane: layers with a matrix for each give
    both the same lanes.
    """
    lane = {}
    for name, layer in plan.layers.items():
        if not layer.recurrent_of:
            after = [each for each in plan.layers.values() if each.recurrent_of == name]
            made = _pair(plan, layer, after[0]) if after else _lanes(plan, layer)
            lane |= {each.name: made for each in (layer, *after)}
    return plan.update_layers(lane=lane)


def _lanes(plan: Plan, layer: Layer) -> NDArray[np.int64]:
    work = _work(plan, layer)
    parts = [assign(work[t.first : t.first + t.slots]) for t in layer.tiles]
    return np.concatenate(parts).ravel()


def _pair(plan: Plan, layer: Layer, recurrent: Layer) -> NDArray[np.int64]:
    pairs = [(_work(plan, each), _tile_of(each)) for each in (layer, recurrent)]
    return assign_pair(*pairs).ravel()


def _work(plan: Plan, layer: Layer) -> NDArray[np.int64]:
    """[slots, lanes]: non-zeros of each row."""
    return np.count_nonzero(layer.weight, axis=1).reshape(layer.slots, plan.config.lanes)


def _tile_of(layer: Layer) -> NDArray[np.int64]:
    """The tile of each slot."""
    return np.repeat(np.arange(len(layer.tiles)), [tile.slots for tile in layer.tiles])


Tiled = tuple[NDArray[np.integer], NDArray[np.integer]]
"""Useful products of each row, [slots, lanes], and the tile of each slot."""


def assign_pair(first: Tiled, second: Tiled) -> NDArray[np.int64]:
    """As `assign`, for rows that have work in tiles of two kinds: the sum of all tiles' fullest lanes counts.

    A slot is given out by the one kind or the other, whichever is less even so far, against the loads of the
    tiles that it is in; what that leaves uneven in the other, later slots make up for.
    """
    kinds = (first, second)
    slots, lanes = first[0].shape
    lane = np.tile(np.arange(lanes), (slots, 1))
    loads = [np.zeros((int(tile.max()) + 1, lanes), np.int64) for _, tile in kinds]
    placed = [np.zeros((slots, lanes), np.int64) for _ in kinds]
    best, best_top = lane, None
    for _ in range(1 + PAIR_SWEEPS):
        for slot in range(slots):
            for (_, tile), load, done in zip(kinds, loads, placed, strict=True):
                load[tile[slot]] -= done[slot]
            spread = [
                np.ptp(load[tile[slot]]) + np.ptp(work[slot])
                for (work, tile), load in zip(kinds, loads, strict=True)
            ]
            work, tile = kinds[int(np.argmax(spread))]
            load = loads[int(np.argmax(spread))][tile[slot]]
            lane[slot, np.argsort(-work[slot], kind="stable")] = np.argsort(load, kind="stable")
            for (work, tile), load, done in zip(kinds, loads, placed, strict=True):
                done[slot, lane[slot]] = work[slot]
                load[tile[slot]] += done[slot]
        top = sum(int(load.max(axis=1).sum()) for load in loads)
        if best_top is None or top < best_top:
            best, best_top = lane.copy(), top
    return best


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
