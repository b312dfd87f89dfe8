import numpy as np
import random_models
from hypothesis import given, settings
from hypothesis import strategies as st
from ossicle.compiler.chunk import RECURRENT, chunk
from ossicle.compiler.passes.legalize import legalize
from ossicle.compiler.passes.reside import BUFFERS
from ossicle.compiler.passes.reside_chunk import NEAR, Costs, fastest, fillings, leanest
from ossicle.compiler.plan import Options, Plan, Residence
from ossicle.hw.config import PRESETS

LAYERS = [{"hidden": 60, "reduce": 1}, {"hidden": 40, "reduce": 2}]


def costs_for(words: int, steps: int = 3, **options) -> Costs:
    graph = random_models.model(np.random.default_rng(1), {**random_models.TINY, "encoder": LAYERS})
    config = PRESETS["small"].replace(weight_words=words)
    return Costs(legalize(Plan(chunk(graph, steps), config, Options(chunk=steps, **options))))


@given(words=st.integers(40, 700), hold=st.integers(0, 300), buffer=st.integers(0, 60), first=st.booleans())
@settings(max_examples=40, deadline=None)
def test_a_filling_fits_its_memory(words, hold, buffer, first):
    costs = costs_for(words)
    made = costs.fill(Residence(hold, buffer, first))
    if made is None:
        return
    layers = costs.plan.layers
    resident = sum(made.resident[name] * layer.words for name, layer in layers.items())
    assert resident + hold + BUFFERS * buffer <= words
    for name, layer in layers.items():
        held = made.held.get(name, 0)
        assert 0 <= made.resident[name] + held <= layer.slots
        assert held * layer.words <= hold
        assert made.resident[name] + held == layer.slots or layer.words <= buffer
        assert not held or name.endswith(RECURRENT)


def test_all_of_a_large_memory_stays():
    made = fastest(fillings(costs_for(4000)))
    assert made.bytes == 0 and made.residence == Residence(0, 0, True)


def test_nothing_stays_if_so_wished():
    made = fastest(fillings(costs_for(500, resident=False)))
    assert not any(made.resident.values()) and not any(made.held.values())


def test_fewer_bytes_in_a_larger_memory_and_in_longer_chunks():
    by_words = [leanest(fillings(costs_for(words))).bytes for words in (120, 200, 300, 500)]
    assert by_words == sorted(by_words, reverse=True) and by_words[0] > 2 * by_words[-1]
    by_steps = [leanest(fillings(costs_for(300, steps))).bytes for steps in (2, 4, 8)]
    assert by_steps[0] > 1.6 * by_steps[1] > 2.5 * by_steps[2]


def test_the_leanest_is_not_the_fastest_at_any_price():
    found = fillings(costs_for(300))
    assert fastest(found).cycles <= NEAR * min(made.cycles for made in found)
    assert leanest(found).bytes <= NEAR * min(made.bytes for made in found)
    assert leanest(found).bytes <= fastest(found).bytes
