from itertools import combinations

import numpy as np
import random_models
from hypothesis import given, settings
from hypothesis import strategies as st
from ossicle.compiler.chunk import CHUNK, chunk
from ossicle.compiler.graph import Lstm
from ossicle.compiler.passes.allocate import allocate_tensors
from ossicle.compiler.passes.legalize import legalize
from ossicle.compiler.passes.scratch import Block, _lowest, groups
from ossicle.compiler.plan import Options, Plan
from ossicle.hw.config import PRESETS

ROOMY = PRESETS["base"].replace(activation_words=4096, vector_words=20000)


def plan_for(seed: int, steps: int, **changes) -> Plan:
    graph = random_models.model(np.random.default_rng(seed))
    config = ROOMY.replace(**changes)
    return allocate_tensors(legalize(Plan(chunk(graph, steps), config, Options(chunk=steps))))


def overlaps(a, b) -> bool:
    return a.memory == b.memory and a.start < b.start + b.size and b.start < a.start + a.size


@given(seed=st.integers(0, 10**6), steps=st.integers(2, 6), accumulators=st.sampled_from((64, 4096)))
@settings(max_examples=40, deadline=None)
def test_what_is_still_read_is_not_written_over(seed, steps, accumulators):
    """Replays the routine: each place holds the tensor that was written to it last."""
    plan = plan_for(seed, steps, accumulators=accumulators)
    routine, holds = plan.graph.routines[CHUNK], {}

    def region(name):
        return plan.regions[f"{CHUNK}/{name}"]

    def write(name):
        for other in [other for other in holds if other != name and overlaps(region(other), region(name))]:
            del holds[other]
        holds[name] = True

    for given_ in routine.inputs:
        for part in given_.parts:
            write(part.name)
    for ops in groups(routine):
        lstm = isinstance(ops[0], Lstm)
        at_once = len(ops) if lstm and len(ops) * plan.layers[ops[0].matrix].slots <= accumulators else 1
        for start in range(0, len(ops), at_once):
            batch = ops[start : start + at_once]
            assert all(tensor.name in holds for op in batch for tensor in op.inputs)
            for op in batch:
                write(op.output.name)
    assert all(output.name in holds for output in routine.outputs)


@given(seed=st.integers(0, 10**6), steps=st.integers(2, 6))
@settings(max_examples=40, deadline=None)
def test_the_h_of_the_last_steps_lies_where_a_single_step_looks_for_it(seed, steps):
    plan = plan_for(seed, steps)
    for ops in groups(plan.graph.routines[CHUNK]):
        if isinstance(ops[0], Lstm):
            last = plan.regions[f"{CHUNK}/{ops[-1].output.name}"]
            assert last == plan.previous[f"{CHUNK}/{ops[0].name}"]
            single = plan.graph.routines["encode"].ops
            assert (
                last
                == plan.previous[f"encode/{next(op for op in single if op.matrix == ops[0].matrix).name}"]
            )


@given(
    spans=st.lists(st.tuples(st.integers(0, 6), st.integers(0, 4), st.integers(1, 9)), min_size=1, max_size=9)
)
@settings(max_examples=40, deadline=None)
def test_blocks_that_live_together_lie_apart(spans):
    placed = []
    for k, (birth, length, size) in enumerate(sorted(spans)):
        block = Block("activation", (str(k),), 16 * size, birth, birth + length)
        placed.append((block, _lowest(block, placed, 64, 32)))
    for (one, at), (two, there) in combinations(placed, 2):
        together = one.birth <= two.death and two.birth <= one.death
        assert not together or at + one.size <= there or there + two.size <= at
    assert all(at >= 64 and at % 32 == 0 for _, at in placed)
