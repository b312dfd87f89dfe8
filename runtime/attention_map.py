"""What a biased recognizer attended to: phrases by frames, along the alignment of what it recognized.

    best(t + 1, u + k) = max over k of best(t, u) + log p(the k labels after u, then blank | t)

where k labels are given in frame t, over the log-probabilities that the search asked for.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from numpy.typing import NDArray
from ossicle.runtime.biasing import BiasedDriver, Glance
from ossicle.runtime.transducer import BLANK, Context, log_softmax

NO_PHRASE = "(no phrase)"
MOST_ROWS = 16
CELL, ROW, LEFT, TOP = 18, 18, 190, 30  # pixels
STYLE = "text{font:12px system-ui,sans-serif;fill:#1b1f24}rect{shape-rendering:crispEdges}"


@dataclass(frozen=True)
class AttentionMap:
    """shares [frames, phrases + 1], the first of no phrase; said [frames]: the labels' text in each."""

    phrases: tuple[str, ...]
    shares: NDArray[np.float64]
    said: tuple[str, ...]
    frame_seconds: float

    def most_attended(self, most: int = MOST_ROWS) -> list[tuple[str, NDArray[np.float64]]]:
        """(phrase, its shares [frames]): no phrase, then those with the highest share in any frame."""
        names = (NO_PHRASE, *self.phrases)
        peak = self.shares[:, 1:].max(axis=0) if len(self.shares) else np.zeros(len(self.phrases))
        rows = [0, *(1 + np.argsort(-peak, kind="stable")[: most - 1])]
        return [(names[i], self.shares[:, i]) for i in rows]

    def to_svg(self) -> str:
        """The picture: a row a phrase, a column a frame, darker where more was attended."""
        rows, frames = self.most_attended(), len(self.said)
        width, height = LEFT + CELL * frames + 20, TOP + ROW * len(rows) + 70
        parts = [f'<rect width="{width}" height="{height}" fill="#fff"/>']
        for i, (name, shares) in enumerate(rows):
            y = TOP + ROW * i
            parts.append(f'<text x="{LEFT - 6}" y="{y + 13}" text-anchor="end">{escape(_short(name))}</text>')
            for t, share in enumerate(shares):
                title = escape(f"{name}, {t * self.frame_seconds:.2f} s: {share:.3f}")
                parts.append(
                    f'<rect x="{LEFT + CELL * t}" y="{y}" width="{CELL - 1}" height="{ROW - 1}" '
                    f'fill="{_colour(share)}"><title>{title}</title></rect>'
                )
        bottom = TOP + ROW * len(rows)
        for t, text in enumerate(self.said):
            x = LEFT + CELL * t + CELL // 2
            if text:
                place = f'x="{x}" y="{bottom + 6}" transform="rotate(60 {x} {bottom + 6})"'
                parts.append(f"<text {place}>{escape(text)}</text>")
            if t % 10 == 0:
                parts.append(f'<text x="{x}" y="{TOP - 10}">{t * self.frame_seconds:.1f} s</text>')
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
            f'viewBox="0 0 {width} {height}"><style>{STYLE}</style>\n' + "\n".join(parts) + "\n</svg>\n"
        )


def attention_map(
    driver: BiasedDriver, labels: Sequence[int], frames: int, pieces: Sequence[str], labels_per_frame: int,
    frame_seconds: float,
) -> AttentionMap:  # fmt: skip
    """The map of the utterance at hand, which was decoded with `driver.watching` set.

    Args:
        labels: what was recognized, without blanks.
        pieces: text of each label.
    Raises:
        ValueError: nothing was watched, or no alignment of the labels was.
    """
    if driver.entries is None or (frames and not driver.glances):
        raise ValueError("no attention was watched: there is no catalogue, or no utterance")
    path = align(driver.glances, labels, frames, driver.context, labels_per_frame)
    shares = np.zeros((frames, len(driver.entries.phrases) + 1))
    said, start = [], 0
    for t, count in enumerate(path):
        seen = [
            driver.glances[t, context_after(labels, start + i, driver.context)] for i in range(max(1, count))
        ]
        shares[t] = np.mean([glance.shares for glance in seen], axis=0)
        said.append("".join(pieces[label] for label in labels[start : start + count]))
        start += count
    return AttentionMap(driver.entries.phrases, shares, tuple(said), frame_seconds)


def align(
    glances: Mapping[tuple[int, Context], Glance], labels: Sequence[int], frames: int, context: int, most: int
) -> list[int]:
    """How many of the labels each frame gives, on the best alignment that was looked at.

    Raises:
        ValueError: none was.
    """
    known: dict[tuple[int, int], NDArray[np.float64] | None] = {}

    def log_probs(t: int, u: int) -> NDArray[np.float64] | None:
        if (t, u) not in known:
            glance = glances.get((t, context_after(labels, u, context)))
            known[t, u] = None if glance is None else log_softmax(glance.logits)
        return known[t, u]

    best, back = {0: 0.0}, []
    for t in range(frames):
        made: dict[int, tuple[float, int]] = {}
        for start, score in best.items():
            for count, weight in _ways(lambda u, t=t: log_probs(t, u), labels, start, most):
                if score + weight > made.get(start + count, (-math.inf, 0))[0]:
                    made[start + count] = score + weight, count
        best = {u: score for u, (score, _) in made.items()}
        back.append({u: count for u, (_, count) in made.items()})
    if len(labels) not in best:
        raise ValueError("the text has no alignment among the frames that were watched")
    counts, u = [], len(labels)
    for frame in reversed(back):
        counts.append(frame[u])
        u -= frame[u]
    return counts[::-1]


def _ways(log_probs, labels: Sequence[int], start: int, most: int):
    """(labels given, log-probability) of each way through a frame that was looked at."""
    score = 0.0
    for count in range(most + 1):
        here = log_probs(start + count) if count < most else None
        if count == most:
            yield count, score
        elif here is None:
            return
        else:
            yield count, score + float(here[BLANK])
            if start + count == len(labels):
                return
            score += float(here[labels[start + count]])


def context_after(labels: Sequence[int], count: int, context: int) -> Context:
    """The last labels after so many, oldest first, blanks before the first."""
    return ((BLANK,) * context + tuple(labels[:count]))[-context:]


def _short(name: str) -> str:
    return name if len(name) <= 26 else f"{name[:25]}…"


def _colour(share: float) -> str:
    """White to dark blue."""
    return "#" + "".join(f"{round(255 + (dark - 255) * share):02x}" for dark in (11, 60, 140))
