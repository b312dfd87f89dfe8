"""Sentences of files of text, as a manifest to train a language model on.

    python -m ossicle.models.data.texts OUT.jsonl FILE_OR_FOLDER... [--longest 16]

    .jsonl            a manifest: its texts
    data.noun, data.verb, data.adj, data.adv      WordNet's: the examples, which it has in quotation marks
    any other         a sentence a line, # and what follows left out

In small letters, a sentence from one stop to the next; one with a digit, with marks of a template ({city},
<name>, a|b) or with letters other than a to z is left out, each text is taken once, in the order read.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from pathlib import Path

from ossicle.models.data.split import read_manifest, write_manifest

STOPS = re.compile(r"[.!?;:]+(?:\s|$)|\s[-–—]+\s|[()\"\n]|--+")
SKIPPED = re.compile(r"[^a-z' ,’]|\s'|^'")
MARKS = re.compile(r"[,]")
EXAMPLE = re.compile(r'"([^"]+)"')
WORDNET = {"data.noun", "data.verb", "data.adj", "data.adv"}


def sentences(text: str, longest: int) -> Iterator[str]:
    """The sentences of a text that can be read aloud as they are spelled."""
    for part in STOPS.split(text.lower().replace("’", "'")):
        plain = part.strip().strip(",'").strip()
        if not plain or SKIPPED.search(plain):
            continue
        words = MARKS.sub(" ", plain).split()
        if 1 <= len(words) <= longest:
            yield " ".join(words)


def texts_of(path: Path) -> Iterator[str]:
    """The texts of a file. Raises ValueError, one line, on one that can't be read."""
    if path.suffix == ".jsonl":
        yield from (row["text"] for row in read_manifest(path))
        return
    try:
        whole = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        said = getattr(error, "strerror", None) or "it is not in UTF-8"
        raise ValueError(f"{path}: not a text that can be read ({said})") from error
    if path.name in WORDNET:
        yield from EXAMPLE.findall(whole)
    else:
        yield from (line.split("#")[0] for line in whole.splitlines())


def files(sources: list[Path]) -> Iterator[Path]:
    """Every file, those of folders in the order of their names. Raises ValueError on a path of nothing."""
    for source in sources:
        if not source.exists():
            raise ValueError(f"{source}: there is no such file or folder")
        inside = sorted(source.rglob("*")) if source.is_dir() else [source]
        yield from (path for path in inside if path.is_file())


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("sources", type=Path, nargs="+")
    parser.add_argument("--longest", type=int, default=16, help="words; longer sentences are left out")
    a = parser.parse_args()
    found: dict[str, str] = {}
    try:
        for path in files(a.sources):
            for text in texts_of(path):
                for sentence in sentences(text, a.longest):
                    found.setdefault(sentence, path.name)
    except ValueError as error:
        parser.error(str(error))
    if not found:
        parser.error("no sentence is in these files")
    write_manifest(a.out, [{"path": name, "text": text} for text, name in found.items()])
    print(f"{a.out}: {len(found)} sentences")


if __name__ == "__main__":
    main()
