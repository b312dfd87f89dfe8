"""The table of goals: what is measured once is kept, what is met is marked, what makes no sense is said."""

import json

import pytest

torch = pytest.importorskip("torch", reason="needs torch (the extra 'train')")
from ossicle.models import evaluations as module  # noqa: E402
from ossicle.models.evaluations import put_in  # noqa: E402
from ossicle.models.goals import Goals, main, table  # noqa: E402
from ossicle.runtime.aliases import table_path  # noqa: E402


@pytest.fixture
def write(tmp_path, untrained_checkpoint, tiny_corpus):
    def file(goal, evaluation="beam = 2\n"):
        text = f'[evaluate.some]\ncheckpoint = "{untrained_checkpoint}"\nmanifests = ["{tiny_corpus}"]\n'
        (tmp_path / "g.toml").write_text(f"{text}{evaluation}[[goal]]\nwhat = 'w'\nmeasure = '%'\n{goal}")
        return tmp_path / "g.toml"

    return file


def cells(text):
    return [cell.strip() for cell in text.splitlines()[-1].strip("| ").split("|")]


def test_an_evaluation_is_run_once_and_again_when_its_arguments_change(write, tmp_path, monkeypatch):
    goal = "at_most = 1000\nwer = 'some'\n"
    first = cells(table(Goals(write(goal), tmp_path / "out")))
    assert first[2] == "≤ 1000" and first[3].startswith("**") and first[4].endswith(" words")
    monkeypatch.setattr(module, "command", None)
    assert cells(table(Goals(write(goal), tmp_path / "out"))) == first
    missed = cells(table(Goals(write("at_most = 0\nwer = 'some'\n"), tmp_path / "out")))
    assert missed[3] == first[3].strip("*")
    with pytest.raises(TypeError):
        table(Goals(write(goal, "beam = 3\n"), tmp_path / "out"))


def test_another_table_of_names_is_another_evaluation(write, tmp_path, untrained_checkpoint, monkeypatch):
    runs = []
    monkeypatch.setattr(module, "command", lambda **given: (runs.append(given), ({"sets": {}}, []))[1])
    goals, beside = write("at_most = 1\nwer = 'some'\n", "aliases = true\n"), table_path(untrained_checkpoint)
    for text in ("one", "one", "another"):
        beside.write_text(text)
        Goals(goals, tmp_path / "out").evaluated("some")
    beside.unlink()
    assert len(runs) == 2


def test_what_was_measured_of_a_model_that_is_gone_stays(write, tmp_path, untrained_checkpoint, capsys):
    goal, gone = "at_most = 1000\nwer = 'some'\n", tmp_path / "gone.safetensors"
    gone.write_bytes(untrained_checkpoint.read_bytes())
    goals = write(goal)
    goals.write_text(goals.read_text().replace(str(untrained_checkpoint), str(gone)))
    first = table(Goals(goals, tmp_path / "out"))
    gone.unlink()
    assert table(Goals(goals, tmp_path / "out")) == first
    assert "some stays as it was measured" in capsys.readouterr().err
    with pytest.raises(FileNotFoundError):
        table(Goals(goals, tmp_path / "elsewhere"))


def test_a_limit_takes_the_first_of_each_manifest_and_phrases_come_from_a_file(write, tmp_path, monkeypatch):
    (tmp_path / "p.txt").write_text("lava lamp\norrery\n")
    asked = {}

    def command(**given):
        asked.update(given, rows=[path.read_text().splitlines() for path in given["manifests"]])
        return {"sets": {}}, []

    monkeypatch.setattr(module, "command", command)
    goal, limit = "at_most = 1\nwer = 'some'\n", f"limit = 2\nphrases = '{tmp_path}/p.txt'\n"
    Goals(write(goal, limit), tmp_path / "out").evaluated("some")
    assert len(asked["rows"]) == 1 and len(asked["rows"][0]) == 2
    assert asked["phrases"] == ["lava lamp", "orrery"] and "limit" not in asked and asked["by"] == "all"


def test_a_set_of_manifests_may_be_named(write, tmp_path, tiny_corpus):
    goals = write("at_most = 1\nwer = 'some'\n")
    text = goals.read_text().replace(f'["{tiny_corpus}"]', '"twice"')
    goals.write_text(f'[sets]\ntwice = ["{tiny_corpus}", "{tiny_corpus}"]\n{text}')
    assert Goals(goals, tmp_path).evaluations["some"]["manifests"] == [str(tiny_corpus)] * 2
    goals.write_text(text)
    with pytest.raises(ValueError, match="twice"):
        Goals(goals, tmp_path)


def test_figures_of_other_kinds(write, tmp_path, untrained_checkpoint):
    def reached(goal):
        return table(Goals(write(goal), tmp_path / "out")).splitlines()[-1]

    assert "| **0** |" in reached("at_most = 2\nrelative = ['some', 'some']\n")
    kept = json.loads((tmp_path / "out" / "some.json").read_text())
    kept["sets"]["all"]["beam"]["wer"] = 12.0
    kept["sets"]["all"]["unbiased"] = {"wer": 16.0}
    (tmp_path / "out" / "some.json").write_text(json.dumps(kept))
    assert "| **25.0** | 12.0 against 16.0 |" in reached("at_least = 24\nreduction = 'some'\n")
    assert "| **-25** | 12.0 against 16.0 |" in reached("at_most = 2\nloss = 'some'\n")
    card, points = tmp_path / "card.json", tmp_path / "points.json"
    card.write_text(json.dumps({"scores": {"test": {"eer": 4.0, "low": 3.0, "high": 5.0}}}))
    assert "**4 (3.0 to 5.0)**" in reached(f"at_most = 6\ncard = ['{card}', 'scores.test.eer']\n")
    rows = [("slow side", 100), ("arbitrator", 60), ("arbitrator", 9)]
    points.write_text(json.dumps([{"by": by, "macs": macs} for by, macs in rows]))
    assert "| **40.0** | 60 of 100 |" in reached(f"at_least = 35\nsaved = '{points}'\n")
    bits, part = (
        float(cells(reached(f"at_most = 0\ncoded = '{untrained_checkpoint}'\nof = '{of}'\n"))[3])
        for of in ("bits", "part")
    )
    assert 0 < bits < 9 and part == pytest.approx(100 * bits / 32, rel=0.01)
    pair = f"against = ['{untrained_checkpoint}', '{untrained_checkpoint}']\n"
    half = cells(reached(f"at_most = 0\ncoded = '{untrained_checkpoint}'\nof = 'part'\n{pair}"))[3]
    assert float(half) == pytest.approx(part / 2, rel=0.01)


def test_the_table_stands_between_its_marks(tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text("before\n<!-- goals -->\nold\n<!-- /goals -->\nafter\n")
    put_in(readme, "goals", "| new |")
    assert readme.read_text() == "before\n<!-- goals -->\n| new |\n<!-- /goals -->\nafter\n"
    readme.write_text("no marks\n")
    with pytest.raises(ValueError, match="to stand between"):
        put_in(readme, "goals", "x")


@pytest.mark.parametrize(
    "goal, message",
    [
        ("wer = 'some'\n", "needs at_most or at_least"),
        ("at_most = 1\nwer = 'other'\n", "names no evaluation: other"),
        ("at_most = 1\n", "one of wer"),
        ("at_most = 1\ncard = ['none.json', 'eer']\n", "none.json"),
    ],
)
def test_what_is_no_goal_is_said(write, tmp_path, goal, message, capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["goals", str(write(goal)), str(tmp_path / "out")])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2
    printed = capsys.readouterr().err
    assert message in printed and printed.count("\n") == 1
