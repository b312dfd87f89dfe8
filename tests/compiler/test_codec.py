"""The weight code: round trips, the bound, what must be refused, and a plain decoder beside the fast one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ossicle.compiler import codec
from ossicle.compiler.codec.tables import decoding_table
from ossicle.hw.code import Kind
from ossicle.hw.config import PRESETS

BASE = PRESETS["base"]
SMALL = PRESETS["small"]


def random_banks(seed: int, config, groups: int, zeros: float, sigma: float = 25) -> np.ndarray:
    rng = np.random.default_rng(seed)
    weights = np.clip(np.round(rng.normal(0, sigma, (config.lanes, groups, 8))), -127, 127)
    return np.where(rng.random(weights.shape) < zeros, 0, weights).astype(np.int8)


def plain_decode(data: bytes, groups: int, tables: codec.TableSet, config):
    """The definition, stream by stream as a generator, in lock step: banks and bits of each step."""
    bits, position = int.from_bytes(data, "little"), 0
    tans = [decoding_table(f, tables.table_log).tolist() for f in (tables.mask, tables.value)]
    banks = np.zeros((config.lanes, groups, 8), np.int8)

    def take(count: int) -> int:
        nonlocal position
        position += count
        return bits >> (position - count) & ((1 << count) - 1)

    def stream(number: int):
        state = take(tables.table_log)
        yield

        def symbol(table: int, last: bool = False) -> int:
            nonlocal state
            made, count, base = tans[table][state]
            state = base + (0 if last else take(count))
            return made

        def values(weights, places, last: bool):
            for i in places:
                weights[i] = np.uint8(symbol(1, last and i == places[-1])).astype(np.int8)
                yield

        for lane in range(number, config.lanes, config.decoder_streams):
            units = banks[lane].reshape(-1, 8 if tables.kind in (Kind.GROUPS, Kind.SPARSE) else 16)
            for index, weights in enumerate(units):
                in_last = index == len(units) - 1 and lane + config.decoder_streams >= config.lanes
                if tables.kind == Kind.QUADS:
                    for n in range(0, 16, 4):
                        quad = symbol(0, in_last and n == 12)
                        weights[n : n + 4] = [((quad >> 2 * i & 3) ^ 2) - 2 for i in range(4)]
                        yield
                    continue
                for part in range(8):
                    mask = symbol(0)
                    yield
                    places, more = [i for i in range(8) if mask >> i & 1], False
                    if tables.kind == Kind.WORDS:
                        first, second = divmod(mask, 16)
                        places = [] if mask == 0xF0 else sorted({first, second})
                        more = first > second and mask != 0xF0
                    elif tables.kind == Kind.SPARSE and len(places) == 6:
                        places, more = [i for i in range(8) if not mask >> i & 1], True
                    more = more and part < 7
                    yield from values(weights, places, in_last and not more)
                    if not more:
                        break
        assert state == 0

    steps, streams = [], [stream(d) for d in range(config.decoder_streams)]
    while streams:
        before = position
        streams = [s for s in streams if next(s, "end") != "end"]
        steps.append(position - before)
    return banks, steps


@pytest.mark.parametrize("zeros", [0.0, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("streams", [1, 4, 8])
@pytest.mark.parametrize("kind", Kind)
def test_equals_the_definition(kind, streams, zeros):
    config = SMALL.replace(decoder_streams=streams)
    banks = random_banks(1, config, 6, zeros)
    banks = np.clip(banks, -2, 1) if kind == Kind.QUADS else banks
    tables = codec.TableSet.from_weights([banks], config.table_log, kind)
    data = codec.encode(banks, tables, config)
    decoded = codec.decode(data, 6, tables, config)
    plain, steps = plain_decode(data, 6, tables, config)
    assert (decoded.banks == banks).all() and (plain == banks).all()
    assert [s for s in decoded.step_bits.tolist() if s] == [s for s in steps if s]
    assert decoded.step_bits[0] == streams * config.table_log and len(data) % 32 == 0
    assert 0 <= 8 * len(data) - decoded.step_bits.sum() < 256


@pytest.mark.parametrize("weight", [-3, 2])
def test_quads_hold_two_bits(weight):
    banks = np.full((SMALL.lanes, 2, 8), -1, np.int8)
    tables = codec.TableSet.from_weights([banks], SMALL.table_log, Kind.QUADS)
    banks[1, 1, 1] = weight
    with pytest.raises(codec.CodecError, match="-2 to 1"):
        codec.encode(banks, tables, SMALL)


def test_parts_that_never_end_do():
    """Tables whose every symbol has more to follow, and takes no bits."""
    more = tuple(1 << SMALL.table_log if symbol == 0x10 else 0 for symbol in range(256))
    value = tuple(1 << SMALL.table_log if symbol == 5 else 0 for symbol in range(256))
    tables = codec.TableSet(more, value, SMALL.table_log, Kind.WORDS)
    with pytest.raises(codec.CodecError, match="left over"):
        codec.decode(bytes(64), 2, tables, SMALL)
    banks = codec.decode(bytes(32), 2, tables, SMALL).banks
    assert (banks[:, 0, :2] == 5).all() and np.count_nonzero(banks) == 2 * SMALL.lanes


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 6), st.floats(0, 1), st.floats(0.3, 60), st.sampled_from([9,
10, 11, 12]), st.sampled_from(Kind))
def test_round_trip(seed, pairs, zeros, sigma, table_log, kind):
    config = BASE.replace(table_log=table_log)
    banks = random_banks(seed, config, 2 * pairs, zeros, sigma)
    banks = np.clip(banks, -2, 1) if kind == Kind.QUADS else banks
    tables = codec.TableSet.from_weights([banks], table_log, kind)
    assert codec.TableSet.from_bytes(tables.to_bytes(), table_log) == tables
    data = codec.encode(banks, tables, config)
    assert (codec.decode(data, 2 * pairs, tables, config).banks == banks).all()


@pytest.mark.parametrize("zeros", [0.0, 0.5, 0.75, 0.9, 0.95])
@pytest.mark.parametrize("sigma", [27, 2.0, 0.8])
def test_reaches_the_entropy(sigma, zeros):
    """Within 1.5 % of the order-0 entropy, tables aside, and the estimate within 1 % of the stream."""
    banks = random_banks(2, BASE, 1024, zeros, sigma)
    tables = codec.TableSet.from_weights([banks], BASE.table_log)
    bits = 8 * len(codec.encode(banks, tables, BASE))
    assert bits <= 1.015 * codec.entropy_bits(banks)
    assert tables.cost(banks) == pytest.approx(bits, rel=0.01)


def test_refuses_corrupt_streams():
    banks = random_banks(3, SMALL, 8, 0.75)
    tables = codec.TableSet.from_weights([banks], SMALL.table_log)
    data = codec.encode(banks, tables, SMALL)
    for bad, message in (
        (b"", "1 or more granules"), (data[:-1], "granules"), (data[:-32], "more bits than"),
        (data + bytes(32), "left over"),
    ):
        with pytest.raises(codec.CodecError, match=message):
            codec.decode(bad, 8, tables, SMALL)
    for groups in (0, 3):
        with pytest.raises(codec.CodecError, match=f"groups = {groups}"):
            codec.decode(data, groups, tables, SMALL)
    refused = 0
    for bit in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[bit >> 3] ^= 1 << (bit & 7)
        try:
            codec.decode(bytes(flipped), 8, tables, SMALL)
        except codec.CodecError:
            refused += 1
    assert refused > 0.5 * 8 * len(data)  # the padding is not looked at


def test_refuses_bad_tables_and_weights():
    banks = random_banks(4, SMALL, 2, 0.5)
    tables = codec.TableSet.from_weights([banks], SMALL.table_log)
    with pytest.raises(codec.CodecError, match="mask frequencies add up to 1024, not to 512"):
        codec.TableSet(tables.mask, tables.value, 9)
    with pytest.raises(codec.CodecError, match="needs 256 frequencies"):
        codec.TableSet(tables.mask[:-1], tables.value, 10)
    with pytest.raises(codec.CodecError, match="int8"):
        codec.encode(banks.astype(np.int16), tables, SMALL)
    with pytest.raises(codec.CodecError, match="table_log 10 for a processor of 11"):
        codec.decode(bytes(32), 2, tables, BASE)
    with pytest.raises(codec.CodecError, match="symbol 100 has frequency 0"):
        codec.encode(np.full_like(banks, 100), codec.TableSet((0,) * 255 + (1024,), (1024, *[0] * 255), 10),
        SMALL)
