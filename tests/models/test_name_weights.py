"""Weights of names by sound, learned from made choices and from recordings."""

import json
import random
from dataclasses import asdict, replace

import numpy as np
import pytest
import soundfile

torch = pytest.importorskip("torch", reason="needs torch (the extra 'train')")
from ossicle.models import name_weights  # noqa: E402
from ossicle.models.data.split import write_manifest  # noqa: E402
from ossicle.models.name_choices import WEIGHTS, Choices, best_of, sentences_with, terms_of  # noqa: E402
from ossicle.models.name_weights import chosen, crossed, doubting, learn, least_doubt, measured  # noqa: E402
from ossicle.runtime.alias_lattice import candidates, with_aliases  # noqa: E402
from ossicle.runtime.alias_weights import Audio, Weights  # noqa: E402
from ossicle.runtime.aliases import Aliases, SoundTable  # noqa: E402
from ossicle.runtime.automaton import Arc, Automaton, backward  # noqa: E402

LETTERS = "abcdefghijklmnopqrstuvwxyz"


def write_table(path, **parts):
    """Letters are heard as themselves, mostly."""
    odds = [[a, b, 4.0 if a == b else -4.0] for a in LETTERS for b in LETTERS]
    odds += [row for a in LETTERS for row in ([a, "", -3.0], ["", a, -3.0])]
    table = {"odds": odds, "words": {"call": 2.0, "stefann": 3.0}, "before": {"call": 1.5}, "after": {}}
    path.write_text(json.dumps({**table, **parts}))
    return path


class SomeEvidence:
    def of(self, name, heard, before, start, end):
        return Audio(-3.0 - len(name), -2.0, -9.0, len(name) - sum(map(len, heard)))


def lattice():
    """call (stefan | steve) now"""
    made = Automaton([[] for _ in range(4)], {3: 0.0})
    words = ((0, "call", -0.1), (1, "stefan", -0.5), (1, "steve", -1.0), (2, "now", -0.2))
    for source, word, weight in words:
        made.add_arc(Arc(source, source + 1, word, weight, 10 * source, 10 * source + 10))
    return made


def test_terms_and_given_are_what_the_runtime_adds_up(tmp_path):
    drawn = random.Random(4)
    aliases = Aliases(["stephan", "stefann", "steven"], SoundTable(write_table(tmp_path / "t.json")))
    found = candidates(lattice(), aliases, 0.5, SomeEvidence())
    assert {one.name for one in found} == {"stephan", "stefann", "steven"}
    for _ in range(5):
        values = [drawn.uniform(-2, 2) for _ in WEIGHTS]
        weights = Weights(**dict(zip(WEIGHTS, values, strict=True)))
        for one in found:
            expected = one.given + sum(v * t for v, t in zip(values, terms_of(one), strict=True))
            assert one.gain(weights) == pytest.approx(expected)


def test_a_sentence_with_a_name_is_the_runtimes(tmp_path):
    """The name that the runtime prefers is the choice with the highest sum: that sentence and weight."""
    table = write_table(tmp_path / "t.json", weights=asdict(replace(Weights(), doubt=0.0)))
    aliases = Aliases(["stephan", "stefann", "steven"], SoundTable(table))
    heard = lattice()
    found = candidates(heard, aliases, 0.5, SomeEvidence())
    sums = [
        (weight + one.gain(aliases.table.weights), said)
        for one, (said, weight) in zip(found, sentences_with(heard, found), strict=True)
    ]
    named = with_aliases(heard, aliases, 0.5, SomeEvidence())
    assert best_of(heard) == "call stefan now" and max(sums)[0] > 0
    assert best_of(named) == max(sums)[1]
    assert backward(named, max)[0] - backward(heard, max)[0] == pytest.approx(max(sums)[0])


def made_choices(count, seed):
    """Names are right where the odds are high, and more so where the audio says so; half have no name."""
    drawn, found = random.Random(seed), []
    for i in range(count):
        kind = "without" if i % 2 else "names"
        terms, errors = [[0.0] * len(WEIGHTS)], [0 if kind == "without" else 1]
        for right in (kind == "names", False):
            values = dict.fromkeys(WEIGHTS, 0.0) | {"doubt": -1.0}
            values |= {"odds": drawn.gauss(6 if right else 2, 1), "said": drawn.gauss(3 if right else 0, 1)}
            terms.append([values[name] for name in WEIGHTS])
            errors.append(errors[0] - 1 if right else errors[0] + 1)
        given = [0.0, 0.5, 0.5]
        found.append(Choices(kind, "list", f"{i} said", errors[0], errors, given, terms))
    return found


