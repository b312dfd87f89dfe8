"""ossicle bench stack: how right and how soon the whole stack is, over manifests of recordings."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

from ossicle.hw.config import NpuConfig
from ossicle.runtime.commands.bench_schedule import amounts_of
from ossicle.runtime.console import Failure, print_table, progress_bar
from ossicle.runtime.endpoint_clips import read_rows
from ossicle.runtime.programs import DEFAULT_NPU
from ossicle.runtime.scheduling.networks import SPEAKER
from ossicle.runtime.stack import Stack
from ossicle.runtime.stack_measures import Outcome, measure, summary
from ossicle.runtime.stack_networks import StackOptions
from ossicle.runtime.stack_programs import StackPrograms, link_programs
from ossicle.sim.device import open_device

Measure = Callable[[dict], Outcome]


@dataclass(frozen=True, kw_only=True)
class StackBench:
    """What runs, beside how much music, over how many recordings of each manifest, by how many processes.

    Raises:
        Failure: a value out of range.
    """

    engine: str = "fast"
    npu: str | None = None
    model: Path | None = None
    music: str = "0"
    limit: int | None = None
    workers: int = 1

    def __post_init__(self) -> None:
        if self.limit is not None and self.limit < 1:
            raise Failure(f"--limit {self.limit} is not possible; use 1 or more")
        if self.workers < 1:
            raise Failure(f"--workers {self.workers} is not possible; use 1 or more")


@dataclass(frozen=True)
class Place:
    """Where a stack runs: all that a process needs to open one."""

    engine: str
    config: NpuConfig
    programs: StackPrograms
    music: int

    @contextmanager
    def opened(self) -> Iterator[Stack]:
        """A stack on one processor; closed at the end."""
        options = {"music_percent": self.music} if self.music else {}
        with self.programs.opened(lambda: open_device(self.engine, self.config, **options)) as devices:
            yield Stack(self.programs.programs, devices, StackOptions(shared=True))


def bench_stack(manifests: list[Path] | None, wanted: StackBench, as_json: bool) -> dict:
    """Measures by set and by music; printed as tables unless `as_json`.

    Raises:
        Failure: no manifest, one that holds no recordings, or music that is not possible.
    """
    if not manifests:
        raise Failure("bench stack needs a manifest of recordings: ossicle bench stack MANIFEST")
    sets = {manifest.stem: read_rows(manifest, wanted.limit) for manifest in manifests}
    if len(sets) < len(manifests):
        raise Failure("two manifests have the same name; measure them apart")
    amounts, config = amounts_of(wanted.music, wanted.engine), NpuConfig.load(wanted.npu or DEFAULT_NPU)
    programs = link_programs(wanted.model, config, [SPEAKER])  # nobody is enrolled
    found = []
    with progress_bar(as_json) as bar:
        for music in amounts:
            place = Place(wanted.engine, config, programs, music)
            for name, rows in sets.items():
                bar.task(f"{name}: {len(rows)} recordings on {wanted.engine}, {music} % music")
                outcomes = outcomes_of(place, rows, wanted.workers, bar.step)
                found.append({"set": name, "music": music, **summary(outcomes)})
    if not as_json:
        _print(found, config)
    about = {"engine": wanted.engine, "npu": config.name, "clock_mhz": config.clock_mhz}
    return about | {"networks": list(programs.programs), "sets": found}


def outcomes_of(
    place: Place, rows: Sequence[dict], workers: int, progress: Callable[[int, int], None]
) -> list[Outcome]:
    """What the stack makes of each row, in their order."""
    made = []
    with _measures(place, workers) as mapped:
        for outcome in mapped(rows):
            made.append(outcome)
            progress(len(made), len(rows))
    return made


@contextmanager
def _measures(place: Place, workers: int) -> Iterator[Callable[[Sequence[dict]], Iterator[Outcome]]]:
    if workers == 1:
        with place.opened() as stack:
            yield lambda rows: (measure(stack, row) for row in rows)
        return
    with ProcessPoolExecutor(workers, get_context("spawn"), _begin, (place,)) as pool:
        yield lambda rows: pool.map(_measured, rows)


_opened = ExitStack()
_stack: Stack | None = None


def _begin(place: Place) -> None:
    """In a process of the pool."""
    global _stack
    _stack = _opened.enter_context(place.opened())


def _measured(row: dict) -> Outcome:
    assert _stack is not None, "_begin comes first"
    return measure(_stack, row)


def _print(found: list[dict], config: NpuConfig) -> None:
    print_table("the stack, %, intervals of 95 %", [
        {
            **_which(one), "utterances": one["utterances"], "cut off": _shown(one["cut_off"]),
            "speculative that stand": _shown(one["stand"]), "intent right": _shown(one["intent_right"]),
            "and its slots": _shown(one["meaning_right"]), "whisper right": _shown(one["whisper_right"]),
            "missed": _shown(one["whisper_missed"]), "false": _shown(one["whisper_false"]),
        }
        for one in found
    ])  # fmt: skip
    print_table(f"ms after the end of speech, on one processor at {config.clock_mhz} MHz", [
        {
            **_which(one), "until": kind.replace("_", " "), **latency,
            "of it work, p50": one["work_ms"][kind]["p50"], "work, p90": one["work_ms"][kind]["p90"],
        }
        for one in found
        for kind, latency in one["latency_ms"].items()
    ])  # fmt: skip
    print_table("lattices of the final results", [
        {
            **_which(one), "WER %": _shown(one["lattice"]["wer"]),
            "oracle %": _shown(one["lattice"]["oracle_wer"]),
            "edges/word": one["lattice"]["edges_per_word"],
            "bytes, mean": one["lattice"]["message_bytes"]["mean"],
            "% of the audio's": one["lattice"]["percent_of_audio"]["all"],
        }
        for one in found
        if one["lattice"]
    ])  # fmt: skip


def _which(one: dict) -> dict:
    return {"set": one["set"], "music %": one["music"]}


def _shown(share: dict) -> str:
    if share["value"] is None:
        return "-"
    return f"{share['value']:.1f} [{share['low']:.1f}, {share['high']:.1f}]"
