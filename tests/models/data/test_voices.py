"""Voices: what is asked for and what is missing."""

import shutil
import subprocess

import pytest

pytest.importorskip("soxr")
from ossicle.models.data import voices
from ossicle.models.data.voices import check_installed, pronounceable


def test_letters_are_spelled_not_read():
    assert pronounceable("A B s at noon") == "ay b s at noon"


def test_a_missing_program_is_one_line_with_its_package(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(ValueError, match=r"apt-get install espeak-ng festival flite$"):
        check_installed()
    with pytest.raises(ValueError, match=r"no espeak here; apt-get install espeak-ng$"):
        check_installed({"dev": voices.SHARES["dev"]})


def test_a_missing_voice_is_one_line_with_its_package(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: name)
    listed = subprocess.CompletedProcess([], 0, "(cmu_us_slt_arctic_hts kal_diphone)", "")
    monkeypatch.setattr(voices.subprocess, "run", lambda *args, **kwargs: listed)
    with pytest.raises(ValueError, match=r"no ked_diphone here; apt-get install festvox-kdlpc16k$"):
        check_installed()
    check_installed({"train": voices.SHARES["train"]})
