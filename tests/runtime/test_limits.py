"""Limits of a layer: bus and MAC lanes, and how much of its cycles they bound."""

from ossicle.hw.config import PRESETS
from ossicle.runtime.limits import limits
from ossicle.runtime.profile import LayerRow

CONFIG = PRESETS["base"]  # 32 lanes, 8 bytes a cycle


def layer(name: str, cycles: int, products: int = 0, read: int = 0, written: int = 0) -> LayerRow:
    row = LayerRow(name, macs_done=products, bytes_read=read, bytes_written=written)
    row.causes["mac"] = cycles
    return row


def test_the_longer_of_the_two_binds():
    mac, bus, every = limits(
        [layer("a", 100, 32 * 90, 8 * 50), layer("b", 300, 32 * 10, 8 * 100, 8 * 50)], CONFIG
    )
    assert (mac["limit"], mac["MAC cycles"], mac["bus cycles"], mac["bounded %"]) == ("MAC", 90, 50, 90.0)
    assert (bus["limit"], bus["bus cycles"], bus["bounded %"]) == ("bus", 150, 50.0)
    assert (every["cycles"], every["bounded %"], every["limit"]) == (400, 60.0, "bus")


def test_what_came_while_another_layer_was_at_work_bounds_no_more_than_all():
    first, every = limits([layer("a", 100, 0, 8 * 500)], CONFIG)
    assert first["bounded %"] == every["bounded %"] == 100.0


def test_bytes_without_cycles_count_for_all_alone():
    *rows, every = limits([layer("a", 10, 32 * 5), layer("instructions", 0, 0, 8 * 20)], CONFIG)
    assert [row["layer"] for row in rows] == ["a"]
    assert every["bus cycles"] == 20 and every["bounded %"] == 50.0
