import numpy as np
import pytest
import random_models
from hypothesis import given
from hypothesis import strategies as st
from ossicle.compiler.passes.legalize import legalize
from ossicle.compiler.passes.reside import BUFFERS, reside_parameters, reside_weights, share
from ossicle.compiler.passes.tile import RESIDENT_SLOTS, tile
from ossicle.compiler.plan import Options, Plan
from ossicle.hw.config import PRESETS


def plan_for(weight_words: int = 512, parameter_words: int = 320, **options) -> Plan:
    config = PRESETS["small"].replace(weight_words=weight_words, parameter_words=parameter_words)
    graph = random_models.model(np.random.default_rng(1), random_models.TINY)
    return legalize(Plan(graph, config, Options(**options)))


def resident_words(plan: Plan) -> int:
    return sum(layer.resident_slots * layer.words for layer in plan.layers.values())


def test_what_fits_stays():
    plan = reside_weights(plan_for())
    assert plan.weight_buffer == 0
    assert all(layer.resident_slots == layer.slots for layer in plan.layers.values())


def test_nothing_stays_if_so_wished():
    plan = reside_weights(plan_for(resident=False))
    assert plan.weight_buffer and resident_words(plan) == 0


@pytest.mark.parametrize("words", [16, 32, 47, 60, 80])
def test_what_stays_and_the_buffers_fit(words):
    plan = reside_weights(plan_for(words))
    assert resident_words(plan) + BUFFERS * plan.weight_buffer <= words
    for layer in plan.layers.values():
        assert layer.resident_slots == layer.slots or layer.words <= plan.weight_buffer


def test_layers_used_most_stay_first():
    plan = reside_weights(plan_for(60))
    most = max(plan.layers.values(), key=lambda layer: layer.calls)
    assert most.name == "joint.output" and most.resident_slots == most.slots


@pytest.mark.parametrize("words", [16, 32, 47, 60, 80])
def test_the_fewest_bytes_are_fewer_words_and_tiles(words):
    def streamed(**options) -> tuple[float, float]:
        plan = tile(reside_weights(plan_for(words, **options)))
        gone = [layer for layer in plan.layers.values() if layer.resident_slots < layer.slots]
        brought = sum(layer.calls * (layer.slots - layer.resident_slots) * layer.words for layer in gone)
        return brought, sum(layer.calls * sum(not one.resident for one in layer.tiles) for layer in gone)

    assert streamed(fewest_bytes=True)[0] <= streamed()[0]
    alone, usual = streamed(fewest_bytes=True, resident=False), streamed(resident=False)
    assert alone[0] == usual[0] and alone[1] <= usual[1]


@given(words=st.integers(0, 200))
def test_shares(words):
    layers = list(plan_for().layers.values())
    slots = share(words, layers)
    assert sum(slots[layer.name] * layer.words for layer in layers) <= words
    assert all(0 <= slots[layer.name] <= layer.slots for layer in layers)


@pytest.mark.parametrize("words", [8, 9, 20, 30])
def test_parameters_that_stay_and_buffers_fit(words):
    plan = reside_parameters(plan_for(parameter_words=words))
    kept = sum(layer.steps for layer in plan.layers.values() if layer.parameters_resident)
    assert kept + BUFFERS * plan.parameter_buffer <= words
    assert plan.parameter_buffer >= 1


def test_resident_and_streamed_tiles_take_turns():
    plan = tile(reside_weights(plan_for(60)))
    for layer in plan.layers.values():
        covered = [slot for t in layer.tiles for slot in range(t.first, t.first + t.slots)]
        assert covered == list(range(layer.slots))
        assert sum(t.slots for t in layer.tiles if t.resident) == layer.resident_slots
        stay = [t.slots for t in layer.tiles if t.resident]
        assert not stay or len(stay) == 1 or min(stay) >= RESIDENT_SLOTS
