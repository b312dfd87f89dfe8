"""The decode engine against the codec, in values, and against the cycles that its docstring states."""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass, field

import cosim
import numpy as np
import pytest
from ossicle.compiler import codec
from ossicle.compiler.codec import kernels
from ossicle.compiler.codec.fit import fit
from ossicle.compiler.codec.image import write_image
from ossicle.compiler.codec.tables import Counts, count_symbols
from ossicle.hw import isa, timing
from ossicle.hw.code import MASK_ORDER, SPLIT_ONES, VALUE_ORDER, Kind
from ossicle.hw.config import PRESETS, NpuConfig
from ossicle.hw.decoder import Decoder

SMALL = PRESETS["small"].replace(weight_words=64)
CONFIGS = {
    "small": SMALL,
    "one": SMALL.replace(lanes=4, decoder_streams=1, bus_bits=64, table_log=9, table_sets=2),
    "wide": SMALL.replace(lanes=32, decoder_streams=16, bus_bits=128, table_log=11, table_sets=2),
    "deep": SMALL.replace(lanes=8, decoder_streams=8, bus_bits=256, table_log=12),
}
ADDRESS = 0x1240


@dataclass
class Job:
    """One instruction, its data and when they come."""

    instruction: isa.Instruction
    data: bytes = b""
    gaps: list[int] = field(default_factory=list)
    delay: int = 0
    refused: bool = False
    built: bool = True

    def beats(self, config: NpuConfig) -> list[str]:
        size = config.bus_bytes
        return [self.data[k : k + size][::-1].hex() for k in range(0, len(self.data), size)]


