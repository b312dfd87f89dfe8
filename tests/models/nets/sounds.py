"""Audio that the tests make: a buzz, and sentences of espeak-ng; a frontend to see it with."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
from ossicle.models.untrained import DEVIATION, MEAN
from ossicle.runtime.frontend import FrontendParameters

RATE = 16000
FRONTEND = FrontendParameters.from_statistics(MEAN, DEVIATION)
WEIGHTS = Path(__file__).parents[3] / "models/weights"
SENTENCES = ("turn on the kitchen lights", "what is the weather tomorrow", "set a timer for ten minutes")


def voice(seconds, pitch=120.0, seed=0):
    """A buzz of a pitch through two formants that move: int16 at 16 kHz."""
    rng = np.random.default_rng(seed)
    t = np.arange(int(seconds * RATE)) / RATE
    phase = 2 * np.pi * np.cumsum(pitch * (1 + 0.01 * np.sin(2 * np.pi * 2 * t))) / RATE
    made = np.zeros_like(t)
    for k in range(1, 40):
        hertz = k * pitch
        gain = sum(1 / (1 + ((hertz - f) / 150) ** 2) for f in (500, 1500, 2500)) + 0.01
        made += gain * np.sin(k * phase)
    return (3000 * made / np.abs(made).max() + rng.normal(0, 3, len(t))).astype(np.int16)


def espeak(text, voice_name, folder):
    """A clip of espeak-ng at 16 kHz."""
    if shutil.which("espeak-ng") is None:
        pytest.skip("needs espeak-ng")
    path = folder / "clip.wav"
    subprocess.run(["espeak-ng", "-v", voice_name, "-w", str(path), text], check=True, timeout=60)
    audio, rate = soundfile.read(path)
    return np.rint(soxr.resample(audio, rate, RATE) * 20000).astype(np.int16)
