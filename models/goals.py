"""What the shipped models are to reach, and what they reach: the table of models/README.md.

    python -m ossicle.models.goals models/recipes/goals.toml OUT [--readme models/README.md] [--workers 2]

    [sets]                                 # of manifests, to be named where they are used more than once
    SET = ["cache/human/test.jsonl"]
    [evaluate.NAME]                        # `ossicle evaluate … --json`, kept in OUT/NAME.json
    checkpoint = "models/weights/commands.safetensors"
    manifests = ["cache/synth/test-voices.jsonl"]
    limit = 100                            # the first of each manifest
    language_model = "…"                   # and any other argument of evaluate.command
    [[goal]]
    what = "unseen sentences and voices"
    measure = "WER %"
    at_most = 4.0                          # or at_least
    wer = "NAME"                           # of an evaluation; "rescored" of one is `rescored = "NAME"`
    # relative = ["NAME", "OTHER"]         # in percent, WER of NAME against OTHER's
    # reduction = "NAME"                   # in percent, WER with phrases against without
    # loss = "NAME"                        # the same the other way round
    # card = ["models/weights/language.json", "scores.test-voices.accuracy"]
    # coded = "models/weights/commands.safetensors"   # with `of`: bits, zeros, part
    # saved = "FILE.json"                  # of models/points.py: MACs that its arbitrator saves, in percent

An evaluation whose checkpoint and arguments are those of the file in OUT is not run again.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ossicle.compiler.api import compile_checkpoint
from ossicle.hw.config import NpuConfig
from ossicle.models.data.split import read_manifest, write_manifest
from ossicle.models.evaluate import command
from ossicle.runtime.console import write_whole
from ossicle.runtime.phrases import read_phrases

BEGIN, END = "<!-- goals -->", "<!-- /goals -->"
FLOAT_BITS = 32
ALL = "all"
KINDS = ("wer", "rescored", "relative", "reduction", "loss", "card", "coded", "saved")


@dataclass(frozen=True)
class Reached:
    """A figure, its interval of 95 % where it has one, and over how much it was taken."""

    value: float
    low: float | None = None
    high: float | None = None
    over: str = ""

    def __str__(self) -> str:
        interval = "" if self.low is None else f" ({self.low:.1f} to {self.high:.1f})"
        return f"{self.value:.3g}{interval}" if self.value < 10 else f"{self.value:.1f}{interval}"


class Goals:
    """A file of goals, and the folder of what was measured for them.

    Raises:
        ValueError: a goal without a limit or with no way to measure it, or one that names no evaluation.
    """

    def __init__(self, path: Path, out: Path) -> None:
        try:
            table = tomllib.loads(path.read_text())
            sets, evaluations = table.get("sets", {}), table.get("evaluate", {})
            self.evaluations: dict[str, dict[str, Any]] = {
                name: {**given, "manifests": _listed(given["manifests"], sets)}
                for name, given in evaluations.items()
            }
            self.rows: list[dict[str, Any]] = table["goal"]
        except (OSError, KeyError, tomllib.TOMLDecodeError) as error:
            raise ValueError(f"{path}: not a file of goals ({error})") from None
        self.out = out
        for row in self.rows:
            self._check(path, row)

    def _check(self, path: Path, row: dict[str, Any]) -> None:
        kinds = [kind for kind in KINDS if kind in row]
        if len(kinds) != 1 or ("at_most" in row) == ("at_least" in row):
            needed = f"at_most or at_least, and one of {', '.join(KINDS)}"
            raise ValueError(f"{path}: the goal {row.get('what')!r} needs {needed}")
        if kinds[0] in ("wer", "rescored", "relative", "reduction", "loss"):
            names = row[kinds[0]]
            for name in [names] if isinstance(names, str) else names:
                if name not in self.evaluations:
                    raise ValueError(f"{path}: the goal {row['what']!r} names no evaluation: {name}")

    def evaluated(self, name: str, workers: int = 1) -> dict[str, Any]:
        """The JSON of an evaluation, run if what is in the folder is of other weights or arguments."""
        arguments = self.evaluations[name]
        checkpoint = Path(arguments["checkpoint"])
        made_of = {"arguments": arguments, "sha256": hashlib.sha256(checkpoint.read_bytes()).hexdigest()}
        path = self.out / f"{name}.json"
        if path.exists():
            kept = json.loads(path.read_text())
            if kept.get("made_of") == made_of:
                return kept
        print(f"evaluating {name}", file=sys.stderr)
        with TemporaryDirectory() as folder:
            found, _ = command(**self._arguments(name, Path(folder)), by=ALL, workers=workers)
        found = {"made_of": made_of, **found}
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, json.dumps(found, indent=1) + "\n")
        return found

    def _arguments(self, name: str, folder: Path) -> dict[str, Any]:
        """Of `evaluate.command`: phrases are in a file, rows after the limit are left out."""
        table = dict(self.evaluations[name])
        limit, manifests = table.pop("limit", None), [Path(manifest) for manifest in table["manifests"]]
        if limit:
            rows = [row for manifest in manifests for row in read_manifest(manifest)[:limit]]
            manifests = [folder / "limited.jsonl"]
            write_manifest(manifests[0], rows)
        paths = ("checkpoint", "language_model", "biasing")
        given = {key: Path(value) if key in paths else value for key, value in table.items()}
        if "phrases" in table:
            given["phrases"] = read_phrases(table["phrases"])
        return given | {"manifests": manifests}

    def reached(self, row: dict[str, Any], workers: int = 1) -> Reached:
        """What a goal's models reach."""
        if "wer" in row or "rescored" in row:
            kind = "wer" if "wer" in row else "rescored"
            score = self.evaluated(row[kind], workers)["sets"][ALL]["beam" if kind == "wer" else kind]
            return Reached(score["wer"], score["low"], score["high"], f"{score['words']} words")
        if "relative" in row:
            wer, other = (self.evaluated(name, workers)["sets"][ALL]["beam"] for name in row["relative"])
            return Reached(100 * (wer["wer"] / other["wer"] - 1), over=f"{wer['wer']} against {other['wer']}")
        if "reduction" in row or "loss" in row:
            found = self.evaluated(row.get("reduction") or row["loss"], workers)["sets"][ALL]
            wer, plain = found["beam"]["wer"], found["unbiased"]["wer"]
            sign = 1 if "loss" in row else -1
            return Reached(sign * 100 * (wer / plain - 1), over=f"{wer} against {plain}")
        if "card" in row:
            return _of_card(*row["card"])
        if "coded" in row:
            return _coded(Path(row["coded"]), row["of"])
        return _saved(Path(row["saved"]))


