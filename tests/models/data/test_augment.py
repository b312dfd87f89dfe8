"""The augmenter: what it takes, and the colours and babble that it makes."""

import numpy as np
import pytest

pytest.importorskip("soxr")
import soundfile
from ossicle.models.data.augment import Augmenter, babble, coloured, excerpt


def test_folders_are_read(tmp_path):
    (tmp_path / "noise/music").mkdir(parents=True)
    (tmp_path / "rooms").mkdir()
    for i, name in enumerate(("noise/a", "noise/music/b", "rooms/c", "voice")):
        soundfile.write(tmp_path / f"{name}.flac", np.full(1000 + i, 0.1), 16000, subtype="PCM_16")
    noise, rooms, voice = (tmp_path / name for name in ("noise", "rooms", "voice.flac"))
    made = Augmenter.from_folders(noise, rooms, [voice], 0.1)
    lengths = [[len(audio) for audio in kind] for kind in (made.noises, made.music, made.rooms, made.babble)]
    assert lengths == [[1000], [1001], [1002], [1003]] and made.shift == 0.1
    assert Augmenter.from_folders(None, None, [], 0.0) == Augmenter()


def test_a_room_is_heard():
    speech = np.zeros(16000, np.int16)
    speech[:200] = 8000
    echo = np.zeros(4000, np.float32)
    echo[[0, 3000]] = 1
    audio = [
        Augmenter(rooms=[echo])._filter(speech.astype(np.float32), np.random.default_rng(i))
        for i in range(40)
    ]
    heard = sum(np.abs(one[3000:3200]).max() > 0.2 * np.abs(one[:200]).max() for one in audio)
    assert 5 < heard < 25


def test_every_kind_of_noise_is_used():
    kinds = {"noises": 3000, "music": 500, "babble": 1200}
    tones = {
        kind: [np.sin(2 * np.pi * hertz * np.arange(16000) / 16000).astype(np.float32)]
        for kind, hertz in kinds.items()
    }
    augment, rng, found = (
        Augmenter(tones["noises"], [], tones["babble"], 0.0, tones["music"]),
        np.random.default_rng(0),
        [],
    )
    for _ in range(300):
        noise = augment._noise(16000, 0.1, rng)
        if np.ndim(noise):
            power = np.abs(np.fft.rfft(noise)) ** 2
            found.append(int(power.argmax()) if power.max() > 0.9 * power.sum() else 0)
    assert {kind: found.count(hertz) > 20 for kind, hertz in kinds.items()} == dict.fromkeys(kinds, True)
    assert found.count(0) > 60


def test_colours_range_from_blue_to_brown():
    slopes = []
    for seed in range(30):
        noise = coloured(65536, np.random.default_rng(seed))
        assert np.mean(noise**2) == pytest.approx(1, rel=1e-3)
        power = np.abs(np.fft.rfft(noise)) ** 2
        low, high = power[400:800].mean(), power[12800:25600].mean()
        slopes.append(10 * np.log10(high / low) / 5)
    assert min(slopes) < -4 and max(slopes) > 1.5


def test_babble_is_many_and_excerpts_go_round():
    rng = np.random.default_rng(0)
    voices = [rng.normal(0, level, 8000).astype(np.float32) for level in (0.001, 0.1, 0.3)]
    made = babble(voices, 20000, rng)
    assert len(made) == 20000 and np.mean(made**2) > 1.5
    assert len(excerpt(voices[0], 50000, rng)) == 50000
