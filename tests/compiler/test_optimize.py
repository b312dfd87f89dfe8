"""The choice of a schedule: for each objective what it says, and what the program then does."""

from __future__ import annotations

import numpy as np
import pytest
import random_models
from ossicle.compiler.chunk import CHUNK, ENCODE
from ossicle.compiler.importer import import_checkpoint
from ossicle.compiler.optimize import (
    Candidate,
    Request,
    candidates,
    choose,
    compile_for,
    step_seconds,
)
from ossicle.compiler.plan import CompileError, Options
from ossicle.compiler.program import Program
from ossicle.hw.config import PRESETS

FRONTEND = {"hop_samples": 160, "stack": 3, "sample_rate": 16000}
LAYERS = [{"hidden": 60, "reduce": 1}, {"hidden": 40, "reduce": 2}]
TIGHT = PRESETS["small"].replace(weight_words=300)


def model(seed: int = 1, **changes):
    graph = random_models.model(
        np.random.default_rng(seed), {**random_models.TINY, "encoder": LAYERS, **changes}
    )
    graph.meta["frontend"] = FRONTEND
    return graph


def dram_bytes(program: Program, entry: str) -> int:
    """Bytes of weights and parameters that a job reads."""
    made = zip(program.instructions(entry), program.debug[entry], strict=True)
    return sum(32 * one["length"] for one, origin in made if origin.layer and "length" in one.operands)


def price(counts, config):
    return {"dram": 1000.0 * counts["read_beats"], "mac": 0.1 * counts["lane_products"]}


def test_latency_takes_a_step_at_a_time_and_changes_nothing():
    from ossicle.compiler.api import compile_graph

    program = compile_for(model(), TIGHT, Request())
    schedule = program.meta["report"]["schedule"]
    assert (schedule["chunk"], schedule["added_latency_ms"]) == (1, 0.0)
    assert program.image == compile_graph(model(), TIGHT).image
    assert "the first step would wait" in schedule["why"]


@pytest.mark.parametrize("objective", ["traffic", "energy"])
def test_traffic_and_energy_take_chunks(objective):
    program = compile_for(model(), TIGHT, Request(objective, price=price))
    schedule = program.meta["report"]["schedule"]
    steps = schedule["chunk"]
    assert steps > 2 and program.meta["chunk"] == steps
    single = compile_for(model(), TIGHT, Request())
    assert dram_bytes(program, CHUNK) / steps < dram_bytes(single, ENCODE) / 2
    assert schedule["added_latency_ms"] > (steps - 1) * 60
    assert sum(row["bytes_per_step"] for row in schedule["layers"]) == pytest.approx(
        dram_bytes(program, CHUNK) / steps, abs=len(schedule["layers"])
    )


def test_the_estimate_of_bytes_is_near_the_programs():
    for chunk in (1, 4):
        program = compile_for(model(), TIGHT, Request("traffic", chunk))
        row = program.meta["report"]["schedule"]["candidates"][-1 if chunk > 1 else 0]
        entry = CHUNK if chunk > 1 else ENCODE
        made = dram_bytes(program, entry) / chunk / step_seconds(model())
        # Tiles are whole granules, which in layers as small as these counts for a tenth and more.
        assert made == pytest.approx(row["bytes_per_second"], rel=0.35)


def test_where_all_stays_no_chunk_is_worth_its_wait():
    schedule = compile_for(model(), PRESETS["base"], Request("traffic")).meta["report"]["schedule"]
    assert schedule["chunk"] == 1 and "no chunk needs less" in schedule["why"]


def test_a_chunk_that_was_asked_for_is_taken():
    schedule = compile_for(model(), TIGHT, Request("traffic", 3)).meta["report"]["schedule"]
    assert schedule["chunk"] == 3 and "asked for" in schedule["why"]
    assert compile_for(model(), TIGHT, Request("traffic", 1)).meta["report"]["schedule"]["chunk"] == 1


def test_the_shortest_of_those_near_the_best_is_chosen():
    found = [
        Candidate(1, 1000, 5),
        Candidate(2, 505, 5),
        Candidate(3, 500, 5),
        Candidate(4, 0, 0, refused="x"),
    ]
    assert choose(found, Request("traffic")).steps == 2
    assert choose(found, Request("latency")).steps == 1


def test_candidates_end_at_the_first_that_does_not_fit():
    config = TIGHT.replace(activation_words=64)
    found = candidates(model(), config, Request("traffic"), Options())
    assert [one.steps for one in found] == list(range(1, len(found) + 1))
    assert found[-1].refused and not any(one.refused for one in found[:-1])
    schedule = compile_for(model(), config, Request("traffic")).meta["report"]["schedule"]
    assert f"{len(found)} do not fit: activation memory" in schedule["why"]
    with pytest.raises(CompileError, match=f"a chunk of {len(found)} steps: activation memory"):
        compile_for(model(), config, Request("traffic", len(found)))


def test_an_encoder_that_branches_takes_a_step_at_a_time():
    graph = random_models.model(np.random.default_rng(0), random_models.branching(np.random.default_rng(0)))
    schedule = compile_for(graph, PRESETS["base"], Request("traffic")).meta["report"]["schedule"]
    assert schedule["chunk"] == 1 and "the encoder branches" in schedule["why"]
    with pytest.raises(CompileError, match="chunks of 4 steps are not possible: the encoder branches"):
        compile_for(graph, PRESETS["base"], Request("traffic", 4))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (("speed",), "no objective 'speed'; there are latency, traffic, energy"),
        (("traffic", 0), "a chunk of 0 steps is not possible; use 1 to 16"),
        (("traffic", 17), "a chunk of 17 steps is not possible"),
        (("energy",), "needs a table of energies"),
    ],
)
def test_requests_that_are_not_possible(values, message):
    with pytest.raises(CompileError, match=message):
        Request(*values)


@pytest.mark.parametrize("words", [2048, 1024])
def test_dram_bytes_of_the_shipped_shape_fall_to_a_third(untrained_checkpoint, words):
    """At the same weight memory, chunk 1 against the one that the compiler picks."""
    graph, config = import_checkpoint(untrained_checkpoint), PRESETS["base"].replace(weight_words=words)
    found = candidates(graph, config, Request("traffic"), Options())
    chosen = choose(found, Request("traffic"))
    assert chosen.bytes < found[0].bytes / 3 and chosen.cycles < found[0].cycles
