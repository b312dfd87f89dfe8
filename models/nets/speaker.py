"""Speaker encoder: a d-vector, the mean over frames of a small LSTM's outputs, of length 1.

    e = mean_t(output_t) / |mean_t(output_t)|        enrol: the mean of a few e, of length 1
    verify: cos(enrolled, e) >= threshold            (mean, norm and cosine are the host's)

Trained with the softmax loss of GE2E (Wan et al. 2017, arXiv:1710.10467): every segment against the centroid
of each speaker of the batch, its own without it. More speakers than recorded: each is given another vocal
tract length whenever drawn, the same one for all of its segments, and every segment another channel.
"""

from __future__ import annotations

import random
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from ossicle.models.data.grammar import Grammar
from ossicle.models.data.pack import read_audio
from ossicle.models.data.split import Row, read_manifest, split_speakers
from ossicle.models.data.voices import ESPEAK_ACCENTS, ESPEAK_VARIANTS, Request, synthesize
from ossicle.models.export import Checkpoint
from ossicle.models.nets.pack import Clip, Pack, collate
from ossicle.models.nets.stack import Stack
from ossicle.models.nets.task import AudioTask, Scores, outputs
from torch import Tensor, nn
from torch.nn import functional

SEGMENTS = 3
SEGMENT_FRAMES = (150, 240)
PIECE_SAMPLES = 48000  # a long recording is tested in pieces of 3 s
SHORTEST_SAMPLES = 16000
ENROLLED = 3
TESTED = 15  # clips of a speaker, at most: no one speaker's make the rate
SENTENCES = 5
RESAMPLES = 200
SYNTHESIZED = 0.15  # share of a batch's speakers
WARPED = 0.7
ALIKE = 0.4  # share of batches whose people are all of one source: recorded alike, only the voice differs
UNKNOWN = "unknown"


