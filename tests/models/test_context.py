"""Context audio: a wake word before the command moves the encoder's state, and bears no loss."""

import json

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch (the extra 'train')")
from ossicle.models import train  # noqa: E402
from ossicle.models.data.augment import Augmenter  # noqa: E402
from ossicle.models.data.batches import Batches, Pack  # noqa: E402
from ossicle.models.data.pack import pack, pack_chunk, statistics  # noqa: E402
from ossicle.models.data.split import read_manifest, write_manifest  # noqa: E402
from ossicle.models.recipe import Source  # noqa: E402
from ossicle.models.train import Run  # noqa: E402

QUIET = {"say": lambda line: None}
SECONDS = 0.25


@pytest.fixture
def rows(tiny_corpus):
    return [{**row, "wake_seconds": SECONDS} for row in read_manifest(tiny_corpus)]


@pytest.fixture
def packed(rows, tmp_path):
    parameters = statistics(rows, None, 1)
    pack(rows, tmp_path / "pack", 0, None, parameters, 1, 1)
    return tmp_path / "pack", parameters


def batches_of(packed, cold, **changes):
    made = Batches([Pack(packed[0], context=True)], lambda text: [1, 2], 4, packed[1], seed=0)
    made.cold, made.warped = cold, 0.0
    vars(made).update(changes)
    return made


def test_the_pack_knows_where_the_context_ends(rows, packed, monkeypatch):
    monkeypatch.setattr(Augmenter, "_noise", lambda *_: 0.0)
    index = [json.loads(line) for line in packed[0].with_suffix(".jsonl").read_text().splitlines()]
    assert {row["wake_frames"] for row in index} == {25}
    one = [{**rows[0], "wake_seconds": 0.25}]  # a burst of noise follows
    for seed in range(6):
        _, (line,) = pack_chunk(one, 1, Augmenter(shift=0.2), packed[1], seed)
        augment, rng = Augmenter(shift=0.2), np.random.default_rng(seed)
        click = np.zeros(11200, np.int16)
        click[4000:4020] = 20000
        heard = augment(click, rng)
        assert abs(line["wake_frames"] * 160 - (augment.placement[0] + 4000 * augment.placement[1])) <= 160
        loudest = np.convolve(np.abs(heard.astype(float)), np.ones(40), "same").argmax()
        assert abs(loudest - (augment.placement[0] + 4010 * augment.placement[1])) < 400


def test_context_is_whole_encoder_frames_before_the_text(packed):
    batch = next(iter(batches_of(packed, cold=0.0)))
    assert batch.starts.tolist() == [5] * len(batch.starts)  # 25 frames of 10 ms, and 5 of silence before
    assert (batch.features.shape[1] // 2 >= batch.starts + batch.frames).all()
    assert (batch.features[:, 0, :40] == -1).all()
    cold = next(iter(batches_of(packed, cold=1.0)))
    assert cold.starts.sum() == 0


def test_a_share_starts_cold_and_speed_moves_the_boundary(packed):
    starts = []
    for _, batch in zip(range(12), batches_of(packed, cold=0.5, warped=1.0), strict=False):
        starts += batch.starts.tolist()
    assert 0.3 < np.mean(np.array(starts) == 0) < 0.7
    assert {4, 5} <= set(starts) - {0} <= {4, 5, 6}


def test_the_loss_is_the_texts_with_the_state_of_the_context(packed, tiny_recipe):
    run = Run(tiny_recipe(), **QUIET)
    batch = next(iter(batches_of(packed, cold=0.0)))
    loss = run.objective(run.network, batch)
    hidden = run.network.encode(batch.features)
    kept = torch.stack(
        [row[s : s + int(batch.frames.max())] for row, s in zip(hidden, batch.starts.tolist(), strict=True)]
    )
    torch.testing.assert_close(run.network.after_context(hidden, batch.starts)[:, : kept.shape[1]], kept)
    other = batch.features.clone()
    other[:, 1] += 0.5  # in the context
    changed = run.objective(run.network, batch.__class__(**{**vars(batch), "features": other}))
    assert changed.transducer != loss.transducer
    features = batch.features.clone().requires_grad_()
    run.objective(run.network, batch.__class__(**{**vars(batch), "features": features})).total.backward()
    assert features.grad[:, :10].abs().sum() > 0


def test_utterances_of_different_context_are_as_alone(packed, tiny_recipe):
    run = Run(tiny_recipe(), **QUIET)
    hidden = torch.randn(2, 9, 8)
    kept = run.network.after_context(hidden, torch.tensor([4, 1]))
    torch.testing.assert_close(kept[0, :5], hidden[0, 4:])
    torch.testing.assert_close(kept[1], hidden[1, 1:])
    assert run.network.after_context(hidden, torch.tensor([0, 0])) is hidden


@pytest.mark.parametrize("kind", ["transducer", "mwer", "distill"])
def test_every_objective_takes_clips_with_context(packed, tiny_recipe, tmp_path, kind):
    objective = {"kind": kind}
    first = Run(tiny_recipe(), **QUIET)
    first.train()
    if kind == "distill":
        objective["teacher"] = str(first.state)
    run = Run(tiny_recipe(initial=first.state, run=tmp_path / kind, objective=objective), **QUIET)
    batch = next(iter(batches_of(packed, cold=0.0)))
    assert np.isfinite(run.update(batch)[0])


def test_a_manifest_without_context_is_refused(tiny_recipe):
    with pytest.raises(ValueError, match="its manifest has no `wake_seconds`"):
        Run(tiny_recipe(source={"context": True}), **QUIET)


def test_a_development_set_with_context_is_measured_after_it(rows, tiny_corpus, tiny_recipe, tmp_path):
    write_manifest(tmp_path / "wake.jsonl", rows)
    dev = Source("after", str(tmp_path / "wake.jsonl"), context=True), Source("whole", str(tiny_corpus))
    run, asked = Run(tiny_recipe(dev=list(dev)), **QUIET), []

    def transcribe(checkpoint, clips, begins):
        asked.append((clips, begins))
        return [""] * len(clips)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "transcribe", transcribe)
        assert run.evaluate() == {"after": 100.0, "whole": 100.0}
    (after, begins), (whole, none) = asked
    assert set(begins) == {5} and set(none) == {0}  # 25 frames of 10 ms, and 5 of silence before
    for clip, plain in zip(after, whole, strict=True):
        assert len(clip) % 2 == 0 and (clip[0] == -128).all()
        frames = clip.reshape(-1, 40)[5 : 5 + 3 * len(plain)]
        np.testing.assert_array_equal(frames, plain.reshape(-1, 40))
