"""The corpus tool, on a corpus of some seconds; planning, pauses and noise have tests of their own."""

import json
import shutil
import subprocess
import sys
from itertools import islice

import numpy as np
import pytest

pytest.importorskip("scipy", reason="needs scipy (the extra 'train')")
pytest.importorskip("threadpoolctl", reason="needs threadpoolctl (the extra 'train')")
import soundfile
from ossicle.models.data import make as module_under_test
from ossicle.models.data.augment import Augmenter
from ossicle.models.data.make import SPOKEN, Corpus, main
from ossicle.models.data.plan import utterances
from ossicle.models.data.split import read_manifest

SETS = (*SPOKEN, "test-noisy", "test-whispered", "test")


def read(out, row, key="path"):
    return soundfile.read(out / row[key], dtype="float64")[0]


def files(out):
    return {path.relative_to(out): path.read_bytes() for path in out.rglob("*") if path.is_file()}


def test_every_set_has_its_manifest(tiny):
    out, sets = tiny
    for name in SETS:
        rows = read_manifest(out / f"{name}.jsonl")
        assert rows and len(rows) == {"train": 16, "dev": 4, "test": 24}.get(name, 12)
        for row in rows:
            info = soundfile.info(row["path"])
            assert info.samplerate == 16000 and info.channels == 1
            assert row["duration"] == pytest.approx(info.duration, abs=0.01)
            assert row["intent"] and isinstance(row["slots"], dict) and row["licence"] and row["speaker"]
            assert row["whisper"] == (name == "test-whispered")
    assert {row["intent"] for row in sets["train"]}


def test_pauses_of_the_manifest_are_silent(tiny):
    out, sets = tiny
    paused = [row for rows in sets.values() for row in rows if row["pauses"] and "clean" not in row]
    assert paused
    for row in paused:
        audio = read(out, row)
        for begin, end in row["pauses"]:
            assert 0.2 <= round(end - begin, 3) <= 1.2 and 0 < begin < end < row["duration"]
            assert not audio[round(begin * 16000) : round(end * 16000)].any()


def test_noise_is_as_loud_as_the_manifest_says(tiny):
    out, sets = tiny
    assert {row["noise"] for row in sets["test-noisy"]} == {"babble", "noise", "music"}
    for row in sets["test-noisy"]:
        speech = read(out, row, "clean") * row["gain"]
        noise = read(out, row) - speech
        snr = 10 * np.log10(np.mean(speech**2) / np.mean(noise**2))
        assert 5 <= row["snr_db"] <= 20 and snr == pytest.approx(row["snr_db"], abs=0.1)


def test_whispers_have_no_voice(tiny):
    out, sets = tiny
    for row in sets["test-whispered"]:
        voiced, whispered = read(out, row, "clean"), read(out, row)
        assert len(whispered) == len(voiced) and np.std(whispered) < np.std(voiced)
        assert periodicity(whispered) < 0.75 * periodicity(voiced)


