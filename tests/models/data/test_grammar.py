"""Sentences, their intents and slots, and what no training sentence says."""

import random
import re

import pytest
from ossicle.models.data.grammar import GENERATORS, GRAMMAR, Grammar, expansions, number, ordinal, split_of


@pytest.fixture(scope="module")
def grammar():
    return Grammar()


def sentences(grammar, count, seed=0):
    rng = random.Random(seed)
    return [grammar.sentence(rng) for _ in range(count)]


def test_numbers():
    assert number(0) == "zero"
    assert number(342) == "three hundred forty two"
    assert number(15020) == "fifteen thousand twenty"
    spoken = [ordinal(n) for n in (1, 12, 20, 23, 30)]
    assert spoken == ["first", "twelfth", "twentieth", "twenty third", "thirtieth"]


def test_alternatives_nest():
    assert set(expansions("(a|b (c|)) {x}")) == {"a {x}", "b c {x}", "b {x}"}


def test_the_domain_is_wide(grammar):
    words = {word for phrase in grammar.phrases() for word in phrase.split()}
    assert len(words) >= 1500
    assert len({*grammar.slots["person"], *grammar.slots["device"]}) >= 400
    assert sum(len(set(names)) for names in grammar.held_out.values()) >= 150


def test_every_template_can_be_filled(grammar):
    rng = random.Random(0)
    for domain, templates in grammar.domains.items():
        for _ in range(20 * len(templates)):
            text = grammar.draw(rng, domain)
            assert re.fullmatch("[A-Za-z']+( [A-Za-z']+)*", text), text


def test_intent_and_slots_make_the_sentence(grammar):
    for sentence in sentences(grammar, 3000):
        ways = (
            way.format(**sentence.slots) for way in grammar.skeletons(sentence.intent) if fits(way, sentence)
        )
        assert sentence.text in ways, sentence


def fits(skeleton, sentence):
    return set(re.findall(r"\{(\w+)\}", skeleton)) == set(sentence.slots)


def test_slots_are_in_the_order_of_the_text(grammar):
    for sentence in sentences(grammar, 1000, seed=1):
        place = 0
        for value in sentence.slots.values():
            place = sentence.text.index(value, place) + len(value)


def test_pauses_fall_before_names_and_inside_spelling(grammar):
    broken = [s for s in sentences(grammar, 3000) if s.breaks]
    for sentence in broken:
        words = sentence.spoken.split()
        assert all(0 < place < len(words) for place in sentence.breaks)
    calls = [s for s in broken if s.intent == "call" and "person" in s.slots]
    assert calls and all(" ".join(s.text.split()[s.breaks[0] :]).startswith(s.slots["person"]) for s in calls)
    assert any(s.intent == "spell" and len(s.breaks) > 2 for s in broken)


def test_splits_depend_on_the_sentence_alone(grammar):
    texts = {sentence.spoken for sentence in sentences(grammar, 3000, seed=1)}
    shares = {split: sum(split_of(text) == split for text in texts) / len(texts) for split in ("dev", "test")}
    assert 0.03 < shares["dev"] < 0.09 and 0.03 < shares["test"] < 0.09
    assert split_of("go") == "train"
    assert all(split_of(text) == split_of(text.lower()) for text in texts)


def test_held_out_names_are_in_no_training_phrase(grammar):
    rng = random.Random(2)
    said = [kind(rng, grammar.slots).lower() for kind in GENERATORS.values() for _ in range(200)]
    everything = " | ".join({*grammar.phrases(), *said})
    for names in grammar.held_out.values():
        for name in names:
            assert not re.search(rf"(?<![a-z']){name}(?![a-z'])", everything), name


def test_held_out_sentences_have_held_out_names_alone(grammar):
    rng = random.Random(3)
    for _ in range(500):
        sentence = grammar.held_out_sentence(rng)
        assert sentence.names and all(name in sentence.text for name in sentence.names)
        for slot in grammar.held_out:
            assert sentence.slots.get(slot, sentence.names[0]) in sentence.names


@pytest.mark.parametrize(
    ("templates", "message"),
    [('["go to {nowhere}"]', "nowhere"), ('["{on} and {on}"]', "twice"), ('["{#guess}"]', "#guess")],
)
def test_a_wrong_template_is_named(tmp_path, templates, message):
    path = tmp_path / "grammar.toml"
    path.write_text(
        "[domains]\na = 1\n[pauses]\nbefore = []\ninside = []\n[slots]\non = 'on, off'\n[held_out]\n"
        f"[intents.x]\ndomain = 'a'\ntemplates = {templates}\n"
    )
    with pytest.raises(ValueError, match=message):
        Grammar(path)


def test_the_fingerprint_changes_with_the_grammar(tmp_path, grammar):
    path = tmp_path / "grammar.toml"
    path.write_text(GRAMMAR.read_text().replace("lava lamp", "larva lamp"))
    assert Grammar(path).fingerprint() != grammar.fingerprint() == Grammar().fingerprint()
