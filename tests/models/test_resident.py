"""Batches made where they lie: shapes, lengths and what is left of the clips."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch (the extra 'train')")
from ossicle.models.data.batches import FRAMES_A_STEP, Pack, SpecAugment, trim  # noqa: E402
from ossicle.models.data.resident import STEPS, ResidentBatches, labels_of  # noqa: E402
from ossicle.models.data.resident_warp import BatchWarper, loud_parts  # noqa: E402
from ossicle.models.data.warp import Warper  # noqa: E402
from ossicle.runtime.frontend import FrontendParameters  # noqa: E402

CPU = torch.device("cpu")
PARAMETERS = FrontendParameters((9000,) * 40, (300,) * 40, (10,) * 40)
RNG = np.random.default_rng(0)


def clip(frames: int) -> np.ndarray:
    """Quiet, loud in the middle third, quiet."""
    made = RNG.integers(-110, -90, (frames, 40))
    made[frames // 3 : 2 * frames // 3] += 120
    return made.astype(np.int8)


def batches(lengths, size=4, **changes) -> ResidentBatches:
    """Over clips of so many frames, which say their number."""
    made = ResidentBatches([], lambda text: [1 + int(text)], size, PARAMETERS, 1, CPU)
    made.active = [True]
    vars(made).update(changes)
    clips = [clip(frames) for frames in lengths]
    made.add(np.concatenate(clips), list(lengths), [str(i) for i in range(len(lengths))])
    return made


def test_a_batch_has_the_shape_of_its_bucket():
    lengths = [int(n) for n in RNG.integers(90, 900, 64)]
    made = batches(lengths)
    for _, batch in zip(range(12), made, strict=False):
        steps = batch.features.shape[1] // 2
        assert steps in STEPS
        assert batch.features.shape == (made.batch_size(steps), 2 * steps, 120)
        assert batch.labels.shape == (made.batch_size(steps), labels_of(steps))
        assert (batch.frames >= 1).all() and (batch.frames <= steps).all()
        past = torch.arange(2 * steps) >= 2 * batch.frames[:, None]
        assert (batch.features[past] == -1).all()
        assert batch.features.abs().max() <= 1 and (batch.features * 128 % 1 == 0).all()


def test_an_epoch_has_every_clip_once():
    made = batches([200] * 24)
    seen = [label for _, clips in made.epoch_batches() for label in clips.tolist()]
    assert sorted(seen) == list(range(24))
    assert made.epoch == 1


def test_clips_that_are_added_come_at_once():
    made = batches([200] * 8)
    it = iter(made)
    next(it)
    made.add(clip(200), [200], ["50"])
    assert made.epoch == 1
    heard = [51 in batch.labels for _, batch in zip(range(12), it, strict=False)]
    assert made.epoch >= 2 and any(heard)


def test_without_warping_or_masks_frames_are_those_of_the_clip():
    frames = np.concatenate([clip(180) for _ in range(4)])
    made = ResidentBatches([], lambda text: [1], 4, PARAMETERS, 1, CPU)
    made.active, made.warped = [True], 0.0
    made.add(frames, [180] * 4, list("aaaa"))
    batch = next(iter(made))
    for row, steps in zip(batch.features, batch.frames, strict=True):
        found = (row.reshape(-1, 40) * 128)[: int(steps) * FRAMES_A_STEP].to(torch.int8).numpy()
        found = found[(found != -128).any(1)]
        assert {tuple(f) for f in found} <= {tuple(f) for f in frames}
        loud = (found > 0).sum(1) > 20
        assert loud.sum() == 60  # no loud frame is cut


def test_loud_parts_are_those_that_trimming_keeps():
    clips = [clip(n) for n in (90, 150, 120)]
    padded = np.zeros((3, 150, 40), np.int8)
    for row, own in zip(padded, clips, strict=True):
        row[: len(own)] = own
    first, last = loud_parts(torch.from_numpy(padded), torch.tensor([90, 150, 120]))
    assert first.tolist() == [30, 50, 40] and last.tolist() == [59, 99, 79]
    kept = trim(clips[1], np.random.default_rng(1))
    assert 49 < len(kept) <= 150


def test_spectra_are_those_of_the_warper():
    warper = BatchWarper(PARAMETERS, torch.Generator(CPU).manual_seed(3))
    frames = torch.from_numpy(clip(60)).float().expand(16, 60, 40)
    same = warper.spectra(frames, torch.zeros(16, dtype=torch.bool))
    torch.testing.assert_close(same, frames)
    voice = 7
    offset, matrix = warper.offsets[voice], warper.matrices[voice]
    mine = (frames[0] @ matrix + offset).round().clamp(-128, 127).numpy()
    theirs = Warper(PARAMETERS).shaped(clip_of(frames), Warper(PARAMETERS).voices[voice - 1], np.zeros(5))
    assert np.abs(mine - theirs).max() <= 1


def clip_of(frames):
    """The first of a batch as int8."""
    return frames[0].to(torch.int8).numpy()


def test_tempo_keeps_order_and_bounds():
    warper = BatchWarper(PARAMETERS, torch.Generator(CPU).manual_seed(3))
    frames, warped = torch.tensor([100, 150, 210, 190]), torch.tensor([True, True, True, False])
    taken, made = warper.tempo(frames, 192, warped)
    assert (made <= 192).all() and made[3] == 190
    assert (taken.diff(dim=1) >= 0).all() and (taken < frames[:, None]).all()
    assert taken[3, :190].tolist() == list(range(190))
    assert (made >= frames / 1.16 - 1).all()


def test_masks_stay_within_their_widths():
    warper = BatchWarper(PARAMETERS, torch.Generator(CPU).manual_seed(3))
    ones = torch.ones(32, 100, 40)
    masked = warper.masked(ones, torch.full((32,), 100), SpecAugment(1.0, 2, 6, 2, 20, 0.2))
    bands, spans = (masked == 0).all(1).sum(1), (masked == 0).all(2).sum(1)
    assert bands.max() <= 12 and spans.max() <= 40 and (bands > 0).any() and (spans > 0).any()
    assert (warper.masked(ones, torch.full((32,), 100), SpecAugment(0.0)) == 1).all()


def test_no_batch_to_be_had_is_said():
    made = batches([200] * 8, longest=60)
    with pytest.raises(ValueError, match="at most 60 frames"):
        next(iter(made))


def test_clips_with_context_are_refused(tmp_path):
    np.save(tmp_path / "p.npy", clip(200))
    (tmp_path / "p.jsonl").write_text('{"text": "1", "frames": 200, "offset": 0, "wake_frames": 20}\n')
    with pytest.raises(ValueError, match="context"):
        ResidentBatches([Pack(tmp_path / "p", context=True)], lambda text: [1], 4, PARAMETERS, 1, CPU)
