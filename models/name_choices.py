"""What may become of sentences once names are put into them: the choices that name_weights.py learns from.

Each recording is searched without phrases, and with those of its row's `context`, or of each of some lists;
then the runtime says which names it would consider, and what speaks for each (runtime/alias_lattice.py). A
choice is the best sentence with one of these names in it, or as it is.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

from ossicle.models.data.pack import read_audio
from ossicle.models.data.split import Row, read_manifest
from ossicle.models.exact import LABELS_PER_FRAME
from ossicle.models.export import read_checkpoint
from ossicle.models.search import Searcher, encodings
from ossicle.runtime.alias_lattice import Candidate, candidates, ways_to
from ossicle.runtime.alias_weights import Weights
from ossicle.runtime.aliases import Aliases, SoundTable
from ossicle.runtime.automaton import Automaton, backward, forward
from ossicle.runtime.console import Bar, write_whole
from ossicle.runtime.frontend import features
from ossicle.runtime.lattice import LatticeOptions, words_of
from ossicle.runtime.lattice_measures import word_errors
from ossicle.runtime.transducer import SearchOptions
from torch import Tensor

PART = 50
"""Recordings of a file of choices."""
OWN = "context"
"""In place of a list's name: the row's own phrases."""
WEIGHTS = tuple(field.name for field in fields(Weights))
_NONE = Weights(**dict.fromkeys(WEIGHTS, 0.0))
_ONE = [replace(_NONE, **{name: 1.0}) for name in WEIGHTS]


@dataclass(frozen=True)
class Choices:
    """Of one sentence and one list.

    kind: "names", "known" or "without"; plain: word errors without phrases.
    errors: of the sentence as it is, boosted, and with each of the names.
    given: what each has whatever the weights, natural log; the sentence as it is has 0.
    terms: what each weight (in the order of `WEIGHTS`) is multiplied by, all 0 of the sentence as it is.
    """

    kind: str
    names: str
    text: str
    plain: int
    errors: list[int]
    given: list[float]
    terms: list[list[float]]


def terms_of(one: Candidate) -> list[float]:
    """What each weight is multiplied by in the gain of a name."""
    assert one.audio is not None, "it has a spelling"
    return [unit.of_letters(one.letters) + unit.of_audio(one.audio) for unit in _ONE]


def sentences_with(heard: Automaton, found: Sequence[Candidate]) -> Iterator[tuple[str, float]]:
    """The best sentence with each name, and its weight, but for the gain, against the best as it is."""
    before, after = forward(heard, max), backward(heard, max)
    ways, rests = ways_to(heard), _ways_from(heard, after)
    for one in found:
        first, last = one.span.arcs[0].source, one.span.arcs[-1].destination
        weight = before[first] + one.span.weight + after[last] - after[0]
        yield " ".join((*ways[first], one.name, *rests[last])), weight


def best_of(heard: Automaton) -> str:
    """The best sentence of a lattice."""
    return " ".join(_ways_from(heard, backward(heard, max))[0])


def _ways_from(heard: Automaton, after: Sequence[float]) -> list[tuple[str, ...]]:
    """Of each state the words on the best way from it."""
    ways: list[tuple[str, ...]] = [()] * len(heard.arcs)
    for state in reversed(range(len(heard.arcs))):
        for arc in heard.arcs[state]:
            if arc.weight + after[arc.destination] == after[state]:
                ways[state] = (str(arc.label), *ways[arc.destination])
    return ways


class Gatherer:
    """Searches recordings by a checkpoint and its table of mishearings.

    Args:
        boost: of a letter of a phrase.
        lists: of phrases by their names, for rows without a context.
    """

    def __init__(self, checkpoint: Path, table: Path, boost: float, lists: dict[str, list[str]]) -> None:
        model = read_checkpoint(checkpoint)
        kept = LatticeOptions(sounds=SoundTable(table))
        options = SearchOptions(beam=8, labels_per_frame=LABELS_PER_FRAME)
        self.searcher, self.frontend = Searcher(model, options, boost, kept), model.frontend
        self.lists, self.kept = lists, kept

    def of_rows(self, kind: str, rows: Sequence[Row]) -> list[Choices]:
        """The choices of each row and each list that has nothing of what the row says."""
        audio = [features(read_audio(row["path"]), self.frontend) for row in rows]
        found = []
        encoded = dict(encodings(self.searcher.model, audio))
        plain = [self._words((), encoded[i])[0] for i in range(len(rows))]
        lists = {OWN: []} if kind != "without" else self.lists
        for name, phrases in lists.items():
            for i, row in enumerate(rows):
                own = row["context"] if name == OWN else phrases
                if name == OWN or not _said(row["text"], own):
                    found.append(self._choices(kind, name, row["text"], plain[i], own, encoded[i]))
        return found

    def _choices(
        self, kind: str, name: str, text: str, plain: Automaton, phrases: Sequence[str], encoded: Tensor
    ) -> Choices:
        heard, aliases = self._words(phrases, encoded)
        assert aliases is not None, "phrases are given"
        searcher = self.searcher
        likely = candidates(heard, aliases, searcher.boost, searcher.evidence(encoded))
        likely = [one for one in likely if one.audio is not None]
        with_names = list(sentences_with(heard, likely))
        errors = [word_errors(text, said) for said in (best_of(heard), *(said for said, _ in with_names))]
        given = [0.0, *(w + one.given for (_, w), one in zip(with_names, likely, strict=True))]
        terms = [[0.0] * len(WEIGHTS), *map(terms_of, likely)]
        return Choices(kind, name, text, word_errors(text, best_of(plain)), errors, given, terms)

    def _words(self, phrases: Sequence[str], encoded: Tensor) -> tuple[Automaton, Aliases | None]:
        self.searcher.set_boosts(phrases)
        graph = self.searcher.search(encoded).graph()
        return words_of(graph, self.searcher.pieces, self.kept)[0], self.searcher.aliases


def _said(text: str, phrases: Sequence[str]) -> bool:
    return any(f" {phrase} " in f" {text} " for phrase in phrases)


def gathered(
    folder: Path, gatherer: Callable[[], Gatherer], manifests: Sequence[tuple[str, Path]], identity: str,
    bar: Bar,
) -> list[Choices]:  # fmt: skip
    """The choices of all rows of manifests (kind, path), from files in a folder, or made and written there.

    Args:
        identity: of all that the choices depend on but the rows; a folder of another one is refused.
    Raises:
        ValueError: the folder is of something else; a row has no context where its kind needs one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    told, made, found = folder / "identity", None, list[Choices]()
    if told.exists() and told.read_text() != identity:
        raise ValueError(f"{folder}: of another checkpoint, table, boost or lists; give another folder")
    write_whole(told, identity)
    for kind, manifest in manifests:
        rows = read_manifest(manifest)
        if kind != "without" and any("context" not in row for row in rows):
            raise ValueError(f"{manifest}: rows without `context`, the phrases that may be said")
        bar.task(f"{manifest}")
        for start in range(0, len(rows), PART):
            part = rows[start : start + PART]
            path = folder / f"{kind}-{_hash(json.dumps(part))[:16]}.json"
            if not path.exists():
                made = made or gatherer()
                write_whole(path, json.dumps([asdict(one) for one in made.of_rows(kind, part)]))
            found += [Choices(**one) for one in json.loads(path.read_text())]
            bar.step(start + len(part), len(rows))
    return found


def identity_of(checkpoint: Path, table: Path, boost: float, lists: dict[str, list[str]]) -> str:
    """What choices depend on, but for the rows; a table's weights don't count."""
    sounds = {name: part for name, part in json.loads(table.read_text()).items() if name != "weights"}
    parts = (hashlib.sha256(checkpoint.read_bytes()).hexdigest(), sounds, boost, lists, WEIGHTS)
    return _hash(json.dumps(parts, sort_keys=True))


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
