"""Streaming beside computing: a layer larger than the weight memory takes little more than the longer."""

import numpy as np
import pytest
from ossicle.compiler.api import compile_gemv
from ossicle.hw.config import PRESETS
from ossicle.sim.device import open_device

CONFIG = PRESETS["base"]
SLACK = 1.05


@pytest.mark.parametrize("resident", [True, False])
@pytest.mark.parametrize("zeros", [0.3, 0.6, 0.9])
def test_a_layer_larger_than_the_weight_memory(zeros, resident):
    rng = np.random.default_rng(0)
    rows, columns = 1024, 2048
    weights = rng.normal(0, 20, (rows, columns)).round().clip(-127, 127) * (
        rng.random((rows, columns)) > zeros
    )
    assert weights.size > CONFIG.weight_bytes
    with open_device("fast", CONFIG) as device:
        device.load(compile_gemv(weights.astype(np.int8), CONFIG, resident))
        device.run("prepare")
        device.write("input", rng.integers(1, 128, columns).astype(np.int8), 0)
        cycles = device.run("gemv", {1: 0, 2: 0}).cycles
        counters = device.counters()
    bus = counters["read_beats"] + counters["write_beats"]
    assert cycles <= SLACK * max(bus, counters["lane_products"] / CONFIG.lanes)
