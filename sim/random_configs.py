"""Random processors, small enough to be built in a minute; the width of the bus goes round."""

from __future__ import annotations

import numpy as np
from ossicle.hw.config import ConfigError, NpuConfig

CHOICES: dict[str, tuple[int, ...]] = {
    "lanes": (4, 8, 16, 32),
    "lookahead": tuple(range(2, 17)),
    "weight_words": (256, 384, 512, 1000),
    "accumulators": (64, 100, 256),
    "activation_words": (64, 96, 128),
    "vector_width": (4, 8, 16),
    "vector_words": (128, 200, 512),
    "parameter_words": (64, 96, 256),
    "decoder_streams": (1, 2, 4, 8, 16, 32),
    "table_log": (9, 10, 11, 12),
    "table_sets": (1, 2, 4),
    "bus_bits": (32, 64, 128, 256),
    "burst_beats": (4, 8, 16, 32, 64, 128),
    "outstanding": tuple(range(1, 17)),
    "queue_depth": tuple(range(2, 17)),
}


def random_configs(number: int, seed: int = 0) -> list[NpuConfig]:
    """So many, each the same for the same seed; neighbours differ in their bus."""
    return [_random_config(seed, n) for n in range(number)]


def _random_config(seed: int, n: int) -> NpuConfig:
    rng, buses = np.random.default_rng([seed, n]), CHOICES["bus_bits"]
    while True:
        drawn = {name: int(rng.choice(values)) for name, values in CHOICES.items()}
        try:
            return NpuConfig(**{**drawn, "bus_bits": buses[n % len(buses)]}, name=f"random-{seed}-{n}")
        except ConfigError:  # parameters that do not fit together
            continue
