"""The transducer loss (Graves 2012, arXiv:1211.3711), with FastEmit (Yu et al. 2021, arXiv:2010.11148).

alpha(t, u) = logaddexp(alpha(t-1, u) + log p(blank | t-1, u), alpha(t, u-1) + log p(y_u | t, u-1))
loss        = -(alpha(T-1, U) + log p(blank | T-1, U))
"""

from __future__ import annotations

import numba
import numpy as np
import torch
from torch import Tensor

NEGATIVE = -1e30


@numba.njit(cache=True)
def _logaddexp(a, b):
    top, low = (a, b) if a > b else (b, a)
    return top + np.log1p(np.exp(low - top))


@numba.njit(cache=True)
def lattice(blank, label, frames, labels, loss, d_blank, d_label):
    """Loss and its gradients by the log probabilities of each arc.

    blank [B, T, U + 1], label [B, T, U]: log p of blank and of the next label; frames, labels [B]: lengths.
    Writes loss [B], d_blank and d_label (minus the posterior probability of each arc; zero in the padding).
    """
    for b in range(blank.shape[0]):
        steps, count = frames[b], labels[b]
        alpha, beta = np.empty((steps, count + 1)), np.empty((steps, count + 1))
        for t in range(steps):
            for u in range(count + 1):
                value = 0.0 if t == 0 and u == 0 else NEGATIVE
                if t > 0:
                    value = alpha[t - 1, u] + blank[b, t - 1, u]
                if u > 0:
                    value = _logaddexp(value, alpha[t, u - 1] + label[b, t, u - 1])
                alpha[t, u] = value
        for t in range(steps - 1, -1, -1):
            for u in range(count, -1, -1):
                if t == steps - 1:
                    value = blank[b, t, u] if u == count else NEGATIVE
                else:
                    value = blank[b, t, u] + beta[t + 1, u]
                if u < count:
                    value = _logaddexp(value, label[b, t, u] + beta[t, u + 1])
                beta[t, u] = value
        total = beta[0, 0]
        loss[b] = -total
        for t in range(steps):
            for u in range(count + 1):
                if t < steps - 1:
                    d_blank[b, t, u] = -np.exp(alpha[t, u] + blank[b, t, u] + beta[t + 1, u] - total)
                elif u == count:
                    d_blank[b, t, u] = -np.exp(alpha[t, u] + blank[b, t, u] - total)
                if u < count:
                    d_label[b, t, u] = -np.exp(alpha[t, u] + label[b, t, u] + beta[t, u + 1] - total)


class _Transducer(torch.autograd.Function):
    @staticmethod
    def forward(context, logits, targets, frames, labels, fast_emit):  # type: ignore[override]
        normalizer = torch.logsumexp(logits, dim=3)
        blank = (logits[..., 0] - normalizer).numpy()
        index = targets[:, None, :, None].expand(-1, logits.shape[1], -1, -1)
        label = (logits[:, :, :-1].gather(3, index).squeeze(3) - normalizer[:, :, :-1]).numpy()
        loss = np.zeros(len(blank))
        d_blank, d_label = np.zeros_like(blank), np.zeros_like(label)
        lattice(blank, label, frames.numpy(), labels.numpy(), loss, d_blank, d_label)
        d_label = torch.from_numpy(d_label) * (1 + fast_emit)
        context.save_for_backward(logits, normalizer, index, torch.from_numpy(d_blank), d_label)
        return torch.from_numpy(loss.astype(np.float32))

    @staticmethod
    def backward(context, gradient):  # type: ignore[override]
        logits, normalizer, index, d_blank, d_label = context.saved_tensors
        weight = gradient[:, None, None]
        d_blank, d_label = d_blank * weight, d_label * weight
        leaving = d_blank.clone()
        leaving[:, :, :-1] += d_label
        result = torch.sub(logits, normalizer.unsqueeze(3)).exp_().mul_(-leaving.unsqueeze(3))
        result[..., 0] += d_blank
        result[:, :, :-1].scatter_add_(3, index, d_label.unsqueeze(3))
        return result, None, None, None, None


def transducer_loss(
    logits: Tensor, targets: Tensor, frames: Tensor, labels: Tensor, fast_emit: float = 0.0
) -> Tensor:
    """-log p(targets) of each utterance, [B]. Blank is label 0.

    Args:
        logits: [B, T, U + 1, V], float32.
        targets: [B, U] int64, padded with anything below V.
        frames, labels: [B] int64, how many frames and labels each utterance has.
        fast_emit: gradients of labels are scaled by 1 + fast_emit, which makes them come earlier.
    """
    return _Transducer.apply(logits, targets, frames, labels, fast_emit)
