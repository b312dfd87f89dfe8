"""Sizes of coded weights: what is counted, and what the weights are."""

import numpy as np
import pytest
from ossicle.compiler.api import compile_gemv, gemv_graph
from ossicle.hw.config import PRESETS
from ossicle.sim import code_sizes
from ossicle.sim.benchmarks import run_gemv
from ossicle.sim.device import open_device


@pytest.mark.parametrize("kind", code_sizes.KINDS)
@pytest.mark.parametrize("bits", code_sizes.SPREADS)
def test_synthetic_weights_are_of_their_bits(kind, bits):
    top = (1 << (bits - 1)) - 1
    weights = code_sizes.synthetic_weights(kind, bits, 0.0)
    assert (weights != 0).all() and np.abs(weights).max() <= top
    sparse = code_sizes.synthetic_weights(kind, bits, 0.9)
    assert (sparse == 0).mean() >= 0.895
    assert len(np.unique(sparse)) > 1


def test_layers_hold_all_their_bits():
    weights = code_sizes.synthetic_weights("gauss", 4, 0.5, (128, 96))
    (row,) = code_sizes.layers(gemv_graph(weights), PRESETS["small"])
    assert row["weights"] == weights.size and row["zeros"] == pytest.approx((weights == 0).mean(), abs=1e-4)
    assert row["bits_per_weight"] * weights.size >= row["entropy"] * weights.size + 256  # a table image
    whole = code_sizes.summary([row])
    assert whole["ratio_to_entropy"] == pytest.approx(row["ratio_to_entropy"], rel=1e-3)


def test_the_bus_is_never_used_more_than_all_the_time():
    with open_device("fast", PRESETS["small"]) as device:
        rows = code_sizes.synthetic(device, zeros=(0.0, 0.9), shape=(64, 64))
    assert len(rows) == 16
    assert all(0 < row[name] <= 1 for row in rows for name in ("bus_use", "steady_bus_use"))


@pytest.mark.parametrize(("kind", "bits", "zeros"), [
    ("gauss", 8, 0.0), ("gauss", 4, 0.0), ("laplace", 4, 0.9), ("gauss", 2, 0.0), ("laplace", 2, 0.95),
])  # fmt: skip
def test_the_decoder_keeps_up_with_the_bus(kind, bits, zeros):
    """Dense weights of few bits take many symbols a beat, sparse ones many weights."""
    config = PRESETS["base"]
    weights = code_sizes.synthetic_weights(kind, bits, zeros, (512, 512))
    program = compile_gemv(weights, config, resident=False)
    with open_device("fast", config) as device:
        run_gemv(device, program, weights.shape[1])
        assert code_sizes.bus_use(device, program, 1) >= 0.97


def test_the_fewest_bytes_are_fewer():
    weights = code_sizes.synthetic_weights("gauss", 4, 0.9, (512, 256))

    def coded_bits(fewest_bytes: bool) -> int:
        program = compile_gemv(weights, PRESETS["base"], resident=False, fewest_bytes=fewest_bytes)
        return program.meta["report"]["layers"][0]["coded_bits"]

    assert coded_bits(True) < coded_bits(False)


def test_the_peers_code_holds_the_weights():
    mlw_codec = pytest.importorskip("ethosu.mlw_codec", reason="needs ethos-u-vela (the extra 'bench')")
    weights = code_sizes.synthetic_weights("laplace", 6, 0.5, (64, 64))
    bits = code_sizes.mlw_bits(weights)
    coded = mlw_codec.encode(weights.ravel().tolist())
    assert bits == 8 * len(coded)
    assert mlw_codec.decode(coded)[: weights.size] == weights.ravel().tolist()
    (row,) = code_sizes.layers(gemv_graph(weights), PRESETS["small"])
    assert code_sizes.summary([row])["worst_layer_ratio_to_mlw"] == row["ratio_to_mlw"]
