"""The batched integer evaluation: equal to numpy integers on one utterance, whatever else is in the batch."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch (the extra 'train')")
from ossicle.hw import numerics  # noqa: E402
from ossicle.models.exact import ExactLinear, ExactTransducer  # noqa: E402
from ossicle.models.export import Matrix  # noqa: E402
from ossicle.models.network import Transducer  # noqa: E402
from ossicle.models.untrained import letters_tokenizer, untrained, vocabulary_size  # noqa: E402


@pytest.fixture(scope="module")
def checkpoint():
    return untrained(seed=1)


def plain_encoder(checkpoint, features):
    """The encoder in numpy integers, a step at a time."""
    x = features.astype(np.int64)
    for i, layer in enumerate(checkpoint.topology["encoder"]):
        x = x[: len(x) // layer["reduce"] * layer["reduce"]].reshape(len(x) // layer["reduce"], -1)
        m = checkpoint.matrices[f"encoder.{i}"]
        h = c = np.zeros(layer["hidden"], np.int64)
        out = []
        for step in x:
            sums = m.weight.astype(np.int64) @ np.concatenate([step, h])
            c, h = numerics.lstm_cell(
                *numerics.requantize(sums, m.bias, m.multiplier, m.shift).reshape(4, -1), c
            )
            out.append(h)
        x = np.array(out)
    m = checkpoint.matrices["encoder.projection"]
    return np.array(
        [numerics.requantize(m.weight.astype(np.int64) @ h, m.bias, m.multiplier, m.shift) for h in x]
    )


def test_encoder_is_the_plain_one(checkpoint):
    rng = np.random.default_rng(0)
    batch = rng.integers(-128, 128, (3, 14, 120)).astype(np.int8)
    ours = ExactTransducer(checkpoint).encode(torch.from_numpy(batch)).numpy().astype(np.int64)
    for row, features in zip(ours, batch, strict=True):
        np.testing.assert_array_equal(row, plain_encoder(checkpoint, features))


def test_prediction_and_joint_are_the_plain_ones(checkpoint):
    model, rng = ExactTransducer(checkpoint), np.random.default_rng(1)
    context = rng.integers(0, checkpoint.topology["vocabulary"], (5, 2))
    encoded = rng.integers(-6000, 6000, (5, 192))
    predicted = model.predict(torch.from_numpy(context))
    logits = model.logits(torch.from_numpy(encoded).double(), predicted)

    def linear(name, x):
        m = checkpoint.matrices[name]
        return numerics.requantize(x @ m.weight.astype(np.int64).T, m.bias, m.multiplier, m.shift)

    def squash(x):
        return numerics.gate_to_activation(numerics.tanh(x))

    x = checkpoint.embedding[context].reshape(5, -1).astype(np.int64)
    projection = linear("prediction.projection", squash(linear("prediction.hidden", x)))
    np.testing.assert_array_equal(predicted.numpy().astype(np.int64), projection)
    expected = linear("joint.output", squash(numerics.saturate(encoded + projection, 16)))
    np.testing.assert_array_equal(logits.numpy().astype(np.int64), expected)


def test_greedy_does_not_depend_on_the_batch(checkpoint):
    rng = np.random.default_rng(2)
    batch = torch.from_numpy(rng.integers(-128, 128, (4, 20, 120)).astype(np.int8))
    lengths = torch.tensor([20, 12, 16, 2])
    model = ExactTransducer(checkpoint)
    together = model.greedy(batch, lengths)
    for row, length, labels in zip(batch, lengths, together, strict=True):
        assert model.greedy(row[None, :length], length[None]) == [labels]
        assert len(labels) <= length


def test_training_graph_is_near_its_own_integers():
    """The fake-quantized float graph and the exported integers agree to a few steps of the output."""
    torch.manual_seed(0)
    tokenizer = letters_tokenizer()
    reference = untrained(seed=2)
    network = Transducer({**reference.topology, "vocabulary": vocabulary_size(tokenizer)})
    network.rounding = True
    features = torch.randint(-128, 128, (2, 12, 120), dtype=torch.int8)
    labels = torch.tensor([[3, 4], [5, 6]])
    model = ExactTransducer(network.checkpoint(tokenizer, reference.frontend, {}))
    with torch.no_grad():
        logits, _ = network(features.float() / 128, labels, torch.tensor([6, 6]), torch.tensor([2, 2]))
    logits = logits.view(2, 6, 3, -1)
    encoded = model.encode(features)
    for u, context in enumerate([(0, 0), (0, 3), (3, 4)]):
        exact = model.logits(encoded[0], model.predict(torch.tensor([context])).expand(encoded.shape[1], -1))
        assert (exact / 256 - logits[0, :, u]).abs().max() < 0.06


def test_rows_that_float32_could_not_add_up_are_exact():
    """2048 products of -128 and -127 and one of 1: 2**25 and more, odd."""
    weight = np.full((1, 2049), -127, np.int8)
    weight[0, 0] = 1
    one = [
        np.array([value], kind)
        for value, kind in ((0, np.int32), (1, np.float32), (1, np.uint16), (0, np.uint8))
    ]
    x = torch.full((1, 2049), -128.0)
    x[0, 0] = 1
    sums = ExactLinear(Matrix(weight, *one)).accumulate(x)
    assert sums.item() == 2048 * 127 * 128 + 1
