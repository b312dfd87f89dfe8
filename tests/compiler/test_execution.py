"""Programs of random models, executed on the functional device: every output equals the reference."""

import numpy as np
import pytest
import random_models
from ossicle.compiler.api import compile_gemv, compile_graph, gemv_graph
from ossicle.compiler.plan import CompileError, Options
from ossicle.compiler.reference import Reference
from ossicle.hw.config import PRESETS

device_module = pytest.importorskip("ossicle.sim.device")
pytest.importorskip("ossicle.sim.functional", reason="there is no functional device")

SMALL_ENOUGH = 40
"""Random cases of which a few do not fit their processor."""


def run_and_compare(graph, config, options=None, jobs=3, seed=0):
    """Two utterances through encode, predict, joint; every slot that they give against the reference."""
    program = compile_graph(graph, config, options)
    reference, rng = Reference(graph), np.random.default_rng(seed)
    parts = graph.routines["encode"].inputs[0].parts
    width = program.symbols["features"].count // len(parts)
    labels = len(graph.routines["predict"].inputs)
    vocabulary = graph.routines["joint"].output.count
    with device_module.open_device("functional", config) as device:
        device.load(program)
        device.run("prepare")
        for _ in range(2):
            device.run("reset")
            reference.reset()
            for job in range(jobs):
                features = rng.integers(-128, 128, (len(parts), parts[0].count)).astype(np.int8)
                padded = np.zeros((len(parts), width), np.int8)
                padded[:, : parts[0].count] = features
                device.write("features", padded, job)
                device.run("encode", {1: job, 2: job + 5})
                encoded = reference.encode(features)[0]
                np.testing.assert_array_equal(device.read("encoded", job + 5), encoded)
                context = rng.integers(0, vocabulary, labels).tolist()
                device.run("predict", dict(enumerate([*context, 7], 1)))
                predicted = reference.predict(*context)
                np.testing.assert_array_equal(device.read("predicted", 7), predicted)
                device.run("joint", {1: job + 5, 2: 7, 3: 1})
                np.testing.assert_array_equal(device.read("logits", 1), reference.joint(encoded, predicted))


@pytest.mark.parametrize("resident", [True, False])
@pytest.mark.parametrize("preset", PRESETS)
def test_presets(preset, resident):
    graph = random_models.model(np.random.default_rng(2), random_models.TINY)
    run_and_compare(graph, PRESETS[preset], Options(resident=resident))


@pytest.mark.parametrize("seed", range(SMALL_ENOUGH))
def test_random_models_on_random_processors(seed):
    rng = np.random.default_rng(seed)
    graph, config = random_models.model(rng), random_models.config(rng)
    run_and_compare(graph, config, Options(resident=bool(seed % 2)), seed=seed)


@pytest.mark.parametrize("resident", [True, False])
def test_gemv(resident):
    rng = np.random.default_rng(4)
    weights = (rng.integers(-127, 128, (100, 70)) * (rng.random((100, 70)) < 0.4)).astype(np.int8)
    config = PRESETS["small"]
    x = rng.integers(-128, 128, 70).astype(np.int8)
    with device_module.open_device("functional", config) as device:
        device.load(compile_gemv(weights, config, resident))
        device.run("prepare")
        device.write("input", x, 3)
        device.run("gemv", {1: 3, 2: 4})
        np.testing.assert_array_equal(
            device.read("output", 4), Reference(gemv_graph(weights)).run("gemv", {"input": x})
        )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weight_words": 16}, "weight memory: .* needs weight_words = .*, there are 16"),
        ({"accumulators": 4}, "accumulator memory: encoder.0 needs accumulators = 6, there are 4"),
        ({"activation_words": 8}, "activation memory: encode needs activation_words = .*, there are 8"),
        ({"vector_words": 16}, "vector memory: .* needs vector_words = .*, there are 16"),
    ],
)
def test_what_does_not_fit_is_named(change, message):
    graph = random_models.model(np.random.default_rng(2), {**random_models.TINY, "features": 250})
    with pytest.raises(CompileError, match=message):
        compile_graph(graph, PRESETS["small"].replace(**change))
