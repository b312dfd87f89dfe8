"""End-pointer: of each frame, whether it is speech, a pause inside an utterance, or after its end.

Utterances are put together of one speaker's clips with pauses of 0.2 to 1.2 s between them, or inside of one
where its energy has a valley, and a tail of silence and noise. What is speech is read off the clean audio's
energy. The host ends an utterance when the posterior of `end` reaches a threshold after some speech:
one threshold for the speculative end-pointer, a higher one for the final (decoder features join there).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from ossicle.models.data.augment import Augmenter
from ossicle.models.data.pack import read_audio
from ossicle.models.data.split import Row, read_manifest
from ossicle.models.export import Checkpoint
from ossicle.models.nets.pack import Clip, collate
from ossicle.models.nets.stack import Stack
from ossicle.models.nets.task import AudioTask, Scores, outputs
from torch import Tensor
from torch.nn import functional

SPEECH, PAUSE, END = range(3)
RATE, HOP = 16000, 160
PAUSES_S, LEAD_S, TAIL_S = (0.2, 1.2), (0.1, 0.5), (1.0, 2.0)
DIVIDED, BROKEN = 0.6, 0.75  # share of single clips, and of clips before a pause, that are cut
CLOSURE_FRAMES = 15  # shorter gaps are stops, not pauses
BELOW_PEAK_DB, ABOVE_FLOOR_DB = 30.0, 8.0
LONGEST_SAMPLES = 64000
UNKNOWN = "unknown"
STEP_S, DELAY_S = 0.03, 0.045  # a feature vector every 30 ms, known 45 ms after its first sample's time
CUT_OFF_GOAL, LATENCY_GOAL_S = 1.0, 0.4
IGNORED = -100
THRESHOLDS = 1 - np.geomspace(0.7, 0.002, 60)
TIMERS = np.arange(2, 50)


class Aligned(Augmenter):
    """An augmenter that leaves every sample in its place in time."""

    def __call__(self, samples: NDArray[np.int16], rng: np.random.Generator) -> NDArray[np.int16]:
        speech = self._filter(samples.astype(np.float32) / np.float32(32768), rng)
        level = 10 ** (rng.uniform(-40, -14) / 20)
        speech *= level / (np.sqrt(np.mean(speech * speech)) + 1e-6)
        mixed = speech + self._noise(len(speech), level, rng)
        return np.clip(np.rint(mixed * 32767), -32768, 32767).astype(np.int16)


class Endpoint(AudioTask):
    """[data]: synth and human, folders of the corpora; clips, utterances to train on; noise, rir."""

    TEST = ("test-human", "test-synth")

    def clips(self, name: str) -> Iterator[Clip]:
        """Utterances, half of people and half synthesized; rows say where speech is, in frames of 10 ms."""
        split, _, part = name.partition("-")
        folders = [part] if part else ["human", "synth"]
        rng = np.random.default_rng(len(name))
        groups = [_by_speaker(read_manifest(Path(self.data[key]) / f"{split}.jsonl")) for key in folders]
        paths = [row["path"] for group in groups for rows in group for row in rows]
        augment = self.augmenter(paths, Aligned)
        for i in range(self.data["clips"] if split == "train" else 240):
            speakers = groups[i % len(groups)]
            rows = speakers[int(rng.integers(len(speakers)))]
            audio, speech = utterance(
                [read_audio(r["path"])[:LONGEST_SAMPLES] for r in _draw(rows, rng)], rng
            )
            if speech:
                yield augment(audio, rng), {"speech": speech, "source": rows[0]["source"]}

    def batch(self, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Features [B, T, 120] in [-1, 1), labels [B, T], IGNORED past a clip's end."""
        pack = self.pack("train")
        chosen = rng.integers(len(pack), size=self.recipe.schedule.batch)
        clips = [self.shape(pack.frames(i), rng, int(rng.integers(self.shape.warps))) for i in chosen]
        features, lengths = collate(clips)
        labels = torch.full(features.shape[:2], IGNORED)
        for row, i, length in zip(labels, chosen, lengths.tolist(), strict=True):
            row[:length] = torch.from_numpy(frame_labels(pack.rows[i]["speech"], length))
        return features / 128, labels

    def loss(self, network: Stack, batch: tuple[Tensor, Tensor]) -> Tensor:
        features, labels = batch
        return functional.cross_entropy(
            network(features).flatten(0, 1), labels.flatten(), ignore_index=IGNORED
        )

    def score(self, checkpoint: Checkpoint, names: tuple[str, ...]) -> Scores:
        """Accuracy of the frames, and what the end-pointer gives at the goals, in percent and seconds."""
        scores = {}
        for name in names:
            posteriors, speech = self.posteriors(checkpoint, name)
            labels = np.concatenate(
                [frame_labels(s, len(p)) for p, s in zip(posteriors, speech, strict=True)]
            )
            right = np.concatenate([np.argmax(p, axis=1) for p in posteriors]) == labels
            kinds = zip(("speech", "pause", "end"), (SPEECH, PAUSE, END), strict=True)
            scores[name] = {
                "accuracy": round(100 * float(np.mean(right)), 2),
                **{
                    f"{key}_right": round(100 * float(np.mean(right[labels == kind])), 1)
                    for key, kind in kinds
                },
                **at_goals(curve(posteriors, speech)),
                "utterances": len(speech),
            }
        return scores

    def posteriors(self, checkpoint: Checkpoint, name: str) -> tuple[list[NDArray], list[list]]:
        """Of each utterance of a pack: posteriors [T, 3], and where speech is."""
        pack = self.pack(name)
        logits = outputs(checkpoint, [pack.frames(i) for i in range(len(pack))])
        return [softmax(value) for value in logits], [row["speech"] for row in pack.rows]

    def picture(self, checkpoint: Checkpoint, out: Path) -> Path:
        """Early cut-offs against the median latency, with a timer on the net's own speech for comparison."""
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot

        figure, axes = pyplot.subplots(1, len(self.TEST), figsize=(11, 4), sharey=True)
        for axis, name in zip(axes, self.TEST, strict=True):
            given = self.posteriors(checkpoint, name)
            for made, label in ((curve(*given), "end-pointer"), (timer_curve(*given), "timer on its speech")):
                axis.plot(made[:, 1], made[:, 0], ".-", label=label)
            axis.set(title=name, xlabel="latency, median, s", xlim=(0, 1.5), yscale="symlog", ylim=(0, 100))
            axis.grid(alpha=0.3)
            axis.legend()
        axes[0].set_ylabel("cut off early, % of utterances")
        figure.tight_layout()
        figure.savefig(out / "endpoint.png", dpi=100)
        return out / "endpoint.png"


