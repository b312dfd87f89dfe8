"""German beside English: the English corpus stays as it is, byte for byte; German texts, voices, sounds."""

import hashlib
import random
import re
import shutil
from itertools import islice

import pytest

pytest.importorskip("soxr", reason="needs soxr (the extra 'train')")
from ossicle.models.data import accent, german, voices
from ossicle.models.data.grammar import SLOT, Grammar, expansions
from ossicle.models.data.languages import ENGLISH, GERMAN, GERMAN_GRAMMAR, LANGUAGES
from ossicle.models.data.plan import utterances

TEXT = re.compile(r"[a-zäöüß]+(?: [a-zäöüß]+)*")
ENGLISH_PLAN = {  # of the first 200 utterances of each set
    "train": "eadfa59ad20876a3370c5b18f4b935c6a79395cac98a51d3e6be4535cda32214",
    "dev": "35d70e9d26024138d844f9a572452bd16799d12e98b6921cbe398ece63e4bb4b",
    "test-sentences": "e4fe1cf90ab7983395e95314e7bd2470998664a3f433ad67a5039f9dc42d3030",
    "test-voices": "fc233df15c302fbc5bb2dd6085913048903d18f16fdf9339057337f44f8646c9",
    "test-synthesizer": "4c8a21bba390bd50524e1b592dd76dbc2098b3f3fcc3dabc09acf5c7d89c1f15",
    "test-names": "6f6ab62b8f42f5d56d08c5f40bcc95defec12812671aced38a16a4cdb63bf877",
}
ENGLISH_GRAMMAR = "5dd8ac351b872d8cad4a52ba0b3998aa29a78d5bad0a39c3e49d711ab845c8f2"
ENGLISH_VOICES = "752d2764bbcc0eed1986f0255484fceeb228de437adb87e67d9f16a625ceff0a"


@pytest.fixture(scope="module")
def grammar():
    return GERMAN.grammar()


@pytest.fixture(scope="module")
def planned():
    return {name: list(islice(utterances(name, 1, None, GERMAN), 250)) for name in GERMAN.shares}


@pytest.mark.parametrize("name", ENGLISH_PLAN)
def test_the_english_plan_is_what_it_was(name):
    drawn = repr(list(islice(utterances(name, 1), 200))).replace(", wake=None", "")  # a field of later
    assert hashlib.sha256(drawn.encode()).hexdigest() == ENGLISH_PLAN[name]


def test_the_english_corpus_is_known_by_the_same_fingerprints():
    assert Grammar().fingerprint() == ENGLISH.grammar().fingerprint() == ENGLISH_GRAMMAR
    assert voices.fingerprint() == ENGLISH.voices_fingerprint() == ENGLISH_VOICES
    assert GERMAN.voices_fingerprint() != ENGLISH_VOICES


def test_german_means_what_english_does(grammar):
    english = Grammar()

    def slots(intents, intent):
        ways = (one for template in intents[intent] for one in expansions(template))
        return {match[1] or match[2].removeprefix("#") for way in ways for match in SLOT.finditer(way)}

    assert set(grammar.intents) == set(english.intents) and grammar.weights == english.weights
    for intent in english.intents:
        assert slots(grammar.intents, intent) <= slots(english.intents, intent) | {"count"}, intent


def test_german_is_large_enough_and_lower_case(grammar):
    words = {word for part in grammar.phrases() for word in part.split()}
    names = sum(len(grammar.slots[name]) for name in ("person", "device_m", "device_f", "song", "city"))
    assert len(words) > 2000 and names > 300
    for values in (*grammar.slots.values(), *grammar.held_out.values()):
        assert all(TEXT.fullmatch(value) for value in values) and len(set(values)) == len(values)
    trained = {value for values in grammar.slots.values() for value in values}
    assert not trained & {value for values in grammar.held_out.values() for value in values}
    rng = random.Random(3)
    texts = [grammar.sentence(rng).text for _ in range(3000)]
    assert all(TEXT.fullmatch(text) for text in texts) and any("ß" in text for text in texts)


def test_sets_share_no_sentence_and_no_voice(planned):
    texts = {name: {u.sentence.text for u in set_} for name, set_ in planned.items()}
    held = set().union(*(texts[name] for name in planned if name.startswith("test")))
    assert not texts["train"] & held and not texts["train"] & texts["dev"] and not texts["dev"] & held

    def speakers(*names):
        return {u.request.speaker.rpartition("+")[2] for name in names for u in planned[name]}

    trained = speakers("train", "test-sentences")
    assert not trained & speakers("dev") and not trained & speakers("test-voices", "test-synthesizer")
    assert speakers("test-synthesizer") == {"flite:rms@de"}
    assert all(u.sentence.names for u in planned["test-names"])


