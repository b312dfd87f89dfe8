"""The table of methods: a model with a method beside one without, set by set."""

import json

import pytest

torch = pytest.importorskip("torch", reason="needs torch (the extra 'train')")
from ossicle.models.methods import Methods, main, table  # noqa: E402


@pytest.fixture
def write(tmp_path, untrained_checkpoint, tiny_corpus):
    def file(method, of="what = 'w'\n"):
        both = "".join(
            f'[evaluate.{name}]\ncheckpoint = "{untrained_checkpoint}"\nmanifests = ["{tiny_corpus}"]\n'
            f'by = "source"\nbeam = 2\n'
            for name in ("plain", "better")
        )
        (tmp_path / "m.toml").write_text(f"{both}[[method]]\n{of}{method}")
        return tmp_path / "m.toml"

    return file


def test_word_errors_without_and_with_by_set(write, tmp_path):
    path = write("without = 'plain'\nwith = 'better'\n")
    same = table(Methods(path, tmp_path / "out")).splitlines()
    assert len(same) > 2 and all(line.startswith("| w |") and line.endswith("| +0.0 |") for line in same[2:])
    kept = json.loads((tmp_path / "out" / "better.json").read_text())
    name = next(iter(kept["sets"]))
    kept["sets"][name]["beam"] |= {"wer": 80.0, "low": 70.0, "high": 90.0}
    (tmp_path / "out" / "better.json").write_text(json.dumps(kept))
    plain = json.loads((tmp_path / "out" / "plain.json").read_text())["sets"][name]["beam"]["wer"]
    fewer = table(Methods(path, tmp_path / "out")).splitlines()[2]
    assert f"| 80.0 (70.0 to 90.0) | {100 * (80 / plain - 1):+.1f} |" in fewer
    kept["sets"] = {"elsewhere": kept["sets"][name]}
    (tmp_path / "out" / "better.json").write_text(json.dumps(kept))
    with pytest.raises(ValueError, match="elsewhere"):
        table(Methods(path, tmp_path / "out"))


@pytest.mark.parametrize(
    "method, message",
    [
        ("without = 'plain'\n", "needs with"),
        ("without = 'plain'\nwith = 'other'\n", "names no evaluation: other"),
    ],
)
def test_what_is_no_method_is_said(write, tmp_path, method, message, capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["methods", str(write(method)), str(tmp_path / "out")])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2
    printed = capsys.readouterr().err
    assert message in printed and printed.count("\n") == 1
