import dataclasses

import numpy as np
import pytest
import random_models
from ossicle.compiler.graph import Format, GraphError, Routine, Tensor, verify

PRINTED = """\
graph random
  state encoder.0: h int8[12], c int16[12]
  state encoder.1: h int8[20], c int16[20]
encode(features) -> encoded int16[24] Q4.11
  encoder.0@0 int8[12] Q0.7 = lstm encoder.0 [48, 32] state encoder.0 (features.0)
  encoder.0@1 int8[12] Q0.7 = lstm encoder.0 [48, 32] state encoder.0 (features.1)
  encoder.1@0 int8[20] Q0.7 = lstm encoder.1 [80, 44] state encoder.1 (encoder.0@0, encoder.0@1)
  encoded int16[24] Q4.11 = linear encoder.projection [24, 20] identity (encoder.1@0)
predict(older, newer) -> predicted int16[24] Q4.11
  embedding.older int8[10] Q0.7 = embedding prediction.embedding [31, 10] (older)
  embedding.newer int8[10] Q0.7 = embedding prediction.embedding [31, 10] (newer)
  prediction.hidden int8[18] Q0.7 = linear prediction.hidden [18, 20] tanh (embedding.older, embedding.newer)
  predicted int16[24] Q4.11 = linear prediction.projection [24, 18] identity (prediction.hidden)
joint(encoded, predicted) -> logits int16[31] Q7.8
  joint.hidden int8[24] Q0.7 = add tanh (encoded, predicted)
  logits int16[31] Q7.8 = linear joint.output [31, 24] identity (joint.hidden)"""


@pytest.fixture
def graph():
    return random_models.model(np.random.default_rng(1), random_models.TINY)


def test_prints(graph):
    assert str(graph) == PRINTED


def with_routine(graph, **changes):
    encode = graph.routines["encode"]
    return dataclasses.replace(graph, routines={"encode": dataclasses.replace(encode, **changes)})


def test_use_before_definition_is_refused(graph):
    ops = graph.routines["encode"].ops
    with pytest.raises(GraphError, match=r"encoder.1@0 reads encoder.0@1 .*, which nothing makes before"):
        verify(with_routine(graph, ops=(ops[0], ops[2], ops[1], ops[3])))


def test_double_definition_is_refused(graph):
    ops = graph.routines["encode"].ops
    with pytest.raises(GraphError, match=r"encoder.0@0 makes encoder.0@0 a second time"):
        verify(with_routine(graph, ops=(ops[0], *ops)))


def test_output_must_be_made(graph):
    with pytest.raises(GraphError, match="which nothing makes"):
        verify(with_routine(graph, output=Tensor("else", 1, Format.LOGIT)))


@pytest.mark.parametrize("index", [0, 2, 3])
def test_widths_must_fit(graph, index):
    routine: Routine = graph.routines["encode"]
    ops = list(routine.ops)
    ops[index] = dataclasses.replace(ops[index], inputs=ops[index].inputs * 2)
    with pytest.raises(GraphError, match=r"columns: .*, where the op needs"):
        verify(with_routine(graph, ops=tuple(ops)))
