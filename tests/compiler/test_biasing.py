"""A recognizer and its adapter as one graph; adapters that are none, or another recognizer's, are refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
from ossicle.compiler.api import compile_checkpoint
from ossicle.compiler.biasing import (
    BIAS,
    LSTM,
    NO_BIAS,
    OF_JOINT,
    OF_LABELS,
    SOUNDS,
    SPELLED,
    check_topology,
    read_adapter,
    with_biasing,
)
from ossicle.compiler.importer import CheckpointError, import_checkpoint
from ossicle.compiler.reference import Reference
from ossicle.hw import numerics
from ossicle.hw.config import PRESETS
from ossicle.models.biasing.checkpoint import adapter_topology, core_of, untrained_adapter, write_adapter
from ossicle.models.export import read_checkpoint
from safetensors import safe_open
from safetensors.numpy import save_file

SIZES = {"heads": 2, "key": 12, "value": 9, "labels": 3, "embedding": 10, "hidden": 14}


@pytest.fixture(scope="module")
def core(untrained_checkpoint):
    return read_checkpoint(untrained_checkpoint)


@pytest.fixture(scope="module")
def adapter_path(core, tmp_path_factory):
    path = tmp_path_factory.mktemp("adapter") / "biasing.safetensors"
    write_adapter(
        path, untrained_adapter(adapter_topology(core.topology, SIZES)), core_of(core), {"name": "b"}
    )
    return path


@pytest.fixture(scope="module")
def graph(untrained_checkpoint, adapter_path):
    return with_biasing(import_checkpoint(untrained_checkpoint), read_adapter(adapter_path))


def linear(matrix, x):
    sums = np.asarray(x, np.int64) @ matrix.weight.astype(np.int64).T
    return numerics.requantize(sums, matrix.bias, matrix.multiplier, matrix.shift)


def squash(value):
    return numerics.gate_to_activation(numerics.tanh(value))


def test_the_query_and_the_biased_joint_are_the_plain_ones(graph, core):
    rng, reference, matrices = np.random.default_rng(0), Reference(graph), graph.matrices
    encoded, predicted = rng.integers(-6000, 6000, (2, 192)).astype(np.int16)
    asked = rng.integers(-6000, 6000, 24).astype(np.int16)
    attended = rng.integers(-128, 128, 18).astype(np.int8)
    query = reference.run("query", {"encoded": encoded, "predicted": predicted, "label_query": asked})
    total = numerics.saturate(encoded.astype(int) + predicted, 16)
    np.testing.assert_array_equal(
        query, numerics.saturate(linear(matrices[OF_JOINT], squash(total)) + asked, 16)
    )
    given = {"encoded": encoded, "predicted": predicted, "attended": attended}
    biased = numerics.saturate(encoded.astype(int) + linear(matrices[BIAS], attended), 16)
    hidden = squash(numerics.saturate(biased + predicted, 16))
    made = reference.run("biased", given)
    np.testing.assert_array_equal(made, linear(matrices["joint.output"], hidden))
    assert (made != reference.joint(encoded, predicted)).any()
    labels = rng.integers(0, core.topology["vocabulary"], 2)
    asked = reference.run("query_labels", {f"label.{k}": label for k, label in enumerate(labels)})
    np.testing.assert_array_equal(asked, linear(matrices[OF_LABELS], core.embedding[labels].ravel()))


def test_entries_are_made_from_the_last_piece_on(graph):
    rng, reference, matrices = np.random.default_rng(1), Reference(graph), graph.matrices
    pieces, h, cell = graph.tables["phrase.embedding"], np.zeros(14, int), np.zeros(14, int)
    for labels in rng.integers(0, len(pieces), (4, 3)):
        x = pieces[labels].ravel().astype(int)
        gates = linear(matrices[LSTM], np.concatenate([x, h])).reshape(4, -1)
        cell, h = numerics.lstm_cell(*gates, cell)
        entry = numerics.saturate(linear(matrices[SPELLED], x) + linear(matrices[SOUNDS], h), 16)
        made = reference.run("phrase", {f"label.{k}": label for k, label in enumerate(labels)})
        np.testing.assert_array_equal(made, entry)


def test_attending_to_no_phrase_changes_nothing(graph):
    rng, reference = np.random.default_rng(2), Reference(graph)
    encoded, predicted = rng.integers(-32768, 32768, (2, 192)).astype(np.int16)
    given = {"encoded": encoded, "predicted": predicted, "attended": np.zeros(18, np.int8)}
    np.testing.assert_array_equal(reference.run("biased", given), reference.joint(encoded, predicted))


def test_the_recognizer_is_as_it_was(graph, untrained_checkpoint):
    alone = import_checkpoint(untrained_checkpoint)
    for name, routine in alone.routines.items():
        assert graph.routines[name] == routine
    for name, matrix in alone.matrices.items():
        np.testing.assert_array_equal(graph.matrices[name].weight, matrix.weight)


def test_another_recognizer_is_refused(adapter_path, untrained_checkpoint):
    other = import_checkpoint(untrained_checkpoint)
    other.matrices["joint.output"].weight[0, 0] ^= 1
    with pytest.raises(CheckpointError, match=r"for the recognizer 'untrained'.*train it on this one"):
        with_biasing(other, read_adapter(adapter_path))


def test_an_adapter_is_no_recognizer_nor_the_other_way(adapter_path, untrained_checkpoint):
    with pytest.raises(CheckpointError, match="kind 'biasing'"):
        compile_checkpoint(adapter_path, PRESETS["base"])
    with pytest.raises(CheckpointError, match="kind 'rnnt'; context biasing takes one of kind 'biasing'"):
        read_adapter(untrained_checkpoint)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"heads": 0}, "whole number of 1 or more"),
        ({"heads": True}, "whole number of 1 or more"),
        ({"labels": 7}, "arguments for 6 labels"),
        ({"depth": 3}, r"\['depth'\]"),
        ({"kind": "stack"}, "kind 'stack'"),
    ],
)
def test_topologies_that_are_none(core, change, message):
    with pytest.raises(CheckpointError, match=message):
        check_topology({**adapter_topology(core.topology, SIZES), **change})


def rewritten(path, out, tensors=None, header=None):
    """A copy with other tensors (None: left out), and more in its header."""
    with safe_open(str(path), framework="numpy") as file:
        said = {**json.loads(file.metadata()["ossicle"]), **(header or {})}
        names = file.keys()
        given = {name: file.get_tensor(name) for name in names} | (tensors or {})
    save_file({k: v for k, v in given.items() if v is not None}, str(out), {"ossicle": json.dumps(said)})
    return out


@pytest.mark.parametrize(
    ("tensors", "header", "message"),
    [
        ({NO_BIAS: None}, {}, "no_bias.key is missing"),
        ({NO_BIAS: np.zeros(3, np.int16)}, {}, r"needs int16 \[24\]"),
        ({f"{BIAS}.bias": np.ones(192, np.int32)}, {}, "not all zeros"),
        ({f"{OF_JOINT}.weight": np.full((24, 192), -128, np.int8)}, {}, "holds -128"),
        ({}, {"core": {}}, "which recognizer"),
        ({}, {"version": 2}, "format and version"),
    ],
)
def test_files_that_are_none(adapter_path, tmp_path, tensors, header, message):
    path = rewritten(adapter_path, tmp_path / "odd.safetensors", tensors, header)
    with pytest.raises(CheckpointError, match=message) as caught:
        read_adapter(path)
    assert str(caught.value).startswith(str(path)) and "\n" not in str(caught.value)


@pytest.mark.parametrize("part", [0, 0.3, 0.9])
def test_half_a_file_is_refused(adapter_path, tmp_path, part):
    content = adapter_path.read_bytes()
    (tmp_path / "half.safetensors").write_bytes(content[: int(part * len(content))])
    with pytest.raises(CheckpointError, match="not a readable safetensors file"):
        read_adapter(tmp_path / "half.safetensors")
    with pytest.raises(CheckpointError, match="no such file"):
        read_adapter(tmp_path / "none.safetensors")
