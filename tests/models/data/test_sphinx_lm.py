"""Trigram models of CMU Sphinx: read, and drawn from as their probabilities have it."""

import math
import random
import sys
from collections import Counter

import numpy as np
import pytest
from ossicle.models.data import sphinx_lm
from ossicle.models.data.sphinx_lm import BASE, BINS, MAGIC, UNIGRAM, Trigrams
from ossicle.models.data.split import read_manifest

WORDS = ["</s>", "<s>", "a.", "ann", "bob", "ran"]
END, BEGIN, _, ANN, BOB, RAN = range(6)
ONE = {END: 0.2, BEGIN: 1e-9, 2: 0.1, ANN: 0.2, BOB: 0.2, RAN: 0.3}
TWO = {(BEGIN, ANN): 0.6, (BEGIN, BOB): 0.3, (ANN, RAN): 0.5, (ANN, BOB): 0.125, (RAN, END): 0.9}
THREE = {(BEGIN, ANN, RAN): 0.25, (BEGIN, ANN, BOB): 0.5}


def packed(rows, widths):
    bits = "".join("".join(f"{v:0{w}b}"[::-1] for v, w in zip(row, widths, strict=True)) for row in rows)
    bits += "0" * (-len(bits) % 8)
    return bytes(int(bits[i : i + 8][::-1], 2) for i in range(0, len(bits), 8)) + bytes(8)


def units(probabilities):
    return [math.log(probability) / math.log(BASE) for probability in probabilities]


def model():
    """The file of the tables above: n-grams by their last word, then the one before it, then the first."""
    twos = sorted((last, before) for before, last in TWO)
    threes = sorted((last, before, first) for first, before, last in THREE)
    tables = np.zeros((3, BINS), "<f4")
    tables[0, : len(twos)] = units(TWO[before, last] for last, before in twos)
    tables[2, : len(threes)] = units(THREE[first, before, last] for last, before, first in threes)
    one = np.zeros(len(WORDS) + 1, UNIGRAM)
    one["score"][:-1] = units(ONE.values())
    one["next"] = [sum(last < word for last, _ in twos) for word in range(len(WORDS) + 1)]
    rows = [(two[1], 7, i, sum(three[:2] < two for three in threes)) for i, two in enumerate(twos)]
    counts, text = (len(WORDS), len(twos), len(threes)), "".join(word + "\0" for word in WORDS).encode()
    return b"".join([
        MAGIC, b"\3", np.array([*counts, 1], "<u4").tobytes(), tables.tobytes(), one.tobytes(),
        packed([*rows, (0, 0, 0, len(threes))], [3, 16, 16, len(threes).bit_length()]),
        packed([*((first, i) for i, (_, _, first) in enumerate(threes)), (0, 0)], [3, 16]),
        np.array([len(text)], "<u4").tobytes(), text,
    ])  # fmt: skip


@pytest.fixture
def path(tmp_path):
    made = tmp_path / "tiny.lm.bin"
    made.write_bytes(model())
    return made


def test_words_follow_with_the_probabilities_of_the_model(path):
    trigrams, draw, many = Trigrams(path), random.Random(1), 6000
    found = Counter(trigrams._word((BEGIN, ANN), draw) for _ in range(many))
    # What the trigrams leave, 0.25, is of the words that they and the bigrams of "ann" have not.
    left = {word: p for word, p in ONE.items() if word in (END, 2, ANN)}
    wanted = {RAN: 0.25, BOB: 0.5} | {word: 0.25 * p / sum(left.values()) for word, p in left.items()}
    for word, probability in wanted.items():
        assert found[word] / many == pytest.approx(probability, abs=0.02), WORDS[word]
    assert set(found) == set(wanted)
    first = Counter(trigrams._word((-1, BEGIN), draw) for _ in range(many))
    assert first[ANN] / many == pytest.approx(0.6, abs=0.02) and first[BEGIN] == 0


def test_sentences_have_words_of_letters_alone_and_the_same_seed_gives_the_same(path):
    trigrams = Trigrams(path)
    made = list(trigrams.sentences(200, 4, 3))
    assert made == list(trigrams.sentences(200, 4, 3)) != list(trigrams.sentences(200, 4, 4))
    words = [text.split() for text in made]
    assert {word for text in words for word in text} == {"ann", "bob", "ran"}
    assert max(map(len, words)) == 4


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["sphinx_lm", *map(str, arguments)])
    sphinx_lm.main()


def test_a_manifest_is_written(path, tmp_path, monkeypatch):
    run(monkeypatch, path, tmp_path / "out.jsonl", "--sentences", 7)
    assert len(read_manifest(tmp_path / "out.jsonl")) == 7


DAMAGE = {
    "nothing": lambda data: b"", "a part": lambda data: data[:2000], "no last words": lambda data: data[:-9],
    "bigrams": lambda data: data[:19] + b"\2" + data[20:],
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_model_is_refused(damage, path, tmp_path, monkeypatch, capsys):
    path.write_bytes(DAMAGE[damage](model()))
    with pytest.raises(SystemExit) as stopped:
        run(monkeypatch, path, tmp_path / "out.jsonl")
    assert stopped.value.code == 2 and "not a whole trigram model" in capsys.readouterr().err
    assert not (tmp_path / "out.jsonl").exists()
