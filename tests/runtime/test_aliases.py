"""Names by sound: the odds of alignments, names in a lattice, recognizers with and without."""

import json
import math
import random
import time
from dataclasses import replace
from functools import cache
from types import SimpleNamespace

import numpy as np
import pytest
from fake_device import FakeDevice, fake_program
from ossicle.runtime import cli
from ossicle.runtime.alias_lattice import MOST_NAMED, with_aliases
from ossicle.runtime.alias_weights import Audio, Weights
from ossicle.runtime.aliases import CHUNKS, SUFFIX, Aliases, SoundTable, beside
from ossicle.runtime.automaton import Arc, Automaton, DeterminizeOptions, backward, determinize
from ossicle.runtime.commands.context import sounds_of
from ossicle.runtime.lattice import LatticeOptions
from ossicle.runtime.recognizer import Recognizer

NOISE = np.random.default_rng(1).normal(0, 3000, 11200).astype(np.int16)
LETTERS = "abcdefghijklmnopqrstuvwxyz"


def write_table(path, words=None, wide=(("ph", "f", 3.0), ("x", "ks", 3.0))):
    odds = [[a, b, 4.0 if a == b else -4.0] for a in LETTERS for b in LETTERS]
    odds += [[a, "", -3.0] for a in LETTERS] + [["", a, -3.0] for a in LETTERS] + [list(row) for row in wide]
    table = {"odds": odds, "words": words or {}, "before": {"call": 2.0}, "after": {}}
    path.write_text(json.dumps(table))
    return path


@pytest.fixture
def table(tmp_path):
    return SoundTable(write_table(tmp_path / "t.json"))


def test_a_table_is_for_its_model_alone(tmp_path):
    """Where the shipped model does not fit a processor, a smaller one stands in, which mishears otherwise."""
    shipped, small = (SimpleNamespace(meta={"name": name}) for name in ("commands", "commands-small"))
    assert sounds_of(None, shipped, True).words and sounds_of(None, small, True) is None
    assert sounds_of(None, shipped, False) is None
    write_table(tmp_path / f"mine{SUFFIX}", {"a": 1.0})
    assert sounds_of(tmp_path / "mine.safetensors", shipped, True).words == {"a": 1.0}


def slow_odds(table, name, heard):
    """By recursion, of the letters alone."""
    rows = {(a, b): value for a, b, value in json.loads(table.read_text())["odds"]}
    name, heard = (text.replace(" ", "").replace("'", "") for text in (name, heard))

    @cache
    def best(i, j):
        if i == j == 0:
            return 0.0
        found = -math.inf
        for a, b in (*CHUNKS, (0, 1)):
            if a <= i and b <= j:
                value = rows.get((name[i - a : i], heard[j - b : j]), -math.inf)
                found = max(found, value + best(i - a, j - b))
        return found

    return best(len(name), len(heard))


def test_odds_are_those_of_the_best_alignment(tmp_path, table):
    names = ["stephan", "o'connor", "max weber", "ann", "phil"]
    heard = ["stefan", "okonor", "makswever", "an", "fill", "zzz"]
    for text, found in zip(heard, Aliases(names, table).near(heard), strict=True):
        expected = {
            name: slow_odds(tmp_path / "t.json", name, text)
            for name in names
            if len(text) <= 2 * len(name.replace(" ", "").replace("'", "")) <= 4 * len(text)
        }
        expected = {name: value for name, value in expected.items() if value > 0}
        assert dict(found) == pytest.approx(expected)
    assert Aliases([], table).near(["a"]) == [[]] and Aliases(names, table).near([]) == []


def test_the_nearest_of_many_names_is_among_the_candidates(table):
    made = random.Random(1)
    names = ["".join(made.choices(LETTERS, k=made.randint(4, 12))) for _ in range(10_000)]
    aliases = Aliases(names, table)
    started = time.perf_counter()
    aliases.near(["warm"])
    ready = time.perf_counter() - started
    for name in names[:40]:
        at = made.randrange(len(name))
        heard = name[:at] + made.choice(LETTERS) + name[at + 1 :]
        assert max(aliases.near([heard])[0], key=lambda found: found[1])[0] == name
    assert ready < 2


