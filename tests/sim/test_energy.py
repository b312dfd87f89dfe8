"""Energy: each part by hand from a table of round numbers, the shipped table, and tables that are none."""

from __future__ import annotations

import pytest
from ossicle.hw.config import PRESETS
from ossicle.hw.registers import COUNTERS
from ossicle.sim.energy import COUNTERS_USED, NAMES, SHIPPED, EnergyError, EnergyTable

TABLE = EnergyTable(
    "test", {"multiply_8": 2, "add_32": 1, "multiply_32": 5, "sram_8k_64": 8, "sram_32k_64": 16,
             "sram_1m_64": 64, "dram_64": 1000},
)  # fmt: skip
NOTHING = dict.fromkeys(COUNTERS_USED, 0)
SMALL = PRESETS["small"]


@pytest.mark.parametrize(
    ("counter", "expected"),
    [
        # A product: multiply and add; one of 16 of a word of 128 bits from the 8 KB of a weight bank and
        # the 2 KB of an activation copy.
        ("lane_products", {"mac": 3, "weights": 1, "activations": 1}),
        ("macs_skipped", {"weights": 1, "activations": 1}),
        # A cycle: four elements, each multiply, add, and 16 bits twice from 8 KB.
        ("vector_busy", {"vector": 4 * (5 + 1 + 2 * 2)}),
        ("read_beats", {"dram": 500}),
        ("write_beats", {"dram": 500}),
    ],
)
def test_each_event_by_hand(counter, expected):
    assert counter in COUNTERS
    found = TABLE.estimate(NOTHING | {counter: 1}, SMALL)
    assert found == dict.fromkeys(("mac", "weights", "activations", "vector", "dram"), 0) | expected


def test_larger_memories_cost_more():
    assert TABLE.memory(8 * 1024, 64) == 8
    assert TABLE.memory(8 * 1024 + 1, 64) == 16
    assert TABLE.memory(32 * 1024 + 1, 128) == 128


def test_the_shipped_table_names_its_source():
    table = EnergyTable.load()
    assert "Horowitz" in table.source and "ISSCC 2014" in table.source
    # Figure 1.1.9 of the source: 8-bit multiply 0.2 pJ, 32-bit add 0.1 pJ, DRAM 1.3 to 2.6 nJ.
    assert (table.picojoules["multiply_8"], table.picojoules["add_32"]) == (0.2, 0.1)
    assert 1300 <= table.picojoules["dram_64"] <= 2600
    assert set(table.picojoules) == set(NAMES)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("version = 1", "version = 2"), "version 2; this Ossicle reads 1"),
        (("multiply_8 = 0.2", "multiply_8 = true"), "needs a number"),
        (("multiply_8 = 0.2", "multiply_8 = -1"), "0 or more"),
        (("dram_64 = ", "dram = "), "dram_64"),
        (("[picojoules]", "[picojoules"), "not an energy table"),
    ],
)
def test_what_is_no_table(tmp_path, change, says):
    path = tmp_path / "table.toml"
    path.write_text(SHIPPED.read_text(encoding="utf-8").replace(*change), encoding="utf-8")
    with pytest.raises(EnergyError, match=says):
        EnergyTable.load(path)
