"""Noise of a known level."""

import numpy as np
import pytest

pytest.importorskip("scipy", reason="needs scipy (the extra 'train')")
from ossicle.models.data.worsen import mix


@pytest.mark.parametrize("snr", [5.0, 12.3, 20.0])
@pytest.mark.parametrize("level", [0.05, 0.9])
def test_the_mixture_has_the_snr_asked_for(snr, level):
    rng = np.random.default_rng(0)
    speech = (level * np.sin(np.arange(16000) / 7)).astype(np.float32)
    mixed, gain = mix(speech, rng.normal(0, 3, 16000).astype(np.float32), snr)
    noise = mixed / gain - speech
    assert 10 * np.log10(np.mean(speech**2) / np.mean(noise**2)) == pytest.approx(snr, abs=0.01)
    assert np.abs(mixed).max() < 1 and (gain < 1) == (level > 0.5)
