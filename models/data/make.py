"""Make the synthesized corpus: FLAC files and manifests train, dev and test (JSON lines).

    python -m ossicle.models.data.make OUT --hours 20 [--dev 200] [--test 600] [--workers 2] [--texts FILE]

Sentences of dev and test occur in no other split, nor do their voices. `--texts` gives a manifest whose
sentences, cut into short phrases, widen the vocabulary of the training split. A second run with the same
arguments goes on where the first was stopped.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import soundfile
from ossicle.models.data.grammar import Grammar, split_of
from ossicle.models.data.voices import LICENCES, RATE, Request, draw, synthesize

BATCH = 200
PHRASES = 0.15  # share of training sentences cut from --texts


def phrases(manifest: Path, rng: random.Random) -> Iterator[str]:
    """Endless runs of 3 to 7 words from the texts of a manifest."""
    texts = [json.loads(line)["text"].split() for line in manifest.read_text().splitlines()]
    texts = [words for words in texts if len(words) >= 6]
    while True:
        words = rng.choice(texts)
        start, length = rng.randrange(len(words) - 2), rng.randint(3, 7)
        yield " ".join(words[start : start + length])


def requests(split: str, seed: int, texts: Path | None) -> Iterator[Request]:
    """Endless requests of a split; the same seed gives the same ones."""
    rng = random.Random(f"{seed} {split}")
    grammar = Grammar()
    extra = phrases(texts, rng) if texts and split == "train" else None
    while True:
        spoken = next(extra) if extra and rng.random() < PHRASES else grammar.draw(rng)
        if split_of(spoken) == split:
            yield draw(spoken, split, rng)


def make_batch(batch: list[Request], folder: Path, name: str) -> Path:
    """Synthesize and write one batch; its manifest is written last, so that it stands for a whole batch."""
    manifest = folder / f"{name}.jsonl"
    if manifest.exists():
        return manifest
    with tempfile.TemporaryDirectory() as temporary:
        audios = synthesize(batch, Path(temporary))
    lines = []
    for i, (request, audio) in enumerate(zip(batch, audios, strict=True)):
        if audio is None:
            continue
        path = folder / f"{name}-{i:03d}.flac"
        soundfile.write(path, audio, RATE, subtype="PCM_16")
        lines.append({
            "path": path.name, "text": request.spoken.lower(), "speaker": request.speaker,
            "source": request.engine, "licence": LICENCES[request.engine],
            "duration": round(len(audio) / RATE, 2), "style": "synthesized", "whisper": False,
        })  # fmt: skip
    manifest.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return manifest


def make(out: Path, sizes: dict[str, float], seed: int, workers: int, texts: Path | None) -> None:
    """Fill out/{train,dev,test}.jsonl; sizes: hours of train, utterances of dev and test."""
    with ProcessPoolExecutor(workers) as pool:
        for split, size in sizes.items():
            folder = out / split
            folder.mkdir(parents=True, exist_ok=True)
            source = requests(split, seed, texts)
            count = size if split != "train" else size * 3600 / 2.0  # a command lasts about 2 s
            batches = [[next(source) for _ in range(BATCH)] for _ in range(max(1, round(count / BATCH)))]
            jobs = [pool.submit(make_batch, b, folder, f"{i:04d}") for i, b in enumerate(batches)]
            rows = []
            for i, job in enumerate(jobs):
                lines = job.result().read_text().splitlines()
                rows += [{**row, "path": f"{split}/{row['path']}"} for row in map(json.loads, lines)]
                print(f"\r{split}: {i + 1}/{len(jobs)} batches", end="", file=sys.stderr)
            hours = sum(row["duration"] for row in rows) / 3600
            print(f"\r{split}: {len(rows)} utterances, {hours:.2f} h", file=sys.stderr)
            (out / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--hours", type=float, default=18)
    parser.add_argument("--dev", type=int, default=200)
    parser.add_argument("--test", type=int, default=600)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--texts", type=Path)
    a = parser.parse_args()
    if a.texts and not a.texts.is_file():
        parser.error(f"no manifest at {a.texts}")
    make(a.out, {"test": a.test, "dev": a.dev, "train": a.hours}, a.seed, a.workers, a.texts)


if __name__ == "__main__":
    main()
