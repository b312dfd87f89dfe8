"""Learn what counts how much when names are found by sound, for one recognizer.

    python -m ossicle.models.name_weights CHECKPOINT TABLE --names M… --known M… --without M… --lists FILE…
                                          --cache DIR [--boost 0.5] [--loss 0.2] [--out TABLE]

Manifests and lists: those of models/data/name_sets.py, and recordings of people. TABLE: of mishearings, by
models/aliases.py. The choices of a sentence are leaving it as it is and each of its likeliest names
(name_choices.py; kept in DIR). The weights (runtime/alias_weights.py) are those of

    P(choice) = softmax(given + weights . terms + COST * words wrong beyond the best choice's)

by the likelihood of the best choices; sentences without names weigh WITHOUT. Learned on two thirds of the
texts, and measured on the third left out, thrice, at some more doubt or less: the table that is printed. The
least doubt is taken with which names by sound make at most --loss percent more errors where no name is said.
--out gets TABLE with the weights learned from all texts.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from ossicle.models.aliases import json_of
from ossicle.models.name_choices import WEIGHTS, Choices, Gatherer, gathered, identity_of
from ossicle.runtime.console import print_table, progress_bar, write_whole
from ossicle.runtime.fusion import BOOST
from ossicle.runtime.phrases import read_phrases
from torch import Tensor

COST, WITHOUT, RIDGE = 3.0, 0.3, 1e-4
FOLDS, ROUNDS = 3, 60
DOUBT = WEIGHTS.index("doubt")
MORE_DOUBT = [0.5 * step for step in range(-4, 21)]
"""What is added to the doubt learned, to choose from."""
NEVER = -1e9
KINDS, SEARCH = ("names", "known", "without"), "search"


@dataclass(frozen=True)
class Batch:
    """Sentences as tensors: errors, given [n, choices], terms [n, choices, weights], importance [n]."""

    errors: Tensor
    given: Tensor
    terms: Tensor
    importance: Tensor


def batch_of(sentences: Sequence[Choices]) -> Batch:
    """Choices that a sentence lacks have the errors of the one as it is, and are never given."""
    most = max(len(one.errors) for one in sentences)
    zeros = [0.0] * len(WEIGHTS)

    def padded(values: list, filler: Any) -> list:
        return values + [filler] * (most - len(values))

    double = {"dtype": torch.float64}
    return Batch(
        torch.tensor([padded(one.errors, one.errors[0]) for one in sentences], **double),
        torch.tensor([padded(one.given, NEVER) for one in sentences], **double),
        torch.tensor([padded(one.terms, zeros) for one in sentences], **double),
        torch.tensor([WITHOUT if one.kind == "without" else 1.0 for one in sentences], **double),
    )


def learn(sentences: Sequence[Choices]) -> Tensor:
    """Weights, in the order of WEIGHTS; see above. Raises ValueError if no sentence has a name."""
    useful = [one for one in sentences if len(set(one.errors)) > 1]
    if not useful:
        raise ValueError("no sentence that a name makes better or worse: nothing to learn from")
    batch = batch_of(useful)
    scale = batch.terms.pow(2).mean(dim=(0, 1)).sqrt().clamp(min=1e-3)
    least = batch.errors.amin(dim=1, keepdim=True)
    wrong = batch.errors - least
    weights = torch.zeros(len(WEIGHTS), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([weights], max_iter=20, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        scores = batch.given + (batch.terms / scale) @ weights
        best = torch.where(wrong == 0, scores, NEVER).logsumexp(dim=1)
        missed = (scores + COST * wrong).logsumexp(dim=1) - best
        value = (batch.importance * missed).sum() / batch.importance.sum() + RIDGE * weights.pow(2).sum()
        value.backward()
        return value

    for _ in range(ROUNDS):
        optimizer.step(loss)  # type: ignore[arg-type]
    return (weights / scale).detach()


def chosen(sentences: Sequence[Choices], weights: Tensor) -> list[int]:
    """The errors of each sentence's best choice."""
    batch = batch_of(sentences)
    best = (batch.given + batch.terms @ weights).argmax(dim=1, keepdim=True)
    return batch.errors.gather(1, best)[:, 0].int().tolist()


def doubting(weights: Tensor, more: float) -> Tensor:
    """The same with more doubt."""
    changed = weights.clone()
    changed[DOUBT] += more
    return changed


