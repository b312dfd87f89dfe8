"""Every kind of file that a user may hand over: read, or refused with one line."""

from __future__ import annotations

import struct

import numpy as np
import pytest
import soundfile
from ossicle.runtime.audio import AudioError, read_audio


@pytest.fixture
def samples():
    return np.random.default_rng(0).integers(-32768, 32768, 16000).astype(np.int16)


@pytest.mark.parametrize("kind", ["wav", "flac"])
def test_16_khz_mono_comes_through_bit_by_bit(tmp_path, samples, kind):
    path = tmp_path / f"a.{kind}"
    soundfile.write(path, samples, 16000, subtype="PCM_16")
    audio = read_audio(path)
    assert np.array_equal(audio.samples, samples)
    assert audio.notes == ()
    assert audio.seconds == 1.0


def test_channels_are_mixed_and_rates_converted(tmp_path, samples):
    path = tmp_path / "a.wav"
    soundfile.write(path, np.stack([samples, samples], 1)[:4410] // 2, 44100)
    audio = read_audio(path)
    assert len(audio.samples) == 1600
    assert any("2 channels" in n for n in audio.notes)
    assert any("44100 Hz" in n for n in audio.notes)


def test_loud_floats_are_clipped_with_a_note(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, np.array([0.5, 2.0, -3.0]), 16000, subtype="FLOAT")
    audio = read_audio(path)
    assert audio.samples.tolist() == [16384, 32767, -32768]
    assert "2 samples" in audio.notes[0]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_no_numbers_are_refused(tmp_path, value):
    path = tmp_path / "a.wav"
    soundfile.write(path, np.array([0.0, value]), 16000, subtype="FLOAT")
    with pytest.raises(AudioError, match="not finite"):
        read_audio(path)


@pytest.mark.parametrize("cut", [30, 44, 1000])
def test_truncated_wav_is_refused(tmp_path, samples, cut):
    path = tmp_path / "a.wav"
    soundfile.write(path, samples, 16000)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(AudioError):
        read_audio(path)


def test_truncated_flac_is_refused(tmp_path, samples):
    path = tmp_path / "a.flac"
    soundfile.write(path, samples, 16000)
    path.write_bytes(path.read_bytes()[:20000])
    with pytest.raises(AudioError):
        read_audio(path)


def test_a_wav_of_unknown_length_is_read_to_its_end(tmp_path, samples):
    path = tmp_path / "a.wav"
    soundfile.write(path, samples, 16000)
    content = bytearray(path.read_bytes())
    content[40:44] = struct.pack("<I", 0xFFFFFFFF)
    path.write_bytes(content)
    assert np.array_equal(read_audio(path).samples, samples)


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "empty"), (b"hello, no sound here", "not an audio file"), (b"\0" * 5000, "not an")],
)
def test_what_is_no_audio_is_refused(tmp_path, content, message):
    path = tmp_path / "a.wav"
    path.write_bytes(content)
    with pytest.raises(AudioError, match=message):
        read_audio(path)


def test_missing_folder_and_silent_files_are_refused(tmp_path):
    with pytest.raises(AudioError, match="no such file"):
        read_audio(tmp_path / "none.wav")
    with pytest.raises(AudioError, match="folder"):
        read_audio(tmp_path)
    soundfile.write(tmp_path / "none.wav", np.zeros(0), 16000)
    with pytest.raises(AudioError, match="no samples"):
        read_audio(tmp_path / "none.wav")
