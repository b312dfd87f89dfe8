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
    table_shapes,
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
WORDS = {
    "kind": STACK,
    "tokens": {"labels": 6, "buckets": 37, "embedding": 10},
    "layers": [{"lstm": 20}, {"linear": 13, "function": "tanh"}, {"lstm": 12}, {"linear": 7}],
}
SPOKEN = {"kind": STACK, "tokens": {"labels": 1, "buckets": 5, "embedding": 3}, "layers": [{"linear": 4}]}
ENGINES = ["functional", "fast", pytest.param("rtl", marks=[pytest.mark.slow, pytest.mark.rtl])]


def random_stack(topology, seed=0, zeros=0.5):
    """A checkpoint of random weights."""
    rng, matrices = np.random.default_rng(seed), {}
    for name, (rows, columns) in matrix_shapes(topology).items():
        weight = rng.normal(0, 3.0 / np.sqrt(columns), (rows, columns)) * (
            rng.random((rows, columns)) >= zeros
        )
        matrices[name] = quantize_matrix(name, weight, rng.normal(0, 0.5, rows))
    frontend, table = FrontendParameters.from_statistics(MEAN, DEVIATION), None
    for shape in table_shapes(topology).values():
        frontend, table = None, rng.integers(-128, 128, shape).astype(np.int8)
    return Checkpoint(topology, matrices, table, b"", frontend, {"name": "stack", "scores": {"x": 1}})


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


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("topology", [TOPOLOGY, PLAIN])
def test_training_and_device_agree_in_every_word(engine, topology, tmp_path):
    path, frames = tmp_path / "stack.safetensors", FRAMES if topology is TOPOLOGY else 1
    write_checkpoint(path, random_stack(topology, seed=1))
    features = np.random.default_rng(2).integers(-128, 128, (24, 120)).astype(np.int8)
    exact = ExactStack(read_checkpoint(path))(torch.from_numpy(features)[None])[0].numpy()
    assert len(np.unique(exact)) > 10
    np.testing.assert_array_equal(run_on_device(engine, path, features, frames), exact)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("topology", [WORDS, SPOKEN])
def test_tokens_give_the_same_words_in_training_reference_and_device(engine, topology, tmp_path):
    path, shape = tmp_path / "tokens.safetensors", topology["tokens"]
    write_checkpoint(path, random_stack(topology, seed=4))
    labels = np.random.default_rng(5).integers(0, shape["buckets"], (9, shape["labels"]))
    labels[0], labels[1] = 0, shape["buckets"] - 1
    exact = ExactStack(read_checkpoint(path))(torch.from_numpy(labels)[None])[0].numpy()
    reference = Reference(import_checkpoint(path))
    for row, values in zip(labels, exact, strict=True):
        made = reference.run("step", {f"label.{k}": label for k, label in enumerate(row)})
        np.testing.assert_array_equal(made, values)
    program = compile_checkpoint(path, PRESETS["base"])
    with open_device(engine, PRESETS["base"]) as device:
        device.load(program)
        device.run("prepare")
        for row, values in zip(labels, exact, strict=True):
            device.run("step", dict(enumerate((*row.tolist(), 3), 1)))
            np.testing.assert_array_equal(device.read("output", 3), values)


def test_training_graph_on_tokens_is_near_its_own_integers_and_learns():
    torch.manual_seed(0)
    network = Stack(WORDS)
    network.weight_bits = 8
    labels = torch.randint(0, 37, (3, 5, 6))
    exact, made = ExactStack(network.checkpoint(None, {}))(labels) / 256, network(labels)
    assert made.shape == exact.shape == (3, 5, 7)
    assert (exact - made).abs().max() < 0.05
    made.square().sum().backward()
    used = torch.zeros(37, dtype=torch.bool)
    used[labels.unique()] = True
    assert (network.embedding.grad.abs().sum(1) > 0).equal(used)


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


def test_round_trip_of_tokens(tmp_path):
    first = random_stack(WORDS)
    write_checkpoint(tmp_path / "x", first)
    again = read_checkpoint(tmp_path / "x")
    assert again.topology == WORDS and again.frontend is None and again.tokenizer == b""
    np.testing.assert_array_equal(again.embedding, first.embedding)
    np.testing.assert_array_equal(
        import_checkpoint(tmp_path / "x").tables["tokens.embedding"], first.embedding
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda table: table[:-1].copy(), r"tokens.embedding .*int8 \[36, 10\]"),
        (lambda table: table.astype(np.int16), "tokens.embedding .*int16"),
        (None, "tokens.embedding.*missing"),
    ],
)
def test_wrong_and_missing_tables_are_refused(tmp_path, change, message):
    write_checkpoint(tmp_path / "x", random_stack(WORDS))
    tensors, header = load_file(tmp_path / "x"), read_checkpoint(tmp_path / "x").full_header()
    table = tensors.pop("tokens.embedding")
    if change:
        tensors["tokens.embedding"] = change(table)
    save_file(tensors, tmp_path / "wrong", metadata={"ossicle": json.dumps(header)})
    for read in (read_checkpoint, import_checkpoint):
        with pytest.raises(ValueError, match=message):
            read(tmp_path / "wrong")


def tokens_of(*layers, labels=2, buckets=8, **more):
    tokens = {"labels": labels, "buckets": buckets, "embedding": 4}
    return {"kind": STACK, "tokens": tokens, "layers": list(layers) or [{"linear": 2}], **more}


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
    (tokens_of(features=120), "features or tokens, not both"),
    (tokens_of(labels=7), "tokens of 6 labels and 65536 buckets at most"),
    (tokens_of(buckets=65537), "tokens of 6 labels and 65536 buckets at most"),
    (tokens_of(buckets=0), r"1 or more, not \[0\]"),
    (tokens_of(labels=2.5), r"1 or more, not \[2.5\]"),
    (tokens_of() | {"tokens": {"labels": 2}}, "tokens need labels, buckets and embedding"),
    (tokens_of() | {"tokens": 3}, "tokens need labels, buckets and embedding, not 3"),
    (tokens_of({"lstm": 4}, {"linear": 2, "reduce": 2}), "no layer can have reduce"),
    (tokens_of(kept=4), "states are to be kept, but no layer has one"),
    (tokens_of({"lstm": 4}, {"linear": 2}, kept=0), r"1 or more, not \[0\]"),
    (tokens_of({"lstm": 4}, {"linear": 2}, kept=65537), "kept in 65536 slots at most, not 65537"),
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
