"""Whisper and speaker on a device say what the training code says of the same clip, and refuse other nets."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from ossicle.compiler.api import compile_checkpoint
from ossicle.hw.config import PRESETS
from ossicle.runtime.feature_net import FeatureNet, loud
from ossicle.runtime.frontend import FrontendParameters, features
from ossicle.runtime.programs import default_model, sample_files
from ossicle.runtime.speaker import SpeakerEncoder
from ossicle.runtime.whisper import Voice, WhisperDetector
from ossicle.sim.device import open_device

CONFIG = PRESETS["base"]
NAMES = ("whisper", "speaker", "endpoint", "nlu")
PATHS = {name: default_model(f"weights/{name}.safetensors") for name in NAMES}
PROGRAMS = {name: compile_checkpoint(path, CONFIG) for name, path in PATHS.items()}


@pytest.fixture(scope="module")
def clip():
    """Feature vectors of a shipped recording, [n, 120]."""
    samples, _ = soundfile.read(sample_files()[2], dtype="int16")
    return features(samples, FrontendParameters.from_dict(PROGRAMS["whisper"].meta["frontend"]))


def outputs_of(name, frames):
    """The decision of the training code, from the checkpoint's integers."""
    pytest.importorskip("torch", reason="the training code needs torch")
    from ossicle.models.export import read_checkpoint

    checkpoint = read_checkpoint(PATHS[name])
    if name == "speaker":
        from ossicle.models.nets.speaker import embed

        return embed(checkpoint, [frames])[0]
    from ossicle.models.nets.task import outputs
    from ossicle.models.nets.whisper import decide

    return decide(outputs(checkpoint, [frames]), [frames])[0]


def test_the_detector_decides_as_in_training(clip):
    with open_device("functional", CONFIG) as device:
        detector = WhisperDetector(device, PROGRAMS["whisper"])
        assert detector.voice is None
        detector.accept(clip)
        voice = detector.voice
        assert voice.probability == pytest.approx(outputs_of("whisper", clip.reshape(-1, 40)), abs=1e-12)
        detector.begin()
        assert detector.voice is None and not voice.whispered
        assert Voice(0.5).whispered


def test_the_encoder_embeds_as_in_training(clip):
    with open_device("functional", CONFIG) as device:
        encoder = SpeakerEncoder(device, PROGRAMS["speaker"])
        assert encoder.vector() is None
        encoder.accept(clip[:7])
        encoder.accept(clip[7:])
        assert encoder.vector() == pytest.approx(outputs_of("speaker", clip.reshape(-1, 40)), abs=1e-12)
        assert np.linalg.norm(encoder.vector()) == pytest.approx(1)


def test_silence_around_the_speech_is_not_in_the_mean(clip):
    with open_device("functional", CONFIG) as device:
        encoder = SpeakerEncoder(device, PROGRAMS["speaker"])
        encoder.accept(clip)
        outputs = encoder.net.outputs
        spoken = encoder.vector((10 * 960, 20 * 960 - 2880))
        assert spoken == pytest.approx(
            outputs[10:20].mean(axis=0) / np.linalg.norm(outputs[10:20].mean(axis=0)), abs=1e-12
        )
        assert encoder.vector((10**7, 10**7)) is None


def test_steps_of_two_vectors_wait_for_both(clip):
    with open_device("functional", CONFIG) as device:
        net = FeatureNet(device, PROGRAMS["speaker"])
        assert net.accept(clip[:1]).shape == (0,) and len(net.accept(clip[1:5])) == 2
        assert net.cycles.jobs == {"reset": 1, "step": 2} and len(net.loud) == 2


@given(st.lists(st.floats(-100, 100), min_size=1, max_size=50))
def test_the_loudest_step_is_loud_and_the_scale_does_not_matter(levels):
    found = loud(np.array(levels))
    assert found[int(np.argmax(levels))]
    assert (loud(np.array(levels) * 4) == found).all()


def test_nothing_is_loud_in_nothing():
    assert loud(np.zeros(0)).shape == (0,)


@pytest.mark.parametrize(
    ("kind", "program", "message"),
    [
        (WhisperDetector, "speaker", "not a whisper detector: its outputs are voiced, whispered"),
        (SpeakerEncoder, "endpoint", "not a speaker encoder: its outputs have names"),
        (FeatureNet, "nlu", "not a net that steps on features"),
    ],
)
def test_other_nets_are_refused(kind, program, message):
    with open_device("functional", CONFIG) as device, pytest.raises(ValueError, match=message):
        kind(device, PROGRAMS[program])
