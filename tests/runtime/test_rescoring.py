"""Sentences of lattices, scored anew."""

import io
import math
from dataclasses import replace

import numpy as np
import pytest
from ossicle.compiler.api import compile_checkpoint
from ossicle.compiler.importer import import_checkpoint
from ossicle.compiler.reference import Reference
from ossicle.hw.config import PRESETS
from ossicle.models.export import write_checkpoint
from ossicle.runtime.driver import Cycles
from ossicle.runtime.language_model import DeviceModel, HostModel, PrefixTree, open_host_model
from ossicle.runtime.lattice import Edge, Lattice
from ossicle.runtime.rescoring import Rescorer, RescoringOptions
from ossicle.runtime.transducer import log_softmax
from ossicle.sim.device import open_device
from random_lm import random_model
from sentencepiece import SentencePieceProcessor, SentencePieceTrainer

CONFIG = PRESETS["base"]


@pytest.fixture(scope="module")
def tokenizer():
    words = ["red", "blue", "reed", "rude", "blur", "bed", "led", "dull"]
    model = io.BytesIO()
    SentencePieceTrainer.train(
        sentence_iterator=iter([f"{a} {b}" for a in words for b in words]), model_writer=model, vocab_size=18,
        model_type="bpe", bos_id=-1, eos_id=-1, minloglevel=9, num_threads=1,
    )  # fmt: skip
    return model.getvalue()


def labels_of(tokenizer):
    processor = SentencePieceProcessor(model_proto=tokenizer)
    return ["", *(processor.id_to_piece(i) for i in range(processor.get_piece_size()))]


class Wanted:
    """A model that likes what comes after some texts' pieces, and nothing else."""

    def __init__(self, tokenizer, *texts):
        self.labels, self.cycles = labels_of(tokenizer), Cycles()
        self.rows = SentencePieceProcessor(model_proto=tokenizer).encode(list(texts))

    def logits(self, tree, progress=None):
        made = np.zeros((len(tree), len(self.labels)), np.int16)
        before = [()]  # labels on the way to each node
        for node in range(1, len(tree)):
            before.append((*before[tree.parents[node]], tree.labels[node]))
        for row in self.rows:
            sequence = (*(piece + 1 for piece in row), 0)
            for node, labels in enumerate(before):
                if sequence[: len(labels)] == labels and len(labels) < len(sequence):
                    made[node, sequence[len(labels)]] = 5 * 256
        return made


def lattice_of(*sentences):
    """Sentences, (words, score), side by side from the start to the end."""
    edges, times = [], [0.0]
    for words, _ in sentences:
        times += [0.1] * (len(words.split()) - 1)
    times.append(0.2)
    following = 1
    for words, score in sentences:
        source, parts = 0, words.split()
        for i, word in enumerate(parts):
            last = i == len(parts) - 1
            edges.append(
                Edge(source, len(times) - 1 if last else following, word, score if i == 0 else 0, 0, 0)
            )
            source, following = following, following + (not last)
    return Lattice(tuple(times), tuple(edges), -3.0)


LATTICE = lattice_of(("red bed", -0.5), ("red led", -1.0), ("blue bed", -2.5))


def jiwer_errors(reference, hypothesis):
    measured = pytest.importorskip("jiwer").process_words(reference, hypothesis)
    return measured.substitutions + measured.insertions + measured.deletions


def texts_of(rescored):
    return [one.text for one in rescored]


def test_what_the_model_likes_comes_first(tokenizer):
    assert [path.text for path in LATTICE.nbest(9)] == ["red bed", "red led", "blue bed"]
    found = Rescorer(Wanted(tokenizer, "blue bed"), tokenizer, RescoringOptions(weight=1.0, bonus=0)).rescore(
        LATTICE
    )
    assert found[0].text == "blue bed" and found[0].errors == min(one.errors for one in found)
    for one in found:
        assert one.score == pytest.approx(one.path.score + one.model)
    assert found[0].path.score == pytest.approx(-5.5)


def test_weight_of_zero_changes_nothing(tokenizer):
    options = RescoringOptions(weight=0, bonus=0, best="score")
    found = Rescorer(Wanted(tokenizer, "blue bed"), tokenizer, options).rescore(LATTICE)
    assert [one.path for one in found] == LATTICE.nbest(50)
    assert [one.score for one in found] == [path.score for path in LATTICE.nbest(50)]


def test_ties_are_those_of_the_lattice(tokenizer):
    even = lattice_of(("red bed", -1), ("bed red", -1))  # of as many pieces
    for weight in (0, 0.7):
        flat = Rescorer(Wanted(tokenizer), tokenizer, RescoringOptions(weight=weight)).rescore(even)
        assert flat[0].score == flat[1].score
        assert texts_of(flat) == [path.text for path in even.nbest(9)] == ["bed red", "red bed"]


