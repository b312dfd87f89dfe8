"""The routine `encode`: its layers, and a branch of two sides with one state."""

import dataclasses

import numpy as np
import pytest
import random_models
from ossicle.compiler.encoder import FAST, SCORE, SLOW, check_branch, encoder_shapes
from ossicle.compiler.graph import Branch, Graph, GraphError, flat, verify
from ossicle.compiler.importer import CheckpointError, import_checkpoint
from ossicle.compiler.reference import Reference
from random_models import TINY

BRANCHED = {
    **TINY,
    "encoder": [*TINY["encoder"], {"hidden": 16, "reduce": 1}],
    "branch": {"from": 1, "hidden": 5},
}
PRINTED = """\
encode(features) -> encoded int16[24] Q4.11
  encoder.0@0 int8[12] Q0.7 = lstm encoder.0 [48, 32] state encoder.0 (features.0)
  encoder.0@1 int8[12] Q0.7 = lstm encoder.0 [48, 32] state encoder.0 (features.1)
  arbitrator.hidden int8[5] Q0.7 = linear arbitrator.hidden [5, 24] tanh (encoder.0@0, encoder.0@1)
  arbitrator.output int16[1] Q4.11 = linear arbitrator.output [1, 5] identity (arbitrator.hidden)
  encoder.2@0 int8[16] Q0.7 = if arbitrator.output > 0
    encoder.1@0 int8[20] Q0.7 = lstm encoder.1 [80, 44] state encoder.1 (encoder.0@0, encoder.0@1)
    encoder.2@0 int8[16] Q0.7 = lstm encoder.2 [64, 36] state encoder.2 (encoder.1@0)
  else
    encoder.1@0 int8[20] Q0.7 = lstm encoder.1.fast [80, 44] state encoder.1 (encoder.0@0, encoder.0@1)
    encoder.2@0 int8[16] Q0.7 = lstm encoder.2.fast [64, 36] state encoder.2 (encoder.1@0)
  encoded int16[24] Q4.11 = linear encoder.projection [24, 16] identity (encoder.2@0)
"""


@pytest.fixture
def graph():
    return random_models.undecided(random_models.model(np.random.default_rng(1), BRANCHED))


def test_prints(graph):
    assert PRINTED in str(graph)


def test_matrices_are_in_the_order_of_evaluation(graph):
    used = [op.matrix for op in flat(graph.routines["encode"].ops) if hasattr(op, "matrix")]
    assert list(encoder_shapes(BRANCHED)) == list(dict.fromkeys(used))
    assert {name: graph.matrices[name].shape for name in used} == encoder_shapes(BRANCHED)


def plain(graph: Graph, side: str) -> Graph:
    """The same model without a branch: one of its sides alone."""
    shape = {key: value for key, value in BRANCHED.items() if key != "branch"}
    made = {**graph.matrices}
    for name in ("encoder.1", "encoder.2"):
        made[name] = graph.matrices[name + side]
    return random_models.transducer("side", shape, made, graph.tables["prediction.embedding"], {})


def scored(graph: Graph, bias: int) -> Graph:
    """The model with another bias of the score."""
    score = dataclasses.replace(graph.matrices[SCORE], bias=np.array([bias], np.int32))
    return dataclasses.replace(graph, matrices={**graph.matrices, SCORE: score})


@pytest.mark.parametrize(("bias", "side"), [(1 << 30, SLOW), (-(1 << 30), FAST)])
def test_one_side_throughout_is_the_model_of_that_side(graph, bias, side):
    features = np.random.default_rng(2).integers(-128, 128, (12, 20)).astype(np.int8)
    expected = Reference(plain(graph, side)).encode(features)
    assert (Reference(scored(graph, bias)).encode(features) == expected).all()


def test_states_pass_from_side_to_side(graph):
    """Step by step: the side that the score asks for, from the state that the other may have left."""
    sides = {above: Reference(plain(graph, side)) for above, side in ((True, SLOW), (False, FAST))}
    features = np.random.default_rng(3).integers(-128, 128, (40, 20)).astype(np.int8)
    reference, taken = Reference(graph), []
    for two in features.reshape(20, 2, 20):
        before = {key: dict(states) for key, states in (("h", reference.hidden), ("c", reference.cell))}
        made = reference.encode(two)[0]
        matching = []
        for above, side in sides.items():
            side.hidden, side.cell = dict(before["h"]), dict(before["c"])
            matching += [above] if (side.encode(two)[0] == made).all() else []
        assert len(matching) == 1
        taken += matching
        assert all((reference.cell[name] == sides[taken[-1]].cell[name]).all() for name in reference.cell)
    assert 0 < sum(taken) < 20