def _listed(manifests: str | list[str], sets: dict[str, list[str]]) -> list[str]:
    return sets[manifests] if isinstance(manifests, str) else manifests


def _of_card(path: str, key: str) -> Reached:
    *folders, last = key.split(".")
    scores = json.loads(Path(path).read_text())
    for part in folders:
        scores = scores[part]
    over = next((f"{scores[of]} {of}" for of in ("trials", "clips", "words") if of in scores), "")
    return Reached(scores[last], scores.get("low"), scores.get("high"), over)


def _coded(path: Path, of: str) -> Reached:
    """Bits a weight as the processor reads them; in percent, zeros, or the part of 32-bit weights."""
    layers = compile_checkpoint(path, NpuConfig.load("base")).meta["report"]["layers"]
    weights = sum(layer["weights"] for layer in layers)
    bits = sum(layer["coded_bits"] for layer in layers) / weights
    zeros = 100 * sum(layer["zeros"] * layer["weights"] for layer in layers) / weights
    return Reached(
        {"bits": bits, "zeros": zeros, "part": 100 * bits / FLOAT_BITS}[of], over=f"{weights:,} weights"
    )


def _saved(path: Path) -> Reached:
    """MACs of a frame that a branching encoder's arbitrator saves against its slow side throughout."""
    taken, slow = (
        next(row["macs"] for row in json.loads(path.read_text()) if row["by"] == by)
        for by in ("arbitrator", "slow side")
    )
    return Reached(100 * (1 - taken / slow), over=f"{taken:,} of {slow:,}")


def table(goals: Goals, workers: int = 1) -> str:
    """Markdown: a row a goal."""
    lines = ["| what | measure | goal | reached | over |", "| --- | --- | ---: | ---: | --- |"]
    for row in goals.rows:
        reached = goals.reached(row, workers)
        most = "at_most" in row
        limit = row["at_most" if most else "at_least"]
        met = reached.value <= limit if most else reached.value >= limit
        lines.append(
            f"| {row['what']} | {row['measure']} | {'≤' if most else '≥'} {limit:g} "
            f"| {'**' if met else ''}{reached}{'**' if met else ''} | {reached.over} |"
        )
    return "\n".join(lines)


def put_in(readme: Path, text: str) -> None:
    """Put a table between the marks of a file. Raises ValueError where it has none."""
    whole = readme.read_text()
    if BEGIN not in whole or END not in whole:
        raise ValueError(f"{readme}: no lines {BEGIN} and {END} for the table to stand between")
    before, rest = whole.split(BEGIN, 1)
    write_whole(readme, f"{before}{BEGIN}\n{text}\n{END}{rest.split(END, 1)[1]}")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("goals", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--readme", type=Path)
    parser.add_argument("--workers", type=int, default=1)
    a = parser.parse_args()
    try:
        text = table(Goals(a.goals, a.out), a.workers)
        if a.readme:
            put_in(a.readme, text)
    except (ValueError, OSError, KeyError) as error:
        print(f"goals: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    print(text)


if __name__ == "__main__":
    main()
