"""Group the layers that share a pair of decoding tables, for the fewest bits of code and tables together."""

from __future__ import annotations

from functools import reduce
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from ossicle.compiler.codec import TableSet
from ossicle.compiler.codec.tables import Counts, count_symbols, fits_quads
from ossicle.compiler.plan import Plan, TableGroup
from ossicle.hw.code import NARROW, Kind
from ossicle.hw.config import WEIGHTS_PER_GROUP

UNEVEN = 1.1
"""Symbols of the longest stream of a tile over those of the mean one, about."""
IMAGE_BITS = 8 * 96
"""Of a group's table image, about: only the choice of groups depends on it."""


def group_tables(plan: Plan) -> Plan:
    """Merge groups, two at a time, while it saves bits or while more groups last than there are table sets.

    Groups with a streamed layer last; tables of resident layers are built in `prepare`, used, and replaced.
    """
    counts = {name: count_symbols(_groups(layer.weight)) for name, layer in plan.layers.items()}
    streamed = {name for name, layer in plan.layers.items() if layer.resident_slots < layer.slots}
    groups = [(name,) for name in plan.layers]

    def bits(group: tuple[str, ...]) -> float:
        return entropy(np.sum([counts[name] for name in group], axis=0)) + IMAGE_BITS

    while len(groups) > 1:
        lasting = [group for group in groups if streamed & set(group)]
        forced = len(lasting) > plan.config.table_sets
        pairs = list(combinations(lasting if forced else groups, 2))
        extra = [bits(a + b) - bits(a) - bits(b) for a, b in pairs]
        best = int(np.argmin(extra))
        if extra[best] >= 0 and not forced:
            break
        a, b = pairs[best]
        groups = [group for group in groups if group not in (a, b)] + [a + b]
    return _place(plan, sorted(groups, key=lambda group: bool(streamed & set(group))), streamed)


def entropy(counts: NDArray[np.int64]) -> float:
    """Bits of symbols with these histograms, [2, 256], each table at its order-0 entropy."""
    total = np.maximum(counts.sum(axis=1, keepdims=True), 1)
    return float((counts * np.log2(total / np.maximum(counts, 1))).sum())


def _groups(weight: NDArray[np.int8]) -> NDArray[np.int8]:
    return weight.reshape(-1, WEIGHTS_PER_GROUP)


def choose(plan: Plan, group: tuple[str, ...]) -> TableSet:
    """Tables of the kind that brings these layers in the fewest cycles: bits over the bus, or symbols over
    the streams, whichever is more. Of the tables of a kind likewise, or for the fewest bytes those of the
    fewest bits.
    """
    weights = [plan.layers[name].weight for name in group]
    kinds = [kind for kind in Kind if kind != Kind.QUADS or all(map(fits_quads, weights))]
    narrow, found = _count(weights, Kind.GROUPS), []
    for kind in kinds:
        counts = narrow if kind in NARROW else _count(weights, kind)
        tried = TableSet.each_from_counts(counts, plan.config.table_log, kind)
        each = [_rate(plan, made, counts) for made in tried]
        found += [min(each, key=lambda rated: rated.beats)] if plan.options.fewest_bytes else each
    return min(found, key=lambda rated: rated[:2]).tables


class _Rated(NamedTuple):
    cycles: float
    beats: float
    tables: TableSet


def _rate(plan: Plan, tables: TableSet, counts: Counts) -> _Rated:
    beats = (tables.cost_of(counts) + 8 * len(tables.to_bytes())) / plan.config.bus_bits
    steps = UNEVEN * tables.symbols_of(counts).sum() / plan.config.decoder_streams
    return _Rated(max(beats, steps), beats, tables)


def _count(weights: list[NDArray[np.int8]], kind: Kind) -> Counts:
    return reduce(Counts.__add__, (count_symbols(_groups(weight), kind) for weight in weights))


def _place(plan: Plan, groups: list[tuple[str, ...]], streamed: set[str]) -> Plan:
    """Give lasting groups (at the end of the list) a set each, the others set 0."""
    made, place, following = [], {}, 0
    for index, group in enumerate(groups):
        lasting = bool(streamed & set(group))
        content = choose(plan, group).to_bytes()
        made.append(TableGroup(group, following if lasting else 0, lasting, content))
        following += lasting
        place.update(dict.fromkeys(group, index))
    return plan.update(tables=tuple(made)).update_layers(table=place)
