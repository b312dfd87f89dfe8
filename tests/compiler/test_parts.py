"""Masks in parts: any mask is coded, what is rare costs less, and the weights come back."""

from __future__ import annotations

import numpy as np
import pytest
from ossicle.compiler import codec
from ossicle.compiler.codec import kernels
from ossicle.compiler.codec.parts import TRIED, plans
from ossicle.compiler.codec.tables import count_symbols, plan_of
from ossicle.hw.code import MOST_PARTS, Kind
from ossicle.hw.config import PRESETS

BASE = PRESETS["base"]
SETS = [(kind, n) for kind, sets in TRIED.items() for n in range(len(sets))]


def sparse(seed: int, zeros: float, groups: int, top: int = 7) -> np.ndarray:
    rng = np.random.default_rng(seed)
    weights = rng.integers(1, top + 1, (BASE.lanes, groups, 8)) * rng.choice((-1, 1), (BASE.lanes, groups, 8))
    return np.where(rng.random(weights.shape) < zeros, 0, weights).astype(np.int8)


@pytest.mark.parametrize(("kind", "n"), SETS)
def test_any_mask_is_coded_in_few_symbols(kind, n):
    plan, used = plans(kind)[n], set()
    for mask in range(len(plan)):
        left, parts, more = mask, 0, True
        while more and parts < MOST_PARTS:
            symbol = int(plan[left])
            part, more = kernels.part_mask(symbol, int(kind))
            assert part & ~left == 0 and (part or not more), hex(mask)
            left, parts = left & ~part, parts + 1
            used.add(symbol)
        assert left == 0, hex(mask)
    assert len(used) <= 222
    table = tuple(2048 // len(used) * (symbol in used) for symbol in range(256))
    table = (table[0] + 2048 - sum(table), *table[1:])
    assert (plan_of(codec.TableSet(table, table, 11, kind)) == plan).all()


@pytest.mark.parametrize("kind", [Kind.WORDS, Kind.SPARSE])
def test_symbols_stand_for_their_weights(kind):
    for symbol in range(256):
        part, more = kernels.part_mask(symbol, int(kind))
        again = kernels.part_symbol(part, int(kind), more)
        assert kernels.part_mask(again, int(kind)) == (part, more)
        assert not more or int(part).bit_count() == 2


@pytest.mark.parametrize("kind", [Kind.WORDS, Kind.SPARSE])
def test_a_mask_that_none_codes_is_refused(kind):
    tables = codec.TableSet.from_weights([np.zeros((BASE.lanes, 2, 8), np.int8)], BASE.table_log, kind)
    for mask in (0b1, 0b11, 0b111111, 0xFF):
        banks = np.zeros((BASE.lanes, 2, 8), np.int8)
        banks[3, 1] = [mask >> i & 1 for i in range(8)]
        with pytest.raises(codec.CodecError, match="has frequency 0"):
            codec.encode(banks, tables, BASE)


@pytest.mark.parametrize("kind", [Kind.GROUPS, Kind.WORDS, Kind.SPARSE])
@pytest.mark.parametrize("zeros", [0.0, 0.5, 0.95])
def test_symbols_are_counted_as_they_are_coded(kind, zeros):
    banks = sparse(3, zeros, 64)
    tables = codec.TableSet.from_weights([banks], BASE.table_log, kind)
    symbols = tables.symbols_of(count_symbols(banks, kind))
    steps = codec.decode(codec.encode(banks, tables, BASE), 64, tables, BASE).step_bits
    assert symbols[1].sum() == np.count_nonzero(banks)
    assert symbols.sum() >= len(steps) - 1 and symbols.sum() <= BASE.decoder_streams * (len(steps) - 1)
    if kind == Kind.GROUPS:
        assert (count_symbols(banks).masks == symbols[0]).all()


@pytest.mark.parametrize(("kind", "zeros", "top", "bound"), [
    (Kind.SPARSE, 0.85, 7, 1.006), (Kind.SPARSE, 0.92, 7, 1.006), (Kind.SPARSE, 0.97, 7, 1.006),
    (Kind.WORDS, 0.97, 1, 1.009),
])  # fmt: skip
def test_rare_masks_cost_little_and_the_weights_come_back(kind, zeros, top, bound):
    banks = sparse(1, zeros, 4096, top)
    tables = codec.TableSet.from_weights([banks], BASE.table_log, kind)
    used = np.array(tables.mask) > 0
    assert used.sum() < 220
    data = codec.encode(banks, tables, BASE)
    np.testing.assert_array_equal(codec.decode(data, banks.shape[1], tables, BASE).banks, banks)
    assert 8 * len(data) < bound * codec.entropy_bits(banks)
    assert tables.cost(banks) == pytest.approx(8 * len(data), rel=0.01)


@pytest.mark.parametrize("kind", [Kind.WORDS, Kind.SPARSE])
def test_tables_of_other_weights_code_any(kind):
    """Masks that did not occur where the tables were made, in the parts that did."""
    tables = codec.TableSet.from_weights([sparse(4, 0.95, 1024)], BASE.table_log, kind)
    banks = sparse(5, 0.2, 16)
    data = codec.encode(banks, tables, BASE)
    np.testing.assert_array_equal(codec.decode(data, 16, tables, BASE).banks, banks)