def periodicity(audio):
    """The highest autocorrelation at 70 to 400 Hz, of the loudest tenth of 40 ms frames."""
    frames = np.lib.stride_tricks.sliding_window_view(audio, 640)[::320]
    loud = frames[np.argsort(np.sum(frames**2, axis=1))[-max(1, len(frames) // 10) :]]
    power = np.abs(np.fft.rfft(loud, 2048, axis=1)) ** 2
    correlation = np.fft.irfft(power, axis=1)
    return float(np.mean(correlation[:, 40:230].max(axis=1) / (correlation[:, 0] + 1e-12)))


def test_beds_are_what_an_augmenter_reads(tiny):
    out, sets = tiny
    voice = out / sets["train"][0]["path"]
    augment = Augmenter.from_folders(out / "beds/noise", out / "beds/rooms", [voice], 0.1)
    assert len(augment.rooms) == 2 and len(augment.music) == 1 and len(augment.babble) == 1
    assert all(np.abs(room).argmax() == 0 for room in augment.rooms)


def test_workers_change_nothing_and_a_stopped_run_goes_on(tiny, make_tiny, tmp_path):
    out, _ = tiny
    again = tmp_path / "again"
    make_tiny(again, workers=1)
    assert files(again) == files(out)
    for path in ("test-voices/0000.jsonl", "test-voices/0000-003.flac", "beds/rooms/001.flac", "test.jsonl"):
        (again / path).unlink()
    kept = again / "train/0000-000.flac"
    before = kept.stat().st_mtime_ns
    make_tiny(again)
    assert files(again) == files(out) and kept.stat().st_mtime_ns == before


def test_more_hours_add_to_a_corpus(tiny, make_tiny, tmp_path):
    out, sets = tiny
    longer = shutil.copytree(out, tmp_path / "longer")
    made = make_tiny(longer, hours=0.02)
    assert len(made["train"]) == 32 and made["train"][:16] == sets["train"]
    assert made["test-noisy"] == sets["test-noisy"]


def test_corpus_json_says_what_it_is(tiny):
    out, sets = tiny
    found = json.loads((out / "corpus.json").read_text())
    assert found["seed"] == 1 and len(found["grammar"]) == len(found["voices"]) == 64
    assert {name: found["sets"][name]["utterances"] for name in sets} == {n: len(r) for n, r in sets.items()}


def test_recorded_noise_and_rooms_come_in_by_path(make_tiny, tmp_path):
    rng = np.random.default_rng(0)
    for kind in ("noise", "rir"):
        (tmp_path / kind).mkdir()
        soundfile.write(tmp_path / kind / "a.wav", rng.normal(0, 0.1, 16000), 8000, subtype="PCM_16")
    out = tmp_path / "out"
    make_tiny(out, noise=tmp_path / "noise", rir=tmp_path / "rir", test=4, dev=2, rooms=0)
    lengths = {
        path: soundfile.info(out / "beds" / path).frames
        for path in ("noise/recorded-000.flac", "test/noise/000.flac", "rooms/recorded-000.flac")
    }
    assert list(lengths.values()) == [25600, 6400, 32000]


@pytest.mark.parametrize("changes", [{"seed": 2}, {"dev": 5}, {"invented": 0.5}, {"listed": True}])
def test_a_folder_of_another_corpus_is_refused(tiny, make_tiny, changes):
    out, _ = tiny
    with pytest.raises(ValueError, match=f"a corpus of another {next(iter(changes))}; give another folder"):
        make_tiny(out, **changes)


def test_a_folder_of_something_else_is_refused(synthesizers, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"not empty, and no corpus\.json"):
        Corpus(tmp_path, 1.0).prepare()


def test_a_missing_synthesizer_is_one_line_and_status_2(tmp_path):
    command = [sys.executable, "-m", "ossicle.models.data.make", str(tmp_path / "out")]
    ended = subprocess.run(command, env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=False)
    assert ended.returncode == 2 and ended.stdout == ""
    assert ended.stderr == (
        "make: no espeak, festival, flite here; apt-get install espeak-ng festival flite\n"
    )
    assert not (tmp_path / "out").exists()


def test_a_missing_manifest_of_texts_is_one_line_and_status_2(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(sys, "argv", ["make", str(tmp_path / "out"), "--texts", str(tmp_path / "none.jsonl")])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert capsys.readouterr().err == f"make: --texts: there is no {tmp_path / 'none.jsonl'}\n"


def test_listed_names_want_a_share(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(sys, "argv", ["make", str(tmp_path / "out"), "--listed"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2 and not (tmp_path / "out").exists()
    said = "make: --listed: say for which share of the sentences: --invented SHARE\n"
    assert capsys.readouterr().err == said


def test_engines_that_say_nothing_are_an_error(monkeypatch, tmp_path):
    monkeypatch.setattr(module_under_test, "synthesize", lambda requests, folder: [None] * len(requests))
    with pytest.raises(ValueError, match="0 of 4 sentences were spoken"):
        module_under_test.make_batch(list(islice(utterances("dev", 1), 4)), tmp_path, "0000")
    assert not list(tmp_path.iterdir())
