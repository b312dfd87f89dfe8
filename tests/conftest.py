"""Shared by all tests: no colours, no traceback hiding, and a model small enough to compile in a second."""

from __future__ import annotations

import os
from pathlib import Path

# Before torch and numpy are loaded. Tests run in as many workers as there are cores: with a team of threads
# each, a worker waits for another's.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
from hypothesis import settings

settings.register_profile("ossicle", deadline=None)  # a busy machine is no defect
settings.load_profile("ossicle")


@pytest.fixture(scope="session")
def untrained_checkpoint(tmp_path_factory) -> Path:
    """A checkpoint of random weights and the shapes of the shipped one."""
    from ossicle.models.export import write_checkpoint
    from ossicle.models.untrained import untrained

    path = tmp_path_factory.mktemp("model") / "untrained.safetensors"
    write_checkpoint(path, untrained())
    return path


@pytest.fixture(scope="session")
def noise_wav(tmp_path_factory) -> Path:
    """0.4 s of noise, 16 kHz, 16 bit."""
    import soundfile

    path = tmp_path_factory.mktemp("audio") / "noise.wav"
    samples = np.random.default_rng(0).normal(0, 3000, 6400).clip(-32768, 32767).astype(np.int16)
    soundfile.write(path, samples, 16000, subtype="PCM_16")
    return path
