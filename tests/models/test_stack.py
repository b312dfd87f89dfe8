"""Stacks of layers: one checkpoint's integers in training, in the compiler's reference and on the devices."""

import json
from dataclasses import replace

import numpy as np
import pytest
from ossicle.compiler.api import compile_checkpoint
from ossicle.compiler.importer import CheckpointError, import_checkpoint
from ossicle.compiler.reference import Reference
from ossicle.hw.config import PRESETS
from ossicle.models.export import (
    Checkpoint,
    matrix_shapes,
    quantize_matrix,
    read_checkpoint,
    write_checkpoint,
)
from ossicle.models.layers import STACK
from ossicle.models.untrained import DEVIATION, MEAN
from ossicle.runtime.frontend import FrontendParameters
from ossicle.sim.device import open_device
from safetensors.numpy import load_file, save_file

torch = pytest.importorskip("torch", reason="needs torch (the extra 'train')")
from ossicle.models.nets.exact import ExactStack  # noqa: E402
from ossicle.models.nets.stack import Stack  # noqa: E402

TOPOLOGY = {
    "kind": STACK,
    "features": 120,
    "layers": [
        {"lstm": 20, "reduce": 2},
        {"linear": 13, "function": "tanh"},
        {"lstm": 12},
        {"linear": 9, "function": "relu", "reduce": 2},
        {"linear": 11, "function": "sigmoid"},
        {"linear": 3},
    ],
    "labels": ["a", "b", "c"],
}
FRAMES = 4
"""Feature vectors a step of TOPOLOGY."""
PLAIN = {"kind": STACK, "features": 120, "layers": [{"linear": 5}]}


def random_stack(topology, seed=0, zeros=0.5):
    """A checkpoint of random weights."""
    rng, matrices = np.random.default_rng(seed), {}
    for name, (rows, columns) in matrix_shapes(topology).items():
        weight = rng.normal(0, 3.0 / np.sqrt(columns), (rows, columns)) * (
            rng.random((rows, columns)) >= zeros
        )
        matrices[name] = quantize_matrix(name, weight, rng.normal(0, 0.5, rows))
    frontend = FrontendParameters.from_statistics(MEAN, DEVIATION)
    return Checkpoint(topology, matrices, None, b"", frontend, {"name": "stack", "scores": {"x": 1}})


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("stack") / "stack.safetensors"
    write_checkpoint(path, random_stack(TOPOLOGY))
    return path


