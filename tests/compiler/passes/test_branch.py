"""Branches in programs: what is skipped, tokens on every path, and the same words on every device."""

import dataclasses

import numpy as np
import pytest
import random_models
from ossicle.compiler.api import compile_graph
from ossicle.compiler.graph import Graph
from ossicle.compiler.passes import branch as subject
from ossicle.compiler.pipeline import run_passes
from ossicle.compiler.plan import CompileError, Options, Plan
from ossicle.compiler.reference import Reference
from ossicle.compiler.verifier import VerifyError, paths, verify_tokens
from ossicle.hw.config import PRESETS, NpuConfig
from ossicle.hw.isa import Engine, Opcode

device_module = pytest.importorskip("ossicle.sim.device")

TINY = {
    **random_models.TINY,
    "encoder": [{"hidden": 12, "reduce": 1}, {"hidden": 20, "reduce": 2}, {"hidden": 16, "reduce": 1}],
    "branch": {"from": 1, "hidden": 5},
}
CHIP = NpuConfig(
    name="tiny", lanes=4, lookahead=2, weight_words=256, accumulators=64, activation_words=64, vector_width=4,
    vector_words=128, parameter_words=64, decoder_streams=1, table_log=9, table_sets=1, bus_bits=32,
    burst_beats=4, outstanding=2, queue_depth=2,
)  # fmt: skip


@pytest.fixture(scope="module")
def graph():
    return random_models.undecided(random_models.model(np.random.default_rng(1), TINY))


def encodings(graph: Graph, device, jobs: int, seed: int) -> list[bool]:
    """Jobs of `encode` on a loaded device, each equal to the reference's; whether each took the slow side."""
    parts, rng = graph.routines["encode"].inputs[0].parts, np.random.default_rng(seed)
    features = rng.integers(-128, 128, (jobs, len(parts), parts[0].count)).astype(np.int8)
    width = device.program.symbols["features"].count // len(parts)
    padded = np.pad(features, [(0, 0), (0, 0), (0, width - parts[0].count)])
    reference = Reference(graph)
    device.run("prepare")
    for given, padding in zip(features, padded, strict=True):
        device.write("features", padding, 3)
        device.run("encode", {1: 3, 2: 5})
        np.testing.assert_array_equal(device.read("encoded", 5), reference.encode(given)[0])
    return (random_models.scores(graph, features.reshape(-1, parts[0].count)) > 0).tolist()


@pytest.mark.parametrize("engine", ["functional", "fast"])
@pytest.mark.parametrize("resident", [True, False])
@pytest.mark.parametrize("config", [*PRESETS.values(), CHIP], ids=lambda config: config.name)
def test_words_are_the_references(graph, config, resident, engine):
    with device_module.open_device(engine, config) as device:
        device.load(compile_graph(graph, config, Options(resident=resident)))
        slow = encodings(graph, device, 12, 1)
    assert 0 < sum(slow) < 12


@pytest.mark.parametrize("seed", range(30))
def test_random_models_on_random_processors(seed):
    rng = np.random.default_rng(1000 + seed)
    graph = random_models.undecided(random_models.model(rng, random_models.branching(rng)))
    config = random_models.config(rng)
    try:
        program = compile_graph(graph, config, Options(resident=bool(seed % 2)))
    except CompileError:
        pytest.skip("the model does not fit the processor")
    for engine in ("functional", "fast"):
        with device_module.open_device(engine, config) as device:
            device.load(program)
            encodings(graph, device, 6, seed)


@pytest.mark.slow
@pytest.mark.rtl
def test_fast_and_rtl_take_the_same_cycles(graph):
    from ossicle.sim.verify import verify_program

    found = verify_program(compile_graph(graph, CHIP, Options(resident=False)), CHIP)
    assert not found["first_difference"]
    assert found["cycles"] > 1000


def test_only_one_side_is_executed_and_streamed(graph):
    program = compile_graph(graph, CHIP, Options(resident=False))
    origins, code = program.debug["encode"], program.instructions("encode")
    with device_module.open_device("fast", CHIP) as device:
        device.load(program)
        device.run("prepare")
        seen = set()
        for seed in range(12):
            device.write("features", np.random.default_rng(seed).integers(-128, 128, (2, 32)), 0)
            device.run("encode", {1: 0, 2: 0})
            ran = set(device.events()["index"].tolist())
            streamed = {origins[k].layer for k in ran if code[k].opcode is Opcode.STREAM}
            assert ("encoder.1" in streamed) != ("encoder.1.fast" in streamed)
            assert ("encoder.1" in streamed) == ("encoder.2" in streamed)
            seen |= streamed
    assert {"encoder.1", "encoder.2.fast", "encoder.projection"} <= seen


def planned(graph: Graph, **options) -> Plan:
    return run_passes(Plan(graph, CHIP, Options(**options)))


def test_long_sides_are_skipped_in_pieces(graph, monkeypatch):
    monkeypatch.setattr(subject, "SKIP_MAX", 3)
    steps = planned(graph, resident=False).routines["encode"]
    skips = [step.operands["count"] for step in steps if step.opcode is Opcode.SKIP]
    assert max(skips) == 3 and len(skips) > 8
    taken = [[step.layer for step in path if step.opcode is Opcode.MAC] for path in paths(steps)]
    assert all("encoder.1" not in layers and "encoder.2" not in layers for layers in taken[:1])
    assert all(not layer.endswith(".fast") for layer in taken[1])
    with device_module.open_device("fast", CHIP) as device:
        device.load(compile_graph(graph, CHIP, Options(resident=False)))
        assert 0 < sum(encodings(graph, device, 12, 2)) < 12


def test_paths_execute_one_side_each(graph):
    below, above = paths(planned(graph).routines["encode"])
    layers = [[step.layer for step in path if step.opcode is Opcode.MAC] for path in (below, above)]
    assert {name for name in layers[0] if "fast" in name} == {"encoder.1.fast", "encoder.2.fast"}
    assert not {"encoder.1", "encoder.2"} & set(layers[0])
    assert {"encoder.1", "encoder.2"} <= set(layers[1]) and not any("fast" in name for name in layers[1])


def test_tokens_of_a_path_that_do_not_add_up_are_found(graph):
    steps = list(planned(graph, resident=False).routines["encode"])
    barriers = [k for k, step in enumerate(steps) if step.opcode is Opcode.SKIP and step.wait]
    assert len(barriers) == 3
    for index in barriers:
        spoiled = dataclasses.replace(steps[index], wait=steps[index].wait - {Engine.VECTOR})
        with pytest.raises(VerifyError):
            for path in paths((*steps[:index], spoiled, *steps[index + 1 :])):
                verify_tokens("encode", path)


def test_a_program_without_branches_has_one_path():
    graph = random_models.model(np.random.default_rng(1), random_models.TINY)
    steps = planned(graph).routines["encode"]
    assert list(paths(steps)) == [steps]
