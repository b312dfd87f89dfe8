"""The MAC engine against numpy in values, against the lanes' model in cycles."""

from __future__ import annotations

import json

import cosim
import numpy as np
import pytest
from ossicle.hw import isa
from ossicle.hw.config import PRESETS, NpuConfig
from ossicle.hw.mac import Mac
from ossicle.sim.cycle.lanes import LANE_STATE, engine_cycles, tag_words
from ossicle.sim.cycle.queues import SIDE

pytestmark = pytest.mark.rtl

SMALL = PRESETS["small"].replace(
    lanes=4, lookahead=2, decoder_streams=2, weight_words=64, accumulators=16, activation_words=32
)
CONFIGS = {
    "lookahead2": SMALL,
    "lookahead5": SMALL.replace(lookahead=5, decoder_streams=1, accumulators=12),
    "lookahead8": SMALL.replace(lookahead=8, lanes=8, decoder_streams=8),
}
START_TO_BEGIN = 1


class Twin:
    """What the banks hold, and the script that puts it there."""

    def __init__(self, config: NpuConfig, seed: int):
        self.config, self.rng = config, np.random.default_rng(seed)
        self.weights = np.zeros((config.lanes, config.weight_words, 16), np.int8)
        self.x = np.zeros((config.activation_words, 16), np.int8)
        self.sums = np.zeros((config.lanes, config.accumulators), np.int32)
        self.steps: list[dict] = []
        self.expected: list[dict] = []

    def refill(self, zeros: float, x_zeros: float) -> dict:
        """New content for all words."""
        rng = self.rng
        self.weights[:] = rng.integers(-128, 128, self.weights.shape)
        self.weights[rng.random(self.weights.shape) < zeros] = 0
        self.x[:] = rng.integers(-128, 128, self.x.shape)
        self.x[rng.random(self.x.shape) < x_zeros] = 0
        writes = []
        for lane, word, half in np.ndindex(*self.weights.shape[:2], 2):
            group = self.weights[lane, word, 8 * half : 8 * half + 8]
            tags = int(np.packbits(group != 0, bitorder="little")[0])
            writes.append([lane, word, half, int.from_bytes(group.tobytes(), "little"), tags])
        rng.shuffle(writes)
        content = [(n, word.tobytes()[::-1].hex()) for n, word in enumerate(self.x)]
        return {"weights": writes, "activations": content}

    def step(self, made: isa.Instruction, content: dict | None = None, clear_at: int | None = None) -> None:
        content = content or {"weights": [], "activations": []}
        whole = (0, self.config.accumulators)
        self.steps.append({**content, "word": f"{isa.encode(made):x}", "clear_at": clear_at, "read": whole})

    def run(self, content: dict | None = None, **operands: int) -> None:
        """A legal instruction: numpy's sums, the model's cycles."""
        made = isa.instruction(isa.Opcode.MAC, **operands)
        self.step(made, content)
        rows, words, base = made["rows"], made["words"], made["accumulator"]
        split, tile = min(made["split"], words), self.weights[:, made["weights"] :][:, : rows * words]
        x = np.concatenate(
            [self.x[made["activation"] :][:split], self.x[made["activation2"] :][: words - split]]
        )
        tags, x_tags = np.zeros(tile.shape[:2], np.uint16), np.zeros(words, np.uint16)
        for lane in range(self.config.lanes):
            tag_words(np.ascontiguousarray(tile[lane]), tags[lane])
        tag_words(x, x_tags)
        before = self.sums[:, base : base + rows].astype(np.int64) * made["accumulate"]
        total = tile.reshape(len(tile), rows, -1).astype(np.int64) @ x.reshape(-1).astype(np.int64)
        self.sums[:, base : base + rows] = (total + before).astype(np.int32)
        side_by_side = np.append(tags.T, np.zeros(SIDE, np.uint16))
        cycles, products, idle = engine_cycles(
            np.zeros(LANE_STATE, np.int32), side_by_side, 0, self.config.lanes, x_tags, rows,
            self.config.lookahead,
        )  # fmt: skip
        self.expected.append({
            "fault": 0, "end": START_TO_BEGIN + cycles, "products": products, "idle": idle,
            "skipped": rows * words * 16 * len(tile) - products, "sums": self.sums.copy(),
        })  # fmt: skip

    def observe(self, tmp_path) -> list[dict]:
        observed = tmp_path / "observed.json"
        parameters = {
            "steps": self.steps, "lanes": self.config.lanes, "streams": self.config.decoder_streams,
            "observed": str(observed),
        }  # fmt: skip
        cosim.run(Mac(config=self.config), "mac_cosim", parameters, tmp_path)
        return json.loads(observed.read_text(encoding="utf-8"))


