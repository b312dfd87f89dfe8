"""Two sides of an LSTM: gradients against autograd's, and either side alone."""

import pytest

torch = pytest.importorskip("torch", reason="needs torch (the extra 'train')")
from ossicle.models.lstm import lstm  # noqa: E402
from ossicle.models.mixture import Gate, mixed_lstm  # noqa: E402
from ossicle.models.qat import fake_activation  # noqa: E402

STEPS, BATCH, INPUTS, UNITS = 6, 3, 5, 4


def plain(x, sides, share):
    """The module's equations, a step at a time, for autograd."""
    h, c, out = x.new_zeros(BATCH, UNITS), x.new_zeros(BATCH, UNITS), []
    for step, p in zip(x, share, strict=True):
        cells, hidden = [], []
        for weight, bias in sides:
            i, f, g, o = (torch.cat([step, h], 1) @ weight.t() + bias).chunk(4, 1)
            cells.append(torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g))
            hidden.append(torch.sigmoid(o) * torch.tanh(cells[-1]))
        p = p.unsqueeze(1)
        c = p * cells[0] + (1 - p) * cells[1]
        h = fake_activation(p * hidden[0] + (1 - p) * hidden[1])
        out.append(h)
    return torch.stack(out)


@pytest.fixture
def case():
    torch.manual_seed(0)
    rows = 4 * UNITS
    sides = [(torch.randn(rows, INPUTS + UNITS).double(), torch.randn(rows).double()) for _ in range(2)]
    return torch.randn(STEPS, BATCH, INPUTS).double(), sides, torch.rand(STEPS, BATCH).double()


def test_values_and_gradients_are_autograds(case):
    x, sides, share = case
    leaves = [x, share, *(part for side in sides for part in side)]
    for leaf in leaves:
        leaf.requires_grad_()
    towards = torch.randn(STEPS, BATCH, UNITS).double()
    made, expected = mixed_lstm(x, sides, share), plain(x, sides, share)
    torch.testing.assert_close(made, expected)
    ours = torch.autograd.grad((made * towards).sum(), leaves)
    theirs = torch.autograd.grad((expected * towards).sum(), leaves)
    for one, two in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, two)


@pytest.mark.parametrize("reduced", [False, True])
@pytest.mark.parametrize("side", [0, 1])
def test_one_side_alone_is_an_lstm(case, side, reduced):
    x, sides, share = case[0].float(), [tuple(p.float() for p in each) for each in case[1]], case[2].float()
    whole = torch.full_like(share, 1.0 - side)
    assert torch.equal(mixed_lstm(x, sides, whole, reduced), lstm(x, *sides[side], reduced))


def test_hard_shares_are_whole_and_have_the_soft_gradient():
    scores = torch.linspace(-3, 3, 12).view(4, 3).requires_grad_()
    hard, soft = Gate(0.5)(scores), Gate(0.5, hard=False)(scores)
    assert torch.equal(hard, (scores > 0).float())
    ours, theirs = (torch.autograd.grad(share.sum(), scores)[0] for share in (hard, soft))
    torch.testing.assert_close(ours, theirs)


def test_noise_decides_as_often_as_the_score_says():
    noise = torch.Generator().manual_seed(0)
    scores = torch.full((200, 100), 1.0)
    decided = Gate(0.1, False, noise)(scores) > 0.5
    assert decided.float().mean().item() == pytest.approx(torch.sigmoid(torch.tensor(1.0)).item(), abs=0.01)
    assert Gate(0.1, False, None)(scores).min() > 0.99
