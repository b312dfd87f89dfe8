"""Reading the outputs of a net of meanings, and the net on a device."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from ossicle.compiler.api import compile_checkpoint
from ossicle.compiler.importer import import_checkpoint
from ossicle.compiler.reference import Reference
from ossicle.hw.config import PRESETS
from ossicle.models.export import Checkpoint, matrix_shapes, quantize_matrix, table_shapes, write_checkpoint
from ossicle.runtime.nlu import Intent, Meanings, Nlu, Span, output_labels, spans_of
from ossicle.runtime.words import labels_of, split_words
from ossicle.sim.device import open_device

LABELS = output_labels(["go", "stop"], ["place", "time"])
TEXTS = ["go home at noon", "Stop!", "go to Anna's house", "go go stop go"]
WRONG = [
    None, [], ["outside"], ["intent.a"], ["intent.a", "outside", "begin.x"],
    ["intent.a", "outside", "inside.x", "begin.x"], ["intent.a", "outside", "begin.x", "inside.y"],
    ["outside", "intent.a"],
]  # fmt: skip


def valid(tags):
    pairs = zip(["outside", *tags], tags, strict=False)
    return all(
        not tag.startswith("inside.") or before in (tag, tag.replace("inside", "begin"))
        for before, tag in pairs
    )


def test_tags_are_the_best_of_all_valid_ones():
    meanings, rng = Meanings(LABELS), np.random.default_rng(0)
    ways = [way for way in itertools.product(LABELS[2:], repeat=4) if valid(way)]
    for _ in range(20):
        outputs = rng.normal(0, 1, (4, len(LABELS)))
        score = {way: sum(outputs[i, LABELS.index(tag)] for i, tag in enumerate(way)) for way in ways}
        assert tuple(meanings.tag(outputs)) == max(score, key=score.get)


def test_intent_and_posterior():
    name, posterior = Meanings(LABELS).intent(np.array([1.0, 3.0, 9, 9, 9, 9, 9]))
    assert name == "stop" and posterior == pytest.approx(1 / (1 + np.exp(-2)))


def test_spans_of_tags():
    tags = ["begin.a", "begin.a", "inside.a", "outside", "begin.b"]
    assert spans_of(tags) == [("a", 0, 1), ("a", 1, 3), ("b", 4, 5)]
    assert spans_of(["outside"]) == []


def test_slots_are_in_order_and_the_first_of_each():
    spans = (Span("b", "x", 0, 1), Span("a", "y", 2, 3), Span("b", "z", 4, 5))
    assert list(Intent("go", 1.0, spans).slots.items()) == [("b", "x"), ("a", "y")]


def test_values_are_the_text():
    text = "Go to  Anna's House"
    words, outputs = split_words(text), np.zeros((5, len(LABELS)))
    outputs[[0, 1], LABELS.index("outside")] = outputs[2, LABELS.index("begin.place")] = 5
    outputs[3:, LABELS.index("inside.place")] = 5
    meaning = Meanings(LABELS).read(text, words, outputs)
    assert meaning.slots == {"place": "anna's house"}
    assert text[meaning.spans[0].begin : meaning.spans[0].end] == "Anna's House"


@pytest.mark.parametrize("labels", WRONG)
def test_other_outputs_are_refused(labels):
    with pytest.raises(ValueError, match=r"outputs of a net of meanings are intent\.NAME"):
        Meanings(labels)


def random_net(labels=5):
    """A checkpoint of random weights."""
    topology = {
        "kind": "stack",
        "tokens": {"labels": labels, "buckets": 61, "embedding": 8},
        "layers": [{"lstm": 16}, {"linear": len(LABELS)}],
        "labels": LABELS,
    }
    rng = np.random.default_rng(1)
    matrices = {
        name: quantize_matrix(name, rng.normal(0, 1, shape), rng.normal(0, 0.5, shape[0]))
        for name, shape in matrix_shapes(topology).items()
    }
    table = rng.integers(-128, 128, *table_shapes(topology).values()).astype(np.int8)
    return Checkpoint(topology, matrices, table, b"", None, {"name": "random"})


@pytest.fixture(scope="module")
def net(tmp_path_factory):
    path = tmp_path_factory.mktemp("nlu") / "net.safetensors"
    write_checkpoint(path, random_net())
    return path


@pytest.mark.parametrize(
    "engine", ["functional", "fast", pytest.param("rtl", marks=[pytest.mark.slow, pytest.mark.rtl])]
)
def test_a_device_reads_as_the_reference(engine, net):
    graph, config = import_checkpoint(net), PRESETS["base"]
    with open_device(engine, config) as device:
        nlu = Nlu(device, compile_checkpoint(net, config))
        for text in TEXTS:
            reference, words = Reference(graph), split_words(text)
            steps = labels_of([word.text for word in words], 61)
            outputs = [reference.run("step", {f"label.{k}": v for k, v in enumerate(row)}) for row in steps]
            assert nlu.parse(text) == Meanings(LABELS).read(text, words, np.array(outputs) / 256)
            assert nlu.cycles.jobs == {"reset": 1, "step": 2 * len(words)}
            assert (nlu.cycles.total is None) == (engine == "functional")


def test_a_text_leaves_nothing_behind(net):
    config = PRESETS["base"]
    with open_device("functional", config) as device:
        nlu = Nlu(device, compile_checkpoint(net, config))
        first = nlu.parse(TEXTS[0])
        nlu.parse(TEXTS[2])
        assert nlu.parse(TEXTS[0]) == first


def test_texts_without_words_and_other_nets_are_refused(net, tmp_path):
    config = PRESETS["base"]
    with open_device("functional", config) as device:
        with pytest.raises(ValueError, match=r"there are no words in '\.\.\.'"):
            Nlu(device, compile_checkpoint(net, config)).parse("...")
        write_checkpoint(tmp_path / "x", random_net(labels=4))
        with pytest.raises(ValueError, match="random: not a net on the 5 labels of a word"):
            Nlu(device, compile_checkpoint(tmp_path / "x", config))
        unnamed = random_net()
        topology = {key: value for key, value in unnamed.topology.items() if key != "labels"}
        write_checkpoint(tmp_path / "x", replace(unnamed, topology=topology))
        with pytest.raises(ValueError, match="outputs of a net of meanings"):
            Nlu(device, compile_checkpoint(tmp_path / "x", config))
