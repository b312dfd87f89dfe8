"""A branching encoder at several costs: its arbitrator against a frame's energy and against chance.

    python -m ossicle.models.points CHECKPOINT MANIFEST… [--shares 0.2 0.4 0.6 0.8] [--plots 4 --out FOLDER]

Prints JSON: greedy WER and average MACs a frame of each scorer at each share of slow frames, of the
arbitrator at its own threshold, and of either side alone. A plot is an utterance's log-mel energies with the
decisions under them. (AmNets: Macoskey et al. 2021, arXiv:2108.01553. Energy stands for the switch of Bifocal
RNN-T, 2021, arXiv:2108.01704: a keyword spotter that is not learned with the encoder either.)
"""

from __future__ import annotations

import argparse
import json
import sys
from math import inf
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from ossicle.models.data.pack import read_audio
from ossicle.models.data.split import Row, read_manifest
from ossicle.models.encoder import branch_layers
from ossicle.models.evaluate import score, transcribe
from ossicle.models.exact import ExactTransducer, Scorer
from ossicle.models.export import Checkpoint, read_checkpoint
from ossicle.models.switch import chance, cost_of, decisions, energy, scores_of, threshold_of
from ossicle.runtime.frontend import features

SHARES = (0.2, 0.4, 0.6, 0.8)
BANDS = 40  # mel bands of a 10 ms frame
FRAME = 0.06  # seconds
Clips = list[NDArray[np.int8]]


def point(checkpoint: Checkpoint, texts: list[str], clips: Clips, scorer: Scorer | None, at: float) -> dict:
    """Greedy WER and cost with a scorer (None: the arbitrator) and its threshold."""
    model = ExactTransducer(checkpoint, scorer, at)
    found = score(texts, transcribe(checkpoint, clips, model))
    cost = cost_of(checkpoint, decisions(model, clips))
    return {"slow": round(cost.slow, 4), "macs": round(cost.macs), "wer": found.wer, "low": found.low,
            "high": found.high}  # fmt: skip


def points(checkpoint: Checkpoint, texts: list[str], clips: Clips, shares: tuple[float, ...]) -> list[dict]:
    """A row for each scorer and share, see the module; `by`: what decides.

    Raises:
        ValueError: a checkpoint without a branch, or a share that is none.
    """
    if not branch_layers(checkpoint.topology):
        raise ValueError("the checkpoint's encoder has no branch")
    if any(not 0 < share < 1 for share in shares):
        raise ValueError(f"shares {list(shares)} must lie between 0 and 1")
    rows = [
        {"by": name, **point(checkpoint, texts, clips, None, at)}
        for name, at in (("slow side", -inf), ("fast side", inf), ("arbitrator", 0.0))
    ]
    for name, scorer in (("arbitrator", None), ("energy", energy), ("chance", chance(0))):
        scores = scores_of(ExactTransducer(checkpoint, scorer), clips)
        for share in shares:
            at = threshold_of(scores, share)
            rows.append({"by": name, "wanted": share, **point(checkpoint, texts, clips, scorer, at)})
    return rows


def plot(clip: NDArray[np.int8], slow: NDArray[np.bool_], title: str, out: Path) -> None:
    """An utterance's log-mel energies (features [T, 120]) over its decisions, one for each 60 ms."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (above, below) = pyplot.subplots(
        2, 1, figsize=(10, 4), sharex=True, gridspec_kw={"height_ratios": (6, 1)}
    )
    seconds = len(slow) * FRAME
    bands = clip.reshape(-1, BANDS).T
    above.imshow(bands, origin="lower", aspect="auto", extent=(0, seconds, 0, BANDS), cmap="magma")
    above.set(title=title, ylabel="mel band")
    below.stairs(slow.astype(int), np.arange(len(slow) + 1) * FRAME, fill=True)
    below.set(yticks=(0, 1), yticklabels=("fast", "slow"), xlabel="seconds", ylim=(0, 1))
    figure.tight_layout()
    figure.savefig(out, dpi=110)
    pyplot.close(figure)


def write_traces(rows: list[Row], clips: Clips, slow: list[NDArray[np.bool_]], folder: Path) -> None:
    """traces.jsonl, each row's path and text with its decisions ("1": slow), and a plot each."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for i, (row, clip, decided) in enumerate(zip(rows, clips, slow, strict=True)):
        trace = "".join("01"[int(each)] for each in decided)
        lines.append(json.dumps({"path": str(row["path"]), "text": row["text"], "slow": trace}) + "\n")
        plot(clip, decided, row["text"], folder / f"{i}.png")
    (folder / "traces.jsonl").write_text("".join(lines))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("manifest", type=Path, nargs="+")
    parser.add_argument("--shares", type=float, nargs="+", default=list(SHARES))
    parser.add_argument("--plots", type=int, default=0, metavar="N", help="of the first N utterances")
    parser.add_argument("--out", type=Path, default=Path("traces"), help="folder of plots and traces.jsonl")
    a = parser.parse_args()
    torch.set_num_threads(1)
    try:
        checkpoint = read_checkpoint(a.checkpoint)
        rows = [row for manifest in a.manifest for row in read_manifest(manifest)]
        clips = [features(read_audio(row["path"]), checkpoint.frontend) for row in rows]
        found = points(checkpoint, [row["text"] for row in rows], clips, tuple(a.shares))
    except ValueError as error:
        parser.error(str(error))
    if a.plots:
        chosen = clips[: a.plots]
        write_traces(rows[: a.plots], chosen, decisions(ExactTransducer(checkpoint), chosen), a.out)
    json.dump(found, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
