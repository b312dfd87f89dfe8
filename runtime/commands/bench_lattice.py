"""ossicle bench lattice: how good and how large the lattices of sets of recordings are, rescored too."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from ossicle.compiler.importer import import_checkpoint
from ossicle.runtime.console import Bar, Failure, check_output, print_table, progress_bar
from ossicle.runtime.endpoint_clips import read_rows
from ossicle.runtime.language_model import open_host_model
from ossicle.runtime.lattice import Lattice
from ossicle.runtime.lattice_budget import SAMPLE_BYTES, budget
from ossicle.runtime.lattice_measures import Counts, count, curve, draw, summary
from ossicle.runtime.plugins import plugin
from ossicle.runtime.programs import CLOUD_MODEL, default_model
from ossicle.runtime.rescoring import Rescorer, tokenizer_of


@dataclass(frozen=True, kw_only=True)
class LatticeBench:
    """A model and how it is searched, what is pruned, and what rescores.

    Raises:
        Failure: a value out of range.
    """

    model: Path | None = None
    beam: int = 8
    lattice_beam: float = 8.0
    posterior: float = 0.0
    upload: float | None = None
    language_model: Path | None = None
    limit: int | None = None
    workers: int = 1
    plot: Path | None = None

    def __post_init__(self) -> None:
        if self.limit is not None and self.limit < 1:
            raise Failure(f"--limit {self.limit} is not possible; use 1 or more")
        if self.workers < 1:
            raise Failure(f"--workers {self.workers} is not possible; use 1 or more")
        if not self.lattice_beam > 0:
            raise Failure(f"--lattice-beam {self.lattice_beam} is not possible; use more than 0")
        if not 0 <= self.posterior <= 1:
            raise Failure(f"--posterior {self.posterior} is not possible; use 0 to 1")
        if self.upload is not None:
            budget(0, self.upload)
        check_output(self.plot)


def bench_lattice(manifests: list[Path] | None, wanted: LatticeBench, as_json: bool) -> dict:
    """Measures by set: each manifest, and each source of speech in it; printed as tables unless `as_json`.

    Raises:
        Failure: no manifest, or one that is none, or torch is not installed.
        ValueError: a model that is none, or a recording that can't be read.
    """
    if not manifests:
        raise Failure("bench lattice needs a manifest of recordings: ossicle bench lattice MANIFEST")
    sets = {manifest.stem: _rows(manifest, wanted.limit) for manifest in manifests}
    if len(sets) < len(manifests):
        raise Failure("two manifests have the same name; measure them apart")
    search = plugin("lattices", "train")
    model = wanted.model or default_model()
    rescorer = _rescorer(wanted, model)
    found, curves = {}, {}
    with progress_bar(as_json) as bar, _one_thread():
        for name, rows in sets.items():
            lattices, audio = _search(search, model, rows, wanted, bar, name)
            bar.task(f"{name}: rescoring and measuring")
            counts = _counts(lattices, audio, rows, wanted, rescorer, bar)
            found |= {key: summary(chosen) for key, chosen in _by_source(name, rows, counts).items()}
            if wanted.plot:
                bar.task(f"{name}: pruning")
                curves[name] = curve(lattices, [row["text"] for row in rows], bar.step)
    if wanted.plot:
        draw(curves, wanted.plot)
    if not as_json:
        _print(found, wanted, rescorer)
    said = {"model": str(model), "beam": wanted.beam, "lattice_beam": wanted.lattice_beam}
    said |= {"posterior": wanted.posterior, "upload": wanted.upload}
    said |= {"language_model": str(wanted.language_model or CLOUD_MODEL)}
    return said | {"rescoring": vars(rescorer.options), "sets": found, "curve": curves, "plot": wanted.plot}


def _rows(manifest: Path, limit: int | None) -> list[dict]:
    rows = read_rows(manifest, limit)
    if any(not isinstance(row.get("text"), str) for row in rows):
        raise Failure(f"{manifest}: a row has no text of what is said in it")
    if not any(row["text"].split() for row in rows):
        raise Failure(f"{manifest}: nobody says a word in it")
    return rows


def _rescorer(wanted: LatticeBench, model: Path) -> Rescorer:
    language_model = open_host_model(wanted.language_model or default_model(CLOUD_MODEL), floats=True)
    return Rescorer(language_model, tokenizer_of(import_checkpoint(model)))


def _search(
    search: Callable, model: Path, rows: list[dict], wanted: LatticeBench, bar: Bar, name: str
) -> tuple[list[Lattice], list[int]]:
    bar.task(f"{name}: searching {len(rows)} recordings, {wanted.beam} states")
    return search(
        model, [row["path"] for row in rows], beam=wanted.beam, lattice_beam=wanted.lattice_beam,
        workers=wanted.workers, progress=bar.step,
    )  # fmt: skip


def _counts(
    lattices: list[Lattice], audio: list[int], rows: list[dict], wanted: LatticeBench, rescorer: Rescorer,
    bar: Bar,
) -> list[Counts]:  # fmt: skip
    made = []
    for lattice, size, row in zip(lattices, audio, rows, strict=True):
        most = None if wanted.upload is None else budget(size // SAMPLE_BYTES, wanted.upload)
        made.append(count(lattice, row["text"], size, rescorer, wanted.posterior, most))
        bar.step(len(made), len(rows))
    return made


def _by_source(name: str, rows: list[dict], counts: list[Counts]) -> dict[str, list[Counts]]:
    """All of a manifest, and where it has several sources each of them."""
    sources = defaultdict(list)
    for row, one in zip(rows, counts, strict=True):
        sources[f"{name}, {row.get('source', '?')}"].append(one)
    spoken = {key: chosen for key, chosen in sources.items() if any(one.words for one in chosen)}
    return {name: counts} | (spoken if len(sources) > 1 else {})


@contextmanager
def _one_thread() -> Iterator[None]:
    """Products as small as a language model's take longer on the BLAS's threads than without."""
    try:
        pools = import_module("threadpoolctl")
    except ModuleNotFoundError:
        yield
        return
    with pools.threadpool_limits(1):
        yield


def _print(found: dict[str, dict], wanted: LatticeBench, rescorer: Rescorer) -> None:
    kept = f"beam {wanted.beam}, lattice beam {wanted.lattice_beam:g}, posterior {wanted.posterior:g}"
    kept += f", at most {wanted.upload:g} % of the audio" if wanted.upload is not None else ""
    print_table(f"lattices ({kept}), WER in %, intervals of 95 %", [
        {
            "set": name, "utterances": one["utterances"], "words": one["words"], "WER": _shown(one["wer"]),
            "oracle": _shown(one["oracle_wer"]), "% of WER": _shown(one["oracle_percent_of_wer"]),
            "edges/word": one["edges_per_word"], "rescored": _shown(one["rescored_wer"]),
            "less by %": _shown(one["reduction_percent"]),
        }
        for name, one in found.items()
    ])  # fmt: skip
    print_table("messages, and % of the bytes of 16-bit audio", [
        {
            "set": name, "bytes, mean": one["message_bytes"]["mean"], "p50": one["message_bytes"]["p50"],
            "p90": one["message_bytes"]["p90"], "p99": one["message_bytes"]["p99"],
            "max": one["message_bytes"]["max"], "% of all": one["percent_of_audio"]["all"],
            "p50 %": one["percent_of_audio"]["p50"], "p99 %": one["percent_of_audio"]["p99"],
            "max %": one["percent_of_audio"]["max"], "at most 1 %": one["within_goal_percent"],
        }
        for name, one in found.items()
    ])  # fmt: skip
    print(f"rescored after the network: {rescorer.options}")


def _shown(rate: dict[str, float | None]) -> str:
    if rate["value"] is None:
        return "-"
    return f"{rate['value']:.1f} [{rate['low']:.1f}, {rate['high']:.1f}]"
