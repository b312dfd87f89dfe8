"""Chunks of encoder steps: the integers of a step at a time; on the fast model, the Verilog's cycles."""

from __future__ import annotations

import numpy as np
import pytest
import random_models
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st
from ossicle.compiler.api import compile_graph
from ossicle.compiler.chunk import CHUNK, ENCODE, RECURRENT, chunk
from ossicle.compiler.graph import GraphError
from ossicle.compiler.passes.legalize import legalize
from ossicle.compiler.passes.reside_chunk import Costs
from ossicle.compiler.plan import CompileError, Options, Plan, Residence
from ossicle.compiler.program import Program
from ossicle.compiler.reference import Reference
from ossicle.hw.config import PRESETS, NpuConfig
from ossicle.hw.isa import Opcode
from ossicle.sim.device import open_device
from ossicle.sim.verify import verify_program

SMALL = PRESETS["small"]
HELD = Residence(hold=24, buffer=150, recurrent_first=True)
"""Of `wide` on `small`: parts of the recurrent layers stay, are held, and are streamed in every step."""


def wide(seed: int = 3):
    """A model that `small` does not hold."""
    layers = [{"hidden": 60, "reduce": 1}, {"hidden": 40, "reduce": 2}, {"hidden": 52, "reduce": 1}]
    return random_models.model(np.random.default_rng(seed), {**random_models.TINY, "encoder": layers})


def features(rng: np.random.Generator, graph, steps: int) -> np.ndarray:
    parts = graph.routines[ENCODE].inputs[0].parts
    return rng.integers(-128, 128, (steps, len(parts), parts[0].count)).astype(np.int8)


def run(device, entry: str, given: np.ndarray, source: int, destination: int) -> np.ndarray:
    """A job on [steps, frames, features] -> int16 [steps, joint]."""
    width = device.program.symbols["features"].count // given.shape[1]
    for step, frames in enumerate(given):
        padded = np.zeros((given.shape[1], width), np.int8)
        padded[:, : frames.shape[1]] = frames
        device.write("features", padded, source + step)
    device.run(entry, {1: source, 2: destination})
    return np.stack([device.read("encoded", destination + step) for step in range(len(given))])


def compare(graph, config: NpuConfig, options: Options, seed: int, engine: str = "functional") -> Program:
    """Two utterances of chunks and single steps in any order, against the reference."""
    program = compile_graph(graph, config, options)
    reference, rng = Reference(graph), np.random.default_rng(seed)
    with open_device(engine, config) as device:
        device.load(program)
        device.run("prepare")
        for _ in range(2):
            device.run("reset")
            reference.reset()
            for entry in rng.permutation([CHUNK, CHUNK, ENCODE, ENCODE]):
                given = features(rng, graph, options.chunk if entry == CHUNK else 1)
                slots = rng.integers(0, 9, 2).tolist()
                expected = reference.encode(given.reshape(-1, given.shape[-1]))
                np.testing.assert_array_equal(run(device, str(entry), given, *slots), expected)
    return program


@given(seed=st.integers(0, 10**6), steps=st.integers(2, 7))
@settings(max_examples=20, deadline=None)
def test_the_graph_of_a_chunk_computes_what_its_steps_do(seed, steps):
    rng = np.random.default_rng(seed)
    graph = random_models.model(rng)
    whole, apart = Reference(chunk(graph, steps)), Reference(graph)
    parts = whole.graph.routines[CHUNK].inputs[0].parts
    for _ in range(2):
        given = features(rng, graph, steps).reshape(len(parts), -1)
        made = whole.run(CHUNK, {part.name: frame for part, frame in zip(parts, given, strict=True)})
        np.testing.assert_array_equal(made, apart.encode(given))


@given(
    seed=st.integers(0, 10**6), steps=st.integers(2, 6), hold=st.integers(0, 300), buffer=st.integers(1, 60),
    first=st.booleans(),
)  # fmt: skip
@settings(
    max_examples=15,
    deadline=None,
    phases=(Phase.generate,),
    suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow],
)
def test_random_models_in_chunks_on_random_processors(seed, steps, hold, buffer, first):
    rng = np.random.default_rng(seed)
    graph, config = random_models.model(rng), random_models.config(rng).replace(activation_words=1000)
    options = Options(chunk=steps, residence=Residence(hold, buffer, first))
    assume(Costs(legalize(Plan(chunk(graph, steps), config, options))).fill(options.residence))
    compare(graph, config, options, seed)