class Speaker(AudioTask):
    """[data]: manifest; test and dev, speakers held out by source; alike, a source; noise, rir."""

    TRAIN = ("train", "train-synth")
    TEST = ("test-an4", "test-librispeech_tc100", "test-all", "test-all-noisy")

    def __init__(self, recipe) -> None:
        super().__init__(recipe)
        self.scale, self.offset = nn.Parameter(torch.tensor(10.0)), nn.Parameter(torch.tensor(-5.0))
        self._speakers: dict[str, list[list[list[int]]]] = {}

    def clips(self, name: str) -> Iterator[Clip]:
        """Training: each clip as recorded and in another channel. Tests: pieces of 1 to 3 s."""
        if name == "train-synth":
            yield from _synthesized()
            return
        split, _, part = name.partition("-")
        rows = [r for r in read_manifest(Path(self.data["manifest"])) if not r["speaker"].endswith(UNKNOWN)]
        rows = split_speakers(rows, self.data["test"], self.data["dev"])[split]
        rows = rows if split == "train" else _at_most(rows, TESTED)
        rng = np.random.default_rng(len(name))
        noisy = split == "train" or part.endswith("noisy")
        augment = self.augmenter([row["path"] for row in rows]) if noisy else None
        for clip, row in enumerate(rows):
            if part.startswith("all") or part in ("", row["source"]):
                said = {"speaker": row["speaker"], "source": row["source"], "clip": clip}
                for audio in _pieces(row, split == "train"):
                    if split == "train" or augment is None:
                        yield audio, said
                    if augment:
                        yield augment(audio, rng), said

    def batch(self, rng: np.random.Generator) -> Tensor:
        """Features [speakers * SEGMENTS, T, 120] in [-1, 1), a speaker's segments one after another."""
        count, length = self.recipe.schedule.batch, int(rng.integers(*SEGMENT_FRAMES)) // 6 * 6
        made = int(SYNTHESIZED * count)
        clips = []
        for name, share in (("train", count - made), ("train-synth", made)):
            pack, speakers = self.pack(name), self.speakers(name)
            if name == "train" and rng.random() < ALIKE:
                speakers = [s for s in speakers if pack.rows[s[0][0]]["source"] == self.data["alike"]]
            for speaker in rng.permutation(len(speakers))[:share]:
                warp = int(rng.integers(self.shape.warps)) if rng.random() < WARPED else None
                drawn = segments(pack, speakers[speaker], length, rng)
                clips += [self.shape(frames, rng, warp) for frames in drawn]
        return collate(clips)[0] / 128

    def speakers(self, name: str) -> list[list[list[int]]]:
        """Of each speaker of a pack, of each of its clips, the rows: versions of that clip."""
        if name not in self._speakers:
            found: dict[str, dict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
            for i, row in enumerate(self.pack(name).rows):
                found[row["speaker"]][row["clip"]].append(i)
            self._speakers[name] = [list(clips.values()) for clips in found.values()]
        return self._speakers[name]

    def loss(self, network: Stack, batch: Tensor) -> Tensor:
        embedded = functional.normalize(network(batch).mean(1), dim=1)
        return ge2e(embedded.unflatten(0, (-1, SEGMENTS)), self.scale, self.offset)

    def parameters(self) -> list[nn.Parameter]:
        return [self.scale, self.offset]

    def score(self, checkpoint: Checkpoint, names: tuple[str, ...]) -> Scores:
        """Equal error rates in percent of one utterance against ENROLLED others, and against one."""
        scores = {}
        for name in names:
            pack = self.pack(name)
            embedded = embed(checkpoint, [pack.frames(i) for i in range(len(pack))])
            speakers = np.array([row["speaker"] for row in pack.rows])
            scores[name] = measure(embedded, speakers)
        return scores


def segments(pack: Pack, clips: list[list[int]], length: int, rng: np.random.Generator) -> list[NDArray]:
    """SEGMENTS runs of `length` frames of one speaker: of other clips, or of other parts of the only one.

    Short clips are joined. Each comes in a random one of its versions.
    """
    made = []
    for part in range(SEGMENTS):
        frames = np.zeros((0, 40), np.int8)
        while len(frames) < length:
            own = len(clips) == 1
            chosen = clips[0] if own else clips[int(rng.integers(len(clips)))]
            piece = pack.frames(int(rng.choice(chosen)))
            if own and len(piece) > SEGMENTS * length:
                piece = piece[part * len(piece) // SEGMENTS : (part + 1) * len(piece) // SEGMENTS]
            frames = np.concatenate([frames, piece])
        start = int(rng.integers(len(frames) - length + 1))
        made.append(frames[start : start + length])
    return made


def ge2e(embedded: Tensor, scale: Tensor, offset: Tensor) -> Tensor:
    """Softmax loss of unit vectors [speakers, segments, size] against the speakers' centroids."""
    speakers, count, size = embedded.shape
    total = embedded.sum(1, keepdim=True)
    others = functional.normalize((total - embedded) / (count - 1), dim=2)
    centroids = functional.normalize(total.squeeze(1) / count, dim=1)
    cosine = embedded.reshape(-1, size) @ centroids.t()
    own = torch.arange(speakers).repeat_interleave(count)
    without = (embedded * others).sum(2).flatten()
    cosine = torch.where(functional.one_hot(own, speakers).bool(), without[:, None], cosine)
    return functional.cross_entropy(scale.clamp_min(1e-6) * cosine + offset, own)


def embed(checkpoint: Checkpoint, clips: list[NDArray[np.int8]]) -> NDArray[np.float64]:
    """Unit vectors [clips, size] of frames [F, 40] each."""
    means = np.array([values.mean(axis=0) for values in outputs(checkpoint, clips)])
    return unit(means)


def unit(vectors: NDArray) -> NDArray[np.float64]:
    """Vectors [..., size] of length 1."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9)


def enrol(embedded: NDArray) -> NDArray[np.float64]:
    """A speaker's vector, of length 1, from embeddings [utterances, size]."""
    return unit(np.mean(embedded, axis=0))


def equal_error_rate(same: NDArray, other: NDArray) -> tuple[float, float]:
    """(rate in percent, threshold) where as many of `same` fall below it as of `other` reach it."""
    thresholds = np.sort(np.concatenate([same, other]))
    missed = np.searchsorted(np.sort(same), thresholds) / len(same)
    taken = 1 - np.searchsorted(np.sort(other), thresholds) / len(other)
    best = int(np.argmin(np.abs(missed - taken)))
    return float(50 * (missed[best] + taken[best])), float(thresholds[best])


def trials(embedded: NDArray, speakers: NDArray, enrolled: int) -> tuple[NDArray, NDArray, NDArray]:
    """Every utterance that enrols nobody against every enrolled speaker: (cosine, same speaker, its speaker).

    The first `enrolled` utterances of each speaker enrol it; speakers with no more than these are left out.
    """
    names, count = np.unique(speakers, return_counts=True)
    names = names[count > enrolled]
    models, tests, owners = [], [], []
    for i, name in enumerate(names):
        own = embedded[speakers == name]
        models.append(enrol(own[:enrolled]))
        tests.append(own[enrolled:])
        owners += [i] * (len(own) - enrolled)
    cosine = np.concatenate(tests) @ np.array(models).T
    owner = np.array(owners)
    same = owner[:, None] == np.arange(len(names))
    return cosine, same, owner


def measure(embedded: NDArray, speakers: NDArray) -> dict[str, float]:
    """EER with its 95 % interval (bootstrap over speakers), its threshold, and the same with one enrolled."""
    cosine, same, owner = trials(embedded, speakers, ENROLLED)
    rate, threshold = equal_error_rate(cosine[same], cosine[~same])
    rng, rates, count = np.random.default_rng(0), [], cosine.shape[1]
    for _ in range(RESAMPLES):
        drawn = rng.integers(count, size=count)
        rows = np.concatenate([np.flatnonzero(owner == speaker) for speaker in drawn])
        part, right = cosine[np.ix_(rows, np.unique(drawn))], same[np.ix_(rows, np.unique(drawn))]
        rates.append(equal_error_rate(part[right], part[~right])[0])
    single, right, _ = trials(embedded, speakers, 1)
    low, high = np.percentile(rates, [2.5, 97.5])
    one = equal_error_rate(single[right], single[~right])[0]
    return {
        "eer": round(rate, 2), "low": round(float(low), 2), "high": round(float(high), 2),
        "eer_one": round(one, 2), "threshold": round(threshold, 3), "speakers": count, "trials": cosine.size,
    }  # fmt: skip


def _at_most(rows: list[Row], count: int) -> list[Row]:
    seen: dict[str, int] = defaultdict(int)
    kept = []
    for row in rows:
        seen[row["speaker"]] += 1
        if seen[row["speaker"]] <= count:
            kept.append(row)
    return kept


def _pieces(row: Row, whole: bool) -> list[NDArray[np.int16]]:
    samples = read_audio(row["path"])
    if whole:
        return [samples]
    count = max(1, len(samples) // PIECE_SAMPLES)
    return [part for part in np.array_split(samples, count) if len(part) >= SHORTEST_SAMPLES]


def _synthesized() -> Iterator[Clip]:
    """Sentences of every training voice of espeak-ng, one pitch and accent a voice."""
    rng, grammar = random.Random(1), Grammar()
    requests = []
    for variant in ESPEAK_VARIANTS:
        voice, pitch = f"{rng.choice(ESPEAK_ACCENTS)}+{variant}", rng.randint(25, 75)
        for _ in range(SENTENCES):
            spoken, speed = grammar.draw(rng), rng.randint(125, 205)
            requests.append(Request(spoken, "espeak", voice, pitch=pitch, speed=speed))
    with tempfile.TemporaryDirectory() as folder:
        for i, (request, audio) in enumerate(zip(requests, synthesize(requests, Path(folder)), strict=True)):
            if audio is not None:
                yield audio, {"speaker": request.speaker, "source": "espeak", "clip": i}