class NoEvidence:
    """Of a transducer that knows nothing; `asked` has the names it was asked of."""

    def __init__(self, told=None):
        self.told, self.asked = told or {}, []

    def of(self, name, heard, before, start, end):
        self.asked.append((name, tuple(heard), tuple(before), start, end))
        told = self.told.get(name, 0.0)
        return None if told is None else Audio(told / Weights().said, 0.0, 0.0, 0)


def best_named(heard, names, table, evidence=None):
    """The arcs of the best sentence once names are in its lattice."""
    return best(with_aliases(heard, Aliases(names, table), 0.5, evidence or NoEvidence()))


def named(heard, names, table, evidence=None):
    """Its labels."""
    return [arc.label for arc in best_named(heard, names, table, evidence)]


def sentence(*words):
    """A lattice of one sentence."""
    made = Automaton([[] for _ in range(len(words) + 1)], {len(words): 0.0})
    for i, word in enumerate(words):
        made.add_arc(Arc(i, i + 1, word, -0.5, 10 * i, 10 * i + 10))
    return made


def best(automaton):
    found = determinize(automaton, DeterminizeOptions(beam=20.0, grid=0.0))
    after, state, arcs = backward(found, max), 0, []
    while found.finals.get(state, -math.inf) < after[state]:
        arcs.append(max(found.arcs[state], key=lambda a: a.weight + after[a.destination]))
        state = arcs[-1].destination
    return arcs


def test_a_name_takes_the_place_of_what_sounds_like_it(table):
    arcs = best_named(sentence("call", "stefan", "now"), ["stephan"], table)
    assert [a.label for a in arcs] == ["call", "stephan", "now"]
    assert [(a.start, a.end, a.credit) for a in arcs] == [(0, 10, 0), (10, 20, 7), (20, 30, 0)]


def test_words_heard_become_a_name_of_other_words(table):
    arcs = best_named(sentence("see", "fen", "wick"), ["fenwick"], table)
    assert [(a.label, a.start, a.end) for a in arcs] == [("see", 0, 10), ("fenwick", 10, 30)]
    arcs = best_named(sentence("see", "saintlu", "sia"), ["saint lucia"], table)
    assert [(a.label, a.start, a.end) for a in arcs] == [
        ("see", 0, 10), ("saint", 10, 20), ("lucia", 20, 30),
    ]  # fmt: skip


def test_what_is_far_from_every_name_stays(table):
    heard = sentence("turn", "the", "lights", "on")
    for names in (["bartholomew"], ["ann"], ["saint lucia"]):
        assert named(heard, names, table) == ["turn", "the", "lights", "on"]


def test_the_transducer_decides_between_names_as_near(table):
    heard, names = sentence("call", "stefan", "now"), ["stephan", "stefann"]
    for name, other in (names, names[::-1]):
        evidence = NoEvidence({name: 1.0, other: -4.0})
        assert named(heard, names, table, evidence)[1] == name
        assert (name, ("stefan",), ("call",), 10, 20) in evidence.asked
    nothing = NoEvidence(dict.fromkeys(names))
    assert named(heard, names, table, nothing)[1] == "stefan"


def test_the_transducer_is_asked_of_few_names(table):
    made = random.Random(2)
    names = [f"stefan{''.join(made.choices(LETTERS, k=2))}" for _ in range(500)]
    evidence = NoEvidence()
    with_aliases(sentence("stefanxy"), Aliases(names, table), 0.5, evidence)
    assert len(evidence.asked) == MOST_NAMED
    far = NoEvidence()
    with_aliases(sentence("turn", "the", "lights", "on"), Aliases(["bartholomew"], table), 0.5, far)
    assert not far.asked


def test_usual_words_and_many_names_are_doubted(tmp_path):
    heard = sentence("stefan")
    plain = SoundTable(write_table(tmp_path / "p.json"))
    usual = SoundTable(write_table(tmp_path / "u.json", {"stefan": 30.0}))
    assert named(heard, ["stephan"], plain) == ["stephan"]
    assert named(heard, ["stephan"], usual) == ["stefan"]
    doubts = [Aliases(["a"] * count, plain).doubt for count in (1, 100, 1000)]
    assert doubts[0] < doubts[1] < doubts[2]


def test_a_name_that_was_trained_on_is_doubted_more(tmp_path):
    """It would have been heard as it is written."""
    heard, name = sentence("stefan"), "stephan"
    strange = SoundTable(write_table(tmp_path / "s.json"))
    known = SoundTable(write_table(tmp_path / "k.json", {name: 30.0}))
    assert named(heard, [name], strange) == [name]
    assert named(heard, [name], known) == ["stefan"]
    assert named(heard, [name], known, NoEvidence({name: 20.0})) == [name], "yet it may have been said"