def test_only_so_many_sentences_are_scored(tokenizer):
    options = RescoringOptions(weight=9.0, nbest=2)
    assert texts_of(Rescorer(Wanted(tokenizer, "blue bed"), tokenizer, options).rescore(LATTICE)) != []
    found = Rescorer(Wanted(tokenizer, "blue bed"), tokenizer, options).rescore(LATTICE)
    assert sorted(texts_of(found)) == ["red bed", "red led"]


def test_a_bonus_is_for_each_word(tokenizer):
    lattice = lattice_of(("red", -1.0), ("red bed led", -2.5))
    rescorer = Rescorer(Wanted(tokenizer, "dull"), tokenizer, RescoringOptions(weight=0, bonus=0.8))
    assert texts_of(rescorer.rescore(lattice)) == ["red bed led", "red"]


def test_fewest_expected_errors_come_first(tokenizer):
    """The likeliest sentence has no word of the others; one of the others has most of theirs."""
    texts = ["dull dull dull", "red bed led", "red bed bed", "red bed"]
    lattice = lattice_of(*zip(texts, (-0.9, -1.0, -1.1, -1.2), strict=True))
    ways = {}
    for best in ("score", "errors"):
        options = RescoringOptions(weight=0, bonus=0, best=best)
        ways[best] = Rescorer(Wanted(tokenizer), tokenizer, options).rescore(lattice)
    assert texts_of(ways["score"]) == texts
    assert ways["errors"][0].text == "red bed led" and ways["errors"][-1].text == "dull dull dull"
    likely = {one.text: math.exp(one.score) for one in ways["score"]}
    for one in ways["errors"]:
        wanted = sum(p * jiwer_errors(text, one.text) for text, p in likely.items()) / sum(likely.values())
        assert one.errors == pytest.approx(wanted)


def test_log_probs_are_sums_of_every_piece_and_the_end(tokenizer, tmp_path):
    labels, texts = labels_of(tokenizer), ["red bed", "", "red bed led", "blur"]
    write_checkpoint(tmp_path / "lm", random_model(labels))
    graph = import_checkpoint(tmp_path / "lm")
    found = Rescorer(HostModel(graph), tokenizer).log_probs(texts)
    processor = SentencePieceProcessor(model_proto=tokenizer)
    for text, score in zip(texts, found, strict=True):
        reference, total = Reference(graph), 0.0
        pieces = [piece + 1 for piece in processor.encode(text)]
        for label, following in zip([0, *pieces], [*pieces, 0], strict=True):
            total += float(log_softmax(reference.run("step", {"label.0": label}))[following])
        assert score == pytest.approx(total, abs=1e-9) and score < 0


def test_probabilities_of_all_sentences_add_up(tokenizer, tmp_path):
    """Of those of no piece and of one, and of the beginnings of longer ones."""
    labels = labels_of(tokenizer)
    write_checkpoint(tmp_path / "lm", random_model(labels))
    tree = PrefixTree([(label,) for label in range(1, len(labels))])
    after = [log_softmax(row) for row in open_host_model(tmp_path / "lm").logits(tree)]
    total = math.exp(after[0][0])
    for label in range(1, len(labels)):
        node = tree.nodes((label,))[-1]
        total += math.exp(after[0][label]) * sum(math.exp(value) for value in after[node])
    assert total == pytest.approx(1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"nbest": 0}, "0 sentences to rescore"), ({"weight": -1}, "weight of -1"),
        ({"weight": math.nan}, "weight of nan"), ({"bonus": 99}, "bonus of 99"),
        ({"best": "words"}, "sentences by 'words'"),
    ],
)  # fmt: skip
def test_options_out_of_range_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        RescoringOptions(**changes)


def test_other_nets_and_other_pieces_are_refused(tokenizer, tmp_path):
    labels = labels_of(tokenizer)
    other = random_model([*labels[:-1], "other"])
    write_checkpoint(tmp_path / "other", other)
    with pytest.raises(ValueError, match="other word pieces than the recognizer"):
        Rescorer(open_host_model(tmp_path / "other"), tokenizer)
    unnamed = {key: value for key, value in other.topology.items() if key != "labels"}
    wrong = [random_model(labels, tokens={key: 2}) for key in ("buckets", "labels")]
    for one in (replace(other, topology=unnamed), *wrong):
        write_checkpoint(tmp_path / "x", one)
        with pytest.raises(ValueError, match="random: not a language model"):
            open_host_model(tmp_path / "x")
        program = compile_checkpoint(tmp_path / "x", CONFIG)
        with open_device("functional", CONFIG) as device, pytest.raises(ValueError, match="not a language"):
            DeviceModel(device, program)