@pytest.mark.parametrize(("seed", "resident"), [(1, True), (2, False), (5, True), (6, False), (8, True)])
def test_random_models_with_the_compilers_residence(seed, resident):
    rng = np.random.default_rng(seed)
    graph, config = random_models.model(rng), random_models.config(rng).replace(activation_words=600)
    compare(graph, config, Options(chunk=int(rng.integers(2, 6)), resident=resident), seed)


def test_slots_stay_are_held_and_are_streamed():
    program = compare(wide(), SMALL, Options(chunk=4, residence=HELD), 0, "fast")
    rows = {row["layer"]: row for row in program.meta["report"]["layers"]}
    kinds = [
        (row["resident"] > 0, row["held"] > 0, row["resident"] + row["held"] < 1) for row in rows.values()
    ]
    assert all(any(kind[k] for kind in kinds) for k in range(3))


def test_a_tile_for_the_inputs_is_streamed_once_for_all_steps():
    program = compile_graph(wide(), SMALL, Options(chunk=4, residence=HELD))

    def streams(entry: str, layer: str) -> int:
        made = zip(program.instructions(entry), program.debug[entry], strict=True)
        return sum(one.opcode is Opcode.STREAM and origin.layer == layer for one, origin in made)

    for layer in ("encoder.0", "encoder.1", "encoder.2"):
        assert streams(CHUNK, layer) == streams(ENCODE, layer) > 0
    assert any(
        streams(CHUNK, f"encoder.{k}{RECURRENT}") > streams(ENCODE, f"encoder.{k}{RECURRENT}")
        for k in range(3)
    )


@pytest.mark.parametrize("residence", [HELD, None])
def test_fast_runs_chunks_as_functional_does(residence):
    program = compile_graph(wide(), SMALL, Options(chunk=3, residence=residence))
    found = verify_program(program, SMALL, seed=1, rtl=False)
    assert not found["first_difference"] and not found["faults"]
    assert found["jobs"] > 8


@pytest.mark.rtl
def test_the_verilog_runs_chunks_in_the_same_cycles():
    config, large = PRESETS["base"], Residence(hold=20, buffer=990, recurrent_first=True)
    program = compile_graph(wide(), config, Options(chunk=3, residence=large))
    rows = program.meta["report"]["layers"]
    assert any(row["held"] for row in rows) and any(row["resident"] + row["held"] < 1 for row in rows)
    found = verify_program(program, config, seed=2)
    assert not found["value_differences"] and not found["cycle_differences"], found["first_difference"]
    assert not found["faults"]


def test_few_accumulators_take_a_chunk_in_parts():
    config = SMALL.replace(accumulators=32)
    program = compare(wide(), config, Options(chunk=5), 4)
    macs = [one for one in program.instructions(CHUNK) if one.opcode is Opcode.MAC]
    assert max(one["accumulator"] + one["rows"] for one in macs) <= 32


def test_a_chunk_of_one_is_no_chunk():
    graph = wide()
    assert chunk(graph, 1) is graph
    program = compile_graph(graph, SMALL, Options(chunk=1))
    assert CHUNK not in program.entries and "chunk" not in program.meta
    assert program.image == compile_graph(graph, SMALL).image


def test_a_branching_encoder_has_no_chunks():
    graph = random_models.model(np.random.default_rng(0), random_models.branching(np.random.default_rng(0)))
    with pytest.raises(GraphError, match="chunks of 2 steps are not possible: the encoder branches"):
        chunk(graph, 2)
    with pytest.raises(CompileError, match="the encoder branches"):
        compile_graph(graph, SMALL, Options(chunk=2))


def test_a_chunk_that_does_not_fit_is_named():
    with pytest.raises(CompileError, match=r"activation memory: encode\.chunk needs activation_words = \d+"):
        compile_graph(wide(), SMALL.replace(activation_words=40), Options(chunk=8))
    with pytest.raises(CompileError, match=r"weight memory: a row of \d+ words in each of 2 buffers"):
        compile_graph(wide(), SMALL, Options(chunk=2, residence=Residence(0, 1, True)))
