"""From a manifest to batches: packs, augmentation, trimming, warping."""

import json

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch (the extra 'train')")
import soundfile  # noqa: E402
from ossicle.models.data.augment import Augmenter  # noqa: E402
from ossicle.models.data.batches import TAIL, Batches, Pack, SpecAugment, trim  # noqa: E402
from ossicle.models.data.pack import pack, read_audio, statistics  # noqa: E402
from ossicle.models.data.split import read_manifest, write_manifest  # noqa: E402


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Six clips of noise bursts in silence, 0.6 to 1.6 s."""
    folder, rng, rows = tmp_path_factory.mktemp("corpus"), np.random.default_rng(0), []
    for i in range(6):
        audio = rng.normal(0, 20, 9600 + 3200 * i)
        audio[4000:6000] += rng.normal(0, 4000, 2000)
        soundfile.write(folder / f"{i}.wav", audio.astype(np.int16), 16000, subtype="PCM_16")
        rows.append({"path": f"{i}.wav", "text": "abc"[: 1 + i % 3], "speaker": str(i), "source": "noise"})
    write_manifest(folder / "all.jsonl", rows)
    return folder


@pytest.fixture(scope="module")
def packed(corpus):
    rows = read_manifest(corpus / "all.jsonl")
    parameters = statistics(rows, None, 1)
    pack(rows, corpus / "pack", 2, Augmenter(shift=0.05), parameters, 1, 1)
    return corpus / "pack", parameters


def test_pack_holds_every_copy(packed):
    path, _ = packed
    index = [json.loads(line) for line in path.with_suffix(".jsonl").read_text().splitlines()]
    frames = np.load(path.with_suffix(".npy"), mmap_mode="r")
    assert len(index) == 12
    assert frames.dtype == np.int8 and frames.shape == (sum(row["frames"] for row in index), 40)
    ends = [row["offset"] + row["frames"] for row in index]
    assert [row["offset"] for row in index] == [0, *ends[:-1]]


def test_augmented_clips_differ_and_repeat_by_seed(corpus):
    samples = read_audio(str(corpus / "0.wav"))
    one, again, other = (Augmenter()(samples, np.random.default_rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert one.dtype == np.int16 and len(one) >= len(samples)
    assert len(one) != len(other) or (one != other).any()


def test_batches_are_padded_whole_frames(packed):
    path, parameters = packed
    batches = Batches([Pack(path)], lambda text: [1 + "abc".index(c) for c in text], 4, parameters, seed=0)
    batch = next(iter(batches))
    assert batch.features.shape[1:] == (2 * int(batch.frames.max()), 120)
    assert batch.features.abs().max() <= 1
    assert batch.labels.shape == (len(batch.counts), int(batch.counts.max()))
    assert (batch.labels.ne(0).sum(1) == batch.counts).all()


def test_trimming_keeps_the_burst_and_the_tail(packed):
    path, _ = packed
    row = json.loads(path.with_suffix(".jsonl").read_text().splitlines()[-1])
    frames = np.load(path.with_suffix(".npy"))[row["offset"] : row["offset"] + row["frames"]]
    shorter = trim(frames, np.random.default_rng(0))
    assert len(shorter) <= len(frames)
    np.testing.assert_array_equal(shorter[-TAIL:], frames[-TAIL:])
    assert shorter.mean(axis=1).max() == frames.mean(axis=1).max()


def test_masks_are_of_the_sizes_asked_for():
    frames, widths = np.ones((200, 40), np.float32), set()
    masks = SpecAugment(share=1.0, bands=1, band_width=6, spans=1, span_width=30, span_part=0.1)
    for seed in range(60):
        masked = masks(frames, np.random.default_rng(seed))
        bands, spans = (masked == 0).all(axis=0).sum(), (masked == 0).all(axis=1).sum()
        assert bands <= 6 and spans <= 20  # a tenth of the clip
        assert (masked == 0).sum() == bands * 200 + spans * 40 - bands * spans
        widths.add((bands, spans))
    assert {0, 6} <= {b for b, _ in widths} and {0, 20} <= {s for _, s in widths}
    assert frames.min() == 1


def test_without_masks_nothing_is_drawn():
    frames, rng = np.ones((50, 40), np.float32), np.random.default_rng(0)
    assert SpecAugment()(frames, rng) is frames
    assert rng.bit_generator.state == np.random.default_rng(0).bit_generator.state


def test_batches_go_on_where_they_stood(packed):
    path, parameters = packed

    def make():
        return Batches(
            [Pack(path, 1.5)], lambda text: [1 + "abc".index(c) for c in text], 4, parameters, seed=0
        )

    whole = make()
    iterator = iter(whole)
    expected = [(next(iterator), whole.state()) for _ in range(9)]
    for stop in (0, 3, 4, 7):
        again = make()
        again.resume(expected[stop][1])
        iterator = iter(again)
        for batch, state in expected[stop + 1 :]:
            torch.testing.assert_close(next(iterator).features, batch.features, rtol=0, atol=0)
            assert again.state() == state


@pytest.mark.parametrize("change", [{"active": [False]}, {"longest": 10}])
def test_an_epoch_of_nothing_is_said(packed, change):
    path, parameters = packed
    batches = Batches([Pack(path)], lambda text: [1 + "abc".index(c) for c in text], 4, parameters, seed=0)
    vars(batches).update(change)
    with pytest.raises(ValueError, match="no source that has begun"):
        next(iter(batches))


def test_another_rate_is_refused(tmp_path):
    soundfile.write(tmp_path / "slow.wav", np.zeros(800, np.int16), 8000)
    with pytest.raises(ValueError, match="8000 Hz"):
        read_audio(str(tmp_path / "slow.wav"))