def softmax(logits: NDArray) -> NDArray[np.float64]:
    """[T, classes] -> the same, rows of sum 1."""
    made = np.exp(logits - logits.max(axis=1, keepdims=True))
    return made / made.sum(axis=1, keepdims=True)


def frame_labels(speech: list, length: int) -> NDArray[np.int64]:
    """SPEECH, PAUSE (also before the first speech) or END of each feature vector, by its last frame."""
    frames = np.arange(length) * 3 + 2
    labels = np.where(frames >= speech[-1][1], END, PAUSE)
    for first, last in speech:
        labels[(frames >= first) & (frames < last)] = SPEECH
    return labels


def speech_intervals(audio: NDArray[np.float32]) -> list[list[int]]:
    """[first, past the last] frames of 10 ms that are loud, with gaps of a stop closed."""
    count = len(audio) // HOP
    power = np.square(audio[: count * HOP].reshape(count, HOP)).mean(axis=1) if count else np.zeros(1)
    level = 10 * np.log10(power + 1e-10)
    floor, peak = np.percentile(level, (5, 98))
    loud = np.flatnonzero(level > max(peak - BELOW_PEAK_DB, min(floor + ABOVE_FLOOR_DB, peak - 12)))
    if peak < -60 or len(loud) == 0:
        return []
    breaks = np.flatnonzero(np.diff(loud) > CLOSURE_FRAMES)
    firsts, lasts = loud[np.append(0, breaks + 1)], loud[np.append(breaks, len(loud) - 1)]
    return [[int(first), int(last) + 1] for first, last in zip(firsts, lasts, strict=True)]


