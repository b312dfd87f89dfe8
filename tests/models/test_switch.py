"""Decisions of a branching encoder: what they cost, and what decides in the arbitrator's place."""

import json

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch (the extra 'train')")
from ossicle.models.evaluate import command  # noqa: E402
from ossicle.models.exact import ExactTransducer  # noqa: E402
from ossicle.models.export import write_checkpoint  # noqa: E402
from ossicle.models.points import points, write_traces  # noqa: E402
from ossicle.models.switch import (  # noqa: E402
    chance,
    cost_of,
    decisions,
    energy,
    scores_of,
    side_macs,
    threshold_of,
)
from ossicle.models.untrained import untrained  # noqa: E402


@pytest.fixture(scope="module")
def checkpoint():
    return untrained(seed=4, branch={"from": 1, "hidden": 16})


@pytest.fixture(scope="module")
def clips():
    rng = np.random.default_rng(0)
    return [rng.integers(-128, 128, (2 * steps, 120)).astype(np.int8) for steps in (9, 12, 7, 12, 10)]


def nonzeros(checkpoint, *names) -> int:
    return sum(int(np.count_nonzero(checkpoint.matrices[name].weight)) for name in names)


def test_macs_of_a_frame_are_the_weights_that_are_not_zero(checkpoint):
    slow, fast = side_macs(checkpoint)
    front = nonzeros(checkpoint, "encoder.0", "encoder.0")  # 30 ms steps
    shared = front + nonzeros(checkpoint, "arbitrator.hidden", "arbitrator.output", "encoder.projection")
    assert slow == shared + nonzeros(checkpoint, "encoder.1", "encoder.2")
    assert fast == shared + nonzeros(checkpoint, "encoder.1.fast", "encoder.2.fast")


def test_cost_is_the_mean_over_frames(checkpoint):
    slow, fast = side_macs(checkpoint)
    cost = cost_of(checkpoint, [np.array([True, False]), np.array([False, False])])
    assert (cost.frames, cost.slow, cost.macs) == (4, 0.25, 0.25 * slow + 0.75 * fast)
    assert cost_of(checkpoint, []).frames == 0


def test_decisions_do_not_depend_on_the_batch(checkpoint, clips):
    scores = scores_of(ExactTransducer(checkpoint), clips)
    model = ExactTransducer(checkpoint, None, threshold_of(scores, 0.5))
    together = decisions(model, clips)
    assert [len(each) for each in together] == [len(clip) // 2 for clip in clips]
    assert 0.3 < np.concatenate(together).mean() < 0.7
    for clip, decided in zip(clips, together, strict=True):
        np.testing.assert_array_equal(decided, decisions(model, [clip])[0])


def test_energy_is_the_mean_of_a_frame(checkpoint, clips):
    for clip, score in zip(clips, scores_of(ExactTransducer(checkpoint, energy), clips), strict=True):
        np.testing.assert_allclose(score, clip.reshape(-1, 240).mean(axis=1), rtol=1e-4, atol=1e-4)


def test_what_decides_changes_what_is_encoded(checkpoint, clips):
    clip = torch.from_numpy(clips[0][None])
    made = [
        ExactTransducer(checkpoint, scorer, at).encode(clip)
        for scorer, at in ((None, -np.inf), (None, np.inf), (chance(1), 0.5))
    ]
    assert not torch.equal(made[0], made[1])
    assert not torch.equal(made[2], made[0]) and not torch.equal(made[2], made[1])


def test_points_have_the_cost_that_was_wanted(checkpoint, clips):
    rows = points(checkpoint, ["a b"] * len(clips), clips, (0.3, 0.7))
    assert [row["by"] for row in rows[:3]] == ["slow side", "fast side", "arbitrator"]
    assert [row["slow"] for row in rows[:2]] == [1.0, 0.0]
    assert [row["macs"] for row in rows[:2]] == list(side_macs(checkpoint))
    assert [row["by"] for row in rows[3:]] == ["arbitrator"] * 2 + ["energy"] * 2 + ["chance"] * 2
    for row in rows[3:]:
        assert row["slow"] == pytest.approx(row["wanted"], abs=0.15)


def test_points_need_a_branch_and_shares(checkpoint, clips):
    with pytest.raises(ValueError, match="has no branch"):
        points(untrained(), ["a"], clips[:1], (0.5,))
    with pytest.raises(ValueError, match=r"shares \[1.0\] must lie between 0 and 1"):
        points(checkpoint, ["a"], clips[:1], (1.0,))


def test_traces_are_written(clips, tmp_path):
    pytest.importorskip("matplotlib")
    slow = [np.arange(len(clip) // 2) % 3 == 0 for clip in clips[:2]]
    write_traces([{"path": "a.wav", "text": "a"}, {"path": "b.wav", "text": "b"}], clips[:2], slow, tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "traces.jsonl").read_text().splitlines()]
    assert lines[0] == {"path": "a.wav", "text": "a", "slow": "100100100"}
    assert (tmp_path / "0.png").stat().st_size > 1000 and (tmp_path / "1.png").exists()


def test_evaluation_reports_the_cost_of_a_branching_checkpoint_alone(checkpoint, tiny_corpus, tmp_path):
    for name, model in (("branch", checkpoint), ("plain", untrained())):
        write_checkpoint(tmp_path / name, model)
    found, table = command(tmp_path / "branch", [tiny_corpus], beam=1)
    fast, slow = sorted(side_macs(checkpoint))
    assert fast <= table[0]["encoder MACs/frame"] <= slow
    assert table[0]["slow frames %"] == round(100 * found["sets"]["noise"]["cost"]["slow"], 1)
    found, table = command(tmp_path / "plain", [tiny_corpus], beam=1)
    assert "cost" not in found["sets"]["noise"] and "slow frames %" not in table[0]
