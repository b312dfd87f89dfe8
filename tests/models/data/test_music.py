"""Music: a score that can be read, and sound."""

import shutil

import numpy as np
import pytest
from ossicle.models.data import music
from ossicle.models.data.music import TICKS, check_installed, compose, midi


def test_notes_come_out_as_they_went_in():
    notes = [(0, TICKS, 0, 60, 70), (300, 20, 1, 48, 90)]
    file = midi(notes, [4, 33], 120)
    assert file[:8] == b"MThd\x00\x00\x00\x06" and int.from_bytes(file[18:22], "big") == len(file) - 22
    assert b"\xff\x51\x03" + (500_000).to_bytes(3, "big") in file
    assert b"\x00\x90\x3c\x46\x60\x80\x3c\x00\x81\x4c\x91\x30\x5a\x14\x81\x30\x00" in file


def test_a_piece_has_chords_in_every_bar():
    notes = compose(8, np.random.default_rng(0))
    assert {note[0] // (4 * TICKS) for note in notes if note[2] == 0} == set(range(8))
    assert all(0 <= key < 128 for _, _, _, key, _ in notes)


def test_a_missing_player_is_one_line_with_its_packages(monkeypatch, tmp_path):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(music, "FONT", tmp_path / "none.sf2")
    with pytest.raises(ValueError, match=r"apt-get install fluidsynth fluid-soundfont-gm$"):
        check_installed()


def test_music_sounds_throughout():
    try:
        check_installed()
    except ValueError as error:
        pytest.skip(str(error))
    audio = music.music(4.0, np.random.default_rng(0))
    assert len(audio) == 64000 and np.sqrt(np.mean(audio**2)) == pytest.approx(0.1, rel=0.01)
    assert all(np.abs(second).max() > 0.02 for second in audio.reshape(4, -1))
    assert np.array_equal(audio, music.music(4.0, np.random.default_rng(0)))
