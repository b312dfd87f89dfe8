"""Word error rate of a checkpoint on manifests, in the processor's integer arithmetic: greedy, beam.

    ossicle evaluate CHECKPOINT MANIFEST… [--by speaker] [--beam 8] [--errors 20] [--language-model LM]

The integers are those of exact.py, the search and its lattices the runtime's, as is rescoring with a language
model. Intervals: 95 %, 1000 bootstrap resamples of utterances (Bisani & Ney 2004).
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from ossicle.compiler.biasing import read_adapter
from ossicle.models.biasing.search import Biasing, check_belongs
from ossicle.models.context_audio import Heard, hear, kinds_of, report
from ossicle.models.data.pack import read_audio
from ossicle.models.data.split import Row, read_manifest, write_manifest
from ossicle.models.encoder import branch_layers
from ossicle.models.exact import LABELS_PER_FRAME, ExactTransducer
from ossicle.models.export import Checkpoint, read_checkpoint
from ossicle.models.floating import transducer_of
from ossicle.models.initial import STATE, Start, read_start
from ossicle.models.search import BATCH, Phrases, contexts_of, lattices_of, pad, pieces_of
from ossicle.models.switch import Cost, cost_of, decisions
from ossicle.runtime.aliases import SoundTable, beside
from ossicle.runtime.frontend import features
from ossicle.runtime.fusion import BOOST, Boosts
from ossicle.runtime.language_model import open_host_model
from ossicle.runtime.lattice import Lattice, LatticeOptions
from ossicle.runtime.lattice_measures import word_errors
from ossicle.runtime.rescoring import Rescorer, RescoringOptions
from ossicle.runtime.transducer import SearchOptions
from sentencepiece import SentencePieceProcessor

OFFSET = 1  # label = sentencepiece id + 1; label 0 is blank
SETS = ("source", "speaker", "language", "all")
ENGLISH = "en"  # of rows that name no language
SYNTHESIZED = "synthesized"
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Score:
    """Word errors over a set of utterances; rates in percent."""

    utterances: int
    words: int
    wer: float
    low: float
    high: float
    sentence_correct: float

    def __str__(self) -> str:
        return (
            f"WER {self.wer:5.1f} % [{self.low:.1f}, {self.high:.1f}]   sentences right "
            f"{self.sentence_correct:5.1f} %   {self.utterances} utterances, {self.words} words"
        )


def score(references: list[str], hypotheses: list[str], seed: int = 0) -> Score:
    """WER with its bootstrap interval. Raises ValueError if there are no words to count."""
    errors = np.array([word_errors(r, h) for r, h in zip(references, hypotheses, strict=True)])
    words = np.array([len(r.split()) for r in references])
    if words.sum() == 0:
        raise ValueError("no words in the references")
    chosen = np.random.default_rng(seed).integers(len(words), size=(1000, len(words)))
    rates = 100 * errors[chosen].sum(axis=1) / np.maximum(words[chosen].sum(axis=1), 1)
    low, high = np.percentile(rates, [2.5, 97.5])
    return Score(
        len(words), int(words.sum()), round(100 * errors.sum() / words.sum(), 2), round(float(low), 2),
        round(float(high), 2), round(100 * float(np.mean(errors == 0)), 2),
    )  # fmt: skip


def transcribe(
    checkpoint: Checkpoint | Start, utterances: list[NDArray[np.int8]], model: ExactTransducer | None = None,
    begins: Sequence[int] | None = None,
) -> list[str]:  # fmt: skip
    """Greedy transcripts of features [T, 120], in the order given.

    Args:
        model: the checkpoint made ready to run, where not as it is.
        begins: of each, the encoder frame from which on it has a text.
    """
    begins = begins or [0] * len(utterances)
    model = model or transducer_of(checkpoint)
    tokenizer = SentencePieceProcessor(model_proto=checkpoint.tokenizer)
    order = sorted(range(len(utterances)), key=lambda i: len(utterances[i]))
    texts = [""] * len(utterances)
    for start in range(0, len(order), BATCH):
        batch = order[start : start + BATCH]
        first = torch.tensor([begins[i] for i in batch])
        found = model.greedy(*pad([utterances[i] for i in batch]), first)
        for i, labels in zip(batch, found, strict=True):
            texts[i] = tokenizer.decode([label - OFFSET for label in labels])
    return texts


@dataclass(frozen=True)
class Evaluation:
    """Rows of manifests, what was recognized in them, and how well, set by set (people's speech first).

    beam: the best sentence of each lattice; rescored: the one that a language model prefers, if there is one.
    oracle: WER in percent of the best path of each lattice, by set.
    cost: what the encoder computes, by set, of a checkpoint with a branch.
    unbiased_scores: of the beam search without phrases, where the others are with them.
    """

    rows: list[Row]
    greedy: list[str]
    beam: list[str]
    greedy_scores: dict[str, Score]
    beam_scores: dict[str, Score]
    oracle: dict[str, float]
    cost: dict[str, Cost] | None = None
    rescored: list[str] | None = None
    rescored_scores: dict[str, Score] | None = None
    unbiased_scores: dict[str, Score] | None = None

    @property
    def final(self) -> list[str]:
        """What was recognized in the end."""
        return self.beam if self.rescored is None else self.rescored

    def counts(self, chosen: list[int]) -> list[int]:
        """Word errors in the end of some rows."""
        return [word_errors(self.rows[i]["text"], self.final[i]) for i in chosen]

    def errors(self, most: int) -> list[dict[str, str]]:
        """The first `most` utterances that came out wrong in the end."""
        wrong = (
            {"path": row["path"], "reference": row["text"], "hypothesis": text}
            for row, text in zip(self.rows, self.final, strict=True)
            if row["text"] != text
        )
        return [error for error, _ in zip(wrong, range(most), strict=False)]

    def table(self) -> list[dict]:
        """A row for each set, as `ossicle evaluate` prints it."""
        return [
            {
                "set": name, "utterances": beam.utterances, "words": beam.words,
                "WER %": beam.wer, "low": beam.low, "high": beam.high,
                "sentences right %": beam.sentence_correct,
                "greedy WER %": self.greedy_scores[name].wer, "oracle WER %": self.oracle[name],
                **({"unbiased WER %": self.unbiased_scores[name].wer} if self.unbiased_scores else {}),
                **self._rescored_row(name),
                **(self.cost[name].row() if self.cost else {}),
            }
            for name, beam in self.beam_scores.items()
        ]  # fmt: skip

    def _rescored_row(self, name: str) -> dict[str, float]:
        if self.rescored_scores is None:
            return {}
        made = self.rescored_scores[name]
        return {
            "rescored WER %": made.wer, "rescored low": made.low, "rescored high": made.high,
            "rescored right %": made.sentence_correct,
        }  # fmt: skip

    def to_dict(self) -> dict:
        """The scores as JSON has them."""
        return {
            name: {
                "greedy": vars(self.greedy_scores[name]),
                "beam": vars(beam),
                "oracle": self.oracle[name],
                **({"unbiased": vars(self.unbiased_scores[name])} if self.unbiased_scores else {}),
                **({"rescored": vars(self.rescored_scores[name])} if self.rescored_scores else {}),
                **({"cost": vars(self.cost[name])} if self.cost else {}),
            }
            for name, beam in self.beam_scores.items()
        }


@dataclass(frozen=True)
class Boosting:
    """Phrases that are boosted, for each letter: the same for every row, or each row's `context`."""

    phrases: tuple[str, ...] | None = None
    boost: float = BOOST
    sounds: SoundTable | None = None
    """How names are misheard, where phrases are found by their sound too."""

    def of(self, rows: list[Row], pieces: Sequence[str]) -> list[Phrases]:
        """Phrases of each row. Raises ValueError where there are none, or none that can be spelled."""
        found = contexts_of(rows) if self.phrases is None else [self.phrases] * len(rows)
        if not any(found):
            raise ValueError("no row has a `context` of phrases to boost; name a file of them: --boost FILE")
        boosts = Boosts(self.phrases or (), pieces, self.boost)
        if boosts.left_out:
            raise ValueError(boosts.complaint())
        return found


def sets_of(rows: list[Row], by: str) -> dict[str, list[int]]:
    """Indices of the rows of each set; sets of people's speech before synthesized ones.

    Where rows name a `language`, all of each language are a set too.
    """
    sets = defaultdict(list)
    spoken = by == "language" or any("language" in row for row in rows)
    for i, row in enumerate(rows):
        if by != "language":
            sets["all" if by == "all" else row.get(by) or "all"].append(i)
        if spoken:
            sets[f"language {row.get('language', ENGLISH)}"].append(i)
    human = {name: any(rows[i].get("style") != SYNTHESIZED for i in sets[name]) for name in sets}
    return {name: sets[name] for name in sorted(sets, key=lambda name: (not human[name], name))}


def evaluate(
    checkpoint: Checkpoint | Start, rows: list[Row], sets: dict[str, list[int]], beam: int = 8,
    workers: int = 1, progress: Progress | None = None, rescorer: Rescorer | None = None,
    biasing: Biasing | None = None, boosting: Boosting | None = None, heard: Heard | None = None,
) -> Evaluation:  # fmt: skip
    """Recognize every row.

    Args:
        sets: name -> indices of the rows of it, see `sets_of`.
        beam: states that the search keeps.
        workers: processes that search.
        rescorer: chooses among the sentences of each lattice.
        biasing: attends to the phrases of each row's `context`; then without phrases too, to compare.
        boosting: boosts phrases in the search; then without phrases too, to compare.
        heard: of each row, where not its whole clip; without `biasing`.
    Raises:
        ValueError: a recording that can't be read, another beam than 1 to 64, a set without words, phrases
            that can't be boosted.
    """
    options = SearchOptions(beam=beam, labels_per_frame=LABELS_PER_FRAME)
    boosted = boosting.of(rows, pieces_of(checkpoint.tokenizer)) if boosting else None
    boost, kept = BOOST, None
    if boosting:
        boost, kept = boosting.boost, LatticeOptions(sounds=boosting.sounds)
    heard = heard or Heard([features(read_audio(row["path"]), checkpoint.frontend) for row in rows])
    audio, begins = heard.features, heard.begins
    greedy = transcribe(checkpoint, audio, begins=begins)
    lattices = lattices_of(checkpoint, options, audio, workers, progress, begins=begins)
    texts = [lattice.best().text for lattice in lattices]
    unbiased = texts if biasing or boosting else None
    if biasing or boosting:

        def biased(options: SearchOptions) -> list[Lattice]:
            if biasing:
                return biasing.lattices(
                    checkpoint, options, rows, audio, workers, progress, boosted, boost, kept
                )
            return lattices_of(
                checkpoint, options, audio, workers, progress, boosted, boost, kept, begins
            )

        lattices = biased(options)
        texts = [lattice.best().text for lattice in lattices]
        greedy = [lattice.best().text for lattice in biased(replace(options, greedy=True))]
    errors = [lattice.oracle_errors(row["text"].split()) for lattice, row in zip(lattices, rows, strict=True)]
    references = [row["text"] for row in rows]

    def scores(hypotheses: list[str]) -> dict[str, Score]:
        return {
            name: score([references[i] for i in chosen], [hypotheses[i] for i in chosen])
            for name, chosen in sets.items()
        }

    found = scores(texts)
    oracle = {
        name: round(100 * sum(errors[i] for i in chosen) / found[name].words, 2)
        for name, chosen in sets.items()
    }
    cost = None
    if isinstance(checkpoint, Checkpoint) and branch_layers(checkpoint.topology):
        slow = decisions(ExactTransducer(checkpoint), audio)
        cost = {name: cost_of(checkpoint, [slow[i] for i in chosen]) for name, chosen in sets.items()}
    rescored = [rescorer.rescore(lattice)[0].text for lattice in lattices] if rescorer else None
    again = scores(rescored) if rescored is not None else None
    before = scores(unbiased) if unbiased is not None else None
    return Evaluation(rows, greedy, texts, scores(greedy), found, oracle, cost, rescored, again, before)


def command(
    checkpoint: Path, manifests: list[Path], *, by: str = "source", beam: int = 8, errors: int = 0,
    workers: int = 1, hypotheses: Path | None = None, progress: Progress | None = None,
    language_model: Path | None = None, rescoring: RescoringOptions | None = None,
    biasing: Path | None = None, phrases: Sequence[str] = (), boost: float | None = None,
    boosted: Sequence[str] | None = None, floats: bool = False, context_audio: Sequence[str] = (),
    aliases: bool = True,
) -> tuple[dict, list[dict]]:  # fmt: skip
    """What `ossicle evaluate` does: (all of it as JSON, the table's rows). Raises ValueError on bad input.

    Args:
        hypotheses: where to write the rows as a manifest, each with its `hypothesis`.
        language_model: a checkpoint that rescores the lattices, as the integer reference computes it.
        biasing: an adapter's checkpoint: attention over each row's `context`, else over the phrases.
        boost: for each letter of phrases in the search: `boosted`, else each row's `context`.
        floats: nothing is rounded but the features; `checkpoint` may then be a run's state.pt, whose weights
            were not rounded either.
        aliases: phrases that are boosted are found by their sound too, by the table beside the checkpoint.
        context_audio: of commands after a wake word, what is heard before them, see context_audio.py.
    """
    if by not in SETS:
        raise ValueError(f"there are no sets by {by!r}; use {', '.join(SETS)}")
    if workers < 1:
        raise ValueError(f"{workers} workers are not possible; use 1 or more")
    torch.set_num_threads(1)
    started, model = time.time(), _model(checkpoint, floats)
    rows = [row for manifest in manifests for row in read_manifest(manifest)]
    if not rows:
        raise ValueError(f"{', '.join(map(str, manifests))}: no rows")
    rescorer = None
    if language_model:
        rescorer = Rescorer(open_host_model(language_model), model.tokenizer, rescoring)
    toward = Biasing(read_adapter(biasing), tuple(phrases)) if biasing else None
    if toward:
        if isinstance(model, Start):
            raise ValueError("an adapter attends to the integer model; leave --float or --biasing out")
        check_belongs(model, toward.adapter)
    boosting = None
    if boost is not None:
        sounds = beside(checkpoint) if aliases else None
        boosting = Boosting(None if boosted is None else tuple(boosted), boost, sounds)
    kinds, sets = kinds_of(context_audio), sets_of(rows, by)
    if kinds and toward:
        raise ValueError("--context-audio: an adapter attends from the clip's begin on; leave --biasing out")
    if hypotheses and len(kinds) > 1:
        raise ValueError("--hypotheses takes those of one kind of context audio; name one alone")
    by_kind = {
        kind: evaluate(
            model, rows, sets, beam, workers, progress, rescorer, toward, boosting,
            hear(rows, kind, model.frontend, model.topology) if kind else None,
        )
        for kind in kinds or [""]
    }  # fmt: skip
    found = next(iter(by_kind.values()))
    if hypotheses:
        pairs = zip(rows, found.final, strict=True)
        write_manifest(hypotheses, [{**row, "hypothesis": text} for row, text in pairs])
    if kinds:
        heard, table = report(by_kind, sets, errors)
    else:
        heard, table = {"sets": found.to_dict(), "errors": found.errors(errors)}, found.table()
    return {
        "checkpoint": str(checkpoint),
        "float": floats,
        "beam": beam,
        "language_model": str(language_model) if language_model else None,
        "rescoring": vars(rescorer.options) if rescorer else None,
        "biasing": str(biasing) if biasing else None,
        "boost": boost,
        "aliases": bool(boosting and boosting.sounds),
        "utterances": len(rows),
        "seconds": round(time.time() - started, 1),
        **heard,
    }, table


def _model(path: Path, floats: bool) -> Checkpoint | Start:
    if not floats and Path(path).suffix == STATE:
        raise ValueError(f"{path}: the float state of a run; evaluate its checkpoint, or say --float")
    return read_start(path) if floats else read_checkpoint(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("manifest", type=Path, nargs="+")
    parser.add_argument("--by", default="source", choices=SETS)
    parser.add_argument("--beam", type=int, default=8)
    parser.add_argument("--errors", type=int, default=0, metavar="N", help="N utterances that went wrong")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--language-model", type=Path)
    parser.add_argument("--biasing", type=Path, help="an adapter; each row's context are its phrases")
    parser.add_argument("--boost-weight", type=float, help="boosts each row's context, for each letter")
    a = parser.parse_args()
    try:
        found, _ = command(
            a.checkpoint, a.manifest, by=a.by, beam=a.beam, errors=a.errors, workers=a.workers,
            language_model=a.language_model, biasing=a.biasing, boost=a.boost_weight,
        )  # fmt: skip
    except ValueError as error:
        parser.error(str(error))
    json.dump(found, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
