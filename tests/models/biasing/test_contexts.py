"""Catalogues for training: phrases of the clips, distractors, clips without, pieces split anew."""

import numpy as np
import pytest
from ossicle.models.biasing.contexts import ContextOptions, Contexts, catalogue_for
from ossicle.models.untrained import letters_tokenizer
from sentencepiece import SentencePieceProcessor

ROWS = [
    {"text": "call fergus now", "slots": {"person": "fergus"}},
    {"text": "dim the gazebo heater", "slots": {"device": "gazebo heater", "action": "dim"}},
    {"text": "to excuse himself", "slots": None},
    {"text": "play some music", "slots": {}},
]
SLOTS = ("person", "device")


def contexts(**options):
    return Contexts(ROWS, letters_tokenizer(), ContextOptions(**{"slots": SLOTS, **options}))


def clips(made):
    return [made.spell(row["text"]) for row in ROWS]


def test_words_are_spelled_one_by_one_as_in_a_text():
    made, processor = contexts(), SentencePieceProcessor(model_proto=letters_tokenizer())
    for row in ROWS:
        spelled = sum((made.spell(word) for word in row["text"].split()), ())
        assert spelled == tuple(piece + 1 for piece in processor.encode(row["text"]))
        assert made.text(spelled) == row["text"]


def test_every_clip_has_its_phrase_and_its_words():
    made = contexts(absent=0, split=0, words=0, distractors=5)
    drawn = made.draw(clips(made), np.random.default_rng(0))
    assert drawn.labels == clips(made)
    assert {made.spell("fergus"), made.spell("gazebo heater")} <= set(drawn.phrases)
    assert len(set(drawn.phrases)) == len(drawn.phrases)
    others = [made.text(phrase) for phrase in drawn.phrases]
    assert any(word in others for word in ("excuse", "himself", "excuse himself"))


def test_all_values_of_a_clip_are_phrases_or_none_is():
    made, both = contexts(absent=0.5, words=0.5, split=0, distractors=1), set()
    text, rng = "dim the gazebo heater and call fergus", np.random.default_rng(4)
    for _ in range(60):
        found = {made.text(phrase) for phrase in made.draw([made.spell(text)], rng).phrases}
        both.add(frozenset({"gazebo heater", "fergus"} & found))
    assert frozenset({"gazebo heater", "fergus"}) in both and frozenset() in both


def test_absent_phrases_are_absent_and_distractors_are_not_too_many():
    made = contexts(absent=1, words=1, distractors=20)
    rng, sizes = np.random.default_rng(1), set()
    for _ in range(30):
        drawn = made.draw([made.spell("xylophone quartz")], rng)
        assert made.spell("xylophone") not in drawn.phrases
        sizes.add(len(drawn.phrases))
    assert min(sizes) >= 1 and max(sizes) <= 20 and len(sizes) > 5


def test_split_pieces_spell_the_same_text_in_clip_and_catalogue():
    made = contexts(absent=0, split=1, split_piece=1, words=0, distractors=1, spliced=0)
    rng, changed = np.random.default_rng(2), 0
    for _ in range(20):
        drawn = made.draw([made.spell("turn on the gazebo heater"), made.spell("play fergus")], rng)
        assert [made.text(labels) for labels in drawn.labels] == ["turn on the gazebo heater", "play fergus"]
        names = [phrase for phrase in drawn.phrases if made.text(phrase) in ("gazebo heater", "fergus")]
        assert names
        changed += any(phrase != made.spell(made.text(phrase)) for phrase in names)
        for labels in drawn.labels:
            assert any(labels[i : i + len(p)] == p for p in names for i in range(len(labels)))
    assert changed or all(len(piece) == 1 for piece in "".join(made.text(p) for p in names).split())


def test_a_seed_draws_the_same():
    made = contexts()
    one, other = (made.draw(clips(made), np.random.default_rng(3)) for _ in range(2))
    assert one == other
    assert one != made.draw(clips(made), np.random.default_rng(4))


def test_names_of_a_text():
    made = contexts()
    assert made.named("tell fergus to dim the gazebo heater") == ["gazebo heater", "fergus"]
    assert made.named("dim it") == []


def test_catalogues_for_measuring():
    rng = np.random.default_rng(0)
    made = catalogue_for(["a"], ["a", "b", "c", "d", "b"], 3, rng)
    assert len(made) == 3 == len(set(made)) and "a" in made
    assert sorted(catalogue_for(["a", "b"], [], 100, rng)) == ["a", "b"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"absent": 1.2}, "absent = 1.2 is no share"),
        ({"distractors": 0}, "distractors = 0"),
        ({"slots": ("planet",)}, "slots planet"),
    ],
)
def test_options_that_are_none(options, message):
    with pytest.raises(ValueError, match=message):
        contexts(**options)
