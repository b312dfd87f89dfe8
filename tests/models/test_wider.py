"""A second language in one recognizer: its word pieces beside the old ones, from training to a program."""

import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch (the extra 'train')")
import soundfile  # noqa: E402
from ossicle.compiler.api import compile_checkpoint  # noqa: E402
from ossicle.hw.config import PRESETS  # noqa: E402
from ossicle.models.evaluate import command, sets_of, word_errors  # noqa: E402
from ossicle.models.export import read_checkpoint  # noqa: E402
from ossicle.models.initial import read_start  # noqa: E402
from ossicle.models.recipe import Recipe, Source  # noqa: E402
from ossicle.models.train import Run  # noqa: E402
from ossicle.models.wider import BEHIND, new_pieces, pieces_of, widened, with_pieces  # noqa: E402
from ossicle.runtime.recognizer import pieces_of as program_pieces  # noqa: E402
from sentencepiece import SentencePieceProcessor  # noqa: E402

QUIET = {"say": lambda line: None}
GERMAN = ("grün", "größe", "an", "über", "ansage", "grüße", "rot", "röte")


@pytest.fixture(scope="module")
def german_corpus(tmp_path_factory):
    """A manifest of noise bursts whose rows name a language."""
    folder, rng, rows = tmp_path_factory.mktemp("german"), np.random.default_rng(1), []
    for i in range(12):
        soundfile.write(folder / f"{i}.wav", rng.normal(0, 900, 12000 + 900 * i).astype(np.int16), 16000)
        text = f"{GERMAN[i % 8]} {GERMAN[(3 * i + 1) % 8]} {GERMAN[(5 * i + 2) % 8]}"
        row = {"path": f"{i}.wav", "text": text, "speaker": str(i), "source": "noise", "style": "synthesized"}
        rows.append({**row, "language": "de"})
    path = folder / "all.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def english(tiny_recipe):
    """The checkpoint of a tiny model of English words."""
    run = Run(tiny_recipe(), **QUIET)
    run.train()
    return run.export("x")


def test_added_pieces_come_after_the_old_ones_and_spell_umlauts(english):
    tokenizer = read_start(english).tokenizer
    texts = [" ".join(GERMAN)] * 3
    added = new_pieces(tokenizer, texts, 12)
    assert (
        len(set(added)) == 12 and {"ü", "ö", "ß"} <= set(added) and not set(added) & set(pieces_of(tokenizer))
    )
    wide = with_pieces(tokenizer, added)
    assert pieces_of(wide) == [*pieces_of(tokenizer), *added]
    processor = SentencePieceProcessor(model_proto=wide)
    for text in ("grüße über größe", "röte"):
        ids = processor.encode(text)
        assert 0 not in ids and processor.decode(ids) == text
    assert 0 in SentencePieceProcessor(model_proto=tokenizer).encode("größe")


def test_too_few_texts_are_one_clear_line(english):
    with pytest.raises(
        ValueError, match="40 more word pieces are wanted; the texts of the new language have"
    ):
        new_pieces(read_start(english).tokenizer, ["ja nein"], 40)
    with pytest.raises(ValueError, match=r"has the piece .* already"):
        start = read_start(english)
        widened(start, [pieces_of(start.tokenizer)[3]])


def test_a_wider_network_says_what_it_said(english):
    start = read_start(english)
    old = start.topology["vocabulary"]
    wide = widened(start, ["ü", "re"])
    assert wide.topology["vocabulary"] == old + 2
    before, after = start.network(), wide.network()
    features = torch.randn(1, 12, 120).clamp(-1, 1)
    labels, frames, counts = torch.tensor([[1, 2]]), torch.tensor([6]), torch.tensor([2])
    with torch.no_grad():
        one, two = (network(features, labels, frames, counts)[0] for network in (before, after))
    torch.testing.assert_close(two[..., :old], one, rtol=0, atol=1e-5)
    r = pieces_of(start.tokenizer).index("r") + 1
    torch.testing.assert_close(two[..., old + 1], one[..., r] - BEHIND, rtol=0, atol=0.02)
    e = pieces_of(start.tokenizer).index("e") + 1
    assert torch.equal(wide.parameters["embedding"][old + 1], start.parameters["embedding"][e])
    assert (
        wide.parameters["embedding"].shape[0] == wide.parameters["weights.joint_output"].shape[0] == old + 2
    )


def test_two_languages_train_export_compile_and_are_evaluated_apart(
    english, tiny_recipe, tiny_corpus, german_corpus, tmp_path
):
    old = read_checkpoint(english).topology["vocabulary"]
    train = [Source("noise", str(tiny_corpus)), Source("german", str(german_corpus), copies=1)]
    recipe = tiny_recipe(
        name="multi", run=tmp_path / "multi", train=train, initial=english, vocabulary=old + 10, topology={},
        schedule={"steps": 4},
    )  # fmt: skip
    run = Run(recipe, **QUIET)
    assert run.network.topology["vocabulary"] == old + 10
    run.train()
    again = Run(recipe, **QUIET)
    assert again.step == 4 and again.tokenizer == run.tokenizer
    path = run.export("x")
    checkpoint = read_checkpoint(path)
    assert pieces_of(checkpoint.tokenizer)[: old - 1] == pieces_of(read_checkpoint(english).tokenizer)
    program = compile_checkpoint(path, PRESETS["small"])
    assert len(program_pieces(program)) == old + 10
    found, table = command(path, [tiny_corpus, german_corpus], beam=2)
    assert set(found["sets"]) == {"noise", "language en", "language de"}
    assert {row["set"]: row["utterances"] for row in table}["language de"] == 12
    only, _ = command(path, [german_corpus], by="language", beam=1)
    assert set(only["sets"]) == {"language de"}


def test_a_smaller_vocabulary_is_still_refused(english, tiny_recipe, tmp_path):
    recipe = tiny_recipe(run=tmp_path / "less", initial=english, vocabulary=12, topology={})
    with pytest.raises(ValueError, match="its vocabulary is 16, the recipe's 12"):
        Run(recipe, **QUIET)


def test_sets_by_language_and_words_with_accents():
    rows = [{"source": "a"}, {"source": "b", "language": "de"}]
    assert sets_of(rows, "source") == {"a": [0], "language en": [0], "b": [1], "language de": [1]}
    assert set(sets_of(rows[:1], "source")) == {"a"}
    assert word_errors("größe für", "größe fu\u0308r") == 0 and word_errors("für", "fur") == 1


def test_the_shipped_recipe_of_two_languages_is_read():
    recipe = Recipe.read(Path(__file__).parents[2] / "models/recipes/commands.multi.toml")
    assert {source.name for source in recipe.train} >= {"synth", "german"} and recipe.initial
    assert recipe.vocabulary > 224
