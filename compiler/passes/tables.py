"""Group the layers that share a pair of decoding tables, for the fewest bits of code and tables together."""

from __future__ import annotations

from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from ossicle.compiler.codec import TableSet
from ossicle.compiler.codec.tables import count_symbols
from ossicle.compiler.plan import Plan, TableGroup
from ossicle.hw.config import WEIGHTS_PER_GROUP

Counts = NDArray[np.int64]
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
    return _place(plan, sorted(groups, key=lambda group: bool(streamed & set(group))), streamed, counts)


def entropy(counts: Counts) -> float:
    """Bits of symbols with these histograms, [2, 256], each table at its order-0 entropy."""
    total = np.maximum(counts.sum(axis=1, keepdims=True), 1)
    return float((counts * np.log2(total / np.maximum(counts, 1))).sum())


def _groups(weight: NDArray[np.int8]) -> NDArray[np.int8]:
    return weight.reshape(-1, WEIGHTS_PER_GROUP)


def _place(plan: Plan, groups: list[tuple[str, ...]], streamed: set[str], counts: dict[str, Counts]) -> Plan:
    """Give lasting groups (at the end of the list) a set each, the others set 0."""
    made, place, following = [], {}, 0
    for index, group in enumerate(groups):
        lasting = bool(streamed & set(group))
        total = np.sum([counts[name] for name in group], axis=0)
        content = TableSet.from_counts(total, plan.config.table_log).to_bytes()
        made.append(TableGroup(group, following if lasting else 0, lasting, content))
        following += lasting
        place.update(dict.fromkeys(group, index))
    return plan.update(tables=tuple(made)).update_layers(table=place)