@pytest.mark.parametrize(
    ("value", "word"),
    [
        (0, "null"), (1, "eins"), (16, "sechzehn"), (21, "einundzwanzig"), (30, "dreißig"),
        (77, "siebenundsiebzig"),
        (100, "einhundert"), (101, "einhunderteins"), (111, "einhundertelf"),
        (234, "zweihundertvierunddreißig"),
        (1001, "eintausendeins"), (21000, "einundzwanzigtausend"), (101001, "einhunderteintausendeins"),
    ],
)  # fmt: skip
def test_numbers_are_one_word(value, word):
    assert german.number(value) == word


def test_ordinals_years_and_letters():
    said = [german.ordinal(n) for n in (1, 3, 7, 8, 12, 19, 20, 31, 101, 112)]
    assert said == [
        "erste", "dritte", "siebte", "achte", "zwölfte", "neunzehnte", "zwanzigste", "einunddreißigste",
        "einhunderterste", "einhundertzwölfte",
    ]  # fmt: skip
    assert german.year(1988) == "neunzehnhundertachtundachtzig" and german.year(1900) == "neunzehnhundert"
    assert german.year(2003) == "zweitausenddrei"
    assert german.upper("groß müller") == "G R O ẞ M Ü L L E R" and "ẞ".lower() == "ß"


def test_generated_times_and_durations_are_said_as_they_are(grammar):
    rng = random.Random(0)
    draws = {
        kind: {make(rng, grammar.slots) for _ in range(3000)} for kind, make in german.GENERATORS.items()
    }
    assert {"halb acht", "viertel nach drei", "ein uhr"} <= draws["time"]
    assert {"eine minute", "eine halbe stunde", "fünf minuten"} <= draws["duration"]
    assert {"einer minute", "einer halben stunde", "zwei tagen"} <= draws["duration_dative"]
    assert not any("einser" in value or "einsund" in value for values in draws.values() for value in values)
    assert {"eins", "zwei"} <= draws["small"] and "ein" in draws["count"] and "eins" not in draws["count"]


def test_unknown_phrases_and_generators_are_one_clear_line(tmp_path):
    text = GERMAN_GRAMMAR.read_text()
    path = tmp_path / "grammar.toml"
    path.write_text(text.replace("<inroom>", "<inrom>", 1))
    with pytest.raises(ValueError, match="there is no phrase inrom"):
        Grammar(path, german.GENERATORS)
    path.write_text(text)
    with pytest.raises(ValueError, match="duration_dative"):
        Grammar(path)


def test_english_letters_are_spelled_for_english_voices_alone():
    assert voices.pronounceable("A B") == "ay b" and voices.pronounceable("A Ü", english=False) == "a ü"
    assert voices.is_english("en-us+f3") and voices.is_english("slt")
    assert not voices.is_english("de+f3") and not voices.is_english("slt@de")


def test_sounds_become_the_nearest_english_ones():
    said = "ts_v_'W_l_f _!_'OY_R_o: b_u:_x (en)_k_V_m_(de)"
    assert accent.sounds(said) == ["ts", "v", "'W", "l", "f", "'OY", "R", "o:", "b", "u:", "x", "k", "V", "m"]
    assert [phone for sound in accent.sounds(said)[:8] for phone in accent.nearest(sound)] == [
        "t", "s", "v", "er1", "l", "f", "oy1", "r", "ow0",
    ]  # fmt: skip
    assert accent.nearest("?!") == []


@pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="needs espeak-ng")
def test_every_sound_of_the_grammar_has_an_english_one(grammar):
    rng = random.Random(7)
    words = sorted({word for _ in range(1500) for word in grammar.sentence(rng).text.split()})
    assert " " not in "".join(words)
    text = " ".join(words)
    found = accent.phones(text, "de").split()
    known = {p.split()[0] for p in (*accent.CONSONANTS.values(), *accent.VOWELS.values())}
    assert len(found) > 4 * len(words) and {phone.rstrip("01") for phone in found} - {"pau"} <= known | {
        "s", "f", "r", "l", "ng", "y", "ax",
    }  # fmt: skip


def test_languages_are_known_by_their_codes():
    assert set(LANGUAGES) == {"en", "de"} and LANGUAGES["de"] is GERMAN
