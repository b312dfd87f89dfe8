"""Other voices and tempos of features."""

import numpy as np
import pytest
from ossicle.models.data.warp import SPEEDS, Bands, Warper, moved, tempo
from ossicle.runtime.frontend import FrontendParameters

MELS = 40


@pytest.fixture(scope="module")
def parameters():
    rng = np.random.default_rng(0)
    return FrontendParameters.from_statistics(rng.normal(12000, 500, MELS), rng.uniform(1500, 2500, MELS))


def spectra(frames=90, seed=1):
    return np.random.default_rng(seed).integers(-90, 90, (frames, MELS)).astype(np.int8)


def test_warping_stays_in_range_and_moves_things(parameters):
    warped = Warper(parameters)(spectra(), np.random.default_rng(3))
    assert warped.min() >= -128 and warped.max() <= 127
    assert (warped == np.rint(warped)).all()
    assert int(90 / SPEEDS[1]) <= len(warped) <= int(90 / SPEEDS[0])


def test_the_same_seed_gives_the_same_clip(parameters):
    first, again = (Warper(parameters)(spectra(), np.random.default_rng(5)) for _ in range(2))
    np.testing.assert_array_equal(first, again)


@pytest.mark.parametrize("seed", range(20))
def test_a_tempo_takes_frames_in_order_from_first_to_last(seed):
    taken = tempo(200, np.random.default_rng(seed))
    assert (np.diff(taken) >= 0).all() and np.diff(taken).max() <= 4
    assert taken[0] <= 2 and taken[-1] >= 195


@pytest.mark.parametrize("frames", [1, 2, 13])
def test_the_shortest_clips_have_a_tempo(frames):
    taken = tempo(frames, np.random.default_rng(0))
    assert ((taken >= 0) & (taken < frames)).all()
    assert moved(np.ones((frames, MELS), np.float32), 0.5).shape == (frames, MELS)


def test_a_longer_vocal_tract_lowers_a_formant(parameters):
    bands = Bands(parameters)
    spectrum = np.exp(-((np.arange(MELS) - 20) ** 2) / 8)
    assert (spectrum @ bands.warp(1.15)).argmax() < 20 < (spectrum @ bands.warp(0.87)).argmax()
    np.testing.assert_allclose(spectrum @ bands.warp(1.0), spectrum, atol=1e-6)


def test_contrast_sharpens_a_formant_and_leaves_a_flat_spectrum(parameters):
    bands = Bands(parameters)
    spectrum = np.exp(-((np.arange(MELS) - 20) ** 2) / 8)
    assert (spectrum @ bands.contrast(0.5)).max() > 1.01 > 0.99 > (spectrum @ bands.contrast(-0.5)).max()
    np.testing.assert_allclose(np.ones(MELS) @ bands.contrast(0.6), np.ones(MELS), atol=1e-6)


def test_movement_grows_or_shrinks_what_changes():
    steps = np.repeat(np.array([[0.0], [10.0], [0.0]], np.float32), 3, axis=0)
    assert moved(steps, 0.5).max() > 10 > 9.9 > moved(steps, -0.9)[4:5].min() - 1
    np.testing.assert_array_equal(moved(steps, 0.0), steps)