def utterance(
    clips: list[NDArray[np.int16]], rng: np.random.Generator
) -> tuple[NDArray[np.int16], list[list[int]]]:
    """Clips of one speaker with pauses between them, or inside the only one: (audio, speech in frames).

    Most clips before a pause break off where their energy has a valley: who pauses has not said all.
    """
    pieces = [p for clip in clips for p in _trimmed(clip)]
    if len(pieces) == 1 and rng.random() < DIVIDED:
        cut = _valley(pieces[0], rng)
        pieces = [pieces[0][:cut], pieces[0][cut:]]
    elif pieces:
        broken = [p[: _valley(p, rng)] if rng.random() < BROKEN else p for p in pieces[:-1]]
        pieces = [*broken, pieces[-1]]
    made, speech, at = [], [], 0

    def add(samples: NDArray) -> None:
        nonlocal at
        made.append(samples)
        at += len(samples)

    add(_silence(LEAD_S, rng))
    for i, piece in enumerate(pieces):
        if i:
            add(_silence(PAUSES_S, rng))
        speech += [[first + at // HOP, last + at // HOP] for first, last in speech_intervals(piece)]
        add(piece[: len(piece) // HOP * HOP])
    add(_silence(TAIL_S, rng))
    audio = np.concatenate(made)
    return np.clip(np.rint(audio * 32767), -32768, 32767).astype(np.int16), speech


def decisions(posteriors: NDArray, threshold: float) -> int:
    """First step at which `end` reaches the threshold after some speech; the number of steps if none."""
    heard = np.maximum.accumulate(posteriors[:, SPEECH]) > 0.5
    found = np.flatnonzero(heard & (posteriors[:, END] >= threshold))
    return int(found[0]) if len(found) else len(posteriors)


def timer(posteriors: NDArray, steps: int) -> int:
    """First step after so many in a row that are no speech, after some speech."""
    speech = posteriors[:, SPEECH] > 0.5
    last = np.maximum.accumulate(np.where(speech, np.arange(len(speech)), -1))
    found = np.flatnonzero((last >= 0) & (np.arange(len(speech)) - last >= steps))
    return int(found[0]) if len(found) else len(posteriors)


def curve(posteriors: list[NDArray], speech: list[list]) -> NDArray[np.float64]:
    """Rows (cut off early in percent, latency at the median and at 90 % in s, threshold), by threshold."""
    return np.array([
        (*_outcome([decisions(p, threshold) for p in posteriors], speech), threshold)
        for threshold in THRESHOLDS
    ])  # fmt: skip


def timer_curve(posteriors: list[NDArray], speech: list[list]) -> NDArray[np.float64]:
    """The same for timers of TIMERS steps."""
    return np.array([(*_outcome([timer(p, int(s)) for p in posteriors], speech), s) for s in TIMERS])


def at_goals(made: NDArray) -> dict[str, float]:
    """Latencies where CUT_OFF_GOAL is first kept, and cut-offs at the largest latency within its goal."""
    kept = made[made[:, 0] <= CUT_OFF_GOAL]
    within = made[made[:, 1] <= LATENCY_GOAL_S]
    goal = kept[0] if len(kept) else made[-1]
    return {
        "latency_p50": round(float(goal[1]), 3), "latency_p90": round(float(goal[2]), 3),
        "cut_off": round(float(goal[0]), 2), "threshold": round(float(goal[3]), 4),
        "cut_off_at_400_ms": round(float(within[-1, 0]), 2) if len(within) else 100.0,
    }  # fmt: skip


def _outcome(steps: list[int], speech: list[list]) -> tuple[float, float, float]:
    times = np.array(steps) * STEP_S + DELAY_S
    ends = np.array([intervals[-1][1] for intervals in speech]) * HOP / RATE
    early = times < ends
    late = (times - ends)[~early] if not early.all() else np.zeros(1)
    return 100 * float(np.mean(early)), float(np.median(late)), float(np.percentile(late, 90))


def _by_speaker(rows: list[Row]) -> list[list[Row]]:
    found = defaultdict(list)
    for row in rows:
        if not row["speaker"].endswith(UNKNOWN):
            found[row["speaker"]].append(row)
    return [found[key] for key in sorted(found)]


def _draw(rows: list[Row], rng: np.random.Generator) -> list[Row]:
    count = int(rng.choice([1, 1, 2, 3]))
    return [rows[i] for i in rng.integers(len(rows), size=count)]


def _trimmed(samples: NDArray[np.int16]) -> list[NDArray[np.float32]]:
    """The clip from its first speech to its last, at a common level; nothing if there is no speech."""
    audio = samples.astype(np.float32) / np.float32(32768)
    found = speech_intervals(audio)
    if not found:
        return []
    audio = audio[found[0][0] * HOP : found[-1][1] * HOP]
    return [audio * np.float32(0.08 / (np.sqrt(np.mean(audio**2)) + 1e-6))]


def _valley(audio: NDArray, rng: np.random.Generator) -> int:
    """A sample near a random place of the middle half where 30 ms are least loud; whole frames."""
    count = len(audio) // HOP
    power = np.convolve(np.square(audio[: count * HOP].reshape(count, HOP)).mean(axis=1), np.ones(3), "same")
    centre = int(rng.uniform(0.25, 0.75) * count)
    first = max(0, centre - 15)
    return (first + int(np.argmin(power[first : centre + 15]))) * HOP


def _silence(seconds: tuple[float, float], rng: np.random.Generator) -> NDArray[np.float32]:
    count = int(rng.uniform(*seconds) * RATE) // HOP * HOP
    return np.zeros(count, np.float32)
