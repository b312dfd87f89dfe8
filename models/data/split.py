"""Split a manifest by whole speakers, and join isolated words of a speaker into strings.

    python -m ossicle.models.data.split MANIFEST OUT --test an4=12 fsdd=1 --dev an4=4 [--join fsdd=400]
                                        [--classes an4 fsdd]

writes OUT/train.jsonl, OUT/dev.jsonl and OUT/test.jsonl, and the test rows of each source apart, as
OUT/test-SOURCE.jsonl, or for those of `--classes` by what is said (`text_class`), as test-SOURCE-CLASS.jsonl.
For each source the speakers are ordered by a hash of their name; the first go to test, the next to dev, the
rest train. `--join SOURCE=N` writes N strings of 2 to 6 words for a training speaker of a source of isolated
words, and turns its test and dev words into strings of 4, as FLAC files beside the manifests.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
from collections import defaultdict
from pathlib import Path

import numpy as np
import soundfile
from ossicle.models.data.grammar import MONTHS, ONES, ORDINALS, TENS

RATE = 16000
NUMBERS = {*ONES, *TENS[2:], "oh", "hundred", "thousand", "and", "area", "code"}
DAYS = {*MONTHS, *ORDINALS, "thirtieth", "of"}
PATHS = ("path", "wake_other", "wake_noise")  # of recordings, relative to the manifest
Row = dict


def read_manifest(path: Path) -> list[Row]:
    """Rows of a manifest, recordings by absolute paths. Raises ValueError, one line, on what is not one."""
    try:
        rows = [json.loads(line) for line in Path(path).read_text().splitlines() if line.strip()]
        return [{**row, **_absolute(row, Path(path).parent), "text": row["text"]} for row in rows]
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from error
    except (json.JSONDecodeError, TypeError, KeyError) as error:
        raise ValueError(f"{path}: not a manifest of JSON lines with path and text ({error})") from error


def _absolute(row: Row, folder: Path) -> Row:
    named = {name: row[name] for name in PATHS if name == "path" or name in row}
    return {name: str((folder / path).resolve()) for name, path in named.items()}


def wake_seconds(row: Row) -> float:
    """Seconds at the begin of a row's clip that its text leaves out.

    Raises:
        ValueError: it has none, or what is no number of seconds.
    """
    seconds = row.get("wake_seconds")
    if seconds is None:
        raise ValueError(f"{row.get('path')}: its row has no `wake_seconds`, those before the text")
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not seconds > 0:
        raise ValueError(
            f"{row.get('path')}: `wake_seconds` is to be a number above 0, the seconds before the text, "
            f"not {seconds!r}"
        )
    return seconds


def write_manifest(path: Path, rows: list[Row]) -> None:
    """One JSON object a line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def split_speakers(rows: list[Row], test: dict[str, int], dev: dict[str, int]) -> dict[str, list[Row]]:
    """Rows by split; `test` and `dev` say how many speakers of a source are held out."""
    speakers = defaultdict(set)
    for row in rows:
        speakers[row["source"]].add(row["speaker"])
    where = {}
    for source, names in speakers.items():
        ordered = sorted(names, key=lambda name: hashlib.sha256(name.encode()).digest())
        held, watched = test.get(source, 0), dev.get(source, 0)
        for i, name in enumerate(ordered):
            where[name] = "test" if i < held else "dev" if i < held + watched else "train"
    splits: dict[str, list[Row]] = {"train": [], "dev": [], "test": []}
    for row in rows:
        splits[where[row["speaker"]]].append(row)
    return splits


def text_class(text: str) -> str:
    """What kind of text it is.

    digits: numbers alone. dates: a month or an ordinal among numbers. names: spelled, two letters or more.
    letters: letters with numbers or a command. words: anything else.
    """
    words = text.split()
    letters = [len(word) == 1 or word == "apostrophe" for word in words]
    if all(letters) and len(words) > 1:
        return "names"
    if any(letters):
        return "letters"
    if all(word in NUMBERS for word in words):
        return "digits"
    return "dates" if all(word in NUMBERS | DAYS for word in words) else "words"


def held_out_sets(rows: list[Row], classed: set[str]) -> dict[str, list[Row]]:
    """Test rows by set: a source's, or a source's of one text class where it is `classed`."""
    sets = defaultdict(list)
    for row in rows:
        source = row["source"]
        sets[f"test-{source}-{text_class(row['text'])}" if source in classed else f"test-{source}"].append(
            row
        )
    return dict(sorted(sets.items()))


def join_words(rows: list[Row], groups: list[list[int]], folder: Path, rng: random.Random) -> list[Row]:
    """Strings of the rows of each group (one speaker's), 0.05 to 0.35 s apart, written to `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    joined = []
    for i, group in enumerate(groups):
        pieces = []
        for index in group:
            pieces += [soundfile.read(rows[index]["path"], dtype="int16")[0]]
            pieces += [np.zeros(int(rng.uniform(0.05, 0.35) * RATE), np.int16)]
        audio = np.concatenate(pieces)
        first = rows[group[0]]
        path = folder / f"{first['speaker'].replace(':', '-')}-{i:04d}.flac"
        soundfile.write(path, audio, RATE, subtype="PCM_16")
        text = " ".join(rows[index]["text"] for index in group)
        made = {"path": str(path.resolve()), "text": text, "duration": round(len(audio) / RATE, 2)}
        joined.append({**first, **made, "style": "joined words"})
    return joined


def join_source(rows: list[Row], source: str, strings: int, folder: Path, training: bool) -> list[Row]:
    """`rows`, the isolated words of a source joined: N random strings a speaker, or each word once."""
    rng = random.Random(f"{source} {folder.name}")
    by_speaker = defaultdict(list)
    for i, row in enumerate(rows):
        if row["source"] == source:
            by_speaker[row["speaker"]].append(i)
    joined = []
    for indices in by_speaker.values():
        if training:
            groups = [[rng.choice(indices) for _ in range(rng.randint(2, 6))] for _ in range(strings)]
        else:
            shuffled = rng.sample(indices, len(indices))
            groups = [shuffled[i : i + 4] for i in range(0, len(shuffled), 4)]
        joined += join_words(rows, groups, folder, rng)
    kept = rows if training else [row for row in rows if row["source"] != source]
    return kept + joined


def _counts(pairs: list[str]) -> dict[str, int]:
    try:
        return {name: int(count) for name, count in (pair.split("=") for pair in pairs)}
    except ValueError as error:
        raise ValueError(f"expected SOURCE=COUNT, not {' '.join(pairs)}") from error


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("manifest", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--test", nargs="*", default=[], metavar="SOURCE=SPEAKERS")
    parser.add_argument("--dev", nargs="*", default=[], metavar="SOURCE=SPEAKERS")
    parser.add_argument("--join", nargs="*", default=[], metavar="SOURCE=STRINGS")
    parser.add_argument(
        "--classes", nargs="*", default=[], metavar="SOURCE", help="whose test sets go by text"
    )
    a = parser.parse_args()
    try:
        splits = split_speakers(read_manifest(a.manifest), _counts(a.test), _counts(a.dev))
        joins = _counts(a.join)
    except ValueError as error:
        parser.error(str(error))
    for name, rows in splits.items():
        for source, strings in joins.items():
            rows = join_source(rows, source, strings, a.out / name, name == "train")
        splits[name] = rows
    for name, rows in {**splits, **held_out_sets(splits["test"], set(a.classes))}.items():
        write_manifest(a.out / f"{name}.jsonl", rows)
        print(f"{name}: {len(rows)} utterances of {len({row['speaker'] for row in rows})} speakers")


if __name__ == "__main__":
    main()
