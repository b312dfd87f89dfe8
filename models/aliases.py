"""The table by which names are found by sound, from what a recognizer makes of names it was not trained on.

    python -m ossicle.models.aliases CHECKPOINT OUT --names NAMES.jsonl --texts TRAIN.jsonl… [--utterances N]

NAMES.jsonl has rows whose `slots` say what is a name; the best sentences of each are aligned with what was
said, letter by letter, and mishearings.py learns from the pairs. The texts that the recognizer was trained on
give how usual a word is, and beside which words names stand. OUT lies beside the checkpoint, see
runtime/aliases.py.
"""

from __future__ import annotations

import argparse
import json
import math
import random
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import torch
from ossicle.models.data.pack import read_audio
from ossicle.models.data.split import Row, read_manifest
from ossicle.models.exact import LABELS_PER_FRAME
from ossicle.models.export import read_checkpoint
from ossicle.models.mishearings import Pair, learned, odds_of
from ossicle.models.search import lattices_of
from ossicle.runtime.aliases import BEGIN, END
from ossicle.runtime.console import write_whole
from ossicle.runtime.frontend import features
from ossicle.runtime.transducer import SearchOptions

SLOTS = ("person", "surname", "city", "device")
SENTENCES = 3
PRIOR, LEAST_COUNT = 5, 5
"""Of a word's neighbourhood to names: so many more by chance, and so many seen at least."""
SEED = 5


def pairs_of(rows: Iterable[Row], sentences: Iterable[Sequence[str]]) -> list[Pair]:
    """Each name and what was heard in its place in each of some sentences, in letters."""
    found = []
    for row, texts in zip(rows, sentences, strict=True):
        for name in _names(row):
            for text in texts:
                said, heard = _plain(name), _plain(_heard_as(row["text"], text, name))
                fair = heard.isalpha() and len(heard) <= 2 * len(said) + 2
                if fair and said.isalpha() and said.isascii():
                    found.append((said, heard))
    return found


def usual_words(texts: Iterable[str], odds: dict[Pair, float], chunks: dict[Pair, float]) -> dict[str, float]:
    """How much likelier each word is than its letters by chance, where it is."""
    counts = Counter(word for text in texts for word in text.split())
    total = sum(counts.values())
    by_chance = {b: chunks[a, b] - odds[a, b] for a, b in chunks if not a and len(b) == 1}
    found = {}
    for word, count in counts.items():
        letters = sum(by_chance.get(letter, -8.0) for letter in _plain(word)) - 1.0
        found[word] = math.log(count / total) - letters
    return {word: round(value, 1) for word, value in sorted(found.items()) if value >= 0.05}


def places(rows: Sequence[Row]) -> tuple[dict[str, float], dict[str, float]]:
    """How much likelier a name is after a word, and before one, than anywhere, natural log."""
    after, before = Counter[str](), Counter[str]()
    name_after, name_before = Counter[str](), Counter[str]()
    words = 0
    for row in rows:
        text = [BEGIN, *row["text"].split(), END]
        words += len(text) - 2
        after.update(text[:-1])
        before.update(text[1:])
        for name in (name.split() for name in _names(row)):
            for i in range(1, len(text) - len(name)):
                if text[i : i + len(name)] == name:
                    name_after[text[i - 1]] += 1
                    name_before[text[i + len(name)]] += 1
    share = name_after.total() / words

    def odds(names: Counter[str], of: Counter[str]) -> dict[str, float]:
        return {
            word: round(math.log((names[word] / share + PRIOR) / (count + PRIOR)), 2)
            for word, count in sorted(of.items())
            if count >= LEAST_COUNT
        }

    return odds(name_after, after), odds(name_before, before)


def table_of(pairs: list[Pair], rows: Sequence[Row]) -> dict:
    """The table as JSON has it.

    Args:
        rows: of what the recognizer was trained on.
    """
    chunks = learned(pairs)
    odds = odds_of(chunks)
    before, after = places([row for row in rows if "slots" in row])
    words = usual_words((row["text"] for row in rows), odds, chunks)
    listed = [[said, heard, round(value, 2)] for (said, heard), value in sorted(odds.items())]
    return {"odds": listed, "words": words, "before": before, "after": after}


def _names(row: Row) -> Iterator[str]:
    slots = row.get("slots") or {}
    yield from (slots[slot] for slot in SLOTS if slot in slots)


def _plain(text: str) -> str:
    return text.replace(" ", "").replace("'", "")


def _heard_as(said: str, heard: str, name: str) -> str:
    """The words of what was heard that lie over a name, by the least edits of letters."""
    begin = f" {said} ".find(f" {name} ")
    steps = [j for i, j in _alignment(said, heard) if begin <= i < begin + len(name) and heard[j] != " "]
    if begin < 0 or not steps:
        return ""
    first, last = heard.rfind(" ", 0, steps[0]) + 1, heard.find(" ", steps[-1])
    return heard[first : last if last >= 0 else len(heard)]


def _alignment(said: str, heard: str) -> list[tuple[int, int]]:
    """Letters that stand for one another; a space stands for a letter unwillingly."""

    def cost(i: int, j: int) -> float:
        a, b = said[i - 1], heard[j - 1]
        return 0.0 if a == b else 1.5 if " " in (a, b) else 1.0

    edits = [[float(i + j) for j in range(len(heard) + 1)] for i in range(len(said) + 1)]
    for i in range(1, len(said) + 1):
        for j in range(1, len(heard) + 1):
            edits[i][j] = min(edits[i - 1][j - 1] + cost(i, j), edits[i - 1][j] + 1, edits[i][j - 1] + 1)
    found, i, j = [], len(said), len(heard)
    while i and j:
        if edits[i][j] == edits[i - 1][j - 1] + cost(i, j):
            i, j = i - 1, j - 1
            found.append((i, j))
        elif edits[i][j] == edits[i - 1][j] + 1:
            i -= 1
        else:
            j -= 1
    return found[::-1]


def sentences_of(checkpoint: Path, rows: Sequence[Row]) -> list[list[str]]:
    """The best sentences of each recording."""
    model = read_checkpoint(checkpoint)
    audio = [features(read_audio(row["path"]), model.frontend) for row in rows]
    lattices = lattices_of(model, SearchOptions(beam=8, labels_per_frame=LABELS_PER_FRAME), audio)
    return [[path.text for path in lattice.nbest(SENTENCES)] for lattice in lattices]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--names", type=Path, required=True)
    parser.add_argument("--texts", type=Path, nargs="+", required=True)
    parser.add_argument("--utterances", type=int, default=1500)
    a = parser.parse_args()
    torch.set_num_threads(1)
    try:
        rows = read_manifest(a.names)
        if len(rows) > a.utterances:
            rows = random.Random(SEED).sample(rows, a.utterances)
        pairs = pairs_of(rows, sentences_of(a.checkpoint, rows))
        table = table_of(pairs, [row for path in a.texts for row in read_manifest(path)])
    except (ValueError, OSError) as error:
        parser.error(str(error))
    write_whole(a.out, json_of(table) + "\n")
    print(f"{len(pairs)} pairs, {len(table['odds'])} chunks, {len(table['words'])} words")


def json_of(table: dict) -> str:
    """A line for each part's entry of odds, and for each letter that words begin with."""
    return json.dumps(table, separators=(",", ":")).replace('],["', '],\n["').replace('},"', '},\n"')


if __name__ == "__main__":
    main()
