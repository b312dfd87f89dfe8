"""Whisper detector: an LSTM, one decision from the mean of the posteriors of a clip's loud frames.

(Raeesy et al. 2018, arXiv:1809.07832.) Whispered speech to train on is made of voiced speech, see
data/whisper.py, each clip used in both ways; espeak-ng's own whispering voices are kept for the test.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from ossicle.models.data.pack import read_audio
from ossicle.models.data.split import Row, read_manifest
from ossicle.models.data.voices import Request, synthesize
from ossicle.models.data.whisper import whisper
from ossicle.models.export import Checkpoint
from ossicle.models.nets.pack import QUIET, Clip, Shaper, collate, crop
from ossicle.models.nets.recipe import NetRecipe
from ossicle.models.nets.stack import Stack
from ossicle.models.nets.task import AudioTask, Scores, interval, outputs
from torch import Tensor
from torch.nn import functional

WHISPERED = 1
BY_SOURCE = "test-human"
CROP_FRAMES = 210
QUIETER_DB = 12.0
AUGMENTED = 0.5  # share of the training clips
TILT_DB = 6.0
NARROW, NARROW_BANDS = 0.2, (26, 34)  # share of a batch without the bands from one of these on
NOISY, NOISE_BELOW = 0.3, 40  # share of a batch; least distance in feature steps, about 2 to a decibel
LOUD = 0.3  # of the way from the level of a clip's quietest frames to that of its loudest
SHORTEST_SAMPLES, LONGEST_SAMPLES = 3200, 64000
# en-gb+whisper is left out: what espeak-ng 1.51 makes of it is voiced.
WHISPERERS = ("en-us+whisper", "en-us+whisperf", "en-gb-scotland+whisper", "en-gb-scotland+whisperf")


class Whisper(AudioTask):
    """[data]: synth, human (corpora), clips (by source) and synth_clips to train on, noise, rir."""

    TEST = ("test-human", "test-synth", "test-human-noisy", "test-espeak-whisper")

    def __init__(self, recipe: NetRecipe) -> None:
        super().__init__(recipe)
        self.shape = Shaper(self.frontend, TILT_DB)

    def clips(self, name: str) -> Iterator[Clip]:
        """Every clip as it is and whispered."""
        if name == "test-espeak-whisper":
            yield from self._whisperers()
            return
        split = name.split("-")[0]
        human, synth = (read_manifest(Path(self.data[key]) / f"{split}.jsonl") for key in ("human", "synth"))
        rng = np.random.default_rng(len(name))
        if name == "train":
            human = [
                r for source, count in self.data["clips"].items() for r in _some(human, source, count, rng)
            ]
            synth = _some(synth, "", self.data["synth_clips"], rng)
        rows = {"train": human + synth, "dev": human + synth[:100]}.get(
            split, synth if "synth" in name else human
        )
        if split == "test":
            rows = rows[:: 1 if name == "test-human" else 2]
        augment = (
            self.augmenter([row["path"] for row in human]) if "noisy" in name or split == "train" else None
        )
        for row in rows:
            samples = read_audio(row["path"])[:LONGEST_SAMPLES]
            if len(samples) < SHORTEST_SAMPLES:
                continue
            kept = {"speaker": row["speaker"], "source": row["source"]}
            for label, audio in enumerate((samples, whisper(samples, rng))):
                if augment and (split != "train" or rng.random() < AUGMENTED):
                    audio = augment(audio, rng)
                    audio = (audio * 10 ** (-rng.uniform(0, QUIETER_DB * label) / 20)).astype(np.int16)
                yield audio, {**kept, "label": label}

    def _whisperers(self) -> Iterator[Clip]:
        rows = read_manifest(Path(self.data["synth"]) / "test.jsonl")[:100]
        requests = [Request(row["text"], "espeak", voice) for row in rows for voice in WHISPERERS]
        with tempfile.TemporaryDirectory() as folder:
            for request, audio in zip(requests, synthesize(requests, Path(folder)), strict=True):
                if audio is not None:
                    yield audio, {"speaker": request.speaker, "source": "espeak", "label": WHISPERED}

    def batch(self, rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Features [B, T, 120] in [-1, 1), which of them count [B, T], labels [B]."""
        pack = self.pack("train")
        chosen = rng.integers(len(pack), size=self.recipe.schedule.batch)
        clips = [
            self.shape(crop(pack.frames(i), CROP_FRAMES, rng), rng, int(rng.integers(self.shape.warps)))
            for i in chosen
        ]
        clips = [_narrowed(clip, rng) if rng.random() < NARROW else clip for clip in clips]
        clips = [_floored(clip, rng) if rng.random() < NOISY else clip for clip in clips]
        features, _ = collate(clips)
        mask = torch.zeros(features.shape[:2])
        for row, clip in zip(mask, clips, strict=True):
            counted = loud(clip)
            row[: len(counted)] = torch.from_numpy(counted)
        return features / 128, mask, torch.tensor([pack.rows[i]["label"] for i in chosen])

    def loss(self, network: Stack, batch: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        """Cross entropy of the loud frames and of the mean of their posteriors."""
        features, mask, labels = batch
        mask = mask / mask.sum(1, keepdim=True)
        frames = functional.log_softmax(network(features), 2)
        posterior = (frames.exp() * mask[..., None]).sum(1)
        right = frames.gather(2, labels[:, None, None].expand(-1, frames.shape[1], 1))[..., 0]
        decision = functional.nll_loss((posterior + 1e-6).log(), labels)
        return decision - 0.5 * (right * mask).sum(1).mean()

    def score(self, checkpoint: Checkpoint, names: tuple[str, ...]) -> Scores:
        """Accuracy in percent, with its interval; how many whispers are missed and voices taken for one."""
        scores = {}
        for name in names:
            pack = self.pack(name)
            clips = [pack.frames(i) for i in range(len(pack))]
            found = decide(outputs(checkpoint, clips), clips) >= 0.5
            labels = np.array([row["label"] for row in pack.rows]) == WHISPERED
            scores[name] = _rates(found, labels)
            if name == BY_SOURCE:
                sources = np.array([row["source"] for row in pack.rows])
                for source in sorted(set(sources)):
                    here = sources == source
                    scores[f"{name}: {source}"] = _rates(found[here], labels[here])
        return scores


def _rates(found: NDArray[np.bool_], labels: NDArray[np.bool_]) -> dict[str, float]:
    low, high = interval(found == labels)
    return {
        "accuracy": round(100 * float(np.mean(found == labels)), 2), "low": low, "high": high,
        "missed": round(100 * float(np.mean(~found[labels])), 2),
        "false": round(100 * float(np.mean(found[~labels])), 2) if not labels.all() else 0.0,
        "clips": len(labels),
    }  # fmt: skip


def loud(frames: NDArray, stack: int = 3) -> NDArray[np.bool_]:
    """Which feature vectors of a clip [F, 40] are loud, [F / stack]: silence has no voice to judge."""
    level = frames[: len(frames) // stack * stack].reshape(-1, stack * frames.shape[1]).mean(axis=1)
    low, high = np.percentile(level, (10, 95))
    return level >= low + LOUD * (high - low)


def decide(logits: list[NDArray], clips: list[NDArray]) -> NDArray[np.float64]:
    """Mean posterior of a whisper over the loud frames, of each clip's logits [T, 2] and frames [F, 40]."""
    made = []
    for values, frames in zip(logits, clips, strict=True):
        posterior = 1 / (1 + np.exp(values[:, 0] - values[:, 1]))
        made.append(float(posterior[loud(frames)].mean()))
    return np.array(made)


def _narrowed(frames: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """As from a source of a lower rate."""
    made, first = frames.copy(), int(rng.integers(*NARROW_BANDS))
    made[:, first:] = np.maximum(frames[:, first:] - rng.uniform(40, 120), QUIET)
    return made


def _floored(frames: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """With stationary noise, under which the quieter parts of the clip go."""
    peak = np.percentile(frames.mean(axis=1), 95)
    bands = rng.uniform(QUIET, max(peak - NOISE_BELOW, QUIET)) + rng.normal(0, 8, frames.shape[1])
    noise = np.clip(np.rint(bands + rng.normal(0, 6, frames.shape)), -128, 127)
    return np.maximum(frames, noise.astype(np.float32))


def _some(rows: list[Row], source: str, count: int, rng: np.random.Generator) -> list[Row]:
    rows = [row for row in rows if source in ("", row["source"])]
    return [rows[i] for i in rng.permutation(len(rows))[:count]]
