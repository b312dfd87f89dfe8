"""The transducer loss against every alignment, and its gradient against finite differences."""

import itertools
import math

import pytest

torch = pytest.importorskip("torch", reason="needs torch (the extra 'train')")
from ossicle.models.loss import transducer_loss  # noqa: E402


def every_alignment(log_probs, targets) -> float:
    """-log of the sum over all orders of T - 1 blanks and U labels, then the last blank."""
    steps, labels = log_probs.shape[0], len(targets)
    total = -math.inf
    for where in itertools.combinations(range(steps - 1 + labels), labels):
        t = u = 0
        path = 0.0
        for move in range(steps - 1 + labels):
            if move in where:
                path += log_probs[t, u, targets[u]].item()
                u += 1
            else:
                path += log_probs[t, u, 0].item()
                t += 1
        path += log_probs[t, u, 0].item()
        total = max(total, path) + math.log1p(math.exp(-abs(total - path))) if total > -math.inf else path
    return -total


@pytest.mark.parametrize("steps,labels", [(1, 0), (1, 2), (4, 3), (5, 1), (3, 4)])
def test_loss_is_the_sum_over_all_alignments(steps, labels):
    torch.manual_seed(steps * 10 + labels)
    logits = torch.randn(steps, labels + 1, 7)
    targets = torch.randint(1, 7, (1, labels + 1))
    loss = transducer_loss(logits.flatten(0, 1), targets, torch.tensor([steps]), torch.tensor([labels]))
    expected = every_alignment(logits.log_softmax(-1), targets[0, :labels].tolist())
    assert loss.item() == pytest.approx(expected, abs=1e-4)


def test_gradient_is_that_of_finite_differences():
    torch.manual_seed(0)
    logits = torch.randn(4 * 3 + 3 * 2, 5, requires_grad=True)  # two utterances, one after the other
    targets, frames, counts = torch.tensor([[1, 2], [3, 0]]), torch.tensor([4, 3]), torch.tensor([2, 1])
    weight = torch.tensor([1.0, 0.5])
    (transducer_loss(logits, targets, frames, counts) * weight).sum().backward()
    step = 1e-2
    for index in itertools.islice(itertools.product(range(len(logits)), range(5)), 0, None, 2):
        values = []
        for sign in (1, -1):
            moved = logits.detach().clone()
            moved[index] += sign * step
            values.append((transducer_loss(moved, targets, frames, counts) * weight).sum().item())
        assert logits.grad[index].item() == pytest.approx((values[0] - values[1]) / (2 * step), abs=2e-3)


def test_an_utterance_does_not_see_its_neighbour():
    torch.manual_seed(2)
    first, second = torch.randn(4 * 3, 5), torch.randn(6 * 2, 5)
    targets, frames, counts = torch.tensor([[1, 2], [3, 4]]), torch.tensor([4, 6]), torch.tensor([2, 1])
    together = transducer_loss(torch.cat([first, second]), targets, frames, counts)
    alone = [transducer_loss(part, targets[i, None], frames[i, None], counts[i, None]).item()
             for i, part in enumerate((first, second))]  # fmt: skip
    assert together.tolist() == pytest.approx(alone)


def test_fast_emit_raises_the_labels_share():
    torch.manual_seed(1)
    arguments = torch.tensor([[1, 2]]), torch.tensor([5]), torch.tensor([2])
    gradients = []
    for scale in (0.0, 0.1):
        logits = torch.zeros(5 * 3, 4, requires_grad=True)
        transducer_loss(logits, *arguments, fast_emit=scale).sum().backward()
        gradients.append(logits.grad[0])
    assert gradients[1][1] < gradients[0][1] < 0
