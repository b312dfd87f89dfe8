"""Trees of labels, and a language model's logits on the host and on devices."""

from itertools import chain, pairwise

import numpy as np
import pytest
from ossicle.compiler.api import compile_checkpoint
from ossicle.compiler.importer import import_checkpoint
from ossicle.compiler.reference import Reference
from ossicle.hw.config import PRESETS
from ossicle.models.export import write_checkpoint
from ossicle.runtime.language_model import DeviceModel, HostModel, PrefixTree
from ossicle.sim.device import open_device
from random_lm import random_model

CONFIG = PRESETS["base"]
SEQUENCES = [(3, 1, 4, 1), (3, 1, 4), (3, 1, 2), (), (3, 1, 4, 2), (5,), (3, 9, 2, 6), (3, 9, 2, 5)]
ENGINES = ["functional", "fast", pytest.param("rtl", marks=[pytest.mark.slow, pytest.mark.rtl])]


@pytest.fixture(scope="module")
def net(tmp_path_factory):
    """Makes the file of a random model of ten labels that keeps so many states."""

    def make(kept):
        path = tmp_path_factory.mktemp("lm") / "net.safetensors"
        write_checkpoint(path, random_model([str(i) for i in range(10)], kept))
        return path

    return make


def test_a_tree_has_each_prefix_once_and_depth_first():
    tree = PrefixTree(SEQUENCES)
    assert len(tree) == 1 + len({s[: n + 1] for s in SEQUENCES for n in range(len(s))})
    for sequence in SEQUENCES:
        nodes = tree.nodes(sequence)
        assert nodes[0] == 0 and [tree.labels[node] for node in nodes[1:]] == list(sequence)
        assert all(tree.parents[b] == a for a, b in pairwise(nodes))
    levels = list(tree.levels())
    assert sorted(chain(*levels)) == list(range(len(tree))) and levels[0] == [0]
    assert all(parent < node for node, parent in enumerate(tree.parents))
    again = PrefixTree(reversed(SEQUENCES))
    assert (again.parents, again.labels) == (tree.parents, tree.labels)
    assert len(PrefixTree([()])) == 1 and list(PrefixTree([()]).levels()) == [[0]]


@pytest.mark.parametrize("kept", [0, 1, 2, 5])
@pytest.mark.parametrize("engine", ENGINES)
def test_host_and_device_give_the_reference_s_logits(engine, kept, net):
    path, tree = net(kept), PrefixTree(SEQUENCES)
    host = HostModel(import_checkpoint(path)).logits(tree)
    for sequence in SEQUENCES:
        reference = Reference(import_checkpoint(path))
        for node, label in zip(tree.nodes(sequence), (0, *sequence), strict=True):
            np.testing.assert_array_equal(host[node], reference.run("step", {"label.0": label}))
    assert len(np.unique(host)) > 50
    with open_device(engine, CONFIG) as device:
        model = DeviceModel(device, compile_checkpoint(path, CONFIG))
        for _ in range(2):  # a tree leaves nothing behind
            np.testing.assert_array_equal(model.logits(tree), host)
        jobs = model.cycles.jobs
        assert (model.cycles.total is None) == (engine == "functional")
    deepest = 4  # branches on one way: the begin, 3, 3 1, 3 1 4
    assert (jobs["step"] == len(tree)) == (kept >= deepest)
    assert jobs.get("keep", 0) >= min(kept, deepest) and ("recall" in jobs) == bool(kept)


@pytest.mark.parametrize("kept", [0, 1, 3, 8])
def test_a_text_that_grows_is_gone_on_with(kept, net):
    path = net(kept)
    asked = [(), (3,), (3, 1), (3, 1), (3, 1, 4), (3, 2), (3, 2, 5, 6, 7), (3, 2, 5, 6), (8,)]
    asked.append((3, 2, 5, 6, 7))
    host = HostModel(import_checkpoint(path))
    steps, recalls = [], 0
    with open_device("fast", CONFIG) as device:
        model = DeviceModel(device, compile_checkpoint(path, CONFIG))
        for labels in asked:
            np.testing.assert_array_equal(model.after(labels), host.after(labels))
            steps.append(model.cycles.jobs["step"])
            recalls += model.cycles.jobs.get("recall", 0)
        model.logits(PrefixTree(SEQUENCES))  # writes over what was kept
        np.testing.assert_array_equal(model.after((3, 1, 4)), host.after((3, 1, 4)))
        assert model.cycles.jobs["step"] == 4
        model.forget()
        model.after((3, 1, 4, 1))
        assert model.cycles.jobs["step"] == 5
    from_the_begin = [len(labels) + 1 for labels in asked]
    if kept == 8:
        assert steps == [1, 1, 1, 1, 1, 1, 3, 1, 1, 1]
    assert (steps == from_the_begin) == (recalls == 0) == (kept == 0)


def test_states_that_are_recalled_are_whole(net):
    """The states themselves, in DRAM, against the reference's."""
    path = net(5)
    program, reference = compile_checkpoint(path, CONFIG), Reference(import_checkpoint(path))
    with open_device("functional", CONFIG) as device:
        device.load(program)
        device.run("prepare")
        for label in (0, 7, 3):
            device.run("step", {1: label, 2: 0})
            reference.run("step", {"label.0": label})
        device.run("keep", {1: 4})
        hidden, cell = device.read("kept.hidden", 4), device.read("kept.cell", 4)
    np.testing.assert_array_equal(hidden[:20], reference.hidden["layer.0"])
    np.testing.assert_array_equal(hidden[32:44], reference.hidden["layer.1"])
    cell = cell.reshape(-1, CONFIG.vector_width)[:, : CONFIG.units_per_step].ravel()
    np.testing.assert_array_equal(cell[:20], reference.cell["layer.0"])
