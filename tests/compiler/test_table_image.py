"""Table images: any frequencies there and back, short ones for weights, and what must be refused."""

from __future__ import annotations

import heapq

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ossicle.compiler import codec
from ossicle.compiler.codec.fit import fit
from ossicle.compiler.codec.image import read_image, write_image
from ossicle.compiler.codec.tables import count_symbols
from ossicle.hw.code import FIRST_ORDER, MASK_ORDER, SYMBOLS, TABLE_GRANULES, VALUE_ORDER, Kind
from ossicle.hw.config import GRANULE_BYTES

TABLE_LOGS = (9, 10, 11, 12)


def optimal(counts: np.ndarray, table_log: int) -> np.ndarray:
    """Frequencies of the fewest bits of code: one state after another where it saves most."""
    frequencies = (counts > 0).astype(int)
    queue = [(-counts[s], s) for s in np.flatnonzero(counts)]
    heapq.heapify(queue)
    for _ in range((1 << table_log) - frequencies.sum()):
        symbol = queue[0][1]
        frequencies[symbol] += 1
        heapq.heapreplace(queue, (-counts[symbol] * np.log2(1 + 1 / frequencies[symbol]), symbol))
    return frequencies


def code_bits(counts: np.ndarray, frequencies, table_log: int) -> float:
    seen = counts > 0
    return float(counts[seen] @ (table_log - np.log2(np.array(frequencies)[seen])))


def random_counts(rng, symbols: int, scale: float) -> np.ndarray:
    counts = np.zeros(SYMBOLS, np.int64)
    chosen = rng.choice(SYMBOLS, symbols, replace=False)
    counts[chosen] = np.ceil(rng.exponential(scale, symbols))
    return counts


def scattered(rng, table_log: int) -> tuple[int, ...]:
    """Frequencies that change from symbol to symbol as much as they can."""
    cuts = np.sort(rng.integers(0, (1 << table_log) + 1, SYMBOLS - 1))
    return tuple(np.diff(cuts, prepend=0, append=1 << table_log).tolist())


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from(TABLE_LOGS), st.integers(1, SYMBOLS))
def test_round_trip(seed, table_log, few):
    rng = np.random.default_rng(seed)
    whole = scattered(rng, table_log)
    counts = random_counts(rng, few, 10 ** rng.uniform(0, 5))
    for mask, value in ((whole, whole[::-1]), (fit(counts, MASK_ORDER, table_log), whole)):
        data = write_image(mask, value)
        assert len(data) % GRANULE_BYTES == 0 and len(data) <= TABLE_GRANULES * GRANULE_BYTES
        image = read_image(data, table_log)
        assert image[:2] == (mask, value)
        assert image.cycles >= 2 + 1 + 2 * 4 + 2 * SYMBOLS + 1


@pytest.mark.parametrize("table_log", TABLE_LOGS)
def test_the_longest_image_fits(table_log):
    """Every symbol's frequency another than its neighbours', as far apart as their sum allows."""
    most = 2 * (1 << table_log) // SYMBOLS
    far = [0, most] * (SYMBOLS // 2)
    by_order = [[0] * SYMBOLS, [0] * SYMBOLS]
    for made, order in zip(by_order, (MASK_ORDER, VALUE_ORDER), strict=True):
        for n, frequency in enumerate(far):
            made[order[n]] = frequency
    data = write_image(*by_order)
    assert len(data) <= TABLE_GRANULES * GRANULE_BYTES
    assert read_image(data, table_log)[:2] == tuple(map(tuple, by_order))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from(TABLE_LOGS), st.integers(1, SYMBOLS))
def test_fit_costs_little(seed, table_log, symbols):
    """No more than the frequencies of the fewest bits of code, and their image."""
    rng = np.random.default_rng(seed)
    counts = random_counts(rng, symbols, 10 ** rng.uniform(0, 5))
    made = fit(counts, MASK_ORDER, table_log)
    assert sum(made) == 1 << table_log and all(f for f, c in zip(made, counts, strict=True) if c)
    exact, one = optimal(counts, table_log).tolist(), [1 << table_log, *[0] * (SYMBOLS - 1)]
    sizes = [8 * len(write_image(f, one)) + code_bits(counts, f, table_log) for f in (made, exact)]
    assert sizes[0] <= 1.02 * sizes[1] + 8 * GRANULE_BYTES


