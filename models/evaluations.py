"""What `ossicle evaluate` says of named models and manifests, measured once and kept.

    [sets]                                 # of manifests, to be named where they are used more than once
    SET = ["cache/human/test.jsonl"]
    [evaluate.NAME]                        # `ossicle evaluate … --json`, kept in OUT/NAME.json
    checkpoint = "models/weights/commands.safetensors"
    manifests = ["cache/synth/test-voices.jsonl"]
    limit = 100                            # the first of each manifest
    by = "source"                          # a score each, in place of one of all
    language_model = "…"                   # and any other argument of evaluate.command

An evaluation whose models and arguments are those of the file in OUT is not run again; nor is one whose
models are no longer there.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ossicle.models.data.split import read_manifest, write_manifest
from ossicle.models.evaluate import command
from ossicle.runtime.aliases import table_path
from ossicle.runtime.console import write_whole
from ossicle.runtime.phrases import read_phrases

ALL = "all"
MODELS = ("checkpoint", "language_model", "biasing")
"""Arguments that are files of weights."""


class Evaluations:
    """A file of evaluations, its `rows` under one other name, and the folder of what was measured for them.

    Raises:
        ValueError: it is unreadable, or has no rows.
    """

    def __init__(self, path: Path, out: Path, rows: str) -> None:
        try:
            table = tomllib.loads(path.read_text())
            sets, evaluations = table.get("sets", {}), table.get("evaluate", {})
            self.evaluations: dict[str, dict[str, Any]] = {
                name: {**given, "manifests": _listed(given["manifests"], sets)}
                for name, given in evaluations.items()
            }
            self.rows: list[dict[str, Any]] = table[rows]
        except (OSError, KeyError, tomllib.TOMLDecodeError) as error:
            raise ValueError(f"{path}: not a file of {rows}s ({error})") from None
        self.path, self.out = path, out

    def check_named(self, row: dict[str, Any], names: list[str]) -> None:
        """Raises ValueError unless all are evaluations."""
        for name in names:
            if name not in self.evaluations:
                raise ValueError(f"{self.path}: {row.get('what')!r} names no evaluation: {name}")

    def evaluated(self, name: str, workers: int = 1) -> dict[str, Any]:
        """The JSON of an evaluation, run if what is in the folder is of other weights or arguments."""
        arguments = self.evaluations[name]
        models, path = _models(arguments), self.out / f"{name}.json"
        kept = json.loads(path.read_text()) if path.exists() else {}
        before = kept.get("made_of", {})
        gone = [str(model) for model in models if not model.exists()]
        if gone and before.get("arguments") == arguments:
            print(f"{name} stays as it was measured: {', '.join(gone)} is not there", file=sys.stderr)
            return kept
        sums = {str(model): hashlib.sha256(model.read_bytes()).hexdigest() for model in models}
        made_of = {"arguments": arguments, "sha256": sums}
        if before == made_of:
            return kept
        print(f"evaluating {name}", file=sys.stderr)
        with TemporaryDirectory() as folder:
            found, _ = command(**self._arguments(name, Path(folder)), workers=workers)
        found = {"made_of": made_of, **found}
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, json.dumps(found, indent=1) + "\n")
        return found

    def _arguments(self, name: str, folder: Path) -> dict[str, Any]:
        """Of `evaluate.command`: phrases are in a file, rows after the limit are left out."""
        table = {"by": ALL, **self.evaluations[name]}
        limit, manifests = table.pop("limit", None), [Path(manifest) for manifest in table["manifests"]]
        if limit:
            rows = [row for manifest in manifests for row in read_manifest(manifest)[:limit]]
            manifests = [folder / "limited.jsonl"]
            write_manifest(manifests[0], rows)
        given = {key: Path(value) if key in MODELS else value for key, value in table.items()}
        if "phrases" in table:
            given["phrases"] = read_phrases(table["phrases"])
        return given | {"manifests": manifests}


def _models(arguments: dict[str, Any]) -> list[Path]:
    """Files that an evaluation follows from beside its manifests: the table of names by sound is one."""
    models = [Path(arguments[key]) for key in MODELS if key in arguments]
    table = table_path(models[0])
    return [*models, table] if arguments.get("aliases") and table.exists() else models


def _listed(manifests: str | list[str], sets: dict[str, list[str]]) -> list[str]:
    return sets[manifests] if isinstance(manifests, str) else manifests


def put_in(readme: Path, mark: str, text: str) -> None:
    """Put a table between the marks of a file. Raises ValueError where it has none."""
    whole, begin, end = readme.read_text(), f"<!-- {mark} -->", f"<!-- /{mark} -->"
    if begin not in whole or end not in whole:
        raise ValueError(f"{readme}: no lines {begin} and {end} for the table to stand between")
    before, rest = whole.split(begin, 1)
    write_whole(readme, f"{before}{begin}\n{text}\n{end}{rest.split(end, 1)[1]}")


def tabulate(about: str | None, mark: str, made: Callable[[Path, Path, int], str]) -> None:
    """What a command does that makes a table of evaluations: prints it, and puts it in a README.

    Args:
        about: the command's module's docstring.
        mark: of the table in the README, and of the command's errors.
        made: (file of evaluations, folder of what was measured, workers) -> Markdown.
    """
    parser = argparse.ArgumentParser(description=(about or "").split("\n")[0])
    parser.add_argument(mark, type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--readme", type=Path)
    parser.add_argument("--workers", type=int, default=1)
    a = parser.parse_args()
    try:
        text = made(getattr(a, mark), a.out, a.workers)
        if a.readme:
            put_in(a.readme, mark, text)
    except (ValueError, OSError, KeyError) as error:
        print(f"{mark}: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    print(text)