def run_on_device(engine, path, features, frames, config=PRESETS["base"]):
    """Outputs [T / frames, rows] of one utterance, after another one and a reset."""
    program = compile_checkpoint(path, config)
    shape, made = program.meta["inputs"]["features"], []
    assert shape["parts"] == frames
    with open_device(engine, config) as device:
        device.load(program)
        device.run("prepare")
        for step in range(-1, len(features) // frames):
            if step == 0 and "reset" in program.entries:
                device.run("reset")
            padded = np.zeros((frames, shape["stride"]), np.int8)
            begin = max(step, 0) * frames
            padded[:, : shape["count"]] = features[begin : begin + frames]
            device.write("features", padded.reshape(-1)[: program.symbols["features"].count], 1)
            assert not device.run("step", {1: 1, 2: 2}).fault
            made.append(device.read("output", 2))
    return np.array(made[1:])


@pytest.mark.parametrize(
    "engine",
    ["functional", "fast", pytest.param("rtl", marks=[pytest.mark.slow, pytest.mark.rtl])],
)
@pytest.mark.parametrize("topology", [TOPOLOGY, PLAIN])
def test_training_and_device_agree_in_every_word(engine, topology, tmp_path):
    path, frames = tmp_path / "stack.safetensors", FRAMES if topology is TOPOLOGY else 1
    write_checkpoint(path, random_stack(topology, seed=1))
    features = np.random.default_rng(2).integers(-128, 128, (24, 120)).astype(np.int8)
    exact = ExactStack(read_checkpoint(path))(torch.from_numpy(features)[None])[0].numpy()
    assert len(np.unique(exact)) > 10
    np.testing.assert_array_equal(run_on_device(engine, path, features, frames), exact)


def test_reference_agrees_in_every_word(path):
    features = np.random.default_rng(3).integers(-128, 128, (2, 24, 120)).astype(np.int8)
    exact = ExactStack(read_checkpoint(path))(torch.from_numpy(features)).numpy()
    reference = Reference(import_checkpoint(path), (2,))
    for step in range(exact.shape[1]):
        inputs = {f"features.{k}": features[:, FRAMES * step + k] for k in range(FRAMES)}
        np.testing.assert_array_equal(reference.run("step", inputs), exact[:, step])


def test_training_graph_is_near_its_own_integers():
    torch.manual_seed(0)
    network, frontend = Stack(TOPOLOGY), FrontendParameters.from_statistics(MEAN, DEVIATION)
    network.weight_bits = 8
    features = torch.randint(-128, 128, (2, 24, 120), dtype=torch.int8)
    exact = ExactStack(network.checkpoint(frontend, {}))(features) / 256
    made = network(features.float() / 128)
    assert made.shape == exact.shape == (2, 6, 3)
    assert (exact - made).abs().max() < 0.05


def test_every_weight_learns_and_pruned_ones_stay_zero():
    torch.manual_seed(0)
    network = Stack(TOPOLOGY)
    reached = network.prune(10, 0, 10, {"layer.0": 0.5, "layer.1": 0.75})
    assert reached == pytest.approx({"layer.0": 0.5, "layer.1": 0.75}, abs=0.02)
    network(torch.rand(3, 24, 120) * 2 - 1).square().sum().backward()
    for name, weight in network.weights.items():
        assert weight.grad is not None and weight.grad.abs().sum() > 0
        mask = network.masks.get(name.replace("_", "."))
        assert mask is None or (weight.grad[mask == 0] == 0).all()
    integers = network.checkpoint(FrontendParameters.from_statistics(MEAN, DEVIATION), {}).matrices
    assert integers["layer.1"].sparsity >= 0.75


def test_round_trip(path):
    first, again = random_stack(TOPOLOGY), read_checkpoint(path)
    assert again.topology == TOPOLOGY and again.frontend == first.frontend and again.embedding is None
    assert again.header["scores"] == {"x": 1} and "wer" not in again.header
    for name, matrix in first.matrices.items():
        np.testing.assert_array_equal(again.matrices[name].weight, matrix.weight)


def layers_of(*layers, **more):
    return {"kind": STACK, "features": 120, "layers": list(layers), **more}


WRONG = [
    (layers_of(), "a list of one layer or more"),
    (layers_of({"linear": 0}), r"1 or more, not \[0\]"),
    (layers_of({"lstm": True}, {"linear": 2}), r"1 or more, not \[True\]"),
    (layers_of({"lstm": 4}), "layer 0, the last, must be linear"),
    (layers_of({"linear": 4, "function": "tanh"}), "layer 0, the last, must be linear without a function"),
    (layers_of({"linear": 4}, {"linear": 2}), "layer 0 must be lstm, or linear with a function"),
    (layers_of({"lstm": 4, "linear": 3}, {"linear": 2}), "layer 0 must be"),
    (layers_of({"linear": 4, "function": "gelu"}, {"linear": 2}), "a function 'gelu'; there are relu"),
    (layers_of({"linear": 4, "function": "relu"}, {"linear": 2, "reduce": 2}), "layer 1: only features"),
    (layers_of({"linear": 2}, labels=["a"]), r"labels \['a'\]: there must be one for each of 2 outputs"),
]


@pytest.mark.parametrize(("topology", "message"), WRONG)
def test_wrong_topologies_are_refused_by_both_readers(path, tmp_path, topology, message):
    wrong = tmp_path / "wrong.safetensors"
    header = {"format": "ossicle-checkpoint", "version": 1, "topology": topology, "frontend": {}}
    save_file(load_file(path), wrong, metadata={"ossicle": json.dumps(header)})
    with pytest.raises(ValueError, match=message):
        read_checkpoint(wrong)
    with pytest.raises(CheckpointError, match=message):
        import_checkpoint(wrong)


@pytest.mark.parametrize("part", ["weight", "bias", "multiplier", "shift"])
def test_wrong_and_missing_tensors_are_refused(path, tmp_path, part):
    matrix = read_checkpoint(path).matrices["layer.0"]
    whole = random_stack(TOPOLOGY)
    short = {**whole.matrices, "layer.0": replace(matrix, **{part: getattr(matrix, part)[:-1]})}
    with pytest.raises(ValueError, match=rf"layer.0.{part} must be"):
        write_checkpoint(tmp_path / "x", replace(whole, matrices=short))
    tensors = load_file(path)
    header = json.dumps(read_checkpoint(path).full_header())
    cut = {**tensors, f"layer.0.{part}": tensors[f"layer.0.{part}"][:-1].copy()}
    save_file(cut, tmp_path / "cut", metadata={"ossicle": header})
    with pytest.raises(CheckpointError, match=rf"layer.0.{part} is "):
        import_checkpoint(tmp_path / "cut")
    del tensors[f"layer.0.{part}"]
    save_file(tensors, tmp_path / "less", metadata={"ossicle": header})
    for read in (read_checkpoint, import_checkpoint):
        with pytest.raises(ValueError, match=rf"layer.0.{part}.*missing"):
            read(tmp_path / "less")