def test_a_name_that_was_heard_takes_no_words_beside_it(tmp_path):
    """Though it sounds like itself and a short word more, which speaks for a name of several words."""
    table = SoundTable(write_table(tmp_path / "t.json"))
    evidence = NoEvidence()
    heard = ["cold", "a", "las", "vegas"]
    assert named(sentence(*heard), ["las vegas"], table, evidence) == heard
    assert not [one for one in evidence.asked if "las" in one[1] and "vegas" in one[1]]
    assert named(sentence("cold", "las", "vega"), ["las vegas"], table) == ["cold", "las", "vegas"]


def test_sentences_of_the_lattice_keep_their_scores(table):
    heard = sentence("call", "stefan", "now")
    made = with_aliases(heard, Aliases(["stephan", "bob"], table), 0.5, NoEvidence())
    assert all(arc.source < arc.destination for arcs in made.arcs for arc in arcs)
    path, state = 0.0, 0
    for word in ("call", "stefan", "now"):
        arc = next(arc for arc in made.arcs[state] if arc.label == word)
        path, state = path + arc.weight, arc.destination
    assert path == -1.5 and state in made.finals


def near_words(recognizer):
    """A word in doubt of the sentence, and a name a letter away from it."""
    plain = recognizer.recognize(NOISE)
    word = max(plain.text.split(), key=len)
    return word, word + word[-1]


def test_a_recognizer_with_a_table_and_without(tmp_path):
    sounds = SoundTable(write_table(tmp_path / "t.json"))
    plain = Recognizer(FakeDevice(), fake_program(), nbest=20)
    named = Recognizer(FakeDevice(), fake_program(), lattice=LatticeOptions(sounds=sounds), nbest=20)
    before = plain.recognize(NOISE)
    assert named.recognize(NOISE) == before, "without phrases nothing changes"
    word, name = near_words(plain)
    assert len(word) > 3
    for recognizer in (plain, named):
        assert recognizer.set_boosts([name]) == []
    found = named.recognize(NOISE)
    assert name in found.text.split() and name not in plain.recognize(NOISE).text.split()
    assert any(edge.word == name for edge in found.lattice.edges)
    assert len({path.text for path in found.nbest}) == len(found.nbest)
    for chunk in (160, 999, 5000):
        stream = named.create_stream()
        for start in range(0, len(NOISE), chunk):
            stream.accept_waveform(16000, NOISE[start : start + chunk])
            while named.is_ready(stream):
                named.decode_stream(stream)
        stream.input_finished()
        while named.is_ready(stream):
            named.decode_stream(stream)
        result = named.get_result(stream)
        assert replace(result, lattice=None) == replace(found, lattice=None)
        assert result.lattice.edges == found.lattice.edges
        named.reset(stream)
    named.set_boosts([])
    assert named.recognize(NOISE) == before


@pytest.fixture
def transcribe(capsys, noise_wav, untrained_checkpoint):
    def run(*arguments):
        options = ("--engine", "functional", "--npu", "small", "--model", untrained_checkpoint, "--beam", 2)
        status = cli.run([str(a) for a in ("transcribe", noise_wav, *options, *arguments)])
        said = capsys.readouterr()
        return status, said.out, said.err

    return run


def test_transcribe_finds_a_name_by_the_table_beside_the_model(transcribe, untrained_checkpoint):
    path = untrained_checkpoint.with_name(untrained_checkpoint.stem + SUFFIX)
    assert beside(untrained_checkpoint) is None
    word = max(json.loads(transcribe("--json")[1])["text"].split(), key=len)
    name = word + word[-1]
    boosted = json.loads(transcribe("--json", "--boost", name)[1])
    try:
        write_table(path)
        found = json.loads(transcribe("--json", "--boost", name)[1])
        assert name in found["text"].split() and found["boost"]["aliases"]
        assert any(edge["word"] == name for edge in found["lattice"]["edges"])
        assert json.loads(transcribe("--json", "--boost", name, "--no-aliases")[1]) == boosted
        assert "found by their sound too" in transcribe("--boost", name)[1]
        path.write_text("[]")
        status, _, err = transcribe("--boost", name)
        assert status == 2 and "not a table of what names are heard as" in err
    finally:
        path.unlink()
