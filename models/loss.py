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
SMALLEST = 1e-37  # a probability's floor, above float32's subnormals


@numba.njit(cache=True)
def _logaddexp(a, b):
    top, low = (a, b) if a > b else (b, a)
    return top + np.log1p(np.exp(low - top))


@numba.njit(cache=True)
def lattice(blank, label, frames, labels, loss, d_blank, d_label):
    """Loss and its gradients by the log probability of each arc, utterance after utterance.

    blank, label [N]: log p of blank and of the next label at each (t, u), U + 1 values of u to a t; frames,
    labels [B]: lengths. Writes loss [B], and d_blank and d_label [N], minus the posterior of each arc.
    """
    start = 0
    for b in range(len(frames)):
        steps, count = frames[b], labels[b]
        width = count + 1
        alpha, beta = np.empty((steps, width)), np.empty((steps, width))
        for t in range(steps):
            for u in range(width):
                here = start + t * width + u
                value = 0.0 if t == 0 and u == 0 else NEGATIVE
                if t > 0:
                    value = alpha[t - 1, u] + blank[here - width]
                if u > 0:
                    value = _logaddexp(value, alpha[t, u - 1] + label[here - 1])
                alpha[t, u] = value
        for t in range(steps - 1, -1, -1):
            for u in range(count, -1, -1):
                here = start + t * width + u
                if t == steps - 1:
                    value = blank[here] if u == count else NEGATIVE
                else:
                    value = blank[here] + beta[t + 1, u]
                if u < count:
                    value = _logaddexp(value, label[here] + beta[t, u + 1])
                beta[t, u] = value
        total = beta[0, 0]
        loss[b] = -total
        for t in range(steps):
            for u in range(width):
                here = start + t * width + u
                d_blank[here] = 0.0
                if t < steps - 1:
                    d_blank[here] = -np.exp(alpha[t, u] + blank[here] + beta[t + 1, u] - total)
                elif u == count:
                    d_blank[here] = -np.exp(alpha[t, u] + blank[here] - total)
                d_label[here] = 0.0
                if u < count:
                    d_label[here] = -np.exp(alpha[t, u] + label[here] + beta[t, u + 1] - total)
        start += steps * width


def next_labels(targets: Tensor, frames: list[int], labels: list[int]) -> Tensor:
    """[N]: the label that would come next at each (t, u) of the packed rows; blank at the last u."""
    rows = torch.nn.functional.pad(targets, (0, 1), value=0)
    parts = []
    for row, steps, count in zip(rows, frames, labels, strict=True):
        parts.append(torch.cat([row[:count], row.new_zeros(1)]).repeat(steps))
    return torch.cat(parts)


class _Transducer(torch.autograd.Function):
    @staticmethod
    def forward(context, logits, upcoming, frames, labels, fast_emit):  # type: ignore[override]
        probability = torch.softmax(logits, dim=1, dtype=torch.float32)
        index = upcoming.unsqueeze(1)
        blank = probability[:, 0].clamp_min(SMALLEST).log().cpu().numpy()
        label = probability.gather(1, index).squeeze(1).clamp_min(SMALLEST).log().cpu().numpy()
        loss = np.zeros(len(frames))
        d_blank, d_label = np.empty_like(blank), np.empty_like(label)
        lattice(blank, label, frames.numpy(), labels.numpy(), loss, d_blank, d_label)
        place = logits.device
        d_blank, d_label = (torch.from_numpy(d).to(place) for d in (d_blank, d_label * (1 + fast_emit)))
        gradient = probability.mul_(-(d_blank + d_label).unsqueeze(1))
        gradient[:, 0] += d_blank
        gradient.scatter_add_(1, index, d_label.unsqueeze(1))
        context.save_for_backward(gradient.to(logits.dtype), (frames * (labels + 1)).to(place))
        return torch.from_numpy(loss.astype(np.float32)).to(place)

    @staticmethod
    def backward(context, gradient):  # type: ignore[override]
        result, rows = context.saved_tensors
        scale = torch.repeat_interleave(gradient, rows).to(result.dtype)
        return result * scale.unsqueeze(1), None, None, None, None


def transducer_loss(
    logits: Tensor, targets: Tensor, frames: Tensor, labels: Tensor, fast_emit: float = 0.0
) -> Tensor:
    """-log p(targets) of each utterance, [B]. Blank is label 0.

    Args:
        logits: [N, V], float32 or bfloat16: the T_b x (U_b + 1) rows of utterance 0, then those of 1, ...
        targets: [B, U] int64, padded with anything below V.
        frames, labels: [B] int64 on the CPU, T_b and U_b: how many frames and labels each utterance has.
        fast_emit: gradients of labels are scaled by 1 + fast_emit, which makes them come earlier.
    """
    upcoming = next_labels(targets, frames.tolist(), labels.tolist())
    return _Transducer.apply(logits, upcoming, frames, labels, fast_emit)
