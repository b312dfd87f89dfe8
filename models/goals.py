"""What the shipped models are to reach, and what they reach: the table of models/README.md.

    python -m ossicle.models.goals models/recipes/goals.toml OUT [--readme models/README.md] [--workers 2]

    [sets]                                 # and [evaluate.NAME], see evaluations.py
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
    # against = ["FILE.safetensors"]       # with `coded` and `of = "part"`: of these, all together
    # saved = "FILE.json"                  # of models/points.py: MACs that its arbitrator saves, in percent
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ossicle.compiler.api import compile_checkpoint
from ossicle.hw.config import NpuConfig
from ossicle.models.evaluations import ALL, Evaluations, tabulate

MARK = "goals"
FLOAT_BITS = 32
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


class Goals(Evaluations):
    """A file of goals, and the folder of what was measured for them.

    Raises:
        ValueError: a goal without a limit or with no way to measure it, or one that names no evaluation.
    """

    def __init__(self, path: Path, out: Path) -> None:
        super().__init__(path, out, "goal")
        for row in self.rows:
            self._check(row)

    def _check(self, row: dict[str, Any]) -> None:
        kinds = [kind for kind in KINDS if kind in row]
        if len(kinds) != 1 or ("at_most" in row) == ("at_least" in row):
            needed = f"at_most or at_least, and one of {', '.join(KINDS)}"
            raise ValueError(f"{self.path}: the goal {row.get('what')!r} needs {needed}")
        if kinds[0] in ("wer", "rescored", "relative", "reduction", "loss"):
            names = row[kinds[0]]
            self.check_named(row, [names] if isinstance(names, str) else names)

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
            return _coded(Path(row["coded"]), row["of"], [Path(path) for path in row.get("against", [])])
        return _saved(Path(row["saved"]))


def _of_card(path: str, key: str) -> Reached:
    *folders, last = key.split(".")
    scores = json.loads(Path(path).read_text())
    for part in folders:
        scores = scores[part]
    over = next((f"{scores[of]} {of}" for of in ("trials", "clips", "words") if of in scores), "")
    return Reached(scores[last], scores.get("low"), scores.get("high"), over)


def _coded(path: Path, of: str, against: list[Path]) -> Reached:
    """Bits a weight as the processor reads them; in percent, zeros, or the part of 32-bit weights.

    Args:
        against: checkpoints whose weights these are, if not its own.
    """
    weights, coded, zeros = _layers(path)
    dense = sum(_layers(other)[0] for other in against) or weights
    part = coded / (FLOAT_BITS * dense)
    value = {"bits": coded / weights, "zeros": 100 * zeros / weights, "part": 100 * part}
    over = f"{coded // 8:,} of {FLOAT_BITS // 8 * dense:,} bytes" if against else f"{weights:,} weights"
    return Reached(value[of], over=over)


def _layers(path: Path) -> tuple[int, int, float]:
    """Weights, bits of them as coded, and zeros."""
    layers = compile_checkpoint(path, NpuConfig.load("base")).meta["report"]["layers"]
    return (
        sum(layer["weights"] for layer in layers),
        sum(layer["coded_bits"] for layer in layers),
        sum(layer["zeros"] * layer["weights"] for layer in layers),
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


def main() -> None:
    tabulate(__doc__, MARK, lambda path, out, workers: table(Goals(path, out), workers))


if __name__ == "__main__":
    main()