def table_job(data: bytes, **rest) -> Job:
    operands = {"address": ADDRESS, "length": len(data) // 32, "set": rest.pop("set", 0)}
    return Job(isa.instruction(isa.Opcode.TABLE, **operands), data, **rest)


def stream_job(data: bytes, groups: int, destination: int = 0, set: int = 0, **rest) -> Job:
    operands = {"address": ADDRESS, "length": len(data) // 32, "set": set}
    made = isa.instruction(isa.Opcode.STREAM, destination=destination, groups=groups, **operands)
    return Job(made, data, **rest)


def run(config: NpuConfig, jobs: list[Job], tmp_path) -> list[dict]:
    """What the RTL did with each job."""
    observed = tmp_path / "observed.json"
    given = [
        {
            "word": f"{isa.encode(job.instruction):x}",
            "beats": job.beats(config),
            "gaps": job.gaps,
            "delay": job.delay,
            "refused": int(job.refused),
            "built": int(job.built),
        }
        for job in jobs
    ]
    parameters = {"jobs": given, "streams": config.decoder_streams, "observed": str(observed)}
    cosim.run(Decoder(config=config), "decoder_cosim", parameters, tmp_path)
    return json.loads(observed.read_text(encoding="utf-8"))


def arrivals(job: Job, start: int):
    """Generator of whether a beat is there; send whether it was taken, for the next cycle."""
    cycle, due, count = start, start + (job.gaps or [0])[0], 0
    while True:
        taken = yield cycle >= due
        if taken:
            count += 1
            due = cycle + 1 + (job.gaps[count] if count < len(job.gaps) else 0)
        cycle += 1


def stream_timing(config: NpuConfig, job: Job, step_bits, short: bool, wrong: bool) -> dict:
    """End, starved cycles and cycle of each step, by the table in hw/decoder.py."""
    beats = len(job.data) // config.bus_bytes
    request = 1 + job.delay
    source = arrivals(job, request + 1)
    there = next(source)
    cycle, fill, left, steps, starved = request + 1, 0, beats, [], request
    while len(steps) < len(step_bits) or short:
        need = step_bits[len(steps)] if len(steps) < len(step_bits) else np.inf
        accept = bool(there and left and fill + config.bus_bits <= config.window_bits)
        if fill >= need:
            steps.append(cycle)
            fill -= int(need)
        else:
            starved += 1
            if left == 0:
                return {"end": cycle + timing.DECODER_FAULT_CYCLES, "steps": steps, "starved": starved}
        fill += config.bus_bits * accept
        left -= accept
        there = source.send(accept)
        cycle += 1
    last = steps[-1]
    end, leftover = last + timing.DECODER_END_CYCLES, fill + left * config.bus_bits
    while left:
        accept = bool(there and (cycle > last + 1 or fill + config.bus_bits <= config.window_bits))
        left -= accept
        fill += accept * config.bus_bits
        if accept:
            end = max(end, cycle + 1)
        there = source.send(accept)
        cycle += 1
    assert wrong or leftover < 256
    return {"end": end, "steps": steps, "starved": starved}


def check_stream(config: NpuConfig, job: Job, tables: codec.TableSet, seen: dict) -> None:
    """The RTL's writes, outcome and cycles are the codec's and the model's."""
    groups, destination = job.instruction["groups"], job.instruction["destination"]
    try:
        decoded = codec.decode(job.data, groups, tables, config)
        fault, step_bits, short = isa.Fault.NONE, decoded.step_bits, False
    except codec.CodecError as error:
        fault, step_bits, short = isa.Fault.DECODER, error.step_bits, error.short
    model = stream_timing(config, job, step_bits, short, bool(fault))
    assert (seen["fault"], seen["end"]) == (fault, model["end"])
    assert len(seen["starved"]) == model["starved"]
    assert seen["request"] == [1 + job.delay, ADDRESS, len(job.data) // config.bus_bytes]
    assert seen["beats"] == len(job.data) // config.bus_bytes
    if fault:
        return
    assert seen["done"] == 1 and seen["value"] == model["starved"]
    assert (written(config, seen, groups, destination) == decoded.banks).all()
    assert max(w[0] for w in seen["writes"]) == model["steps"][-1] + 1


def written(config: NpuConfig, seen: dict, groups: int, destination: int) -> np.ndarray:
    """Banks as the write ports left them, every group written once."""
    banks = np.zeros((config.lanes, groups, 8), np.int8)
    times = np.zeros((config.lanes, groups), int)
    for _, stream, lane, address, halves, data, tags in seen["writes"]:
        word = np.frombuffer(data.to_bytes(16, "little"), np.int8).reshape(2, 8)
        for half in [half for half in (0, 1) if halves >> half & 1]:
            at = stream + lane * config.decoder_streams, 2 * (address - destination) + half
            banks[at] = word[half]
            times[at] += 1
            assert tags >> 8 * half & 255 == np.packbits(banks[at] != 0, bitorder="little")[0]
    assert (times == 1).all()
    return banks


def random_banks(rng, config: NpuConfig, groups: int, zeros: float) -> np.ndarray:
    weights = np.clip(np.round(rng.normal(0, 25, (config.lanes, groups, 8))), -127, 127)
    return np.where(rng.random(weights.shape) < zeros, 0, weights).astype(np.int8)


def random_gaps(rng, data: bytes, config: NpuConfig) -> list[int]:
    return (rng.geometric(0.3, len(data) // config.bus_bytes) - 1).tolist()


def check_table(config: NpuConfig, job: Job, seen: dict) -> None:
    """Outcome and exact end of a TABLE."""
    interval = config.bus_bits // 16
    request, gaps = 1 + job.delay, job.gaps or [0] * len(job.beats(config))
    free = taken = request
    for gap in gaps:
        taken = max(taken + 1 + gap, free)
        free = taken + interval
    end = taken + timing.table_wait_cycles(config)
    try:
        cycles = codec.read_image(job.data, config.table_log).cycles
        fault, end = 0, end + cycles + timing.table_build_cycles(config)
    except codec.CodecError as error:
        fault, end = isa.Fault.DECODER, end + error.cycles
    assert (seen["fault"], seen["end"]) == (fault, end)
    assert seen["done"] == (not fault)
    assert seen["value"] == 0 and not seen["starved"] and not seen["writes"]


@pytest.mark.rtl
@pytest.mark.parametrize("name", cosim.mostly_slow(CONFIGS, "small"))
def test_streams(name, tmp_path):
    """Random, dense, empty, sparse and smallest tiles, with and without idle cycles on the data."""
    config, rng = CONFIGS[name], np.random.default_rng(5)
    shapes = [(16, 0.75), (2, 0.5), (8, 0.0), (6, 1.0), (10, 0.95)]
    tiles = [random_banks(rng, config, *shape) for shape in shapes]
    sets = [codec.TableSet.from_weights(tiles[k:], config.table_log) for k in range(config.table_sets)]
    jobs, tables = [], []
    for n, made in enumerate(sets):
        image = made.to_bytes()
        gaps = random_gaps(rng, image, config) if n else []
        jobs.append(table_job(image, set=n, gaps=gaps, delay=n))
        tables.append(None)
    for k, (tile, slow) in enumerate(itertools.product(tiles, (False, True))):
        n = min(k // 2, config.table_sets - 1)
        data = codec.encode(tile, sets[n], config)
        gaps = random_gaps(rng, data, config) if slow else []
        jobs.append(stream_job(data, tile.shape[1], destination=k, set=n, gaps=gaps, delay=3 * slow))
        tables.append(sets[n])
    for job, made, seen in zip(jobs, tables, run(config, jobs, tmp_path), strict=True):
        if made is None:
            check_table(config, job, seen)
        else:
            check_stream(config, job, made, seen)


def flipped_bits(rng, data: bytes, most: int) -> bytes:
    """The same with 1 to `most` bits turned over."""
    flipped = bytearray(data)
    for at in rng.integers(0, 8 * len(data), int(rng.integers(1, most + 1))):
        flipped[at >> 3] ^= 1 << (at & 7)
    return bytes(flipped)


@pytest.mark.rtl
@pytest.mark.parametrize("name", cosim.mostly_slow(CONFIGS, "small"))
def test_kinds(name, tmp_path):
    """Masks of words and quads, good and corrupt, over the same tables of another kind."""
    config, rng = CONFIGS[name], np.random.default_rng(9)
    jobs, tables = [], []
    for kind, zeros in itertools.product(list(Kind)[::-1], (0.97, 0.6, 0.0)):
        tile = random_banks(rng, config, 6, zeros)
        tile = np.clip(tile, -2, 1) if kind == Kind.QUADS else tile
        made = codec.TableSet.from_weights([tile], config.table_log, kind)
        data = codec.encode(tile, made, config)
        jobs.append(table_job(made.to_bytes()))
        tables.append(None)
        for coded in (data, *(flipped_bits(rng, data, 2) for _ in range(8)), rng.bytes(len(data))):
            gaps = random_gaps(rng, coded, config) if rng.random() < 0.5 else []
            jobs.append(stream_job(coded, 6, destination=3, gaps=gaps))
            tables.append(made)
    for job, made, seen in zip(jobs, tables, run(config, jobs, tmp_path), strict=True):
        if made is None:
            check_table(config, job, seen)
        else:
            check_stream(config, job, made, seen)


@pytest.mark.rtl
def test_masks_that_name_more(tmp_path, monkeypatch):
    """Weights of 0 that a mask names all the same: they have no tag, within a group and at its end."""
    config, rng = CONFIGS["small"], np.random.default_rng(11)
    jobs, tables = [], []
    for named, zeros in itertools.product((0xFF, 0x81, 0x12), (0.6, 0.4)):
        tile = random_banks(rng, config, 8, zeros)
        plan = np.arange(256, dtype=np.uint8) | np.uint8(named)
        masks, values = count_symbols(tile)
        masks = np.bincount(plan, masks, 256).astype(np.int64)
        values[0] = masks @ np.bitwise_count(np.arange(256, dtype=np.uint8)) - values.sum()
        assert values[0] > 0
        made = codec.TableSet.from_counts(Counts(masks, values), config.table_log)
        monkeypatch.setattr("ossicle.compiler.codec.stream.plan_of", lambda tables, plan=plan: plan)
        jobs += [table_job(made.to_bytes()), stream_job(codec.encode(tile, made, config), 8)]
        tables += [None, made]
        np.testing.assert_array_equal(codec.decode(jobs[-1].data, 8, made, config).banks, tile)
    for job, made, seen in zip(jobs, tables, run(config, jobs, tmp_path), strict=True):
        if made is None:
            check_table(config, job, seen)
        else:
            check_stream(config, job, made, seen)


@pytest.mark.rtl
def test_any_two_weights_with_more_to_follow(tmp_path, monkeypatch):
    """Groups of two weights in two parts, the second of none: each of the 28 masks of six is used."""
    config, rng = CONFIGS["small"], np.random.default_rng(12)
    kept = np.array([mask.bit_count() in (0, 1, SPLIT_ONES) for mask in range(256)])
    plan = kernels.plan_parts(int(Kind.SPARSE), kept)
    monkeypatch.setattr("ossicle.compiler.codec.stream.plan_of", lambda tables: plan)
    tile = random_banks(rng, config, 120, 0.75)
    masks, values = count_symbols(tile, Kind.SPARSE)
    assert all(masks[mask] for mask in range(256) if mask.bit_count() == 2)
    mask = kernels.count_parts(masks, int(Kind.SPARSE), plan)
    frequencies = [fit(counts, order, config.table_log)
                   for counts, order in ((mask, MASK_ORDER), (values, VALUE_ORDER))]  # fmt: skip
    made = codec.TableSet(*frequencies, config.table_log, Kind.SPARSE)
    jobs = [table_job(made.to_bytes()), stream_job(codec.encode(tile, made, config), 120)]
    table, seen = run(config, jobs, tmp_path)
    check_table(config, jobs[0], table)
    check_stream(config, jobs[1], made, seen)
    assert (written(config, seen, 120, 0) == tile).all()


@pytest.mark.rtl
@pytest.mark.parametrize("name", cosim.mostly_slow(["small", "wide"], "small"))
def test_corrupt_streams(name, tmp_path):
    """Flipped bits, cut and padded streams, random bytes: the RTL ends as the codec says."""
    config, rng = CONFIGS[name], np.random.default_rng(6)
    tile = random_banks(rng, config, 8, 0.75)
    tables = codec.TableSet.from_weights([tile], config.table_log)
    data = codec.encode(tile, tables, config)
    bad = [data[:-32], data + bytes(32), data[:32], rng.bytes(len(data)), bytes(len(data))]
    bad += [flipped_bits(rng, data, 3) for _ in range(40)]
    jobs = [table_job(tables.to_bytes())]
    jobs += [stream_job(b, 8, gaps=random_gaps(rng, b, config) if rng.random() < 0.5 else []) for b in bad]
    jobs.append(stream_job(data, 8))
    seen = run(config, jobs, tmp_path)
    for job, result in zip(jobs[1:], seen[1:], strict=True):
        check_stream(config, job, tables, result)
    assert sum(s["fault"] == isa.Fault.DECODER for s in seen) > 30


@pytest.mark.rtl
def test_faults(tmp_path):
    """Operands that do not exist fault in cycle 1, with no request; the engine goes on afterwards."""
    config, rng = CONFIGS["small"], np.random.default_rng(7)
    tile = random_banks(rng, config, 4, 0.5)
    tables = codec.TableSet.from_weights([tile], config.table_log)
    data, image = codec.encode(tile, tables, config), tables.to_bytes()
    fault = isa.Fault
    at_once = {
        "groups 0": (stream_job(data, 0), fault.MEMORY_RANGE),
        "groups odd": (stream_job(data, 3), fault.MEMORY_RANGE),
        "beyond": (stream_job(data, 4, destination=config.weight_words - 1), fault.MEMORY_RANGE),
        "set": (stream_job(data, 4, set=1), fault.MEMORY_RANGE),
        "length 0": (stream_job(b"", 4), fault.MEMORY_RANGE),
        "table set": (table_job(image, set=1), fault.MEMORY_RANGE),
        "table length": (table_job(bytes(33 * 32)), fault.DECODER),
        "table refused": (table_job(image, refused=True), fault.READ_WINDOW),
        "refused": (stream_job(data, 4, refused=True), fault.READ_WINDOW),
        "refused, of no tables": (stream_job(data, 4, refused=True, built=False), fault.READ_WINDOW),
        "of no tables": (stream_job(data, 4, built=False), fault.DECODER),
        "beyond, of no tables": (stream_job(data, 3, built=False), fault.MEMORY_RANGE),
    }
    good = [table_job(image, built=False), stream_job(data, 4, destination=config.weight_words - 2)]
    seen = run(config, [job for job, _ in at_once.values()] + good, tmp_path)
    for (name, (_, cause)), result in zip(at_once.items(), seen, strict=False):
        assert (result["fault"], result["end"], result["request"]) == (cause, 1, None), name
    check_table(config, good[0], seen[-2])
    check_stream(config, good[1], tables, seen[-1])


def wrong_images(rng, config: NpuConfig) -> list[bytes]:
    """Images with flipped bits, cut short, too long, of random bytes, of frequencies that there are not, and
    the longest there is."""
    far = [0, 2 << config.table_log - 8] * 128
    by_order = [[far[order.index(s)] for s in range(256)] for order in (MASK_ORDER, VALUE_ORDER)]
    image = write_image(*by_order)
    bad = [image, image[:-32], image + bytes(32), bytes(32), bytes(64), *(rng.bytes(96) for _ in range(4))]
    bad += [write_image([n] * 256, [n] * 256) for n in (-1, 1 + (1 << config.table_log))]
    short = codec.TableSet.from_weights([random_banks(rng, config, 8, 0.75)], config.table_log).to_bytes()
    bad += [flipped_bits(rng, short, 2) for _ in range(60)]  # some make another good table
    return [b for b in bad if len(b) <= 1024]


@pytest.mark.rtl
@pytest.mark.parametrize("name", cosim.mostly_slow(CONFIGS, "small"))
def test_corrupt_tables(name, tmp_path):
    """The RTL refuses what the codec refuses, in the cycle that it says, and decodes with what it takes."""
    config, rng = CONFIGS[name], np.random.default_rng(8)
    tile = random_banks(rng, config, 2, 0.75)
    tables = codec.TableSet.from_weights([tile], config.table_log)
    jobs = []
    for image in wrong_images(rng, config):
        gaps = random_gaps(rng, image, config) if rng.random() < 0.5 else []
        jobs.append(table_job(image, gaps=gaps))
    jobs += [table_job(tables.to_bytes()), stream_job(codec.encode(tile, tables, config), 2)]
    seen = run(config, jobs, tmp_path)
    for job, result in zip(jobs[:-1], seen[:-1], strict=True):
        check_table(config, job, result)
    check_stream(config, jobs[-1], tables, seen[-1])
    assert sum(s["fault"] == isa.Fault.DECODER for s in seen) > 15
