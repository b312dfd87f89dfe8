"""A release: what the checkpoint, its card, its table and its samples say."""

import json
import shutil

import pytest

torch = pytest.importorskip("torch", reason="needs torch (the extra 'train')")
from ossicle.models import release  # noqa: E402
from ossicle.models.data.split import read_manifest, write_manifest  # noqa: E402
from ossicle.models.export import read_checkpoint  # noqa: E402


@pytest.fixture
def folder(untrained_checkpoint, noise_wav, tmp_path):
    shutil.copy(untrained_checkpoint, tmp_path / "c.safetensors")
    rows = [
        {"path": str(noise_wav), "text": "a b", "source": "an4", "speaker": "an4:x"},
        {
            "path": str(noise_wav), "text": "off", "source": "espeak", "speaker": "espeak:y",
            "style": "synthesized", "duration": 2.0,
        },
    ]  # fmt: skip
    write_manifest(tmp_path / "m.jsonl", rows)
    (tmp_path / "card.toml").write_text('licence = "Apache-2.0"\n')
    return tmp_path


def test_everything_is_written(folder, monkeypatch):
    arguments = [str(folder / "c.safetensors"), str(folder / "out"), "--test", str(folder / "m.jsonl")]
    shutil.copy(folder / "m.jsonl", folder / "test-noisy.jsonl")
    arguments += ["--also", str(folder / "test-noisy.jsonl"), "--card", str(folder / "card.toml")]
    monkeypatch.setattr("sys.argv", ["release", *arguments, "--beam", "2"])
    release.main()
    wer = read_checkpoint(folder / "out" / "untrained.safetensors").header["wer"]
    assert set(wer) == {"all synthesized, unseen voices", "an4", "an4, names", "espeak", "test-noisy"}
    assert wer["test-noisy"]["words"] == 3 and wer["an4, names"] == wer["an4"]
    assert wer["an4"]["beam"] == 2 and wer["an4"]["oracle"] <= wer["an4"]["wer"]
    card = json.loads((folder / "out" / "untrained.json").read_text())
    assert card["licence"] == "Apache-2.0" and card["wer"] == wer
    table = (folder / "out" / "untrained.md").read_text()
    assert "Beam search of 2 states" in table and "| an4 |" in table
    assert isinstance(read_manifest(folder / "out" / "samples" / "manifest.jsonl"), list)


def test_languages_are_sets_of_their_own_and_samples_may_stay(folder, monkeypatch):
    row = read_manifest(folder / "m.jsonl")[1]
    write_manifest(folder / "de.jsonl", [{**row, "text": "aus", "language": "de"}])
    (folder / "out" / "samples").mkdir(parents=True)
    (folder / "out" / "samples" / "kept.wav").write_bytes(b"")
    arguments = [str(folder / "c.safetensors"), str(folder / "out"), "--test", str(folder / "m.jsonl")]
    arguments += [str(folder / "de.jsonl"), "--card", str(folder / "card.toml"), "--no-samples"]
    monkeypatch.setattr("sys.argv", ["release", *arguments, "--beam", "2"])
    release.main()
    wer = read_checkpoint(folder / "out" / "untrained.safetensors").header["wer"]
    assert {"espeak", "espeak, de"} < set(wer) and wer["espeak, de"]["words"] == 1
    assert [path.name for path in (folder / "out" / "samples").iterdir()] == ["kept.wav"]


def test_a_missing_card_is_a_line(folder, monkeypatch, capsys):
    arguments = [str(folder / "c.safetensors"), str(folder / "out"), "--test", str(folder / "m.jsonl")]
    monkeypatch.setattr("sys.argv", ["release", *arguments, "--card", str(folder / "none.toml")])
    with pytest.raises(SystemExit) as stopped:
        release.main()
    assert stopped.value.code == 2
    assert "none.toml" in capsys.readouterr().err.splitlines()[-1]
