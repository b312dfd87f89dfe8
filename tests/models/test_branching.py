"""Encoders with a branch: checkpoints, and the same integers in training, compiler and processor."""

import dataclasses

import numpy as np
import pytest
from ossicle.compiler.api import compile_checkpoint
from ossicle.compiler.encoder import encoder_shapes as compiled_shapes
from ossicle.compiler.importer import import_checkpoint
from ossicle.compiler.reference import Reference
from ossicle.hw.config import NpuConfig
from ossicle.models.encoder import FAST, SCORE, SLOW, check_branch, encoder_shapes
from ossicle.models.export import SMALL_TOPOLOGY, Checkpoint, read_checkpoint, write_checkpoint
from ossicle.models.untrained import untrained
from ossicle.runtime.driver import Driver
from ossicle.runtime.profile import Profile
from ossicle.sim.device import open_device

BRANCH = {"from": 1, "hidden": 16}
TOPOLOGY = {**SMALL_TOPOLOGY, "branch": BRANCH}


def biased(checkpoint: Checkpoint, bias: int) -> Checkpoint:
    """The checkpoint with another bias of the score, in accumulator units."""
    score = dataclasses.replace(checkpoint.matrices[SCORE], bias=np.int32([bias]))
    return dataclasses.replace(checkpoint, matrices={**checkpoint.matrices, SCORE: score})


def scores(path, features) -> np.ndarray:
    """The arbitrator's score at each frame of a checkpoint, as the compiler's reference has it."""
    graph = import_checkpoint(path)
    encode = graph.routines["encode"]
    end = next(k for k, op in enumerate(encode.ops) if op.name == SCORE) + 1
    routine = dataclasses.replace(encode, ops=encode.ops[:end], output=encode.ops[end - 1].output)
    graph = dataclasses.replace(graph, routines={"encode": routine})
    return Reference(graph, features.shape[:-2]).encode(features)[..., 0]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory, features):
    """Of random weights; half of the features' frames take either side."""
    path = tmp_path_factory.mktemp("branch") / "model"
    made = biased(untrained(seed=3, branch=BRANCH), 0)
    write_checkpoint(path, made)
    score = made.matrices[SCORE]
    middle = np.median(scores(path, features)) * 2.0 ** score.shift[0] / score.multiplier[0]
    return biased(made, -round(middle))


@pytest.fixture(scope="module")
def features():
    return np.random.default_rng(1).integers(-128, 128, (3, 48, 120)).astype(np.int8)


def test_reader_and_writer_mean_the_same_matrices():
    for begin in (1, 2):
        topology = {**TOPOLOGY, "branch": {"from": begin, "hidden": 7}}
        assert list(encoder_shapes(topology).items()) == list(compiled_shapes(topology).items())
    assert list(encoder_shapes(SMALL_TOPOLOGY).items()) == list(compiled_shapes(SMALL_TOPOLOGY).items())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"branch": {"from": 3, "hidden": 5}}, "a branch from layer 3; the encoder's last is 2"),
        ({"branch": {"from": 0, "hidden": 5}}, "whole numbers of 1 or more; it is {'from': 0"),
        ({"branch": {"from": 1}}, "a branch has from and hidden"),
        ({"branch": 7}, "it is 7"),
        ({"encoder": [{"hidden": 4, "reduce": 1}] * 2 + [{"hidden": 4, "reduce": 2}]}, "must not join steps"),
    ],
)
def test_wrong_branches_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        check_branch({**TOPOLOGY, **change})


def test_a_checkpoint_without_a_side_is_refused(checkpoint, tmp_path):
    lacking = {name: m for name, m in checkpoint.matrices.items() if name != "encoder.2.fast"}
    with pytest.raises(ValueError, match=r"matrices \['encoder.2.fast'\] are missing"):
        write_checkpoint(tmp_path / "part", dataclasses.replace(checkpoint, matrices=lacking))


def test_training_and_compiler_compute_the_same(checkpoint, features, tmp_path):
    torch = pytest.importorskip("torch", reason="needs torch (the extra 'train')")
    from ossicle.models.exact import ExactTransducer

    write_checkpoint(tmp_path / "model", checkpoint)
    exact = ExactTransducer(read_checkpoint(tmp_path / "model"))
    reference = import_checkpoint(tmp_path / "model")
    encoded = exact.encode(torch.from_numpy(features)).numpy().astype(np.int64)
    np.testing.assert_array_equal(encoded, Reference(reference, (3,)).encode(features))
    scored = exact.scores(torch.from_numpy(features)).numpy()
    np.testing.assert_array_equal(scored, scores(tmp_path / "model", features))
    assert scored.shape == (3, 24) and 0.2 < (scored > 0).mean() < 0.8


@pytest.mark.parametrize(("bias", "side"), [(1 << 30, SLOW), (-(1 << 30), FAST)])
def test_one_side_throughout_is_the_model_of_that_side(checkpoint, features, bias, side):
    torch = pytest.importorskip("torch", reason="needs torch (the extra 'train')")
    from ossicle.models.exact import ExactTransducer

    matrices = {name: m for name, m in checkpoint.matrices.items() if not name.endswith(FAST)}
    matrices |= {f"encoder.{i}": checkpoint.matrices[f"encoder.{i}{side}"] for i in (1, 2)}
    topology = {key: value for key, value in checkpoint.topology.items() if key != "branch"}
    plain = dataclasses.replace(checkpoint, topology=topology, matrices=matrices)
    made = ExactTransducer(biased(checkpoint, bias)).encode(torch.from_numpy(features))
    assert torch.equal(made, ExactTransducer(plain).encode(torch.from_numpy(features)))


def test_the_processor_takes_the_branch_itself(checkpoint, features, tmp_path):
    """The reference's words; a row of the profile for the side that ran; the fast side in fewer cycles."""
    config = NpuConfig.load("base")
    write_checkpoint(tmp_path / "model", checkpoint)
    program, graph = compile_checkpoint(tmp_path / "model", config), import_checkpoint(tmp_path / "model")
    reference, took = Reference(graph), {True: [], False: []}
    with open_device("fast", config) as device:
        profile = Profile(device, program, config)
        driver = Driver(device, program, profile)
        driver.reset()
        for frames in features[0].reshape(-1, 2, 120):
            profile.clear()
            slot = driver.encode(frames)
            np.testing.assert_array_equal(device.read("encoded", slot), reference.encode(frames)[0])
            rows = {row.layer: row for row in profile.layers()}
            slow = "encoder.1" in rows
            assert ("encoder.2.fast" in rows, "encoder.2" in rows) == (not slow, slow)
            assert sum(row.cycles for row in rows.values()) == profile.jobs[0].cycles
            took[slow].append(profile.jobs[0].cycles)
    assert took[True] and took[False]
    assert max(took[False]) < 0.7 * min(took[True])
