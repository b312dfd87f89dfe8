"""The read master: its bursts cycle by cycle against an obvious model, its data against the requests."""

from __future__ import annotations

import json
from collections import deque

import cosim
import numpy as np
import pytest
from ossicle.hw.config import PRESETS, NpuConfig
from ossicle.hw.reader import Reader
from ossicle.hw.timing import reader_queue_beats

pytestmark = pytest.mark.rtl

CONFIGS = {
    "bus32": PRESETS["small"].replace(lanes=4, burst_beats=8, outstanding=3),
    "bus64": PRESETS["small"].replace(lanes=4, bus_bits=64, burst_beats=4, outstanding=1),
}
FAST = {"latency": [0, 0], "address_ready": 1.0, "beat_ready": 1.0, "client_ready": [1.0] * 3}
SLOW = {"latency": [0, 25], "address_ready": 0.5, "beat_ready": 0.6, "client_ready": [0.9, 0.2, 0.6]}
LATE = {"latency": [40, 40], "address_ready": 1.0, "beat_ready": 0.9, "client_ready": [1.0] * 3}


class Model:
    """hw/reader.py with a variable a register; `check` takes a row of the log."""

    def __init__(self, config: NpuConfig):
        self.config = config
        self.room = [reader_queue_beats(config, n) for n in range(3)]
        self.beat, self.left = [0] * 3, [0] * 3
        self.under_way = 0
        self.address: tuple[int, int] | None = None
        self.owners: deque[int] = deque()
        self.bursts = [0] * 3

    def wanted(self, client: int) -> int:
        """Beats of the burst that a client would have now."""
        burst = self.config.burst_beats
        length = min(self.left[client], burst - self.beat[client] % burst)
        return length if self.room[client] >= length else 0

    def check(self, row: dict) -> None:
        size = self.config.bus_bytes
        shown = (row["axi__araddr"] // size, row["arlen"] + 1) if row["axi__arvalid"] else None
        assert shown == self.address
        assert row["quiet"] == (self.under_way == 0 and self.address is None)
        assert row["waiting"] == (self.under_way != 0 and not row["rvalid"])
        assert (row["beat"], row["error"]) == (row["rvalid"], int(row["rvalid"] and row["rresp"] != 0))
        free = self.address is None or row["axi__arready"]
        picked = None
        if not row["stop"] and self.under_way < self.config.outstanding and free:
            picked = next((n for n in range(3) if self.wanted(n)), None)
        length = 0 if picked is None else self.wanted(picked)
        if free:
            self.address = None if picked is None else (self.beat[picked], length)
        if picked is not None:
            self.beat[picked] += length
            self.left[picked] -= length
            self.room[picked] -= length
            self.bursts[picked] += 1
            self.under_way += 1
            self.owners.append(picked)
        self.under_way -= row["rvalid"] and row["rlast"]
        for n in range(3):
            self.room[n] += row["data"][n] is not None
            if row["asked"][n]:
                assert self.left[n] == 0
                address, self.left[n] = row["asked"][n]
                self.beat[n] = address // size


def run(config: NpuConfig, requests, tmp_path, *, cycles: int, stops=(), errors=(), **memory) -> list[dict]:
    observed = tmp_path / "observed.json"
    parameters = {
        "requests": requests, "cycles": cycles, "stops": list(stops), "errors": list(errors), "seed": 1,
        "bus_bytes": config.bus_bytes, "observed": str(observed), **memory,
    }  # fmt: skip
    cosim.run(Reader(config=config), "reader_cosim", parameters, tmp_path)
    return json.loads(observed.read_text(encoding="utf-8"))


def random_requests(config: NpuConfig, rng, count: int) -> list[list]:
    """By client: (first cycle, address, beats); a multiple of a granule, short and long, at any granule."""
    granule = config.beats_per_granule
    made = []
    for _ in range(3):
        lengths = np.where(rng.random(count) < 0.5, 1, rng.integers(1, 20, count)) * granule
        addresses = rng.integers(0, 1 << 27, count) * 32
        addresses[0] = (1 << 32) - 32 * lengths[0] // granule
        due = np.sort(rng.integers(0, 20 * count, count))
        made.append([list(map(int, r)) for r in zip(due, addresses, lengths, strict=True)])
    return made


def check_data(config: NpuConfig, requests, log: list[dict]) -> None:
    """Every client has its beats, in order, none of another's."""
    for n, mine in enumerate(requests):
        expected = [address // config.bus_bytes + k for _, address, beats in mine for k in range(beats)]
        got = [row["data"][n] for row in log if row["data"][n] is not None]
        assert got == expected


def check_bursts(config: NpuConfig, log: list[dict]) -> None:
    """No burst crosses a multiple of its greatest length, thus none a page."""
    for row in log:
        if row["axi__arvalid"]:
            first, last = row["axi__araddr"], row["axi__araddr"] + (row["arlen"] + 1) * config.bus_bytes - 1
            whole = config.burst_beats * config.bus_bytes
            assert first // whole == last // whole and first // 4096 == last // 4096


@pytest.mark.parametrize("name", cosim.mostly_slow(CONFIGS, "bus64"))
@pytest.mark.parametrize("memory", (FAST, SLOW, LATE), ids=("fast", "slow", "late"))
def test_random_transfers(name, memory, tmp_path):
    config = CONFIGS[name]
    requests = random_requests(config, np.random.default_rng(3), 12)
    log = run(config, requests, tmp_path, cycles=20_000, **memory)
    model = Model(config)
    for row in log:
        model.check(row)
    check_data(config, requests, log)
    check_bursts(config, log)
    assert min(model.bursts) > 12 and log[-1]["quiet"]


def test_priority(tmp_path):
    """Fetch before load, load before the decoder, when all ask in one cycle; address in cycle c + 2."""
    config = CONFIGS["bus32"]
    requests = [[[5, 0x1000 * (n + 1), config.burst_beats * 2]] for n in range(3)]
    log = run(config, requests, tmp_path, cycles=300, **FAST)
    firsts = [(cycle, row["axi__araddr"] >> 12) for cycle, row in enumerate(log) if row["axi__arvalid"]]
    assert [client for _, client in firsts] == [1, 1, 2, 2, 3, 3]
    asked = next(cycle for cycle, row in enumerate(log) if row["asked"][0])
    assert firsts[0][0] == asked + 2
    came = next(cycle for cycle, row in enumerate(log) if row["rvalid"])
    assert next(cycle for cycle, row in enumerate(log) if row["data"][0] is not None) == came + 1


def test_no_more_than_there_is_room_for(tmp_path):
    """A client that takes nothing is sent what its queue holds; the others go on."""
    config = CONFIGS["bus32"]
    requests = [[[0, 0x1000 * (n + 1), 64]] for n in range(3)]
    log = run(config, requests, tmp_path, cycles=600, **{**FAST, "client_ready": [1.0, 0.0, 1.0]})
    sent = [0] * 3
    for row in log:
        if row["axi__arvalid"]:
            sent[(row["axi__araddr"] >> 12) - 1] += row["arlen"] + 1
    assert sent == [64, reader_queue_beats(config, 1), 64]
    check_data(config, [requests[0], [], requests[2]], log)


def test_stop_and_errors(tmp_path):
    """After `stop` no burst is picked, those under way end, `quiet` follows; then it goes on."""
    config, stop = CONFIGS["bus32"], [40, 400]
    requests = [[[0, 0x1000 * (n + 1), 200]] for n in range(3)]
    errors = [3, 17, 18]
    log = run(config, requests, tmp_path, cycles=2000, stops=[stop], errors=errors, **LATE)
    model = Model(config)
    for row in log:
        model.check(row)
    assert not log[stop[0]]["quiet"]
    assert not any(row["axi__arvalid"] for row in log[stop[0] + 1 : stop[1] + 1])
    assert all(row["quiet"] for row in log[stop[0] + 120 : stop[1]])
    check_data(config, requests, log)
    beats = [row["error"] for row in log if row["beat"]]
    assert [n for n, error in enumerate(beats) if error] == errors
