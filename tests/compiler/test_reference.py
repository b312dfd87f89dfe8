import numpy as np
import pytest
import random_models
from ossicle.compiler.graph import Matrix
from ossicle.compiler.reference import Reference, add, apply, linear, lstm, product
from ossicle.hw import numerics
from ossicle.hw.isa import Function

RNG = np.random.default_rng(3)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def quantized(rows: int, columns: int) -> tuple[Matrix, np.ndarray, np.ndarray]:
    """An integer matrix to pre-activations Q4.11, and the real weights and bias it stands for."""
    scale = np.full(rows, 1 / (16 * np.sqrt(columns)))
    weight = RNG.integers(-127, 128, (rows, columns)) * (RNG.random((rows, columns)) < 0.4)
    bias = RNG.integers(-20000, 20000, rows)
    multiplier, shift = numerics.quantize_multiplier(scale * 2.0**4)
    matrix = Matrix(weight.astype(np.int8), bias.astype(np.int32), multiplier, shift)
    return matrix, weight * scale[:, None], bias * scale / 128


def test_lstm_is_close_to_a_float_lstm():
    units, inputs, steps = 40, 30, 20
    matrix, weight, bias = quantized(4 * units, inputs + units)
    floats = matrix.weight.astype(np.float32)
    hidden, cell = np.zeros(units, np.int8), np.zeros(units, np.int64)
    h, c = np.zeros(units), np.zeros(units)
    for _ in range(steps):
        x = RNG.integers(-128, 128, inputs)
        cell, hidden = lstm(matrix, floats, np.concatenate([x, hidden]), cell)
        i, f, g, o = (weight @ np.concatenate([x / 128, h]) + bias).reshape(4, units)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        assert np.abs(hidden / 128 - h).max() < 0.03
        assert np.abs(cell / 2048 - c).max() < 0.03
        h, c = hidden / 128, cell / 2048  # so that differences do not grow


@pytest.mark.parametrize("columns", [3, 1023, 1024, 3000])
def test_products_are_exact(columns):
    x = np.full((2, columns), -128)
    x[1] = RNG.integers(-128, 128, columns)
    weight = np.full((3, columns), -127, np.int8)
    kind = np.float32 if columns < 1024 else np.float64
    expected = x.astype(np.int64) @ weight.T.astype(np.int64)
    assert (product(weight.astype(kind), x) == expected).all()


def test_linear_is_requantize_and_function():
    matrix, weight, bias = quantized(8, 16)
    x = RNG.integers(-128, 128, (5, 16))
    made = linear(matrix, matrix.weight.astype(np.float32), x, Function.TANH, 8)
    assert np.abs(made / 128 - np.tanh(x / 128 @ weight.T + bias)).max() < 0.02


def test_apply_formats():
    value = np.array([-32768, -2048, 0, 2048, 32767])
    assert apply(Function.IDENTITY, value, 16).tolist() == value.tolist()
    assert apply(Function.RELU, value, 16).tolist() == [0, 0, 0, 2048, 32767]
    assert apply(Function.IDENTITY, value, 8).tolist() == [-128, -128, 0, 127, 127]
    assert apply(Function.TANH, value, 8).tolist() == [-128, -97, 0, 97, 127]
    assert apply(Function.SIGMOID, value, 16).max() == 32757


def test_add_saturates():
    assert add([32767, -32768], [1, -1], Function.IDENTITY, 16).tolist() == [32767, -32768]


@pytest.fixture(scope="module")
def graph():
    return random_models.model(np.random.default_rng(1), random_models.TINY)


def test_a_batch_is_its_streams(graph):
    features = RNG.integers(-128, 128, (3, 6, 20)).astype(np.int8)
    batch = Reference(graph, (3,)).encode(features)
    assert batch.shape == (3, 3, 24) and batch.dtype == np.int16
    for each, row in zip(features, batch, strict=True):
        assert (Reference(graph).encode(each) == row).all()


def test_state_carries_over_and_reset_clears_it(graph):
    features = RNG.integers(-128, 128, (8, 20)).astype(np.int8)
    reference = Reference(graph)
    whole = reference.encode(features)
    reference.reset()
    assert (np.concatenate([reference.encode(features[:4]), reference.encode(features[4:])]) == whole).all()
    assert (reference.encode(features) != whole).any()


def test_frames_must_be_whole_jobs(graph):
    with pytest.raises(ValueError, match="3 frames are not a multiple of 2"):
        Reference(graph).encode(np.zeros((3, 20), np.int8))
    assert Reference(graph).encode(np.zeros((0, 20), np.int8)).shape == (0, 24)


def test_predict_and_joint_take_batches(graph):
    reference = Reference(graph)
    older, newer = np.array([0, 4, 30]), np.array([1, 0, 7])
    predicted = reference.predict(older, newer)
    assert predicted.shape == (3, 24)
    assert (predicted[1] == reference.predict(4, 0)).all()
    encoded = RNG.integers(-32768, 32768, 24).astype(np.int16)
    logits = reference.joint(encoded, predicted)
    assert logits.shape == (3, 31) and logits.dtype == np.int16
    assert (logits[2] == reference.joint(encoded, predicted[2])).all()
