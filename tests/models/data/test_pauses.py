"""Pauses: where they come, and what is heard of them."""

import random
import shutil
from pathlib import Path

import numpy as np
import pytest
from ossicle.models.data.grammar import Grammar, Sentence
from ossicle.models.data.pauses import RATE, draw_pauses, join, pieces, trimmed

WORDS = "call imogen blackwood"


def test_a_share_of_the_sentences_pauses():
    sentence = Sentence(WORDS, breaks=(1, 2))
    drawn = [draw_pauses(sentence, random.Random(i)) for i in range(1000)]
    assert 200 < sum(map(bool, drawn)) < 400
    assert all(place in (1, 2) and 0.2 <= seconds <= 1.2 for pauses in drawn for place, seconds in pauses)
    assert {len(pauses) for pauses in drawn} == {0, 1, 2}
    assert draw_pauses(Sentence("stop"), random.Random(0)) == ()


def test_pieces_make_the_sentence():
    assert pieces(WORDS, ()) == [WORDS]
    assert pieces(WORDS, ((1, 0.3), (2, 0.5))) == ["call", "imogen", "blackwood"]


def test_between_the_pieces_is_silence_of_that_length():
    tone = np.full(4000, 900, np.int16)
    audio, spans = join([tone, tone, tone], ((1, 0.3), (2, 0.5)))
    assert [round(end - begin, 4) for begin, end in spans] == [0.3, 0.5]
    for begin, end in spans:
        assert not audio[round(begin * RATE) : round(end * RATE)].any()
    assert len(audio) == 3 * 4000 + 0.8 * RATE


def test_one_piece_stays_as_it_is():
    samples = np.arange(-500, 500, dtype=np.int16)
    audio, spans = join([samples], ())
    assert spans == [] and np.array_equal(audio, samples)


def test_silence_goes_at_an_inner_edge_alone():
    samples = np.concatenate([np.zeros(3000), np.full(2000, 500), np.zeros(3000)]).astype(np.int16)
    assert len(trimmed(samples, begin=False, end=False)) == 8000
    assert 5000 <= len(trimmed(samples, begin=False, end=True)) < 5100
    assert 2000 <= len(trimmed(samples, begin=True, end=True)) < 2200
    assert len(trimmed(np.zeros(100, np.int16), begin=True, end=True)) == 100


@pytest.mark.skipif(not shutil.which("espeak-ng"), reason="needs espeak-ng (apt-get install espeak-ng)")
def test_spoken_pauses_are_silent(tmp_path):
    from ossicle.models.data.voices import Request, synthesize

    pauses = ((1, 0.4),)
    parts = [Request(piece, "espeak", "en-us+f3") for piece in pieces("call imogen", pauses)]
    spoken = [piece for piece in synthesize(parts, Path(tmp_path)) if piece is not None]
    audio, [(begin, end)] = join(spoken, pauses)
    assert not audio[round(begin * RATE) : round(end * RATE)].any()
    assert np.abs(audio[: round(begin * RATE)]).max() > 1000 < np.abs(audio[round(end * RATE) :]).max()


def test_the_grammar_leaves_places():
    rng, grammar = random.Random(1), Grammar()
    paused = sum(bool(draw_pauses(grammar.sentence(rng), rng)) for _ in range(2000))
    assert 100 < paused < 600
