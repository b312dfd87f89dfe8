"""Rare masks coded as others: what holds what, what it saves, and that the weights come back."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from ossicle.compiler import codec
from ossicle.compiler.codec import kernels
from ossicle.compiler.codec.covers import ALL, COVERS, FOURS, SIXES, covered, covers
from ossicle.compiler.codec.tables import count_symbols
from ossicle.hw.code import Kind
from ossicle.hw.config import PRESETS

BASE = PRESETS["base"]


def sparse(seed: int, zeros: float, groups: int, top: int = 7) -> np.ndarray:
    rng = np.random.default_rng(seed)
    weights = rng.integers(1, top + 1, (BASE.lanes, groups, 8)) * rng.choice((-1, 1), (BASE.lanes, groups, 8))
    return np.where(rng.random(weights.shape) < zeros, 0, weights).astype(np.int8)


@pytest.mark.parametrize(("blocks", "size", "held"), [(FOURS, 4, 3), (SIXES, 6, 4)])
def test_blocks_hold_every_few_weights(blocks, size, held):
    assert all(block.bit_count() == size for block in blocks)
    for places in combinations(range(8), held):
        mask = sum(1 << place for place in places)
        assert any(mask & ~block == 0 for block in blocks)


@pytest.mark.parametrize("kept", COVERS)
def test_each_mask_is_held_by_a_kept_one(kept):
    by = covers(kept)
    for mask, cover in enumerate(by.tolist()):
        assert kept[cover] and mask & ~cover == 0
        assert cover == mask or not kept[mask]


def test_a_mask_that_none_holds_stands_for_itself():
    kept = np.zeros(256, bool)
    kept[[0, 3]] = True
    assert covers(kept)[[0, 1, 2, 3, 4]].tolist() == [0, 3, 3, 3, 4]


def test_values_of_zero_are_counted():
    counts = np.zeros((2, 256), np.int64)
    counts[0, [0b111, ALL]], counts[1, 1] = 5, 5 * 11
    kept = np.zeros(256, bool)
    kept[ALL] = True
    made = covered(counts, kept)
    assert made[0, ALL] == 10 and made[0].sum() == 10
    assert made[1, 0] == 5 * 5 and made[1, 1] == 55


@pytest.mark.parametrize("zeros", [0.85, 0.92, 0.95])
def test_rare_masks_cost_less_and_the_weights_come_back(zeros):
    banks = sparse(1, zeros, 4096)
    tables = codec.TableSet.from_weights([banks], BASE.table_log)
    used, seen = np.array(tables.mask) > 0, count_symbols(banks)[0] > 0
    assert used.sum() < seen.sum()
    data = codec.encode(banks, tables, BASE)
    np.testing.assert_array_equal(codec.decode(data, banks.shape[1], tables, BASE).banks, banks)
    assert 8 * len(data) < 1.01 * codec.entropy_bits(banks)


def test_parts_of_a_word_are_its_weights_and_those_followed_by_more_lie_in_one_half():
    for mask in range(1, 1 << 16):
        left, parts = mask, 0
        while left:
            part = int(kernels.next_part(left))
            made, more = kernels.part_mask(int(kernels.part_symbol(part, left)))
            assert made == part and more == (part != left) and not part & ~left, hex(mask)
            assert not more or part < 256 or part & 255 == 0, hex(mask)
            left, parts = left & ~part, parts + 1
        assert parts == (mask.bit_count() + 1) // 2, hex(mask)


def test_fewer_parts_cost_less_where_few_weights_are_not_zero():
    banks = sparse(2, 0.97, 4096, top=1)
    tables = codec.TableSet.from_weights([banks], BASE.table_log, Kind.WORDS)
    data = codec.encode(banks, tables, BASE)
    np.testing.assert_array_equal(codec.decode(data, banks.shape[1], tables, BASE).banks, banks)
    assert 8 * len(data) < 1.016 * codec.entropy_bits(banks)
