"""The hand-written LSTM: forward as the processor's cell, backward as autograd's."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch (the extra 'train')")
from ossicle.hw import numerics  # noqa: E402
from ossicle.models import lstm as module  # noqa: E402
from ossicle.models.exact import exact_cell  # noqa: E402
from ossicle.models.lstm import lstm  # noqa: E402
from ossicle.models.lstm_gpu import Recurrence  # noqa: E402
from ossicle.models.qat import fake_activation, fake_weight  # noqa: E402


def plain(inputs, weight, bias):
    """The same recurrence in ordinary autograd, without rounding."""
    steps, batch = inputs.shape[:2]
    h = c = inputs.new_zeros(batch, weight.shape[0] // 4)
    out = []
    for t in range(steps):
        i, f, g, o = torch.nn.functional.linear(torch.cat([inputs[t], h], 1), weight, bias).chunk(4, 1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h = o.sigmoid() * c.tanh()
        out.append(h)
    return torch.stack(out)


def test_gradient_is_autograds_without_rounding(monkeypatch):
    monkeypatch.setattr(module, "quantize_activation_", lambda value: value)
    torch.manual_seed(0)
    tensors = [torch.randn(6, 3, 4), torch.randn(20, 9) * 0.5, torch.randn(20) * 0.1]
    results = []
    for function in (lstm, plain):
        leaves = [t.clone().double().requires_grad_() for t in tensors]
        out = function(*leaves)
        (out * torch.arange(out.numel()).view_as(out).sin()).sum().backward()
        results.append((out.detach(), [leaf.grad for leaf in leaves]))
    torch.testing.assert_close(results[0][0], results[1][0])
    for ours, theirs in zip(results[0][1], results[1][1], strict=True):
        torch.testing.assert_close(ours, theirs)


def test_hidden_states_are_multiples_of_a_step():
    torch.manual_seed(0)
    hidden = lstm(torch.randn(5, 2, 4), torch.randn(12, 7), torch.zeros(12)) * 128
    torch.testing.assert_close(hidden, hidden.round())
    assert hidden.min() >= -128 and hidden.max() <= 127


def test_exact_cell_is_numerics_cell():
    rng = np.random.default_rng(0)
    gates = rng.integers(-(1 << 15), 1 << 15, (400, 4 * 16))
    gates[:200] //= 8
    cell = rng.integers(-(1 << 15), 1 << 15, (400, 16))
    ours = exact_cell(torch.from_numpy(gates).double(), torch.from_numpy(cell).double())
    i, f, g, o = (gates.reshape(400, 4, 16)[:, k] for k in range(4))
    theirs = numerics.lstm_cell(i, f, g, o, cell)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(a.numpy().astype(np.int64), b)


def test_rounding_passes_gradients_straight_through():
    value = torch.tensor([[0.1234, -0.9999, 0.5]], requires_grad=True)
    fake_activation(value).sum().backward()
    torch.testing.assert_close(value.grad, torch.ones(1, 3))
    weight = torch.tensor([[1.27, 0.004, 0.006, 0.0]], requires_grad=True)
    rounded = fake_weight(weight, 8)
    torch.testing.assert_close(rounded, torch.tensor([[1.27, 0.0, 0.01, 0.0]]))
    rounded.sum().backward()
    torch.testing.assert_close(weight.grad, torch.ones(1, 4))


@pytest.mark.parametrize("reduced", [False, True])
def test_the_recurrence_of_a_gpu_is_that_of_a_cpu(reduced):
    """Step by step, as it is before a GPU's compiler fuses it."""
    torch.manual_seed(0)
    inputs, weight = torch.randn(9, 3, 32), torch.randn(32, 8) * 0.3
    results = []
    for recurrence in (module._Recurrence, Recurrence):
        leaves = [t.clone().requires_grad_() for t in (inputs, weight)]
        out = recurrence.apply(*leaves, reduced)
        (out * torch.arange(out.numel()).view_as(out).sin()).sum().backward()
        results.append((out.detach(), *(leaf.grad for leaf in leaves)))
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=2e-2 if reduced else 1e-5, atol=2e-2 if reduced else 1e-5)
