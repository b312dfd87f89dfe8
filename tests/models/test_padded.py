"""Losses of padded batches against those of packed ones, and PyTorch's."""

import pytest

torch = pytest.importorskip("torch", reason="needs torch (the extra 'train')")
from hypothesis import given  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from ossicle.models import padded  # noqa: E402
from ossicle.models.loss import transducer_loss  # noqa: E402
from torch.nn import functional  # noqa: E402

LABELS = 7
LENGTHS = st.lists(st.tuples(st.integers(1, 9), st.integers(0, 5)), min_size=1, max_size=4)


def drawn(lengths, seed):
    """Targets, lengths and weights of a batch."""
    torch.manual_seed(seed)
    frames, counts = (torch.tensor(part) for part in zip(*lengths, strict=True))
    targets = torch.randint(1, LABELS, (len(lengths), 5))
    return targets, frames, counts, torch.rand(len(lengths))


@given(LENGTHS, st.integers(0, 99), st.sampled_from([0.0, 0.2]))
def test_transducer_loss_and_gradient_are_those_of_packed_rows(lengths, seed, fast_emit):
    targets, frames, counts, weight = drawn(lengths, seed)
    logits = (3 * torch.randn(len(lengths), int(frames.max()), 6, LABELS)).requires_grad_()
    loss = padded.transducer_loss(logits, targets, frames, counts, fast_emit)
    (mine,) = torch.autograd.grad((loss * weight).sum(), logits)
    packed = [
        logits[b, :t, : u + 1].flatten(0, 1) for b, (t, u) in enumerate(zip(frames, counts, strict=True))
    ]
    expected = transducer_loss(torch.cat(packed), targets, frames, counts, fast_emit)
    (theirs,) = torch.autograd.grad((expected * weight).sum(), logits)
    torch.testing.assert_close(loss, expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-4)


@given(LENGTHS, st.integers(0, 99))
def test_ctc_loss_and_gradient_are_those_of_torch(lengths, seed):
    targets, frames, counts, weight = drawn(lengths, seed)
    logits = (3 * torch.randn(len(lengths), int(frames.max()), LABELS)).requires_grad_()
    loss = padded.ctc_loss(logits, targets, frames, counts)
    (mine,) = torch.autograd.grad((loss * weight).sum(), logits)
    log_probs = logits.log_softmax(2).transpose(0, 1)
    expected = functional.ctc_loss(log_probs, targets, frames, counts, reduction="none", zero_infinity=True)
    (theirs,) = torch.autograd.grad((expected * weight).sum(), logits)
    torch.testing.assert_close(loss, expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-4)
