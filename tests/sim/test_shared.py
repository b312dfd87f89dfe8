"""Views of one device: names, data, counters of their own; refusals."""

from __future__ import annotations

from contextlib import closing

import numpy as np
import pytest
from ossicle.compiler.api import compile_graph, gemv_graph
from ossicle.compiler.link import Network, link
from ossicle.compiler.program import ProgramError
from ossicle.hw.config import PRESETS
from ossicle.sim.device import DeviceError, DeviceFault, open_device
from ossicle.sim.shared import SharedDevice

SMALL = PRESETS["small"]


def graph(seed, rows=20, columns=32):
    rng = np.random.default_rng(seed)
    weights = rng.integers(-127, 128, (rows, columns)) * (rng.random((rows, columns)) < 0.4)
    return gemv_graph(weights.astype(np.int8))


@pytest.fixture(scope="module")
def program():
    graphs = {"one": graph(1), "other": graph(2, 9)}
    return link({name: Network(made, 1.0) for name, made in graphs.items()}, SMALL)


@pytest.fixture
def shared(program):
    with closing(open_device("fast", SMALL)) as device:
        made = SharedDevice(device, program)
        for name, member in made.programs.items():
            made.open(name, member).load(member)
            made.view(name).run("prepare")
        yield made


def product(view, x):
    view.write("input", x, 3)
    result = view.run("gemv", {1: 3, 2: 2})
    return view.read("output", 2), result


def test_a_view_gives_what_a_device_of_its_own_gives(shared):
    rng = np.random.default_rng(0)
    for name, seed, rows in (("one", 1, 20), ("other", 2, 9), ("one", 1, 20)):
        x = rng.integers(-128, 128, 32).astype(np.int8)
        alone = compile_graph(graph(seed, rows), SMALL)
        with closing(open_device("functional", SMALL)) as device:
            device.load(alone)
            device.run("prepare")
            expected, _ = product(device, x)
        given, result = product(shared.view(name), x)
        np.testing.assert_array_equal(given, expected)
        assert len(given) == rows and expected.any() and result.cycles > 0


def test_counters_are_of_the_last_job_and_no_other_networks(shared):
    one, other = shared.view("one"), shared.view("other")
    cycles = product(one, np.ones(32))[1].cycles
    assert one.counters()["cycles"] == cycles and len(one.events())
    product(other, np.ones(32))
    with pytest.raises(DeviceError, match="of one are gone: a job of other has run since"):
        one.counters()
    with pytest.raises(DeviceError, match="of one are gone"):
        one.events()


def test_a_load_clears_what_is_the_networks_alone(shared):
    one, other = shared.view("one"), shared.view("other")
    for view in (one, other):
        product(view, np.arange(32))
    one.load(shared.programs["one"])
    assert not one.read("input", 3).any() and not one.read("output", 2).any()
    assert other.read("input", 3).any() and other.read("output", 2).any()
    assert product(one, np.arange(32))[0].any()  # its weights are where they were


def test_the_watcher_hears_of_each_job(program):
    heard = []
    with closing(open_device("fast", SMALL)) as device:
        shared = SharedDevice(device, program, lambda *job: heard.append(job))
        with shared.view("other") as view:
            result = view.run("prepare")
    assert heard == [("other", "prepare", result)]


def test_a_fault_names_the_network(shared):
    with pytest.raises(DeviceFault, match="one/gemv"):
        shared.view("one").run("gemv", {1: 40000})


def test_what_is_not_linked_is_refused(shared):
    with pytest.raises(DeviceError, match="no network 'third' is linked; there are one, other"):
        shared.view("third")
    with pytest.raises(ProgramError, match="gemv is not the program of one in this link"):
        shared.open("one", shared.programs["other"])
    with pytest.raises(ProgramError, match="not the program of other"):
        shared.view("other").load(compile_graph(graph(2, 9), SMALL))
    with (
        closing(open_device("functional", SMALL)) as device,
        pytest.raises(ProgramError, match="not a link of several"),
    ):
        SharedDevice(device, compile_graph(graph(1), SMALL))
    with closing(open_device("functional", PRESETS["base"])) as device, pytest.raises(ProgramError):
        SharedDevice(device, link({"one": Network(graph(1), 1)}, SMALL))
