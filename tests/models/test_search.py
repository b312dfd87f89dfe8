"""The beam search over the integer model: what the recognizer on the processor finds."""

import json

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch (the extra 'train')")
from ossicle.compiler.api import compile_checkpoint  # noqa: E402
from ossicle.hw.config import NpuConfig  # noqa: E402
from ossicle.models.evaluate import Evaluation, evaluate, sets_of  # noqa: E402
from ossicle.models.export import read_checkpoint  # noqa: E402
from ossicle.models.search import PART, Searcher, encodings, lattices_of, pad  # noqa: E402
from ossicle.runtime.aliases import SoundTable  # noqa: E402
from ossicle.runtime.frontend import features  # noqa: E402
from ossicle.runtime.lattice import LatticeOptions  # noqa: E402
from ossicle.runtime.recognizer import Recognizer  # noqa: E402
from ossicle.runtime.transducer import SearchOptions  # noqa: E402
from ossicle.sim.device import open_device  # noqa: E402


@pytest.fixture(scope="module")
def checkpoint(untrained_checkpoint):
    return read_checkpoint(untrained_checkpoint)


def write_table(path):
    """Letters are heard as themselves, mostly."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    odds = [[a, b, 4.0 if a == b else -4.0] for a in letters for b in letters]
    odds += [row for a in letters for row in ([a, "", -3.0], ["", a, -3.0])]
    path.write_text(json.dumps({"odds": odds, "words": {}, "before": {}, "after": {}}))
    return path


def noise(seed, steps):
    return np.random.default_rng(seed).integers(-128, 128, (steps, 120)).astype(np.int8)


def test_lattice_is_the_recognizers(checkpoint, untrained_checkpoint, noise_wav):
    import soundfile

    samples = soundfile.read(noise_wav, dtype="int16")[0]
    config = NpuConfig.load("small")
    options = SearchOptions(beam=4)
    with open_device("functional", config) as device:
        program = compile_checkpoint(untrained_checkpoint, config)
        expected = Recognizer(device, program, options).recognize(samples)
    (found,) = Searcher(checkpoint, options).lattices([features(samples, checkpoint.frontend)])
    assert found.best().text == expected.text
    assert [(e.word, e.score) for e in found.edges] == [(e.word, e.score) for e in expected.lattice.edges]


def test_names_by_sound_are_the_recognizers(checkpoint, untrained_checkpoint, noise_wav, tmp_path):
    """The encoder's steps are asked about again: on the processor as in the model's own integers."""
    import soundfile

    samples = soundfile.read(noise_wav, dtype="int16")[0]
    kept, options = LatticeOptions(sounds=SoundTable(write_table(tmp_path / "t.json"))), SearchOptions(beam=2)
    with open_device("functional", NpuConfig.load("small")) as device:
        program = compile_checkpoint(untrained_checkpoint, NpuConfig.load("small"))
        recognizer = Recognizer(device, program, options, kept)
        word = max(recognizer.recognize(samples).text.split(), key=len)
        names = [word + word[-1], word[:-1] + "s", word + "n"]
        recognizer.set_boosts(names)
        expected = recognizer.recognize(samples)
    searcher = Searcher(checkpoint, options, kept=kept)
    (found,) = searcher.lattices([features(samples, checkpoint.frontend)], boosted=[names])
    assert {edge.word for edge in found.edges} & set(names)
    assert [(e.word, e.score) for e in found.edges] == [(e.word, e.score) for e in expected.lattice.edges]


def test_utterances_of_any_length_come_in_their_order(checkpoint):
    searcher = Searcher(checkpoint, SearchOptions(beam=3))
    utterances = [noise(0, 14), noise(1, 6), noise(2, 10)]
    together = searcher.lattices(utterances)
    for utterance, lattice in zip(utterances, together, strict=True):
        assert Searcher(checkpoint, SearchOptions(beam=3)).lattices([utterance])[0] == lattice


def test_more_processes_find_the_same(checkpoint):
    utterances = [noise(seed, 4 + seed % 5) for seed in range(PART + 3)]
    options, told = SearchOptions(beam=3), []
    alone = Searcher(checkpoint, options).lattices(utterances)
    assert lattices_of(checkpoint, options, utterances, 2, lambda *now: told.append(now)) == alone
    assert told[-1] == (len(utterances), len(utterances))


def test_greedy_search_is_the_batched_one(checkpoint):
    utterances = [noise(3, 12), noise(4, 20)]
    searcher = Searcher(checkpoint, SearchOptions(greedy=True))
    found = {i: list(searcher.search(e).labels) for i, e in encodings(searcher.model, utterances)}
    assert [found[0], found[1]] == searcher.model.greedy(*pad(utterances))


def test_human_sets_come_first():
    rows = [
        {"source": "espeak", "style": "synthesized"},
        {"source": "fsdd"},
        {"source": "an4", "speaker": "x"},
        {"source": "espeak", "style": "synthesized"},
    ]
    assert sets_of(rows, "source") == {"an4": [2], "fsdd": [1], "espeak": [0, 3]}
    assert sets_of(rows, "all") == {"all": [0, 1, 2, 3]}


def test_evaluation_counts_sets_and_lists_errors(checkpoint, noise_wav):
    rows = [{"path": str(noise_wav), "text": text, "source": text[0]} for text in ("a b", "b", "a")]
    progress = []
    sets = sets_of(rows, "source")
    found = evaluate(checkpoint, rows, sets, 2, progress=lambda *now: progress.append(now))
    assert isinstance(found, Evaluation)
    assert progress == [(1, 3), (2, 3), (3, 3)]
    assert {name: s.utterances for name, s in found.beam_scores.items()} == {"a": 2, "b": 1}
    assert all(found.oracle[name] <= s.wer for name, s in found.beam_scores.items())
    assert len(found.errors(2)) == 2
    assert [row["set"] for row in found.table()] == ["a", "b"]
