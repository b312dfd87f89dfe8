"""Utterances, labels and decisions of the end-pointer."""

import itertools

import numpy as np
import pytest
from sounds import SENTENCES, WEIGHTS, espeak, voice

pytest.importorskip("torch", reason="needs torch (the extra 'train')")
from ossicle.models.export import read_checkpoint
from ossicle.models.nets import endpoint
from ossicle.models.nets.task import outputs
from ossicle.runtime.frontend import features


def test_speech_is_found_where_it_was_put():
    said = voice(0.5).astype(np.float32) / 32768
    audio = np.concatenate([np.zeros(4800), said, np.zeros(6400), said, np.zeros(8000)]).astype(np.float32)
    assert endpoint.speech_intervals(audio) == [[30, 80], [120, 170]]
    assert endpoint.speech_intervals(np.zeros(16000, np.float32)) == []


def test_utterances_have_pauses_and_a_tail():
    rng, pauses = np.random.default_rng(0), []
    for _ in range(20):
        audio, speech = endpoint.utterance([voice(0.6), voice(0.5, 200)], rng)
        assert audio.dtype == np.int16 and speech[0][0] >= 10
        assert 100 <= len(audio) // 160 - speech[-1][1] <= 202
        pauses += [b[0] - a[1] for a, b in itertools.pairwise(speech)]
    assert len(pauses) >= 20 and min(pauses) >= 18 and max(pauses) <= 124


def test_labels_of_frames():
    labels = endpoint.frame_labels([[3, 9], [15, 18]], 9)
    assert labels.tolist() == [1, 0, 0, 1, 1, 0, 2, 2, 2]


def test_decisions_wait_for_speech_and_count_from_its_end():
    posteriors = np.full((40, 3), [0.05, 0.05, 0.9])
    posteriors[10:20] = [0.9, 0.05, 0.05]
    assert endpoint.decisions(posteriors, 0.8) == 20
    assert endpoint.decisions(posteriors, 0.95) == 40
    assert endpoint.timer(posteriors, 5) == 24
    right, early = [[30, 60]], [[30, 90]]
    made = endpoint.curve([posteriors, posteriors], [right, early])
    np.testing.assert_allclose(made[0, :2], [50, 20 * 0.03 + 0.045 - 0.6])


def test_shipped_end_pointer(tmp_path):
    checkpoint = read_checkpoint(WEIGHTS / "endpoint.safetensors")
    rng, posteriors, speech = np.random.default_rng(0), [], []
    for text in SENTENCES:
        audio, where = endpoint.utterance([espeak(text, "en-us+f3", tmp_path)], rng)
        audio = (audio + rng.normal(0, 20, len(audio))).astype(np.int16)
        clip = features(audio, checkpoint.frontend).reshape(-1, 40)
        posteriors.append(endpoint.softmax(outputs(checkpoint, [clip])[0]))
        speech.append(where)
    right = []
    for made, where in zip(posteriors, speech, strict=True):
        labels = endpoint.frame_labels(where, len(made))
        right.append(np.mean((np.argmax(made, 1) == endpoint.SPEECH) == (labels == endpoint.SPEECH)))
    assert np.mean(right) > 0.85
    assert all(endpoint.decisions(p, 0.5) < len(p) for p in posteriors)
