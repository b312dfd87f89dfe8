"""Passes up to the tokens, on random models and processors."""

import dataclasses
from itertools import pairwise

import numpy as np
import pytest
import random_models
from ossicle.compiler.api import gemv_graph
from ossicle.compiler.codec import TableSet, decode
from ossicle.compiler.passes.prefetch import FETCHING
from ossicle.compiler.passes.product import chunks
from ossicle.compiler.pipeline import PASSES, run_passes
from ossicle.compiler.plan import CompileError, Options, Plan, Tile
from ossicle.compiler.verifier import VerifyError, verify, verify_tokens
from ossicle.hw.config import PRESETS, NpuConfig
from ossicle.hw.isa import TOKEN_MAX, Engine, Opcode


def plan_of(seed: int, **options) -> Plan:
    rng = np.random.default_rng(seed)
    graph, config = random_models.model(rng), random_models.config(rng)
    return run_passes(Plan(graph, config, Options(**options)))


@pytest.fixture(scope="module", params=[3, 5, 8])
def plan(request) -> Plan:
    return plan_of(request.param)


def test_banks_hold_the_matrix(plan):
    for name, layer in plan.layers.items():
        lanes = plan.config.lanes
        tiles = [layer.bank(tile).reshape(lanes, tile.slots, -1) for tile in layer.tiles]
        rows = np.concatenate(tiles, 1)[layer.lane, np.arange(len(layer.weight)) // lanes]
        np.testing.assert_array_equal(rows, layer.weight)
        nonzero = np.sort(np.count_nonzero(plan.graph.matrices[name].weight, axis=1))
        np.testing.assert_array_equal(np.sort(np.count_nonzero(rows, axis=1))[-layer.rows :], nonzero)


def test_codes_decode_to_the_banks(plan):
    for layer in plan.layers.values():
        tables = TableSet.from_bytes(plan.tables[layer.table].content, plan.config.table_log)
        for tile, code in zip(layer.tiles, layer.coded, strict=True):
            data = plan.weights[code.offset : code.offset + 32 * code.granules]
            made = decode(data, tile.slots * layer.words * 2, tables, plan.config)
            np.testing.assert_array_equal(made.banks.reshape(plan.config.lanes, -1), layer.bank(tile))


def test_lasting_tables_have_a_set_each(plan):
    lasting = [group.set for group in plan.tables if group.lasting]
    assert lasting == list(range(len(lasting))) and len(lasting) <= plan.config.table_sets
    assert sorted(name for group in plan.tables for name in group.layers) == sorted(plan.layers)


def test_tiles_of_a_layer_that_streams_fit_a_buffer(plan):
    for layer in plan.layers.values():
        for tile in layer.tiles:
            assert tile.resident or tile.slots * layer.words <= plan.weight_buffer


@pytest.mark.parametrize("most", [1, 2, 3, 4, 7, 8, 100])
@pytest.mark.parametrize("tile", [Tile(0, 7, True), Tile(2, 3, False), Tile(6, 1, False)])
def test_chunks_are_whole_slots_or_parts_of_one(plan, most, tile):
    layer = dataclasses.replace(next(iter(plan.layers.values())), steps=26)
    made = list(chunks(layer, tile, 4, most))
    assert [s for c in made for s in range(c.first, c.first + c.steps)] == list(
        range(4 * tile.first, min(4 * (tile.first + tile.slots), 26))
    )
    for chunk in made:
        assert chunk.steps <= most
        assert chunk.first % 4 == 0 or chunk.first % 4 + chunk.steps <= 4


def test_fetches_come_early(plan):
    for steps in plan.routines.values():
        for before, step in pairwise(steps):
            if step.engine in FETCHING and before.engine not in FETCHING:
                assert before.conflicts(step)


def test_a_missing_token_is_found(plan):
    steps = list(plan.routines["encode"])
    index = next(i for i, step in enumerate(steps) if step.wait)
    giver = next(iter(steps[index].wait))
    steps[index] = dataclasses.replace(steps[index], wait=steps[index].wait - {giver})
    with pytest.raises(VerifyError):
        verify_tokens("encode", tuple(steps))


def test_a_token_too_many_is_found(plan):
    steps = list(plan.routines["joint"])
    steps[-2] = dataclasses.replace(steps[-2], signal=frozenset({Engine.LOAD}))
    with pytest.raises(VerifyError, match="left over"):
        verify_tokens("joint", tuple(steps))


def test_swapped_instructions_are_found(plan):
    steps = list(plan.routines["joint"])
    index = next(i for i, step in enumerate(steps) if step.opcode is Opcode.MAC)
    steps[index], steps[index - 1] = steps[index - 1], steps[index]
    with pytest.raises(VerifyError):
        verify_tokens("joint", tuple(steps))


def test_a_lane_with_two_rows_of_a_slot_is_found(plan):
    name, layer = next(iter(plan.layers.items()))
    lane = layer.lane.copy()
    lane[0] = lane[1]
    with pytest.raises(VerifyError, match="a lane has two rows"):
        verify(plan.update(layers={**plan.layers, name: dataclasses.replace(layer, lane=lane)}))


def test_a_giver_far_ahead_is_held_back():
    """Many tiles, each followed by a vector step that waits for its row parameters."""
    config = NpuConfig(
        lanes=4, vector_width=4, decoder_streams=4, parameter_words=8, weight_words=16, queue_depth=16
    )  # fmt: skip
    weights = np.ones((4 * 400, 32), np.int8)
    plan = run_passes(Plan(gemv_graph(weights), config, Options(resident=False)))
    steps = plan.routines["gemv"]
    macs = [step for step in steps if step.opcode is Opcode.MAC]
    assert len(macs) > 2 * TOKEN_MAX and any(Engine.VECTOR in step.wait for step in macs)
    verify_tokens("gemv", steps)
    free = tuple(
        dataclasses.replace(
            step,
            wait=step.wait - {Engine.VECTOR} if step.opcode is Opcode.MAC else step.wait,
            signal=step.signal - {Engine.MAC} if step.engine is Engine.VECTOR else step.signal,
        )
        for step in steps
    )
    with pytest.raises(VerifyError, match="up to 16 tokens, 15 at most"):
        verify_tokens("gemv", free)


def test_every_stage_prints():
    printed = []
    graph = random_models.model(np.random.default_rng(1), random_models.TINY)
    run_passes(Plan(graph, PRESETS["small"]), lambda name, plan: printed.append((name, str(plan))))
    assert [name for name, _ in printed] == [change.__name__ for change in PASSES]
    assert "encoder.1 [80 x 44]" in printed[0][1] and "lstm" in printed[-1][1]


def test_rows_longer_than_an_instruction_takes_are_refused():
    with pytest.raises(CompileError, match="rows of 256 words; a MAC instruction takes 255 at most"):
        run_passes(Plan(gemv_graph(np.ones((4, 4096), np.int8)), PRESETS["base"]))


def test_same_input_same_program():
    assert str(plan_of(4)) == str(plan_of(4))
