"""Frequencies for a histogram: the fewest bits of code and of table image together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numba import njit
from ossicle.hw.code import SYMBOLS


def fit(counts: np.ndarray, order: Sequence[int], table_log: int) -> tuple[int, ...]:
    """Frequencies by symbol, 2^table_log in all, 1 or more where counts (int64[256]) are.

    Neighbours in the image's order share a frequency where their own would cost the image more than it saves
    the code. The last symbol of the image (the first of `order`) takes all that the others leave.
    """
    ordered = counts[np.array(order[::-1])].astype(np.float64)
    runs, totals = np.ones(SYMBOLS - 1, np.int64), ordered[:-1].copy()
    count = merge_runs(runs, totals, ordered.sum(), table_log)
    shares = share_states(runs[:count], totals[:count], ordered[-1], table_log)
    frequencies = np.zeros(SYMBOLS, np.int64)
    frequencies[np.array(order[:0:-1])] = np.repeat(shares, runs[:count])
    frequencies[order[0]] = (1 << table_log) - frequencies.sum()
    return tuple(frequencies.tolist())


@njit(cache=True)
def merge_runs(runs, totals, everything, table_log):
    """Join neighbouring runs while it saves bits; returns how many are left.

    runs: int64[n], symbols of each. totals: float64[n], counts of each. Both change in place.
    """
    count = len(runs)
    costs, frequencies = np.empty(count), np.empty(count, np.int64)
    for i in range(count):
        costs[i], frequencies[i] = run_cost(runs[i], totals[i], everything, table_log)
    while count > 1:
        best, at = 0.0, -1
        for i in range(count - 1):
            run, total = runs[i] + runs[i + 1], totals[i] + totals[i + 1]
            cost, frequency = run_cost(run, total, everything, table_log)
            before = frequencies[i - 1] if i else 0
            cost += change_bits(frequency - before) + number_bits(run - 1)
            cost -= costs[i] + change_bits(frequencies[i] - before) + number_bits(runs[i] - 1)
            cost -= costs[i + 1] + change_bits(frequencies[i + 1] - frequencies[i])
            cost -= number_bits(runs[i + 1] - 1)
            if i + 2 < count:
                cost += change_bits(frequencies[i + 2] - frequency)
                cost -= change_bits(frequencies[i + 2] - frequencies[i + 1])
            if at < 0 or cost < best:
                best, at = cost, i
        if best > 0:
            break
        runs[at], totals[at] = runs[at] + runs[at + 1], totals[at] + totals[at + 1]
        costs[at], frequencies[at] = run_cost(runs[at], totals[at], everything, table_log)
        count -= 1
        for i in range(at + 1, count):
            runs[i], totals[i], costs[i] = runs[i + 1], totals[i + 1], costs[i + 1]
            frequencies[i] = frequencies[i + 1]
    return count


@njit(cache=True)
def run_cost(run, total, everything, table_log):
    """Bits of the code of a run's symbols and the price of their states; their frequency, about.

    A state's price is what the others would save with it: everything / (ln 2 * states).
    """
    if total == 0:
        return 0.0, 0
    states = 1 << table_log
    frequency = max(1.0, states * total / (run * everything))
    price = everything / (np.log(2.0) * states)
    return total * (table_log - np.log2(frequency)) + price * run * frequency, int(frequency + 0.5)


@njit(cache=True)
def share_states(runs, totals, rest_total, table_log):
    """int64[n]: frequency of each run's symbols; a state each, then where it saves most for each state.

    What is left goes to one more symbol, of count `rest_total`; it takes part in the contest.
    """
    frequencies = (totals > 0).astype(np.int64)
    rest = (1 << table_log) - (runs * frequencies).sum()
    least = 1 if rest_total > 0 else 0
    while True:
        best, at = 0.0, -1
        for i in range(len(runs)):
            left = rest - runs[i]
            if totals[i] == 0 or left < least:
                continue
            saved = totals[i] * np.log2(1 + 1 / frequencies[i])
            if rest_total > 0:
                saved -= rest_total * np.log2(rest / left)
            if saved / runs[i] > best:
                best, at = saved / runs[i], i
        if at < 0:
            return frequencies
        frequencies[at] += 1
        rest -= runs[at]


@njit(cache=True)
def change_bits(change):
    """Bits of a change of frequency in the image."""
    return number_bits(2 * change if change >= 0 else -2 * change - 1)


@njit(cache=True)
def number_bits(number):
    """Bits of a number in the image."""
    bits, rest = 0, number + 2
    while rest > 1:
        bits, rest = bits + 2, rest >> 1
    return bits