def crossed(sentences: Sequence[Choices], more: Sequence[float]) -> list[list[int]]:
    """For each doubt more, the errors of each sentence by weights learned from the other texts."""
    found = [[0] * len(sentences) for _ in more]
    folds = [hashlib.sha256(one.text.encode()).digest()[0] % FOLDS for one in sentences]
    for fold in range(FOLDS):
        own = [i for i, number in enumerate(folds) if number == fold]
        if not own:
            continue
        weights = learn([one for one, number in zip(sentences, folds, strict=True) if number != fold])
        for errors, doubt in zip(found, more, strict=True):
            counts = chosen([sentences[i] for i in own], doubting(weights, doubt))
            for i, count in zip(own, counts, strict=True):
                errors[i] = count
    return found


def measured(sentences: Sequence[Choices], errors: Sequence[int]) -> dict[str, float]:
    """Changes in percent of the errors that are not boosted.

    names, known, without: of the sentences of a kind, by the boost and names by sound; by sound, and by the
    lists' names: of those without, what names by sound add to the boost; worse: how many they make worse.
    """
    pairs = list(zip(sentences, errors, strict=True))

    def change(of: Callable[[Choices], bool], boosted: bool = False) -> float:
        own = [(one, count) for one, count in pairs if of(one)]
        more = sum(count - (one.errors[0] if boosted else one.plain) for one, count in own)
        return round(100 * more / max(1, sum(one.plain for one, _ in own)), 2)

    row: dict[str, float] = {kind: change(lambda one, k=kind: one.kind == k) for kind in KINDS}
    row["by sound"] = change(lambda one: one.kind == "without", boosted=True)
    for name in dict.fromkeys(one.names for one in sentences if one.kind == "without"):
        row[name] = change(lambda one, n=name: one.names == n, boosted=True)
    row["worse"] = sum(one.kind == "without" and count > one.errors[0] for one, count in pairs)
    return row


def table_of(sentences: Sequence[Choices]) -> list[dict[str, Any]]:
    """A row for the search alone and for each doubt."""
    alone = measured(sentences, [one.errors[0] for one in sentences])
    rows: list[dict[str, Any]] = [{"doubt": SEARCH, **alone}]
    for more, errors in zip(MORE_DOUBT, crossed(sentences, MORE_DOUBT), strict=True):
        rows.append({"doubt": f"{more:+.1f}", **measured(sentences, errors)})
    return rows


def least_doubt(rows: Sequence[dict[str, Any]], loss: float) -> float:
    """The least more doubt of which names by sound lose no more than that, nor does any greater one.

    Raises:
        ValueError: the greatest loses more.
    """
    fits = None
    for row in reversed(rows):
        if row["doubt"] == SEARCH or row["by sound"] > loss:
            break
        fits = float(row["doubt"])
    if fits is None:
        lost = f"{rows[-1]['by sound']} % more errors, above --loss {loss}"
        raise ValueError(f"with {rows[-1]['doubt']} of doubt names by sound still make {lost}; allow more")
    return fits


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("table", type=Path)
    for kind in (*KINDS, "lists"):
        parser.add_argument(f"--{kind}", type=Path, nargs="+", default=[], metavar="FILE")
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--boost", type=float, default=BOOST)
    parser.add_argument("--loss", type=float, default=0.2, metavar="PERCENT")
    parser.add_argument("--out", type=Path)
    a = parser.parse_args()
    torch.set_num_threads(1)
    try:
        lists = {path.stem: read_phrases(str(path), "--lists") for path in a.lists}
        manifests = [(kind, path) for kind in KINDS for path in getattr(a, kind)]
        identity = identity_of(a.checkpoint, a.table, a.boost, lists)
        with progress_bar() as bar:
            sentences = gathered(
                a.cache, lambda: Gatherer(a.checkpoint, a.table, a.boost, lists), manifests, identity, bar
            )
        rows, learned = table_of(sentences), learn(sentences)
        print_table("errors, in percent of those not boosted; of texts left out of learning", rows)
        weights = doubting(learned, least_doubt(rows, a.loss))
    except (ValueError, OSError) as error:
        parser.error(str(error))
    rounded = {name: round(value, 2) for name, value in zip(WEIGHTS, weights.tolist(), strict=True)}
    errors = chosen(sentences, torch.tensor(list(rounded.values()), dtype=torch.float64))
    print_table("of all texts, by these weights", [measured(sentences, errors)])
    print(json.dumps(rounded))
    if a.out:
        table = json.loads(a.table.read_text())
        write_whole(a.out, json_of({**table, "weights": rounded}) + "\n")


if __name__ == "__main__":
    main()
