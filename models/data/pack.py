"""Features of a manifest in one memory-mapped file: augmented copies to train on, plain ones to test on.

    python -m ossicle.models.data.pack MANIFEST OUT [--copies 2] [--noise DIR] [--rir DIR] [--shift 0.08]
                                       [--frontend frontend.json] [--workers 2] [--seed 1]

writes OUT.npy, int8 [frames of 10 ms, 40], and OUT.jsonl, a line a copy. A row's `wake_seconds`, those at its
beginning that its text leaves out (a wake word), become `wake_frames` there.
No copies asked for: every clip once, as recorded. Without a frontend file, one is made from this manifest's
statistics and written to where --frontend points.
"""

from __future__ import annotations

import argparse
import json
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray
from ossicle.models.data.augment import Augmenter
from ossicle.models.data.split import Row, read_manifest, wake_seconds
from ossicle.runtime.frontend import FrontendParameters, features, log_mels
from threadpoolctl import threadpool_limits

MELS = 40
RATE = 16000
FRAME_SAMPLES = 160
CHUNK = 400


def read_audio(path: str) -> NDArray[np.int16]:
    """One channel at 16 kHz. Raises ValueError on another rate."""
    try:
        samples, rate = soundfile.read(path, dtype="int16", always_2d=True)
    except (OSError, soundfile.SoundFileError) as error:
        raise ValueError(f"{path}: not a readable audio file ({error})") from error
    if rate != RATE:
        raise ValueError(f"{path}: {rate} Hz; the frontend takes {RATE} Hz")
    return np.asarray(samples[:, 0], np.int16)


def statistics(rows: list[Row], augment: Augmenter | None, seed: int) -> FrontendParameters:
    """Normalisation from at most 1000 clips."""
    rng = np.random.default_rng(seed)
    blank = FrontendParameters((0,) * MELS, (1,) * MELS, (0,) * MELS)
    chosen = rng.choice(len(rows), min(1000, len(rows)), replace=False)
    clips = (read_audio(rows[i]["path"]) for i in chosen)
    logs = np.concatenate([log_mels(augment(c, rng) if augment else c, blank) for c in clips])
    return FrontendParameters.from_statistics(logs.mean(axis=0), logs.std(axis=0))


def pack_chunk(
    rows: list[Row], copies: int, augment: Augmenter | None, parameters: FrontendParameters, seed: int
) -> tuple[NDArray[np.int8], list[Row]]:
    """Features [frames, 40] of some rows, one after another, and their index lines."""
    rng = np.random.default_rng(seed)
    parts, index = [], []
    for row in rows:
        samples = read_audio(row["path"])
        for _ in range(max(1, copies)):
            audio = augment(samples, rng) if augment and copies else samples
            parts.append(features(audio, parameters).reshape(-1, MELS))
            kept = {key: row.get(key) for key in ("text", "source", "speaker")}
            if "wake_seconds" in row:
                first, stretch = augment.placement if augment and copies else (0, 1.0)
                kept["wake_frames"] = int(first + wake_seconds(row) * RATE * stretch) // FRAME_SAMPLES
            index.append({**kept, "frames": len(parts[-1])})
    return np.concatenate(parts), index


def pack(
    rows: list[Row], out: Path, copies: int, augment: Augmenter | None, parameters: FrontendParameters,
    workers: int, seed: int,
) -> None:  # fmt: skip
    """Write OUT.npy and OUT.jsonl."""
    chunks = [rows[i : i + CHUNK] for i in range(0, len(rows), CHUNK)]
    out.parent.mkdir(parents=True, exist_ok=True)
    offset, index = 0, []
    # Products as small as the frontend's lose more to a BLAS's threads than they gain, and more yet beside
    # another worker's: one thread is ten times as fast.
    workers_of_one = ProcessPoolExecutor(workers, initializer=threadpool_limits, initargs=(1,))
    with workers_of_one as pool, out.with_suffix(".raw").open("wb") as file:
        jobs = [
            pool.submit(pack_chunk, c, copies, augment, parameters, seed + i) for i, c in enumerate(chunks)
        ]
        for i in range(len(chunks)):
            block, lines = jobs.pop(0).result()
            file.write(block.tobytes())
            for line in lines:
                index.append({**line, "offset": offset})
                offset += line["frames"]
            print(f"\r{out.name}: {i + 1}/{len(chunks)}", end="", file=sys.stderr)
    raw = np.memmap(out.with_suffix(".raw"), np.int8, "r", shape=(offset, MELS))
    target = np.lib.format.open_memmap(out.with_suffix(".npy"), "w+", np.int8, (offset, MELS))
    target[:] = raw
    target.flush()
    out.with_suffix(".raw").unlink()
    out.with_suffix(".jsonl").write_text("".join(json.dumps(line) + "\n" for line in index))
    print(f"\r{out.name}: {len(index)} clips, {offset / 360000:.2f} h", file=sys.stderr)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("manifest", type=Path, nargs="+")
    parser.add_argument("out", type=Path)
    parser.add_argument("--copies", type=int, default=0)
    parser.add_argument("--noise", type=Path)
    parser.add_argument("--rir", type=Path)
    parser.add_argument("--shift", type=float, default=0.0)
    parser.add_argument("--frontend", type=Path, required=True)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    a = parser.parse_args()
    try:
        rows = [row for manifest in a.manifest for row in read_manifest(manifest)]
        augment = None
        if a.copies:
            babble = [Path(row["path"]) for row in rows[:: max(1, len(rows) // 100)]]
            augment = Augmenter.from_folders(a.noise, a.rir, babble, a.shift)
        if not a.frontend.exists():
            a.frontend.parent.mkdir(parents=True, exist_ok=True)
            a.frontend.write_text(json.dumps(statistics(rows, augment, a.seed).to_dict()))
        parameters = FrontendParameters.from_dict(json.loads(a.frontend.read_text()))
        pack(rows, a.out, a.copies, augment, parameters, a.workers, a.seed)
    except ValueError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
