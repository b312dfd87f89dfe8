"""Credit of label sequences against a scorer that looks at whole sentences; searches and lattices with it."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
from fake_model import PIECES, FakeModel, spelled
from hypothesis import example, given, settings
from hypothesis import strategies as st
from ossicle.runtime.fusion import Boosts
from ossicle.runtime.lattice import LatticeOptions, build_lattice
from ossicle.runtime.phrases import normalized, normalized_all
from ossicle.runtime.transducer import BLANK, BeamSearch, SearchOptions, add_logs

LABELS = ["", "<unk>", "▁", "▁a", "▁b", "▁ab", "a", "b", "ba", "c", "▁c"]
EXACT = LatticeOptions(beam=math.inf, grid=0)
words = st.text("abc", min_size=1, max_size=3)
phrases = st.lists(st.lists(words, min_size=1, max_size=3).map(" ".join), min_size=1, max_size=6)
sequences = st.lists(st.integers(1, len(LABELS) - 1), max_size=14)


def naive_credit(sentence: tuple[str, ...], chosen: list[str]) -> int:
    """Letters of the words that lie in a phrase, by looking for each phrase everywhere."""
    kept = set()
    for phrase in (tuple(phrase.split()) for phrase in chosen):
        for at in range(len(sentence) - len(phrase) + 1):
            if sentence[at : at + len(phrase)] == phrase:
                kept.update(range(at, at + len(phrase)))
    return sum(len(sentence[i]) for i in kept)


def text_words(labels: list[int]) -> tuple[str, ...]:
    return tuple("".join(LABELS[label] for label in labels).replace("▁", " ").split())


def walked(boosts: Boosts, labels) -> tuple[list[int], int]:
    """(credit after each label, credit of the sentence)."""
    state, total, totals = boosts.start, 0, []
    for label in labels:
        state, credit = boosts.step(state, label)
        total += credit
        totals.append(total)
    return totals, total + boosts.finish(state)


@settings(max_examples=300)
@given(phrases, sequences)
def test_credit_is_of_the_phrases_that_are_whole(chosen, labels):
    assert walked(Boosts(chosen, LABELS), labels)[1] == naive_credit(text_words(labels), chosen)


@given(phrases, sequences)
def test_gains_are_the_steps_of_each_label(chosen, labels):
    boosts = Boosts(chosen, LABELS, 0.25)
    state = boosts.start
    for label in labels:
        steps = [boosts.step(state, other)[1] for other in range(1, len(LABELS))]
        assert boosts.gains(state).tolist() == [0, *(0.25 * credit for credit in steps)]
        state, _ = boosts.step(state, label)


@given(phrases, sequences)
def test_order_and_spelling_of_the_list_do_not_show(chosen, labels):
    other = [f" {phrase.upper()} " for phrase in reversed(chosen)] + chosen[:1]
    assert walked(Boosts(other, LABELS), labels) == walked(Boosts(chosen, LABELS), labels)


@given(st.lists(st.text("aB é\t\n'", max_size=5), max_size=4))
def test_phrases_are_normalized_together_as_alone(given_phrases):
    assert normalized_all(given_phrases) == {normalized(phrase) for phrase in given_phrases} - {""}


def labels_of(*pieces: str) -> list[int]:
    return [LABELS.index(piece) for piece in pieces]


@pytest.mark.parametrize(
    ("chosen", "said", "credits", "total"),
    [
        (["ab c"], ("▁ab", "▁c"), [2, 3], 3),
        (["ab c"], ("▁a", "b", "▁", "c"), [1, 2, 2, 3], 3),  # any spelling
        (["ab c"], ("▁ab", "▁b"), [2, 0], 0),  # taken back when it breaks off
        (["ab c"], ("▁ab",), [2], 0),  # and at the end
        (["ab"], ("▁ab", "a"), [2, 0], 0),  # a phrase ends with a word
        (["b"], ("▁ab", "b"), [0, 0], 0),  # and begins with one
        (["a b", "a b c"], ("▁a", "▁b", "▁c"), [1, 2, 3], 3),  # the longest
        (["a b", "a b c"], ("▁a", "▁b", "▁a"), [1, 2, 3], 2),  # what is whole stays
        (["a b c", "b a"], ("▁a", "▁b", "▁a"), [1, 2, 2], 2),  # one that starts inside another
        (["a b", "b c"], ("▁a", "▁b", "▁c"), [1, 2, 3], 3),  # each word once
        (["a b", "b c a"], ("▁a", "▁b", "▁c", "▁c"), [1, 2, 3, 2], 2),  # of which one is whole
    ],
)
def test_credit_comes_at_once_and_goes_when_it_must(chosen, said, credits, total):
    assert walked(Boosts(chosen, LABELS), labels_of(*said)) == (credits, total)


def test_phrases_with_letters_that_no_piece_has_are_left_out():
    boosts = Boosts(["a", "x b", "é", "50 %", ""], LABELS)
    assert boosts.left_out == ["50 %", "e", "x b"] and len(boosts) == 1


@pytest.mark.parametrize("boost", [-0.1, 21.0, math.nan])
def test_a_boost_out_of_range_is_refused(boost):
    with pytest.raises(ValueError, match="a boost of"):
        Boosts(["a"], LABELS, boost)


fake_phrases = st.lists(
    st.sampled_from(["a", "b", "ac", "a b", "ac a", "bd a", "d", "cd", "b b b"]), min_size=1, max_size=3
)


def wide(model: FakeModel, frames: int, fusion: Boosts | None, context: int = 2, **options) -> BeamSearch:
    search = BeamSearch(SearchOptions(**{"beam": 64, "score_beam": math.inf, **options}), context, fusion)
    for frame in range(frames):
        search.advance(lambda labels, frame=frame: model.log_probs(frame, labels[-2:]))
    return search


@settings(max_examples=60)
@given(st.integers(0, 10**6), fake_phrases, st.sampled_from([0.3, 1.0, 2.5]), st.sampled_from([100, 800]))
def test_every_sentence_has_its_sum_and_its_boost_apart(seed, chosen, boost, sharp):
    model = FakeModel(seed, 5, sharp)
    truth: dict[tuple[str, ...], float] = {}
    for labels, score in model.all_sequences(2).items():
        truth[spelled(labels)] = add_logs(truth.get(spelled(labels), -math.inf), score)
    search = wide(model, 2, Boosts(chosen, PIECES[:5], boost))
    paths = build_lattice(search.graph(), PIECES, EXACT).nbest(100000)
    assert {path.words for path in paths} == set(truth) and len(paths) == len(truth)
    for path in paths:
        assert path.boost == pytest.approx(boost * naive_credit(path.words, chosen), abs=1e-9)
        assert path.acoustic == pytest.approx(truth[path.words], abs=1e-9)
    assert search.boost == pytest.approx(boost * naive_credit(spelled(search.labels), chosen), abs=1e-9)


@settings(max_examples=60)
@given(st.integers(0, 10**6), fake_phrases, st.sampled_from([200, 1500]))
def test_boosts_stay_exact_in_a_narrow_search_and_a_merged_lattice(seed, chosen, sharp):
    search = wide(FakeModel(seed, 6, sharp), 6, Boosts(chosen, PIECES, 0.7), beam=4, score_beam=8.0)
    for path in build_lattice(search.graph(), PIECES).nbest(1000):
        assert path.boost == pytest.approx(0.7 * naive_credit(path.words, chosen), abs=1e-9)


@given(st.integers(0, 10**6), st.booleans())
def test_a_phrase_that_is_boosted_enough_is_found(seed, greedy):
    """Its letters are credited from the first on: the beam does not lose it."""
    boosts = Boosts(["ac a"], PIECES, 20.0)
    search = wide(FakeModel(seed, 6, 300), 6, boosts, beam=4, greedy=greedy)
    assert "ac a" in " ".join(spelled(search.labels)) or greedy
    assert boosts.start == (("", False),) and search.boost >= 0


@settings(max_examples=30)
@given(st.integers(0, 10**6), st.booleans())
@example(994670, False)
def test_a_boost_of_nothing_changes_no_score(seed, greedy):
    """In a search whose states are whole sequences: two of one state compete, and the fusion parts some
    of them, so that a sum may differ."""
    model = FakeModel(seed, 5, 600)
    plain, boosted = (
        wide(model, 2, fusion, context=4, greedy=greedy)
        for fusion in (None, Boosts(["a b"], PIECES[:5], 0.0))
    )
    assert boosted.labels == plain.labels and boosted.score == plain.score
    assert plain.boost == 0 and not plain.graph().credits


def test_set_up_is_cheap_and_the_trie_is_made_where_a_search_comes():
    """10,000 names: 7 to 10 ms; the limit here is for machines that do much else."""
    rng = np.random.default_rng(0)
    letters = np.array(list("abc"))
    names = [f"{''.join(rng.choice(letters, 6))} {''.join(rng.choice(letters, 7))}" for _ in range(10000)]
    boosts, taken = Boosts((), LABELS), []
    for _ in range(5):
        begun = time.process_time()
        boosts = Boosts(names, LABELS)
        taken.append(time.process_time() - begun)
    assert len(boosts) > 9000 and min(taken) < 0.1
    assert not boosts._steps and not boosts._gains
    boosts.gains(boosts.start)
    assert boosts.gains(boosts.start)[BLANK] == 0 and len(boosts._steps) <= len(LABELS)