def test_streams_of_a_batch_decide_alone(graph):
    features = np.random.default_rng(4).integers(-128, 128, (6, 8, 20)).astype(np.int8)
    batch = Reference(graph, (6,)).encode(features)
    for each, row in zip(features, batch, strict=True):
        assert (Reference(graph).encode(each) == row).all()


def with_branch(graph: Graph, **changes) -> Graph:
    encode = graph.routines["encode"]
    ops = tuple(dataclasses.replace(op, **changes) if isinstance(op, Branch) else op for op in encode.ops)
    return dataclasses.replace(graph, routines={"encode": dataclasses.replace(encode, ops=ops)})


def test_sides_that_do_not_match_are_refused(graph):
    branch = next(op for op in graph.ops() if isinstance(op, Branch))
    with pytest.raises(GraphError, match="one side of branch does not make encoder"):
        verify(with_branch(graph, below=branch.below[:1]))
    below = (branch.below[0], dataclasses.replace(branch.below[1], state="encoder.1"))
    with pytest.raises(GraphError, match="the state's units: 20, where the op needs 16"):
        verify(with_branch(graph, below=below))
    with pytest.raises(GraphError, match="elements of the score: 12, where the op needs 1"):
        verify(with_branch(graph, inputs=(graph.routines["encode"].ops[0].output,)))
    with pytest.raises(GraphError, match="branch lies in the branch branch"):
        verify(with_branch(graph, below=(branch,)))


def test_sides_that_step_other_states_are_refused():
    layers = [{"hidden": 12, "reduce": 1}] * 3
    graph = random_models.model(np.random.default_rng(1), {**BRANCHED, "encoder": layers})
    branch = next(op for op in graph.ops() if isinstance(op, Branch))
    below = (branch.below[0], dataclasses.replace(branch.below[1], state="encoder.1"))
    with pytest.raises(GraphError, match=r"\['encoder.1', 'encoder.2'\] on one side, \['encoder.1', 'enc"):
        verify(with_branch(graph, below=below))


WRONG = [
    ({"branch": {"from": 3, "hidden": 5}}, "a branch from layer 3; the encoder's last is 2"),
    ({"branch": {"from": 0, "hidden": 5}}, "from and hidden of a branch must be whole numbers of 1 or more"),
    ({"branch": {"from": 1, "hidden": True}}, "must be whole numbers of 1 or more"),
    ({"branch": {"from": 1}}, "a branch has the keys from and hidden"),
    ({"branch": 7}, "a branch has the keys from and hidden, not 7"),
    ({"encoder": [{"hidden": 4, "reduce": 1}] * 2 + [{"hidden": 4, "reduce": 2}]}, "must not join steps"),
]


@pytest.mark.parametrize(("change", "message"), WRONG)
def test_wrong_branches_are_refused(change, message):
    with pytest.raises(GraphError, match=message):
        check_branch({**BRANCHED, **change})


def test_a_checkpoint_of_a_branching_encoder(tmp_path):
    header, tensors = random_models.checkpoint(np.random.default_rng(5), BRANCHED)
    random_models.write_checkpoint(tmp_path / "whole", header, tensors)
    names = [op.name for op in import_checkpoint(tmp_path / "whole").ops()]
    assert "branch" in names and "encoder.2.fast@0" in names
    del tensors["encoder.2.fast.bias"]
    random_models.write_checkpoint(tmp_path / "part", header, tensors)
    with pytest.raises(CheckpointError, match=r"tensor encoder\.2\.fast\.bias is missing"):
        import_checkpoint(tmp_path / "part")
    header["topology"] = {**BRANCHED, **WRONG[0][0]}
    random_models.write_checkpoint(tmp_path / "wrong", header, tensors)
    with pytest.raises(CheckpointError, match="a branch from layer 3"):
        import_checkpoint(tmp_path / "wrong")
