"""Release a trained checkpoint: test it, write its scores into it, its card, its table and a few samples.

    python -m ossicle.models.release CHECKPOINT OUT --test MANIFEST… [--also MANIFEST…] --card CARD.toml

--test: speakers and voices never trained on, a set for each source and language; --also: each manifest a set
of its own. It writes OUT/NAME.safetensors (now with WER by test set), OUT/NAME.json (the card), OUT/NAME.md
and OUT/samples/ (synthesized utterances of unseen sentences and voices that the model gets right). CARD.toml
says what a card must say and can't be measured: data, licences and attribution.
"""

from __future__ import annotations

import argparse
import json
import sys
import tomllib
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import soundfile
import torch
from ossicle.models.data.pack import read_audio
from ossicle.models.data.split import Row, read_manifest, text_class, write_manifest
from ossicle.models.evaluate import SYNTHESIZED, Evaluation, Score, evaluate
from ossicle.models.export import Checkpoint, read_checkpoint, write_checkpoint

SAMPLES = 4
SET = "set"  # of a row: the set that it alone belongs to
CLASSED = ("an4",)  # sources of which each class of text is a set too


def set_of(row: Row) -> str:
    """Test set of a row: its source, and its language where it names one; of the synthesized ones, the voice
    too where an engine has one alone."""
    if SET in row:
        return row[SET]
    plain = row.get("style") != SYNTHESIZED or row["source"] == "espeak"
    name = row["source"] if plain else row["speaker"]
    return f"{name}, {row['language']}" if "language" in row else name


def sets_of_release(rows: list[Row]) -> dict[str, list[int]]:
    """Indices of the rows of each test set, all synthesized ones together among them."""
    sets = defaultdict(list)
    for i, row in enumerate(rows):
        sets[set_of(row)].append(i)
        if SET in row:
            continue
        if row["source"] in CLASSED:
            sets[f"{row['source']}, {text_class(row['text'])}"].append(i)
        if row.get("style") == SYNTHESIZED:
            sets["all synthesized, unseen voices"].append(i)
    return dict(sorted(sets.items()))


def card(checkpoint: Checkpoint, scores: dict[str, Score], size: int, said: dict) -> dict:
    """Everything that a reader of the model should know."""
    header = checkpoint.full_header()
    zeros = sum(int((m.weight == 0).sum()) for m in checkpoint.matrices.values())
    weights = sum(m.weight.size for m in checkpoint.matrices.values())
    return {
        "name": header["name"],
        "file": f"{header['name']}.safetensors",
        "bytes": size,
        "weights": weights,
        "zeros": round(zeros / weights, 4),
        "topology": header["topology"],
        "quantization": header["quantization"],
        "sparsity": header["sparsity"],
        "provenance": header["provenance"],
        "wer": header["wer"],
        "sentences_right": {name: value.sentence_correct for name, value in scores.items()},
        **said,
    }


def results(name: str, found: Evaluation, beam: int, command: str, provenance: dict) -> str:
    """The table of NAME.md."""
    lines = [
        f"# Results of {name}",
        "",
        f"Beam search of {beam} states, at most two labels a 60 ms frame, the processor's integers, no",
        "language model; greedy: the best label each time; oracle: the best path of the lattice.",
        "Of the sets by source no speaker or voice was trained on, nor any synthesized sentence; those",
        "named test-… are what models/data/make.py says. Intervals of 95 %: bootstrap over utterances.",
        "",
        "| set | WER % | interval | greedy % | oracle % | sentences right % | utterances | words |",
        "| --- | ---: | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for key, s in found.beam_scores.items():
        lines.append(
            f"| {key} | {s.wer:.1f} | {s.low:.1f} to {s.high:.1f} | {found.greedy_scores[key].wer:.1f} "
            f"| {found.oracle[key]:.1f} | {s.sentence_correct:.1f} "
            f"| {s.utterances} | {s.words} |"
        )
    commands = [provenance.get("command", ""), command]
    return "\n".join([*lines, "", "Made by:", "", *(f"    {c}" for c in commands if c), ""])


def write_samples(rows: list[Row], texts: list[str], folder: Path) -> None:
    """WAV files of correct transcripts, 1.5 to 2.5 s long, of as many voices as there are."""
    right = [
        row for row, text in zip(rows, texts, strict=True)
        if row.get("style") == SYNTHESIZED and SET not in row
        and row["text"] == text and 1.5 <= row["duration"] <= 2.5
    ]  # fmt: skip
    by_set = defaultdict(list)
    for row in right:
        by_set[set_of(row)].append(row)
    queues = [sorted(group, key=lambda r: (-len(r["text"].split()), r["text"])) for group in by_set.values()]
    chosen: list[Row] = []
    while len(chosen) < SAMPLES and any(queues):
        for queue in queues:
            if queue and len(chosen) < SAMPLES:
                chosen.append(queue.pop(0))
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.wav"):
        old.unlink()
    for i, row in enumerate(chosen):
        name = f"{i}-{row['speaker'].replace(':', '-').replace('+', '-')}.wav"
        soundfile.write(folder / name, read_audio(row["path"]), 16000, subtype="PCM_16")
        chosen[i] = {**row, "path": name}
    write_manifest(folder / "manifest.jsonl", chosen)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--test", type=Path, nargs="+", required=True)
    parser.add_argument("--also", type=Path, nargs="+", default=[])
    parser.add_argument("--card", type=Path, required=True)
    parser.add_argument("--no-samples", action="store_true", help="leave OUT/samples as they are")
    parser.add_argument("--beam", type=int, default=8)
    parser.add_argument("--workers", type=int, default=1)
    a = parser.parse_args()
    torch.set_num_threads(1)
    try:
        checkpoint = read_checkpoint(a.checkpoint)
        said = tomllib.loads(a.card.read_text())
        rows = [row for manifest in a.test for row in read_manifest(manifest)]
        rows += [row | {SET: manifest.stem} for manifest in a.also for row in read_manifest(manifest)]
        found = evaluate(checkpoint, rows, sets_of_release(rows), a.beam, a.workers)
    except (ValueError, OSError) as error:
        parser.error(str(error))
    scores = found.beam_scores
    wer = {
        name: {
            "wer": s.wer, "low": s.low, "high": s.high, "words": s.words, "beam": a.beam,
            "greedy": found.greedy_scores[name].wer, "oracle": found.oracle[name],
        }
        for name, s in scores.items()
    }  # fmt: skip
    checkpoint = replace(checkpoint, header={**checkpoint.header, "wer": wer})
    name = checkpoint.full_header()["name"]
    path = a.out / f"{name}.safetensors"
    write_checkpoint(path, checkpoint)
    table = card(checkpoint, scores, path.stat().st_size, said)
    (a.out / f"{name}.json").write_text(json.dumps(table, indent=1) + "\n")
    command = "python -m ossicle.models.release " + " ".join(sys.argv[1:])
    (a.out / f"{name}.md").write_text(results(name, found, a.beam, command, table["provenance"]))
    if not a.no_samples:
        write_samples(rows, found.beam, a.out / "samples")
    for key, value in scores.items():
        print(f"{key:32s} {value}")


if __name__ == "__main__":
    main()
