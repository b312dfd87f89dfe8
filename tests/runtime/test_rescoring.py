"""Prefix trees, a language model's logits on the host and on devices, and sentences scored anew."""

import io
import math
from dataclasses import replace
from itertools import chain, pairwise

import numpy as np
import pytest
from ossicle.compiler.api import compile_checkpoint
from ossicle.compiler.importer import import_checkpoint
from ossicle.compiler.reference import Reference
from ossicle.hw.config import PRESETS
from ossicle.models.export import Checkpoint, matrix_shapes, quantize_matrix, table_shapes, write_checkpoint
from ossicle.runtime.driver import Cycles
from ossicle.runtime.lattice import Edge, Lattice
from ossicle.runtime.rescoring import (
    DeviceModel,
    HostModel,
    PrefixTree,
    Rescorer,
    RescoringOptions,
    open_host_model,
)
from ossicle.runtime.transducer import log_softmax
from ossicle.sim.device import open_device
from sentencepiece import SentencePieceProcessor, SentencePieceTrainer

CONFIG = PRESETS["base"]
SEQUENCES = [(3, 1, 4, 1), (3, 1, 4), (3, 1, 2), (), (3, 1, 4, 2), (5,), (3, 9, 2, 6), (3, 9, 2, 5)]
ENGINES = ["functional", "fast", pytest.param("rtl", marks=[pytest.mark.slow, pytest.mark.rtl])]


def random_model(labels, kept=2, seed=1, tokens=None):
    """A checkpoint of random weights; two LSTMs, of a size that leaves padding in every memory."""
    topology = {
        "kind": "stack",
        "kept": kept,
        "tokens": {"labels": 1, "buckets": len(labels), "embedding": 6} | (tokens or {}),
        "layers": [{"lstm": 20}, {"lstm": 12}, {"linear": len(labels)}],
        "labels": labels,
    }
    if not kept:
        del topology["kept"]
    rng = np.random.default_rng(seed)
    matrices = {
        name: quantize_matrix(name, rng.normal(0, 1, shape), rng.normal(0, 0.5, shape[0]))
        for name, shape in matrix_shapes(topology).items()
    }
    table = rng.integers(-128, 128, *table_shapes(topology).values()).astype(np.int8)
    return Checkpoint(topology, matrices, table, b"", None, {"name": "random"})


@pytest.fixture(scope="module")
def net(tmp_path_factory):
    """Makes the file of a random model of ten labels that keeps so many states."""

    def make(kept):
        path = tmp_path_factory.mktemp("lm") / "net.safetensors"
        write_checkpoint(path, random_model([str(i) for i in range(10)], kept))
        return path

    return make


def test_a_tree_has_each_prefix_once_and_depth_first():
    tree = PrefixTree(SEQUENCES)
    assert len(tree) == 1 + len({s[: n + 1] for s in SEQUENCES for n in range(len(s))})
    for sequence in SEQUENCES:
        nodes = tree.nodes(sequence)
        assert nodes[0] == 0 and [tree.labels[node] for node in nodes[1:]] == list(sequence)
        assert all(tree.parents[b] == a for a, b in pairwise(nodes))
    levels = list(tree.levels())
    assert sorted(chain(*levels)) == list(range(len(tree))) and levels[0] == [0]
    assert all(parent < node for node, parent in enumerate(tree.parents))
    again = PrefixTree(reversed(SEQUENCES))
    assert (again.parents, again.labels) == (tree.parents, tree.labels)
    assert len(PrefixTree([()])) == 1 and list(PrefixTree([()]).levels()) == [[0]]


@pytest.mark.parametrize("kept", [0, 1, 2, 5])
@pytest.mark.parametrize("engine", ENGINES)
def test_host_and_device_give_the_reference_s_logits(engine, kept, net):
    path, tree = net(kept), PrefixTree(SEQUENCES)
    host = HostModel(import_checkpoint(path)).logits(tree)
    for sequence in SEQUENCES:
        reference = Reference(import_checkpoint(path))
        for node, label in zip(tree.nodes(sequence), (0, *sequence), strict=True):
            np.testing.assert_array_equal(host[node], reference.run("step", {"label.0": label}))
    assert len(np.unique(host)) > 50
    with open_device(engine, CONFIG) as device:
        model = DeviceModel(device, compile_checkpoint(path, CONFIG))
        for _ in range(2):  # a tree leaves nothing behind
            np.testing.assert_array_equal(model.logits(tree), host)
        jobs = model.cycles.jobs
        assert (model.cycles.total is None) == (engine == "functional")
    deepest = 4  # branches on one way: the begin, 3, 3 1, 3 1 4
    assert (jobs["step"] == len(tree)) == (kept >= deepest)
    assert jobs.get("keep", 0) >= min(kept, deepest) and ("recall" in jobs) == bool(kept)


def test_states_that_are_recalled_are_whole(net):
    """The states themselves, in DRAM, against the reference's."""
    path = net(5)
    program, reference = compile_checkpoint(path, CONFIG), Reference(import_checkpoint(path))
    with open_device("functional", CONFIG) as device:
        device.load(program)
        device.run("prepare")
        for label in (0, 7, 3):
            device.run("step", {1: label, 2: 0})
            reference.run("step", {"label.0": label})
        device.run("keep", {1: 4})
        hidden, cell = device.read("kept.hidden", 4), device.read("kept.cell", 4)
    np.testing.assert_array_equal(hidden[:20], reference.hidden["layer.0"])
    np.testing.assert_array_equal(hidden[32:44], reference.hidden["layer.1"])
    cell = cell.reshape(-1, CONFIG.vector_width)[:, : CONFIG.units_per_step].ravel()
    np.testing.assert_array_equal(cell[:20], reference.cell["layer.0"])


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
        for row in self.rows:
            sequence = [piece + 1 for piece in row]
            for length, label in enumerate([*sequence, 0]):
                if tuple(sequence[:length]) in tree._numbers:
                    made[tree.nodes(sequence[:length])[-1], label] = 5 * 256
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


def texts_of(rescored):
    return [one.text for one in rescored]


def test_what_the_model_likes_comes_first(tokenizer):
    assert [path.text for path in LATTICE.nbest(9)] == ["red bed", "red led", "blue bed"]
    found = Rescorer(Wanted(tokenizer, "blue bed"), tokenizer, RescoringOptions(weight=1.0)).rescore(LATTICE)
    assert found[0].text == "blue bed"
    for one in found:
        assert one.score == pytest.approx(one.path.score + one.model)
    assert found[0].path.score == pytest.approx(-5.5)


def test_weight_of_zero_changes_nothing(tokenizer):
    found = Rescorer(Wanted(tokenizer, "blue bed"), tokenizer, RescoringOptions(weight=0)).rescore(LATTICE)
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