def test_what_tells_right_names_is_learned():
    weights = dict(zip(WEIGHTS, learn(made_choices(400, 1)).tolist(), strict=True))
    assert weights["odds"] > 0.3 and weights["said"] > 0.3 and weights["doubt"] > 1
    others = made_choices(400, 2)
    errors = chosen(others, learn(made_choices(400, 1)))
    found = measured(others, errors)
    assert found["names"] < -85 and sum(errors) < 40
    doubted = measured(others, chosen(others, doubting(learn(made_choices(400, 1)), 100.0)))
    assert doubted["names"] == doubted["without"] == doubted["worse"] == 0


def test_choices_without_a_name_that_changes_anything_teach_nothing():
    (one,) = made_choices(1, 3)
    with pytest.raises(ValueError, match="nothing to learn from"):
        learn([replace(one, errors=[1, 1, 1])])


def test_a_text_is_measured_by_weights_of_others(monkeypatch):
    sentences = made_choices(30, 5)
    learned_from = []

    def remember(given):
        learned_from.append({one.text for one in given})
        return torch.zeros(len(WEIGHTS), dtype=torch.float64)

    asked = []
    monkeypatch.setattr(name_weights, "learn", remember)
    monkeypatch.setattr(name_weights, "chosen", lambda own, _: asked.append(own) or [7] * len(own))
    assert crossed(sentences, [0.0]) == [[7] * 30]
    assert sum(map(len, asked)) == 30
    for own, others in zip(asked, learned_from, strict=True):
        assert not {one.text for one in own} & others


def test_the_least_doubt_below_which_too_much_is_lost():
    losses = [5.0] * len(name_weights.MORE_DOUBT)
    losses[-3:] = [0.1, 0.2, 0.0]
    losses[0] = 0.0  # by chance
    rows = [{"doubt": "search", "by sound": 0.0}]
    rows += [
        {"doubt": f"{more:+.1f}", "by sound": loss}
        for more, loss in zip(name_weights.MORE_DOUBT, losses, strict=True)
    ]
    assert least_doubt(rows, 0.2) == name_weights.MORE_DOUBT[-3]
    assert least_doubt(rows, 9.0) == name_weights.MORE_DOUBT[0]
    rows[-1]["by sound"] = 0.3
    with pytest.raises(ValueError, match=r"0\.3 % more errors"):
        least_doubt(rows, 0.2)


@pytest.fixture
def recordings(tmp_path, untrained_checkpoint):
    """Noise, with names near what the network hears in it, and without; a table, a list."""
    from ossicle.models.aliases import sentences_of

    rows = []
    for i in range(6):
        noise = np.random.default_rng(i).normal(0, 3000, 4800).clip(-32768, 32767).astype(np.int16)
        soundfile.write(tmp_path / f"{i}.wav", noise, 16000, subtype="PCM_16")
        rows.append({"path": str(tmp_path / f"{i}.wav"), "text": "nothing"})
    words = [max(best.split(), key=len) for best, *_ in sentences_of(untrained_checkpoint, rows)]
    names = [{**row, "text": word + word[-1], "context": [word + word[-1]]}
             for row, word in zip(rows, words, strict=True)]  # fmt: skip
    write_manifest(tmp_path / "names.jsonl", names)
    write_manifest(tmp_path / "without.jsonl", rows)
    (tmp_path / "list.txt").write_text("\n".join(one["text"] for one in names) + "\n")
    write_table(tmp_path / "t.aliases.json")
    return tmp_path


def test_the_command_learns_from_recordings(recordings, untrained_checkpoint, monkeypatch, capsys):
    def run(*more):
        command = [
            "w", untrained_checkpoint, recordings / "t.aliases.json", "--names", recordings / "names.jsonl",
            "--without", recordings / "without.jsonl", "--lists", recordings / "list.txt",
            "--cache", recordings / "cache", "--out", recordings / "o.aliases.json", *more,
        ]  # fmt: skip
        monkeypatch.setattr("sys.argv", [str(word) for word in command])
        name_weights.main()
        return capsys.readouterr().out

    said = run()
    assert "list" in said and "search" in said
    weights = json.loads((recordings / "o.aliases.json").read_text())["weights"]
    assert SoundTable(recordings / "o.aliases.json").weights == Weights(**weights)
    assert json.loads(said.splitlines()[-1]) == weights
    monkeypatch.setattr(name_weights, "Gatherer", None)
    assert run() == said, "from what was gathered"
    with pytest.raises(SystemExit):
        run("--boost", "0.3")
    assert "of another checkpoint, table, boost or lists" in capsys.readouterr().err
