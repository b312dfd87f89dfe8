"""Link 1 of the exactness chain: training's integers equal the compiler's reference, on one checkpoint."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch (the extra 'train')")
from ossicle.compiler.importer import import_checkpoint  # noqa: E402
from ossicle.compiler.reference import Reference  # noqa: E402
from ossicle.models.exact import LABELS_PER_FRAME, ExactTransducer  # noqa: E402
from ossicle.models.export import read_checkpoint, write_checkpoint  # noqa: E402
from ossicle.models.untrained import untrained  # noqa: E402


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    path = tmp_path_factory.mktemp("checkpoint") / "model.safetensors"
    write_checkpoint(path, untrained(seed=5))
    return ExactTransducer(read_checkpoint(path)), Reference(import_checkpoint(path))


def greedy(reference, features):
    reference.reset()
    labels, older, newer = [], 0, 0
    predicted = reference.predict(older, newer)
    for encoded in reference.encode(features):
        for _ in range(LABELS_PER_FRAME):
            best = int(np.argmax(reference.joint(encoded, predicted)))
            if best == 0:
                break
            labels.append(best)
            older, newer = newer, best
            predicted = reference.predict(older, newer)
    return labels


def test_every_word_and_every_label_is_equal(pair):
    exact, reference = pair
    features = np.random.default_rng(0).integers(-128, 128, (3, 24, 120)).astype(np.int8)
    encoded = exact.encode(torch.from_numpy(features)).numpy().astype(np.int64)
    hypotheses = exact.greedy(torch.from_numpy(features), torch.full((3,), 24))
    assert any(hypotheses)
    for row, utterance, labels in zip(encoded, features, hypotheses, strict=True):
        reference.reset()
        np.testing.assert_array_equal(row, reference.encode(utterance))
        assert labels == greedy(reference, utterance)


def test_logits_are_equal(pair):
    exact, reference = pair
    rng = np.random.default_rng(1)
    encoded = rng.integers(-9000, 9000, (6, 192)).astype(np.int16)
    for row in encoded:
        older, newer = rng.integers(0, exact.topology["vocabulary"], 2)
        predicted = exact.predict(torch.tensor([[older, newer]]))
        np.testing.assert_array_equal(predicted[0].numpy(), reference.predict(older, newer))
        logits = exact.logits(torch.from_numpy(row)[None].double(), predicted)[0].numpy()
        np.testing.assert_array_equal(logits, reference.joint(row, reference.predict(older, newer)))