def check(expected: dict, seen: dict) -> None:
    assert (seen["fault"], seen["done"], seen["end"]) == (expected["fault"], 1, expected["end"])
    assert seen["value"] == sum(seen["products"]) == expected["products"]
    assert seen["skipped"] == expected["skipped"]
    assert sum(seen["idle"]) == expected["idle"]
    got = np.array(seen["accumulators"], np.uint32).T.view(np.int32)
    np.testing.assert_array_equal(got, expected["sums"])


def random_operands(rng, config: NpuConfig) -> dict[str, int]:
    words = int(rng.integers(1, 9))
    rows = int(rng.integers(1, min(config.accumulators, config.weight_words // words) + 1))
    split = int(rng.choice([0, words, 255, rng.integers(0, words + 1)]))
    return {
        "weights": int(rng.integers(0, config.weight_words - rows * words + 1)), "rows": rows, "words": words,
        "activation": int(rng.integers(0, config.activation_words - min(split, words) + 1)), "split": split,
        "activation2": int(rng.integers(0, config.activation_words - max(words - split, 0) + 1)),
        "accumulator": int(rng.integers(0, config.accumulators - rows + 1)),
        "accumulate": int(rng.integers(2)),
    }  # fmt: skip


@pytest.mark.parametrize("name", cosim.mostly_slow(CONFIGS, "lookahead2"))
def test_random_tiles(name, tmp_path):
    """Dense to nearly empty; split inputs; sums that go on; every end exact to the cycle."""
    twin = Twin(CONFIGS[name], 11)
    whole = {"rows": twin.config.accumulators, "words": 1, "split": 1}
    twin.run(twin.refill(0, 0), **whole)
    for zeros, x_zeros in ((0.0, 0.0), (0.5, 0.0), (0.75, 0.4), (0.95, 0.2), (1.0, 0.0)):
        content = twin.refill(zeros, x_zeros)
        for _ in range(8):
            twin.run(content, **random_operands(twin.rng, twin.config))
            content = None
    for expected, seen in zip(twin.expected, twin.observe(tmp_path), strict=True):
        check(expected, seen)


@pytest.mark.slow
def test_sums_wrap(tmp_path):
    """(-128)^2 * 16 a word, added up until the sum passes 2^31."""
    twin = Twin(SMALL, 1)
    content = twin.refill(0, 0)
    twin.weights[:], twin.x[:] = -128, -128
    for write in content["weights"]:
        write[3:] = [0x8080808080808080, 0xFF]
    content["activations"] = [(n, "80" * 16) for n, _ in content["activations"]]
    whole = {"rows": 1, "words": 64, "split": 32}
    twin.run(content, **whole)
    for _ in range(130):
        twin.run(None, accumulate=1, **whole)
    assert (twin.sums[:, 0] < 0).all()
    for expected, seen in zip(twin.expected, twin.observe(tmp_path), strict=True):
        check(expected, seen)


def test_faults_and_clear(tmp_path):
    """Operands one too far fault in cycle 1 and change nothing; cleared lanes stop, and start afresh."""
    twin, config = Twin(SMALL, 2), SMALL
    fits = {
        "weights": config.weight_words - 6, "rows": 2, "words": 3, "activation": config.activation_words - 1,
        "split": 1, "activation2": config.activation_words - 2, "accumulator": config.accumulators - 2,
    }  # fmt: skip
    twin.run(twin.refill(0.3, 0), **fits)
    wrong = [
        *({name: fits[name] + 1} for name in ("weights", "activation", "activation2", "accumulator", "rows")),
        {"rows": 0}, {"words": 0}, {"words": 4}, {"split": 3}, {"split": 0, "activation2": 30},
    ]  # fmt: skip
    for change in wrong:
        twin.step(isa.instruction(isa.Opcode.MAC, **(fits | change)))
    cleared = range(2, 60, 7)
    for cycle in cleared:
        operands = {"rows": 16, "words": 4, "split": 4}
        twin.step(isa.instruction(isa.Opcode.MAC, **operands), clear_at=cycle)
        twin.run(None, **operands)
    seen = twin.observe(tmp_path)
    check(twin.expected[0], seen[0])
    for change, result in zip(wrong, seen[1:], strict=False):
        assert (result["fault"], result["end"], result["done"]) == (isa.Fault.MEMORY_RANGE, 1, 0), change
        assert result["accumulators"] == seen[0]["accumulators"], change
    for n, cycle in enumerate(cleared):
        stopped, after = seen[1 + len(wrong) + 2 * n :][:2]
        assert any(stopped["products"]) == (cycle > 5)
        assert not any(stopped["products"][cycle:]) and not any(stopped["idle"]) and "end" not in stopped
        check(twin.expected[1 + n], after)
