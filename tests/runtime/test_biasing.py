"""Attention in integers, catalogues that change, maps of the attention; phrases as people write them."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from fake_device import FakeDevice, fake_program
from ossicle.compiler.api import compile_checkpoint
from ossicle.compiler.biasing import compile_biased
from ossicle.hw.config import PRESETS
from ossicle.models.biasing.checkpoint import adapter_topology, core_of, untrained_adapter, write_adapter
from ossicle.models.export import read_checkpoint
from ossicle.models.untrained import letters_tokenizer
from ossicle.runtime.attention_map import NO_PHRASE, AttentionMap, align, attention_map, context_after
from ossicle.runtime.biasing import (
    POWERS,
    BiasedDriver,
    Entries,
    Glance,
    attend,
    attention_by_phrase,
    attention_weights,
)
from ossicle.runtime.phrases import MOST_PIECES, Speller, normalized, read_phrases, steps_of
from ossicle.runtime.recognizer import Recognizer, StreamError
from ossicle.runtime.transducer import BLANK, SearchOptions, log_softmax
from ossicle.sim.device import open_device

TOPOLOGY = {"heads": 2, "key": 3, "value": 4}
SIZES = {"heads": 2, "key": 12, "value": 9, "labels": 3, "embedding": 10, "hidden": 14}


def random_entries(seed, lengths=(2, 1, 4), limit=32768):
    rng = np.random.default_rng(seed)
    made = [rng.integers(-limit, limit, (n, 14)).astype(np.int16) for n in lengths]
    return Entries.build(TOPOLOGY, rng.integers(-limit, limit, 6).tolist(), [f"p{n}" for n in lengths], made)


def attended_in_fractions(query, entries):
    """The head of runtime/biasing.py, in Python's integers."""
    heads, key, _ = entries.keys.shape
    made = []
    for h in range(heads):
        q = [int(x) for x in query[h * key : (h + 1) * key]]
        scores = [
            round(Fraction(sum(a * int(b) for a, b in zip(q, column, strict=True)), 1 << 14))
            for column in entries.keys[h].T
        ]
        weights = []
        for score in scores:
            below = max(scores) - score
            weights.append(round(2 ** (15 - (below % 256) / 256)) >> (below // 256))
        for column in entries.values[h].T:
            sum_ = sum(w * int(v) for w, v in zip(weights, column, strict=True))
            made.append(max(-128, min(127, round(Fraction(sum_, 16 * sum(weights))))))
    return made


@pytest.mark.parametrize("limit", [32768, 900, 20])
def test_attention_is_exact(limit):
    """Also where scores differ by thousands, and where they hardly differ."""
    rng, entries = np.random.default_rng(limit), random_entries(limit, limit=limit)
    queries = rng.integers(-limit, limit, (9, 6)).astype(np.int16)
    queries[0] = 32767
    made = attend(attention_weights(queries, entries), entries)
    assert made.dtype == np.int8
    for query, row in zip(queries, made, strict=True):
        assert row.tolist() == attended_in_fractions(query, entries)


def test_powers_are_those_of_two():
    assert POWERS[0] == 1 << 15 and POWERS[128] == round((1 << 15) / math.sqrt(2))
    assert (np.diff(POWERS) < 0).all()


def test_the_order_of_phrases_and_the_batch_do_not_matter():
    rng, entries = np.random.default_rng(3), random_entries(3, (3, 5, 1, 2))
    order = np.concatenate([[0], 1 + rng.permutation(len(entries) - 1)])
    mixed = Entries(
        entries.phrases, entries.keys[:, :, order], entries.values[:, order], entries.phrase[order]
    )
    queries = rng.integers(-3000, 3000, (8, 6)).astype(np.int16)
    whole = attend(attention_weights(queries, entries), entries)
    np.testing.assert_array_equal(whole, attend(attention_weights(queries, mixed), mixed))
    alone = [attend(attention_weights(query[None], entries), entries)[0] for query in queries]
    np.testing.assert_array_equal(whole, alone)


def test_shares_of_the_attention_add_up_by_phrase():
    entries = random_entries(4, limit=600)
    weights = attention_weights(np.random.default_rng(4).integers(-600, 600, (5, 6)), entries)
    shares = attention_by_phrase(weights, entries)
    assert shares.shape == (5, 4)
    np.testing.assert_allclose(shares.sum(axis=1), 1)
    each = (weights / weights.sum(axis=2, keepdims=True)).mean(axis=0)
    np.testing.assert_allclose(shares[:, 3], each[:, 4:].sum(axis=1))


def test_no_phrases_are_attended_to_as_nothing():
    entries = Entries.build(TOPOLOGY, [5] * 6, [], [])
    assert not attend(attention_weights(np.full((2, 6), 900), entries), entries).any()


# --- a recognizer on the functional device --------------------------------------------------------------


@pytest.fixture(scope="module")
def programs(untrained_checkpoint, tmp_path_factory):
    core = read_checkpoint(untrained_checkpoint)
    path = tmp_path_factory.mktemp("biased") / "biasing.safetensors"
    write_adapter(path, untrained_adapter(adapter_topology(core.topology, SIZES)), core_of(core), {})
    config = PRESETS["base"]
    return compile_checkpoint(untrained_checkpoint, config), compile_biased(
        untrained_checkpoint, path, config
    )


def noise(seconds=0.4):
    return np.random.default_rng(1).normal(0, 3000, int(16000 * seconds)).astype(np.int16)


@pytest.fixture
def recognizers(programs):
    """A plain one, and one with an adapter."""
    with open_device("functional", PRESETS["base"]) as one, open_device("functional", PRESETS["base"]) as two:
        options = SearchOptions(beam=2)
        yield [Recognizer(d, p, options, nbest=3) for d, p in zip((one, two), programs, strict=True)]


def test_catalogues_change_and_none_is_the_plain_recognizer(recognizers):
    plain, biased = recognizers
    unbiased = plain.recognize(noise())
    assert biased.recognize(noise()) == unbiased
    assert biased.set_context(["kitchen", "stop it"]) == []
    one = biased.recognize(noise())
    assert one.lattice != unbiased.lattice
    biased.set_context(["zero"])
    two = biased.recognize(noise())
    assert two.lattice not in (one.lattice, unbiased.lattice)
    biased.set_context(["stop it", "kitchen"])
    assert biased.recognize(noise()).lattice == one.lattice
    biased.set_context([])
    assert biased.recognize(noise()) == unbiased


def test_a_phrase_is_encoded_once(recognizers):
    _, biased = recognizers
    driver = biased.driver
    biased.set_context(["on", "off"])
    first = driver.cycles.jobs
    assert first["reset"] == 2 and first["phrase"] == len(driver.entries) - 1
    biased.set_context(["off", "on", "off", "OFF "])
    assert driver.cycles.jobs == {} and len(driver.entries.phrases) == 2


def test_contexts_are_refused_where_they_cannot_be(recognizers):
    plain, biased = recognizers
    with pytest.raises(StreamError, match="no context biasing"):
        plain.set_context(["on"])
    assert biased.set_context(["émile", "50 %", ""]) == ["50 %"]
    stream = biased.create_stream()
    stream.accept_waveform(16000, noise())
    biased.decode_stream(stream)
    with pytest.raises(StreamError, match="being decoded"):
        biased.set_context(["off"])
    biased.reset(stream)
    biased.set_context(["off"])
    with pytest.raises(ValueError, match="no context biasing in it"):
        BiasedDriver(FakeDevice(), fake_program_named())


def fake_program_named():
    program = fake_program()
    program.meta["name"] = "fake"
    return program


def test_a_map_of_the_attention(recognizers):
    _, biased = recognizers
    biased.set_context(["kitchen", "zero one", "b"])
    biased.driver.watching = True
    result = biased.recognize(noise())
    arguments = (result.labels, result.frames, biased.pieces, 2, 0.06)
    made = attention_map(biased.driver, *arguments)
    assert made.shares.shape == (result.frames, 4)
    np.testing.assert_allclose(made.shares.sum(axis=1), 1)
    assert "".join(made.said).replace("▁", " ").split() == biased.text_of(result.labels).split()
    svg = made.to_svg()
    assert svg.startswith("<svg") and NO_PHRASE in svg and "zero one" in svg
    biased.driver.reset()
    with pytest.raises(ValueError, match="no attention was watched"):
        attention_map(biased.driver, *arguments)


# --- alignment ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_the_alignment_is_the_best_one(seed):
    rng, labels, frames, most = np.random.default_rng(seed), (1, 2, 1), 4, 2
    logits = {
        (t, context_after(labels, u, 2)): rng.integers(-900, 900, 3).astype(np.int16)
        for t in range(frames)
        for u in range(4)
        if rng.random() < 0.9 or u == t
    }
    glances = {key: Glance(np.zeros(1), value) for key, value in logits.items()}

    def score(counts):
        total, u = 0.0, 0
        for t, count in enumerate(counts):
            for label in (*labels[u : u + count], BLANK)[:most]:
                seen = logits.get((t, context_after(labels, u, 2)))
                if seen is None:
                    return -math.inf
                total += float(log_softmax(seen)[label])
                u += label != BLANK
        return total

    ways = [c for c in itertools.product(range(most + 1), repeat=frames) if sum(c) == len(labels)]
    best = max(map(score, ways))
    assert score(align(glances, labels, frames, 2, most)) == pytest.approx(best)


def test_what_was_not_watched_has_no_alignment():
    with pytest.raises(ValueError, match="no alignment"):
        align({(0, (0, 0)): Glance(np.zeros(1), np.zeros(3, np.int16))}, (1, 2, 1), 1, 2, 2)


def test_a_map_shows_the_phrases_that_were_attended_to_most():
    shares = np.zeros((2, 31))
    shares[0, 30], shares[1, 7], shares[:, 0] = 0.9, 0.5, 0.1
    rows = AttentionMap(tuple(f"p{i}" for i in range(30)), shares, ("", "a&b"), 0.06)
    assert [name for name, _ in rows.most_attended(3)] == [NO_PHRASE, "p29", "p6"]
    assert "a&amp;b" in rows.to_svg()


# --- phrases --------------------------------------------------------------------------------------------


def test_phrases_of_a_text_and_of_a_file(tmp_path):
    assert read_phrases(" fergus, gazebo heater,,") == ["fergus", "gazebo heater"]
    path = tmp_path / "names"
    path.write_text("\ufeffFergus\r\n\n  gazebo heater \n", encoding="utf-8")
    assert read_phrases(str(path)) == ["Fergus", "gazebo heater"]


@pytest.mark.parametrize(
    ("given", "message"), [("", "no phrases"), (" , ", "no phrases"), ("a/b", "no such")]
)
def test_no_phrases(given, message):
    with pytest.raises(ValueError, match=message):
        read_phrases(given)


def test_files_that_hold_no_phrases(tmp_path):
    (tmp_path / "empty.txt").write_text("\n \n")
    (tmp_path / "odd.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="no phrases for --context"):
        read_phrases(str(tmp_path / "empty.txt"))
    with pytest.raises(ValueError, match="in UTF-8"):
        read_phrases(str(tmp_path / "odd.txt"))
    with pytest.raises(ValueError, match="no such file"):
        read_phrases("names.txt")


def test_spelling():
    speller = Speller(letters_tokenizer())
    assert normalized(" José  O’Connor ") == "jose o'connor"
    assert speller.labels("JOSÉ") == speller.labels("jose")
    assert speller.labels("x1") is None and speller.labels("") is None
    assert speller.labels("z" * (2 * MOST_PIECES)) is None
    known, left = speller.spell(["Zoé", "zoe", "3 am", "on"])
    assert [phrase for phrase, _ in known] == ["zoe", "on"] and left == ["3 am"]


def test_a_phrase_is_stepped_through_from_its_end():
    assert steps_of((7, 8, 9), 3) == [(7, 8, 9), (0, 7, 8), (0, 0, 7)]
    assert steps_of((7,), 1) == [(7,)]
