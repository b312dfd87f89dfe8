"""Development sets of names: whose names and voices are in them."""

import json
import random

import pytest

pytest.importorskip("faker", reason="needs the lists of Faker (the extra 'train')")
from ossicle.models.data import name_sets
from ossicle.models.data.grammar import Grammar, split_of
from ossicle.models.data.name_sets import KINDS, VARIANTS, lists, pools, sets
from ossicle.models.data.plan import CONTEXT
from ossicle.models.data.split import write_manifest
from ossicle.models.data.voices import ESPEAK_TEST, ESPEAK_VARIANTS, SHARES

HEARD = {"mildred", "call", "aachen"}
MORE = {"person": ["mildred", "edna", "imogen", "wren"], "city": ["lagos"]}


@pytest.fixture(scope="module")
def pool():
    return pools(HEARD, MORE, random.Random(1))


@pytest.fixture(scope="module")
def said(pool):
    return sets(pool, 1, 12)


def words(names):
    return {word for values in names.values() for name in values for word in name.split()}


def test_names_are_neither_heard_nor_tested(pool):
    tested = words(Grammar().held_out)
    for kind in ("person", "surname", "city"):
        assert len(pool.fresh[kind]) > 300
        assert not words({kind: pool.fresh[kind]}) & (HEARD | tested)
    assert not set(pool.fresh["device"]) & {*Grammar().slots["device"], *Grammar().held_out["device"]}
    assert pool.common["person"] == ["edna", "wren"], "imogen is tested, mildred heard"


def test_the_table_learns_of_other_names_than_the_sets_have(said):
    misheard = {name for one in said["mishearings"] for name in one.sentence.names}
    for kind in ("training", "variants", "shifted"):
        assert not misheard & {name for one in said[f"names-{kind}"] for name in one.sentence.names}


def test_a_context_has_what_is_said_and_as_many_that_were_heard(pool, said):
    known = {name for names in pool.heard.values() for name in names}
    for name, utterances in said.items():
        for one in utterances if name.startswith(("names", "known")) else ():
            assert len(set(one.context)) == CONTEXT and set(one.sentence.names) <= set(one.context)
            assert 45 <= len(known & set(one.context)) <= 55
            assert (set(one.sentence.names) <= known) == name.startswith("known")


def test_sentences_without_names_are_kept_for_development(said):
    for kind in ("training", "variants", "shifted"):
        for one in said[f"without-{kind}"]:
            assert split_of(one.sentence.text) == "dev" and not one.context


def test_voices_are_never_those_of_the_tests(said):
    unseen = {voice.partition(":")[2] for voice in SHARES["test-synthesizer"]}
    for name, utterances in said.items():
        for request in (one.request for one in utterances):
            assert request.voice.partition("+")[2] not in ESPEAK_TEST and request.voice not in unseen
            if name.endswith("variants"):
                assert request.engine == "espeak" and request.voice.partition("+")[2] in VARIANTS
            if name.endswith("shifted"):
                assert not 0.79 <= request.shift <= 1.29
    assert not set(VARIANTS) & {*ESPEAK_VARIANTS, *ESPEAK_TEST}


def test_lists_are_half_of_names_that_were_heard(pool):
    made = lists(pool, random.Random(2))
    assert set(made) == {"rare", "common", "short"}
    assert len(made["rare"]) == len(set(made["rare"])) == CONTEXT
    assert all(len(name) <= 5 for name in made["short"][:2])


def test_the_same_arguments_say_the_same(pool, said):
    assert sets(pool, 1, 12) == said and sets(pool, 2, 12) != said


def test_the_command_reads_what_was_heard(tmp_path, monkeypatch):
    write_manifest(tmp_path / "heard.jsonl", [{"path": "none", "text": "call mildred"}])
    (tmp_path / "more.json").write_text(json.dumps(MORE))
    spoken = {}
    monkeypatch.setattr(name_sets, "speak", lambda out, made, workers: spoken.update(made))
    command = ["n", tmp_path / "out", "--heard", tmp_path / "heard.jsonl", "--more", tmp_path / "more.json"]
    monkeypatch.setattr("sys.argv", [*map(str, command), "--count", "4"])
    name_sets.main()
    assert len(spoken["mishearings"]) == 4 * len(spoken["names-training"]) == 8 * len(spoken["known-shifted"])
    assert "edna" in (tmp_path / "out" / "common.txt").read_text().split("\n")
    assert set(KINDS) == set(Grammar().held_out)
