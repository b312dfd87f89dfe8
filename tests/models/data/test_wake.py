"""A corpus of wake words before commands: what its rows say is where its audio has it."""

import json
import random
from itertools import islice

import numpy as np
import pytest

pytest.importorskip("scipy", reason="needs scipy (the extra 'train')")
pytest.importorskip("threadpoolctl", reason="needs threadpoolctl (the extra 'train')")
import soundfile
from ossicle.models.data.contexts import person
from ossicle.models.data.grammar import Grammar, split_of
from ossicle.models.data.languages import GERMAN
from ossicle.models.data.plan import utterances
from ossicle.models.data.split import read_manifest, wake_seconds
from ossicle.models.data.wake import LEAD_S, PAUSE_S

SETS = {"train": 16, "dev": 4, "test-wake-clean": 12, "test-wake": 12}


@pytest.fixture(scope="module")
def wake(make_tiny, tmp_path_factory):
    out = tmp_path_factory.mktemp("corpus") / "wake"
    return out, make_tiny(out, wake=True)


def read(path):
    return soundfile.read(path, dtype="float64")[0]


def split_at(row):
    audio, begin = read(row["path"]), round(wake_seconds(row) * 16000)
    return audio[:begin], audio[begin:]


def test_every_set_has_its_manifest(wake):
    out, sets = wake
    assert {name: len(rows) for name, rows in sets.items()} == SETS
    assert sorted(path.stem for path in out.glob("*.jsonl")) == sorted(SETS)
    said = json.loads((out / "corpus.json").read_text())
    assert said["wake"] is True and set(said["sets"]) == set(SETS)
    for name in SETS:
        for row in read_manifest(out / f"{name}.jsonl"):
            assert 0.3 < row["wake_seconds"] < row["duration"] - 0.2 and row["wake"] not in row["text"]
            assert "context" not in row
            assert all(row["wake_seconds"] < begin < end for begin, end in row["pauses"])


def test_the_command_begins_in_the_pause_after_the_wake_word(wake):
    out, _ = wake
    for name in ("train", "dev", "test-wake-clean"):
        for row in read_manifest(out / f"{name}.jsonl"):
            context, command = split_at(row)
            lead = round(LEAD_S * 16000)
            assert not context[-round((PAUSE_S[0] - LEAD_S) * 16000) + 16 :].any() and context.any()
            assert not command[: lead - 16].any() and command[lead : lead + 800].any()


def test_contexts_differ_in_who_spoke_alone(wake):
    out, _ = wake
    for row in read_manifest(out / "test-wake.jsonl"):
        own, _ = split_at(row)
        other, noise = read(row["wake_other"]), read(row["wake_noise"])
        assert len(own) == len(other) == len(noise)
        spoken = own - noise, other - noise
        loud = [np.sqrt(np.mean(one**2)) for one in spoken]
        assert loud[0] == pytest.approx(loud[1], rel=0.02) and loud[0] > np.sqrt(np.mean(noise**2))
        assert abs(np.corrcoef(*spoken)[0, 1]) < 0.5
        assert 5 <= row["snr_db"] <= 20


def test_rooms_and_noise_keep_the_clip_as_long_as_it_was(wake):
    out, _ = wake
    clean = read_manifest(out / "test-wake-clean.jsonl")
    for row, before in zip(read_manifest(out / "test-wake.jsonl"), clean, strict=True):
        assert len(read(row["path"])) == len(read(before["path"]))
        assert row["wake_seconds"] == before["wake_seconds"] and row["text"] == before["text"]


def test_one_voice_says_both_and_test_sentences_are_unseen():
    grammar, trained = Grammar(), {u.sentence.text for u in islice(utterances("train", 1, wake=True), 400)}
    tested = list(islice(utterances("test-wake-clean", 1, wake=True), 100))
    assert all(split_of(u.sentence.text) == "test" for u in tested)
    assert not trained & {u.sentence.text for u in tested}
    people = {u.request.speaker.rpartition("+")[2] for u in tested}
    heard = {u.request.speaker.rpartition("+")[2] for u in islice(utterances("train", 1, wake=True), 400)}
    assert not people & heard
    assert all(u.wake.spoken.split()[-1] in grammar.slots["wake"] for u in tested)


def test_a_corpus_without_wake_words_is_as_it_was():
    plain = list(islice(utterances("train", 1), 20))
    assert not any(u.wake for u in plain)
    texts = {u.sentence.text for u in islice(utterances("train", 1, wake=True), 20)}
    assert len(texts & {u.sentence.text for u in plain}) < 5


def test_german_devices_are_called_too():
    grammar = GERMAN.grammar()
    said = {grammar.call(random.Random(seed)) for seed in range(60)}
    assert any(call.startswith("hallo ") for call in said)
    assert {call.split()[-1] for call in said} <= set(grammar.slots["wake"])


def test_a_folder_of_another_corpus_is_refused(wake, make_tiny):
    out, _ = wake
    with pytest.raises(ValueError, match="a corpus of another wake; give another folder"):
        make_tiny(out)


def test_everyone_is_another_person():
    assert person({"speaker": "espeak:en-us+f3"}) == person({"speaker": "espeak:en-gb+f3"})
    assert person({"speaker": "flite:rms"}) != person({"speaker": "festival:ked_diphone"})
