"""Transducer and CTC loss of padded batches, in tensor operations alone: for a GPU, and for CUDA graphs.

The same losses as loss.py's and PyTorch's, whose lattices run on the CPU, or look at lengths there. With
S(t, u) the sum of log p of the labels before u at frame t, both directions of the transducer's lattice are

    y(t, .) = A(t, .) + logcumsumexp(y(t-1, .) + X(t, .) - A(t, .))

forward with A = S and X = log p(blank | t-1), and backward, in reversed order, with A = -S and X =
log p(blank | t): one scan over the labels a frame (after Bagby et al. 2018, SLT, "Efficient implementation of
recurrent neural network transducer in TensorFlow", whose scans go over diagonals).
"""

from __future__ import annotations

import torch
from ossicle.models.loss import NEGATIVE, SMALLEST
from torch import Tensor
from torch.nn import functional


def arc_posteriors(
    blank: Tensor, label: Tensor, frames: Tensor, counts: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """log p of each utterance [B], and the posterior of each arc, of blanks and of labels, [B, T, U + 1].

    Args:
        blank, label: [B, T, U + 1], log p of blank and of the next label; anything outside an utterance.
        frames, counts: [B], lengths.
    """
    steps, width = blank.shape[1:]
    t, u = (torch.arange(size, device=blank.device) for size in (steps, width))
    past, last = (t >= frames[:, None])[:, :, None], (u == counts[:, None])[:, None, :]
    ends = (t >= frames[:, None] - 1)[:, :, None] & ~last
    blank = torch.where(past & last, 0.0, torch.where(ends, NEGATIVE, blank))
    label = torch.where(past | (u >= counts[:, None])[:, None, :], NEGATIVE, label)
    before = functional.pad(label.cumsum(2)[:, :, :-1], (1, 0))
    scale = torch.stack([before, -before.flip(1, 2)])
    arrived = torch.stack([functional.pad(blank[:, :-1], (0, 0, 1, 0)), blank.flip(1, 2)]) - scale
    y = torch.stack([_at(u == 0, last), _at(last, last).flip(2)])[:, :, 0]
    made = []
    for now, come in zip(scale.unbind(2), arrived.unbind(2), strict=True):
        y = now + torch.logcumsumexp(y + come, 2)
        made.append(y)
    forward, backward = torch.stack(made, 2).unbind()
    backward = backward.flip(1, 2)
    total = backward[:, 0, 0]
    later = torch.cat([backward[:, 1:], _at(last, last)], 1)  # at the next frame
    further = functional.pad(backward[:, :, 1:], (0, 1), value=NEGATIVE)  # with the next label
    reached = forward - total[:, None, None]
    of_blank = torch.where(past, 0.0, (reached + blank + later).exp())
    return total, of_blank, torch.where(past, 0.0, (reached + label + further).exp())


def _at(where: Tensor, like: Tensor) -> Tensor:
    """log of 1 where it is true, of 0 elsewhere, [B, 1, U + 1]."""
    return torch.where(where, 0.0, NEGATIVE).expand(like.shape)


class _Transducer(torch.autograd.Function):
    @staticmethod
    def forward(context, logits, targets, frames, counts, fast_emit):  # type: ignore[override]
        probability = torch.softmax(logits, dim=3, dtype=torch.float32)
        index = functional.pad(targets, (0, 1))[:, None, :, None].expand(-1, logits.shape[1], -1, 1)
        blank = probability[..., 0].clamp_min(SMALLEST).log()
        label = probability.gather(3, index).squeeze(3).clamp_min(SMALLEST).log()
        total, of_blank, of_label = arc_posteriors(blank, label, frames, counts)
        of_label = of_label * (1 + fast_emit)
        gradient = probability.mul_((of_blank + of_label).unsqueeze(3))
        gradient[..., 0] -= of_blank
        gradient.scatter_add_(3, index, -of_label.unsqueeze(3))
        context.save_for_backward(gradient.to(logits.dtype))
        return -total

    @staticmethod
    def backward(context, gradient):  # type: ignore[override]
        (result,) = context.saved_tensors
        return result * gradient.to(result.dtype)[:, None, None, None], None, None, None, None


def transducer_loss(
    logits: Tensor, targets: Tensor, frames: Tensor, counts: Tensor, fast_emit: float = 0.0
) -> Tensor:
    """-log p(targets) of each utterance, [B]; see loss.py.

    Args:
        logits: [B, T, U + 1, V], float32 or bfloat16.
        targets: [B, U] int64, padded with anything below V.
        frames, counts: [B], on the device of the logits: frames, at least 1, and labels of each.
        fast_emit: see loss.py.
    """
    return _Transducer.apply(logits, targets, frames, counts, fast_emit)


def _reversed(values: Tensor, lengths: Tensor, dim: int) -> Tensor:
    """The first `lengths` [B] entries along a dimension in reversed order; anything after them."""
    places = torch.arange(values.shape[dim], device=values.device)
    index = (lengths[:, None] - 1 - places).clamp_min(0)
    shape = [len(lengths), *(1 for _ in values.shape[1:])]
    shape[dim] = values.shape[dim]
    return values.gather(dim, index.view(shape).expand(values.shape))


def _ctc_scan(emission: Tensor, skips: Tensor) -> Tensor:
    """log of the sum over alignments that end in each state by each frame, [N, T, S].

    emission: log p of each state's label [N, T, S]; skips: [N, S], 0 where the state before the last may
    come directly before this one, else a large negative number.
    """
    y = torch.full_like(emission[:, 0], NEGATIVE)
    y[:, :2] = emission[:, 0, :2]
    made = [y]
    for now in emission.unbind(1)[1:]:
        one = functional.pad(y[:, :-1], (1, 0), value=NEGATIVE)
        two = functional.pad(y[:, :-2], (2, 0), value=NEGATIVE) + skips
        y = now + torch.logaddexp(torch.logaddexp(y, one), two).clamp_min(NEGATIVE)
        made.append(y)
    return torch.stack(made, 1)


class _Ctc(torch.autograd.Function):
    @staticmethod
    def forward(context, logits, targets, frames, counts):  # type: ignore[override]
        probability = torch.softmax(logits, dim=2, dtype=torch.float32)
        states = functional.pad(torch.stack([torch.zeros_like(targets), targets], 2).flatten(1), (0, 1))
        index = states[:, None].expand(-1, logits.shape[1], -1)
        emission, sizes = probability.gather(2, index).clamp_min(SMALLEST).log(), 2 * counts + 1
        before = functional.pad(states[:, :-2], (2, 0))
        mirrored = _reversed(states, sizes, 1)
        after = functional.pad(mirrored[:, :-2], (2, 0))
        skips = torch.where(
            torch.cat([(states != 0) & (states != before), (mirrored != 0) & (mirrored != after)]),
            0.0, NEGATIVE,
        )  # fmt: skip
        turned = _reversed(_reversed(emission, frames, 1), sizes, 2)
        forward, backward = _ctc_scan(torch.cat([emission, turned]), skips).chunk(2)
        backward = _reversed(_reversed(backward, sizes, 2), frames, 1)
        begins = torch.where(
            torch.arange(2, device=sizes.device) < sizes[:, None], backward[:, 0, :2], NEGATIVE
        )
        total = torch.logsumexp(begins, 1)
        t, s = (torch.arange(size, device=logits.device) for size in forward.shape[1:])
        inside = (t < frames[:, None])[:, :, None] & (s < sizes[:, None])[:, None, :]
        possible = total > NEGATIVE / 2
        posterior = (forward + backward - emission - total[:, None, None]).exp()
        posterior = torch.where(inside & possible[:, None, None], posterior, 0.0)
        gradient = probability.mul_(posterior.sum(2, keepdim=True)).scatter_add_(2, index, -posterior)
        context.save_for_backward(gradient)
        return torch.where(possible, -total, 0.0)

    @staticmethod
    def backward(context, gradient):  # type: ignore[override]
        (result,) = context.saved_tensors
        return result * gradient[:, None, None], None, None, None


def ctc_loss(logits: Tensor, targets: Tensor, frames: Tensor, counts: Tensor) -> Tensor:
    """CTC loss [B] (Graves et al. 2006); 0 where the text is too long for its frames.

    Args:
        logits: [B, T, V], float32; targets: [B, U] int64, U at least 1; frames, counts: [B], on their device.
    """
    return _Ctc.apply(logits, targets, frames, counts)
