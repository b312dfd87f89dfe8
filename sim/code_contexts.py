"""What a context would save the weight code: the entropy of its symbols, given what is known before each.

A context is a table more for each stream to read from. These entropies are of the weights at hand, the images
of the tables not counted in: bounds that a code with contexts could come near to, not sizes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from ossicle.compiler.codec import entropy_bits
from ossicle.hw.code import SYMBOLS

CLASSES = 4
GROUP = 8


def ratios(weights: NDArray[np.int8]) -> dict[str, float]:
    """Entropies of the symbols of weights[rows, columns], each over the order-0 entropy of the weights.

    `no_context`: masks of 8 and values, as they are coded. `group_before`: masks given how many weights of
    the group before in the row are not zero. `row`: masks given the row's share of zeros, values given mean
    magnitude of its others; both in four classes of about as many rows.
    """
    rows, columns = weights.shape
    groups = np.pad(weights, ((0, 0), (0, -columns % GROUP))).reshape(rows, -1, GROUP)
    ones = groups != 0
    masks = np.packbits(ones, axis=-1, bitorder="little")[..., 0]
    values, row = groups[ones].view(np.uint8), np.nonzero(ones)[0]
    count = ones.sum(2)
    before = np.pad(count[:, :-1], ((0, 0), (1, 0)))
    density = np.broadcast_to(_classes(count.sum(1))[:, None], masks.shape)
    magnitude = np.abs(groups.astype(int)).sum((1, 2)) / np.maximum(count.sum(1), 1)
    given = {
        "no_context": _bits(masks) + _bits(values),
        "group_before": _bits(masks, _classes(before)) + _bits(values),
        "row": _bits(masks, density) + _bits(values, _classes(magnitude)[row]),
    }
    whole = entropy_bits(weights)
    return {name: round(bits / whole, 4) for name, bits in given.items()}


def _classes(measure: NDArray) -> NDArray[np.int64]:
    """Class of each by quartiles of the measure."""
    edges = np.quantile(measure, np.arange(1, CLASSES) / CLASSES)
    return np.searchsorted(edges, measure, side="right")


def _bits(symbols: NDArray[np.uint8], context: NDArray | int = 0) -> float:
    """Empirical entropy of all symbols given their contexts."""
    joint = np.asarray(context) * SYMBOLS + symbols.astype(np.int64)
    counts = np.bincount(joint.ravel(), minlength=CLASSES * SYMBOLS).reshape(-1, SYMBOLS)
    totals = np.broadcast_to(counts.sum(1, keepdims=True), counts.shape)
    seen = counts > 0
    return float(counts[seen] @ np.log2(totals[seen] / counts[seen]))