def test_no_weights_at_all():
    assert fit(np.zeros(SYMBOLS, np.int64), VALUE_ORDER, 9) == tuple(
        512 if symbol == VALUE_ORDER[0] else 0 for symbol in range(SYMBOLS)
    )


@pytest.mark.parametrize(("sigma", "zeros", "granules"), [
    (27, 0.0, 2), (27, 0.5, 2), (27, 0.9, 3), (2.0, 0.75, 2), (0.8, 0.95, 2),
])  # fmt: skip
def test_images_of_weights_are_short(sigma, zeros, granules):
    """And cost the code of a quarter of a million weights less than a thousandth."""
    rng = np.random.default_rng(3)
    weights = np.clip(np.round(rng.normal(0, sigma, (1 << 15, 8))), -127, 127)
    weights = np.where(rng.random(weights.shape) < zeros, 0, weights).astype(np.int8)
    tables = codec.TableSet.from_weights([weights], 11)
    assert len(tables.to_bytes()) <= granules * GRANULE_BYTES
    exact = sum(code_bits(c, optimal(c, 11), 11) for c in count_symbols(weights))
    assert tables.cost(weights) <= 1.001 * exact


def numbers(*values: int) -> str:
    """Bits of the numbers of an image, first bit first."""
    text = ""
    for value in values:
        size = (value + 2).bit_length() - 1
        low = value + 2 - (1 << size)
        text += "0" * (size - 1) + "1" + "".join(str(low >> n & 1) for n in range(size))
    return text


def granule(bits: str) -> bytes:
    return int(bits[::-1], 2).to_bytes(GRANULE_BYTES, "little")


ALL_THE_REST = numbers(0, SYMBOLS - 2)
GOOD = "0000" + 2 * ALL_THE_REST

WRONG = {
    "a kind of tables": ("0010" + 2 * ALL_THE_REST, 4),
    "number of more than 13 bits": ("0000" + "0" * 13 + "1", 5),
    "frequency of -1": ("0000" + numbers(1, SYMBOLS - 2), 6),
    "frequency of 1025": ("0000" + numbers(2050, SYMBOLS - 2), 6),
    "run of 256 symbols, where 255": ("0000" + numbers(0, SYMBOLS - 1), 8),
    "run of 3 symbols, where 2": ("0000" + numbers(0, SYMBOLS - 4, 2, 2), 8 + 253 + 4),
    "add up to 1275": ("0000" + numbers(10, SYMBOLS - 2), 8 + 255 + 1),
}


@pytest.mark.parametrize("kind", Kind)
def test_the_shortest_image(kind):
    image = read_image(granule(f"{kind & 1}{kind >> 1}" + GOOD[2:]), 10)
    assert image.mask[FIRST_ORDER[kind][0]] == image.value[255] == 1024
    assert image.kind == kind and image.cycles == 3 + 2 * (4 + SYMBOLS) + 1


@pytest.mark.parametrize("message", WRONG)
def test_refuses(message):
    bits, cycles = WRONG[message]
    with pytest.raises(codec.CodecError, match=message) as refused:
        read_image(granule(bits), 10)
    assert refused.value.cycles == cycles


def test_refuses_what_ends_early_or_late():
    whole = write_image(scattered(np.random.default_rng(1), 10), scattered(np.random.default_rng(2), 10))
    for data, message in ((whole[:-32], "ends early"), (whole + bytes(32), "bits left over")):
        with pytest.raises(codec.CodecError, match=message) as refused:
            read_image(data, 10)
        assert refused.value.cycles > 3 + SYMBOLS
    for data in (b"", whole[:-1], bytes(GRANULE_BYTES * (TABLE_GRANULES + 1))):
        with pytest.raises(codec.CodecError, match=f"1 to 32 granules of 32 bytes, not {len(data)} bytes"):
            read_image(data, 10)


def test_flipped_bits_are_found_or_change_the_tables():
    counts = [random_counts(np.random.default_rng(n), 60, 50) for n in (1, 2)]
    made = write_image(*(fit(each, MASK_ORDER, 10) for each in counts))
    expected, refused = read_image(made, 10)[:2], 0
    for bit in range(8 * len(made)):
        flipped = bytearray(made)
        flipped[bit >> 3] ^= 1 << (bit & 7)
        try:
            read_image(bytes(flipped), 10)
        except codec.CodecError as error:
            refused += 1
            assert error.cycles >= 3
    assert refused > 0.4 * 8 * len(made) and read_image(made, 10)[:2] == expected
