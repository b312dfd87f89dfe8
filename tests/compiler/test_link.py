"""Links of random networks: what each gives alone it gives among the others, whatever their jobs' order."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import random_models
import random_stacks
from ossicle.compiler.api import compile_graph
from ossicle.compiler.graph import Format, Graph
from ossicle.compiler.link import Network, join, link, members
from ossicle.compiler.pipeline import run_passes
from ossicle.compiler.plan import CompileError, Options, Plan
from ossicle.compiler.program import Program, ProgramError
from ossicle.compiler.program import verify as verify_parts
from ossicle.compiler.verifier import VerifyError, verify
from ossicle.hw.config import PRESETS, NpuConfig
from ossicle.sim.device import open_device
from ossicle.sim.shared import SharedDevice
from ossicle.sim.verify import verify_program

SMALL = PRESETS["small"]
TIGHT = SMALL.replace(vector_words=64, weight_words=64, parameter_words=48)
"""Holds few of `one_of_each`: weights and parameters stream, some states are away."""


def networks(seed: int) -> dict[str, Network]:
    rng = np.random.default_rng(seed)
    graphs = {"recognizer": random_models.model(rng), "ear": random_stacks.model(rng)}
    graphs |= {"meaning": random_stacks.model(rng), "model": random_stacks.model(rng)}
    return {name: Network(graph, float(rng.choice([1, 4, 16.7, 33.3]))) for name, graph in graphs.items()}


def one_of_each() -> dict[str, Network]:
    rng, layers = np.random.default_rng(1), [{"lstm": 20}, {"linear": 9}]
    tokens = {"labels": 2, "buckets": 40, "embedding": 10}
    shapes = [
        {"kind": "stack", "features": 9, "layers": layers},
        {"kind": "stack", "tokens": tokens, "layers": layers, "kept": 16},
    ]
    graphs = [random_models.model(rng, random_models.TINY), *(random_stacks.model(rng, s) for s in shapes)]
    return {f"net{k}": Network(graph, 1.0 + k) for k, graph in enumerate(graphs)}


def requests(graph: Graph, program: Program, rng: np.random.Generator):
    """Jobs of a network without end: entry, arguments, data for its inputs, where its output goes."""
    while True:
        entry = str(rng.choice(list(program.entries)))
        if entry not in graph.routines:
            slots = graph.kept if entry in ("keep", "recall") else 1
            yield entry, {1: int(rng.integers(slots))}, {}, None
            continue
        routine, arguments, data = graph.routines[entry], {}, {}
        for number, given in enumerate(routine.inputs, 1):
            if given.parts[0].format is Format.LABEL:
                arguments[number] = int(rng.integers(2))
                continue
            symbol = program.symbols[given.name]
            arguments[number] = int(rng.integers(symbol.slots))
            data[given.name] = rng.integers(-128, 128, symbol.count), arguments[number]
        slot = arguments[len(routine.inputs) + 1] = int(rng.integers(4))
        yield entry, arguments, data, (routine.output.name, slot)


def serve(device, request) -> np.ndarray | None:
    entry, arguments, data, output = request
    for name, (values, slot) in data.items():
        device.write(name, values, slot)
    device.run(entry, arguments)
    return None if output is None else device.read(*output)


def compare(seed: int, config: NpuConfig, engine: str, jobs: int = 40) -> Program:
    """Networks on devices of their own against views of one; raises CompileError where one fits nowhere."""
    linked, rng = networks(seed), np.random.default_rng(seed)
    own = {name: compile_graph(network.graph, config) for name, network in linked.items()}
    program = link(linked, config)
    shared = SharedDevice(open_device(engine, config), program)
    alone = {name: open_device(engine, config) for name in linked}
    streams = {name: requests(linked[name].graph, own[name], rng) for name in linked}
    for name in linked:
        alone[name].load(own[name])
        shared.view(name).load(shared.programs[name])
        for device in (alone[name], shared.view(name)):
            device.run("prepare")
    outputs = 0
    for _ in range(jobs):
        name = str(rng.choice(list(linked)))
        request = next(streams[name])
        expected, given = (serve(device, request) for device in (alone[name], shared.view(name)))
        if expected is not None:
            np.testing.assert_array_equal(given, expected, f"{name}: {request[0]}")
            outputs += expected.size
    assert outputs
    return program


@pytest.mark.parametrize("seed", range(25))
def test_each_gives_what_it_gives_alone_on_random_processors(seed):
    config = random_models.config(np.random.default_rng(seed))
    try:
        compare(seed, config, "functional" if seed % 3 else "fast")
    except CompileError:
        for network in networks(seed).values():  # one of them does not fit alone
            compile_graph(network.graph, config)
        raise


@pytest.mark.parametrize("engine", ["functional", "fast"])
def test_states_without_room_lie_in_dram(engine):
    """From more than enough vector memory down to too little, the states of more and more networks."""
    rng = np.random.default_rng(0)
    layers = [[{"lstm": 12}], [{"lstm": 8}, {"linear": 30, "function": "relu"}], [{"lstm": 5}]]
    shapes = [{"kind": "stack", "features": 9, "layers": [*one, {"linear": 30}], "kept": 2} for one in layers]
    made = {f"net{k}": Network(random_stacks.model(rng, shape), 1.0 + k) for k, shape in enumerate(shapes)}
    expected, away = None, []
    for words in range(48, 0, -4):
        config = SMALL.replace(vector_words=words)
        try:
            program = link(made, config)
        except CompileError:
            break
        found = [one.meta["away"] for one in members(program).values()]
        if found in away:
            continue
        given = outputs(program, made, config, engine)
        expected = given if expected is None else expected
        np.testing.assert_array_equal(given, expected)
        away.append(found)
    counts = [sum(found) for found in away]
    assert counts[0] == 0 and counts == sorted(counts) and len(counts) > 2


def outputs(program: Program, made: dict[str, Network], config: NpuConfig, engine: str) -> np.ndarray:
    """Of steps of all networks in turn, with states kept, cleared and recalled."""
    rng, given = np.random.default_rng(1), []
    shared = SharedDevice(open_device(engine, config), program)
    views = [shared.view(name) for name in made]
    script = [("prepare", 0), ("step", 0), ("keep", 1), ("step", 0), ("reset", 0), ("step", 0), ("recall", 1)]
    for entry, slot in [*script, ("step", 0), ("step", 0)]:
        for view in views:
            if entry == "step":
                view.write("features", rng.integers(-128, 128, 9), 0)
            view.run(entry, {1: slot, 2: 0})
            if entry == "step":
                given.append(view.read("output"))
    return np.array(given)


def test_fast_runs_a_link_as_functional_does():
    program = link(one_of_each(), TIGHT)
    own = members(program).values()
    assert any(one.meta["away"] for one in own) and not all(one.meta["away"] for one in own)
    assert any(row["resident"] < 1 for one in own for row in one.meta["report"]["layers"])
    found = verify_program(program, TIGHT, rtl=False)
    assert not found["first_difference"] and not found["faults"]
    assert found["jobs"] > 20


@pytest.mark.slow
@pytest.mark.rtl
def test_the_verilog_runs_a_link_in_the_same_cycles():
    found = verify_program(link(one_of_each(), TIGHT), TIGHT)
    assert not found["value_differences"] and not found["cycle_differences"], found["first_difference"]
    assert not found["faults"] and found["cycles"] > 1000


def test_members_have_their_own_names_on_one_image():
    made = networks(3)
    program = link(made, SMALL)
    own = members(program)
    assert list(own) == list(made)
    for name, member in own.items():
        alone = compile_graph(made[name].graph, SMALL)
        assert member.image == program.image and list(member.entries) == list(alone.entries)
        assert member.meta["inputs"] == alone.meta["inputs"]
        assert {key: (s.count, s.slots) for key, s in alone.symbols.items()}.items() <= {
            key: (s.count, s.slots) for key, s in member.symbols.items()
        }.items()
        verify_parts(member)
        rows = member.meta["report"]["layers"]
        assert [row["layer"] for row in rows] == [row["layer"] for row in alone.meta["report"]["layers"]]
        assert all(row["uses"] > 0 for row in rows)
    assert Program.from_bytes(program.to_bytes()).meta == program.meta


def test_a_network_that_is_used_more_often_keeps_its_weights():
    rng = np.random.default_rng(5)
    shape = {"kind": "stack", "features": 32, "layers": [{"lstm": 32}, {"linear": 8}]}
    graphs = [random_stacks.model(rng, shape) for _ in range(2)]
    config = SMALL.replace(weight_words=90)
    for rates in ((1.0, 10.0), (10.0, 1.0)):
        made = {
            str(k): Network(graph, rate) for k, (graph, rate) in enumerate(zip(graphs, rates, strict=True))
        }
        rows = [one.meta["report"]["layers"][0]["resident"] for one in members(link(made, config)).values()]
        assert (rows[1] > rows[0]) == (rates[1] > rates[0]) and rows[0] != rows[1]


def test_a_job_that_writes_what_another_network_keeps_is_found():
    plan = run_passes(Plan(join(networks(3)), SMALL, Options()))
    victim, region = "ear/", plan.regions["recognizer/hidden"]
    for name, steps in plan.routines.items():
        if name.startswith(victim):
            spoiled = (replace(steps[0], writes=(*steps[0].writes, region)), *steps[1:])
            with pytest.raises(VerifyError, match="which recognizer/ keeps"):
                verify(plan.update(routines={**plan.routines, name: spoiled}))


def test_what_cannot_be_linked_is_said():
    graph = random_models.model(np.random.default_rng(1), random_models.TINY)
    with pytest.raises(CompileError, match="one network or more"):
        link({}, SMALL)
    with pytest.raises(CompileError, match="named 'a/b'"):
        link({"a/b": Network(graph, 1)}, SMALL)
    with pytest.raises(CompileError, match="chunks of 2 steps"):
        link({"a": Network(graph, 1)}, SMALL, Options(chunk=2))
    with pytest.raises(CompileError, match="0 jobs a second"):
        Network(graph, 0)
    with pytest.raises(ProgramError, match="random is one network"):
        members(compile_graph(graph, SMALL))
    with pytest.raises(CompileError, match="vector memory: a/"):
        link({"a": Network(graph, 1), "b": Network(graph, 1)}, SMALL.replace(vector_words=8))
