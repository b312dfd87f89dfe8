"""What each method of training brings: models trained with it beside models trained as long without.

    python -m ossicle.models.methods models/recipes/methods.toml OUT [--readme models/README.md] [--workers 2]

    [sets]                    # and [evaluate.NAME], see evaluations.py, each with by = "source"
    [[method]]
    what = "minimum word error rate"
    without = "NAME"
    with = "OTHER"
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ossicle.models.evaluations import Evaluations, tabulate

MARK = "methods"
ENDS = ("without", "with")


class Methods(Evaluations):
    """A file of methods, and the folder of what was measured for them.

    Raises:
        ValueError: a method that names no evaluation with it, or none without.
    """

    def __init__(self, path: Path, out: Path) -> None:
        super().__init__(path, out, "method")
        for row in self.rows:
            missing = [end for end in ("what", *ENDS) if end not in row]
            if missing:
                raise ValueError(f"{path}: the method {row.get('what')!r} needs {missing[0]}")
            self.check_named(row, [row[end] for end in ENDS])

    def compared(self, row: dict[str, Any], workers: int = 1) -> dict[str, list[dict]]:
        """Scores (wer, low, high, words) without and with, by set.

        Raises:
            ValueError: the two were not evaluated on the same sets.
        """
        without, given = (self.evaluated(row[end], workers)["sets"] for end in ENDS)
        if list(without) != list(given):
            raise ValueError(f"{self.path}: {row['what']!r} compares other sets: {[*without]} and {[*given]}")
        return {name: [without[name]["beam"], given[name]["beam"]] for name in without}


def table(methods: Methods, workers: int = 1) -> str:
    """Markdown: a row a method and set."""
    lines = [
        "| what | set | words | without, WER % | with, WER % | more word errors % |",
        "| --- | --- | ---: | ---: | ---: | ---: |",
    ]
    for row in methods.rows:
        for name, (without, given) in methods.compared(row, workers).items():
            more = 100 * (given["wer"] / without["wer"] - 1) if without["wer"] else float("nan")
            lines.append(
                f"| {row['what']} | {name} | {given['words']} | {_interval(without)} | {_interval(given)} "
                f"| {more:+.1f} |"
            )
    return "\n".join(lines)


def _interval(score: dict) -> str:
    return f"{score['wer']:.1f} ({score['low']:.1f} to {score['high']:.1f})"


def main() -> None:
    tabulate(__doc__, MARK, lambda path, out, workers: table(Methods(path, out), workers))


if __name__ == "__main__":
    main()
