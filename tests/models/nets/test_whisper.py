"""Whispered speech made of voiced speech, and the detector."""

import numpy as np
import pytest
from sounds import RATE, SENTENCES, WEIGHTS, espeak, voice

pytest.importorskip("torch", reason="needs torch (the extra 'train')")
from ossicle.models.data.whisper import whisper
from ossicle.models.export import read_checkpoint
from ossicle.models.nets import whisper as detector
from ossicle.models.nets.task import outputs
from ossicle.runtime.frontend import features


def periodicity(samples):
    """Largest autocorrelation at lags of 60 to 400 Hz, median over frames of 50 ms."""
    found = []
    for start in range(0, len(samples) - 800, 400):
        frame = samples[start : start + 800].astype(float)
        frame -= frame.mean()
        correlation = np.correlate(frame, frame, "full")[799:]
        found.append(correlation[40:266].max() / correlation[0])
    return float(np.median(found))


def test_whispered_speech_has_no_pitch_and_is_quieter():
    said = voice(1.5)
    made = whisper(said, np.random.default_rng(1))
    assert made.dtype == np.int16 and len(made) == len(said)
    assert periodicity(said) > 0.8 and periodicity(made) < 0.4
    lower = 10 * np.log10(np.mean(said.astype(float) ** 2) / np.mean(made.astype(float) ** 2))
    assert 9.5 < lower < 20.5


def test_whispered_speech_keeps_the_formants():
    said = voice(2.0)
    made = whisper(said, np.random.default_rng(2)).astype(float)
    spectrum = np.abs(np.fft.rfft(made[: 2 * RATE])) ** 2
    smooth = np.convolve(spectrum, np.ones(200) / 200, "same")
    hertz = np.fft.rfftfreq(2 * RATE, 1 / RATE)

    def level(low, high):
        return smooth[(hertz >= low) & (hertz < high)].mean()

    assert level(1400, 1600) > 4 * level(1900, 2100)
    assert level(2400, 2600) > 3 * level(1900, 2100)


def test_too_short_a_clip_is_refused():
    with pytest.raises(ValueError, match="100 samples; a whisper needs 512"):
        whisper(np.zeros(100, np.int16), np.random.default_rng(0))


def test_loud_frames_are_the_ones_that_decide():
    frames = np.full((30, 40), -100, np.int8)
    frames[9:18] = 20
    np.testing.assert_array_equal(np.flatnonzero(detector.loud(frames)), [3, 4, 5])
    logits = np.zeros((10, 2))
    logits[3:6, 1] = 8
    logits[6:, 0] = 50
    assert detector.decide([logits], [frames])[0] > 0.99


def test_shipped_whisper_detector(tmp_path):
    checkpoint = read_checkpoint(WEIGHTS / "whisper.safetensors")
    said = [espeak(text, name, tmp_path) for text in SENTENCES for name in ("en-us+f3", "en-gb+m5")]
    breathed = [espeak(text, "en-us+whisper", tmp_path) for text in SENTENCES]
    breathed += [whisper(audio, np.random.default_rng(3)) for audio in said]
    clips = [features(audio, checkpoint.frontend).reshape(-1, 40) for audio in (*said, *breathed)]
    found = detector.decide(outputs(checkpoint, clips), clips) >= 0.5
    right = found == (np.arange(len(clips)) >= len(said))
    assert right.mean() >= 0.85
