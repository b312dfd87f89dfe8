"""Make the synthesized corpus: FLAC files, and a manifest (JSON lines) a set.

    python -m ossicle.models.data.make OUT --hours 20 [--dev 200] [--test 300] [--texts FILE]
                                       [--noise DIR] [--rir DIR] [--workers 2] [--seed 1] [--language de]
                                       [--invented 0.5] [--listed] [--wake]

OUT/train.jsonl, dev.jsonl and the test sets, --test utterances each:

    test-sentences    sentences never trained on, training voices
    test-voices       and voices never trained on, of synthesizers that were
    test-synthesizer  and a synthesizer never trained on: flite rms, festival ked
    test-names        and with names never trained on; "context": those names among others
    test-noisy        the clips of test-voices and test-synthesizer in babble, noise or music, SNR 5 to 20 dB
    test-whispered    the same clips, whispered
    test              test-voices and test-synthesizer

OUT/beds holds rooms, noise and music for the recipe's `rir` and `noise`; OUT/corpus.json says what the corpus
was made of. --texts is a manifest whose sentences, cut into short phrases, widen the vocabulary of training.
--language de makes a German corpus (languages.py): the same sets and the same kinds of sentences, espeak-ng's
German voice in its variants, and flite's voices, one of which never trained on, with an English accent.
--invented: this share of the training sentences has names that nobody has (invented.py);
--listed: people and places among them have names of public lists (listed.py).
--wake: every clip begins with a wake word of the same voice, `wake_seconds` of it, that its text leaves out
(wake.py). The test sets are then test-wake-clean, sentences and voices never trained on, and test-wake, those
clips in rooms and noise, with other contexts beside them (contexts.py).
The same arguments give the same files whatever the number of workers, and go on where a run was stopped;
more --hours add to a corpus.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import soundfile
from ossicle.models.data import music
from ossicle.models.data.beds import Bed, beds, recordings
from ossicle.models.data.contexts import in_rooms
from ossicle.models.data.languages import ENGLISH, LANGUAGES, Language
from ossicle.models.data.pauses import join, pieces
from ossicle.models.data.plan import Utterance, utterances
from ossicle.models.data.split import Row, write_manifest
from ossicle.models.data.voices import LICENCES, RATE, synthesize
from ossicle.models.data.wake import command_begin
from ossicle.models.data.worsen import noisy, whispered
from ossicle.runtime.console import Bar, progress_bar, write_whole
from threadpoolctl import threadpool_limits

BATCH = 100
CLIP_S, WAKE_S = 2.0, 1.3  # what a training clip, and a wake word before it, last on average
SPOKEN = ("train", "dev", "test-sentences", "test-voices", "test-synthesizer", "test-names")
SPOKEN_WAKE = ("train", "dev", "test-wake-clean")  # with --wake
UNSEEN = ("test-voices", "test-synthesizer")  # make up `test`, and are what is worsened


def speak(batch: list[Utterance], folder: Path) -> Iterator[tuple[Utterance, Any, list[list[float]]]]:
    """Utterances that an engine managed, their audio and the spans of their pauses, a wake word's first."""
    parts = [[*([u.wake.spoken] if u.wake else []), *pieces(u.sentence.spoken, u.pauses)] for u in batch]
    requests = [replace(u.request, spoken=p) for u, ps in zip(batch, parts, strict=True) for p in ps]
    spoken = iter(synthesize(requests, folder))
    for utterance, own in zip(batch, parts, strict=True):
        audio = [next(spoken) for _ in own]
        whole = [piece for piece in audio if piece is not None]
        if len(whole) == len(audio):
            wake = utterance.wake
            yield (utterance, *join(whole, (*(((0, wake.pause),) if wake else ()), *utterance.pauses)))


def make_batch(batch: list[Utterance], folder: Path, name: str, language: str = ENGLISH.code) -> list[Row]:
    """Synthesize and write one batch. Its manifest is written last, so that it stands for a whole batch.

    Raises:
        ValueError: most of it was not spoken.
    """
    manifest = folder / f"{name}.jsonl"
    if manifest.exists():
        return [json.loads(line) for line in manifest.read_text().splitlines()]
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        for utterance, audio, spans in speak(batch, Path(temporary)):
            path = folder / f"{name}-{len(rows):03d}.flac"
            soundfile.write(path, audio, RATE, subtype="PCM_16")
            relative = f"{folder.name}/{path.name}"
            rows.append(row_of(utterance, relative, len(audio) / RATE, spans, language))
    if len(rows) < len(batch) // 2:
        raise ValueError(f"{folder.name}/{name}: {len(rows)} of {len(batch)} sentences were spoken at all")
    write_manifest(manifest.with_suffix(".part"), rows)
    manifest.with_suffix(".part").replace(manifest)
    return rows


def row_of(
    utterance: Utterance, path: str, seconds: float, spans: list[list[float]], language: str = ENGLISH.code
) -> Row:
    """A line of the manifest; English ones name no language. `spans`: as `speak` gives them."""
    sentence, request = utterance.sentence, utterance.request
    wake, spans = (spans[0], spans[1:]) if utterance.wake else (None, spans)
    row = {
        "path": path, "text": sentence.text, "speaker": request.speaker, "source": request.engine,
        "licence": LICENCES[request.engine], "duration": round(seconds, 2), "style": "synthesized",
        "whisper": False, "intent": sentence.intent, "slots": sentence.slots, "pauses": spans,
    }  # fmt: skip
    if language != ENGLISH.code:
        row["language"] = language
    if utterance.wake and wake:
        row |= {"wake": utterance.wake.spoken.lower(), "wake_seconds": command_begin(wake[1])}
    if utterance.context:
        row |= {"names": list(sentence.names), "context": list(utterance.context)}
    return row


@dataclass(frozen=True)
class Corpus:
    """A corpus to be made: all that decides what is in it."""

    out: Path
    hours: float
    dev: int = 200
    test: int = 300
    seed: int = 1
    texts: Path | None = None
    noise: Path | None = None
    rir: Path | None = None
    rooms: int = 400
    language: str = ENGLISH.code
    invented: float = 0
    listed: bool = False
    wake: bool = False

    @property
    def sets(self) -> list[str]:
        """Names of the sets that are spoken."""
        if self.wake:
            return list(SPOKEN_WAKE)
        return [name for name in SPOKEN if name in self.spoken.shares]

    @property
    def spoken(self) -> Language:
        """The language, by its code."""
        return LANGUAGES[self.language]

    @property
    def unseen(self) -> list[str]:
        """Those of UNSEEN that the language has."""
        return [name for name in UNSEEN if name in self.spoken.shares]

    def identity(self) -> dict[str, Any]:
        """What a folder's files depend on; all but the hours, which only add."""
        texts = hashlib.sha256(self.texts.read_bytes()).hexdigest() if self.texts else None
        recorded = [[p.name, p.stat().st_size] for f in (self.noise, self.rir) for p in recordings(f)]
        spoken = self.spoken
        said: dict[str, Any] = {} if spoken is ENGLISH else {"language": spoken.code}
        said |= {"invented": self.invented} if self.invented else {}
        said |= {"listed": True} if self.listed else {}
        said |= {"wake": True} if self.wake else {}
        return {
            "seed": self.seed, **said, "grammar": spoken.grammar().fingerprint(),
            "voices": spoken.voices_fingerprint(), "dev": self.dev, "test": self.test, "rooms": self.rooms,
            "texts": texts, "recorded": recorded,
        }  # fmt: skip

    def batches(self, name: str) -> list[list[Utterance]]:
        """Utterances of a set, planned here so that no worker decides on them. Whole batches of training."""
        source = utterances(
            name, self.seed, self.texts, self.spoken, self.invented, self.wake, self.listed
        )
        if name == "train":
            seconds = CLIP_S + WAKE_S * self.wake
            count = max(1, round(self.hours * 3600 / seconds / BATCH)) * BATCH
        else:
            count = self.dev if name == "dev" else self.test
        planned = [next(source) for _ in range(count)]
        return [planned[i : i + BATCH] for i in range(0, count, BATCH)]

    def prepare(self) -> None:
        """Begin or go on with the folder.

        Raises:
            ValueError: a synthesizer is missing, or the folder holds something else.
        """
        self.spoken.check_installed()
        music.check_installed()
        identity, path = self.identity(), self.out / "corpus.json"
        if path.exists():
            found = json.loads(path.read_text())
            known = [key for key in ("language", "invented", "listed", "wake") if key in found]
            keys = list(dict.fromkeys([*identity, *known]))
            if other := [key for key in keys if found.get(key) != identity.get(key)]:
                raise ValueError(
                    f"{self.out}: a corpus of another {' and '.join(other)}; give another folder, or the "
                    f"arguments that it was made with ({shown(found, other)})"
                )
            return
        if self.out.exists() and any(self.out.iterdir()):
            raise ValueError(f"{self.out}: not empty, and no corpus.json there; give another folder")
        self.out.mkdir(parents=True, exist_ok=True)
        write_whole(path, json.dumps(identity, indent=1) + "\n")

    def finish(self, sets: dict[str, list[Row]]) -> None:
        """Write the manifests, and in corpus.json what is in them."""
        if not self.wake:
            sets = {**sets, "test": [row for name in self.unseen for row in sets[name]]}
        said = {"hours": self.hours, "sets": {name: summary(rows) for name, rows in sets.items()}}
        for name, rows in sets.items():
            write_manifest(self.out / f"{name}.jsonl", rows)
        write_whole(self.out / "corpus.json", json.dumps({**self.identity(), **said}, indent=1) + "\n")


def shown(found: dict[str, Any], keys: list[str]) -> str:
    """Values of a corpus.json, hashes cut short."""
    return ", ".join(f"{key} {str(found.get(key))[:12]}" for key in keys)


def summary(rows: list[Row]) -> dict[str, Any]:
    """Sizes of a set."""
    return {
        "utterances": len(rows), "hours": round(sum(row["duration"] for row in rows) / 3600, 4),
        "speakers": len({row["speaker"] for row in rows}), "texts": len({row["text"] for row in rows}),
        "paused": sum(bool(row["pauses"]) for row in rows),
    }  # fmt: skip


@contextmanager
def pool_of(workers: int) -> Iterator[ProcessPoolExecutor]:
    """Workers of one BLAS thread each; what they have not begun is dropped on an error."""
    pool = ProcessPoolExecutor(workers, initializer=threadpool_limits, initargs=(1,))
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def each(pool: ProcessPoolExecutor, jobs: list[Callable[[], Any]], text: str, bar: Bar) -> list[Any]:
    """Results of the jobs, in their order."""
    bar.task(text)
    futures = [pool.submit(job) for job in jobs]
    made = []
    for future in futures:
        made.append(future.result())
        bar.step(len(made), len(jobs))
    return made


def make(corpus: Corpus, workers: int = 2, quiet: bool = False) -> dict[str, list[Row]]:
    """Fill corpus.out; rows by set. Raises ValueError as `Corpus.prepare` does."""
    corpus.prepare()
    sets: dict[str, list[Row]] = {}
    with pool_of(workers) as pool, progress_bar(quiet) as bar:
        found = beds(corpus.out / "beds", corpus.seed, corpus.rooms, corpus.noise, corpus.rir)
        for bed in found:
            bed.path.parent.mkdir(parents=True, exist_ok=True)
        each(pool, [partial(Bed.write, bed) for bed in found], "rooms, music, noise", bar)
        for name in corpus.sets:
            folder = corpus.out / name
            folder.mkdir(exist_ok=True)
            jobs = [
                partial(make_batch, b, folder, f"{i:04d}", corpus.language)
                for i, b in enumerate(corpus.batches(name))
            ]
            sets[name] = [row for rows in each(pool, jobs, name, bar) for row in rows]
        sets |= (after_wake if corpus.wake else worsened)(corpus, sets, pool, bar)
    corpus.finish(sets)
    return sets


def worsened(
    corpus: Corpus, sets: dict[str, list[Row]], pool: ProcessPoolExecutor, bar: Bar
) -> dict[str, list[Row]]:
    """test-noisy and test-whispered, of as many clips as a test set has, as many from each unseen one."""
    part = -(-corpus.test // len(corpus.unseen))
    clean = [row for name in corpus.unseen for row in sets[name][:part]][: corpus.test]
    speakers = [row["path"] for row in sets["train"][:BATCH]]
    worse = {
        "test-noisy": partial(noisy, babblers=speakers, seed=corpus.seed),
        "test-whispered": partial(whispered, seed=corpus.seed),
    }
    return {name: changed(corpus, name, change, clean, pool, bar) for name, change in worse.items()}


def after_wake(
    corpus: Corpus, sets: dict[str, list[Row]], pool: ProcessPoolExecutor, bar: Bar
) -> dict[str, list[Row]]:
    """test-wake, of test-wake-clean."""
    clean, speakers = sets["test-wake-clean"], [row["path"] for row in sets["train"][:BATCH]]
    change = partial(in_rooms, others=clean, babblers=speakers, seed=corpus.seed)
    return {"test-wake": changed(corpus, "test-wake", change, clean, pool, bar)}


def changed(
    corpus: Corpus, name: str, change: Callable[..., list[Row]], clean: list[Row], pool: ProcessPoolExecutor,
    bar: Bar,
) -> list[Row]:  # fmt: skip
    """A set made of other clips, in parts."""
    (corpus.out / name).mkdir(exist_ok=True)
    numbered = list(enumerate(clean))
    jobs = [partial(change, corpus.out, numbered[i : i + BATCH]) for i in range(0, len(numbered), BATCH)]
    return [row for rows in each(pool, jobs, name, bar) for row in rows]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--hours", type=float, default=18)
    parser.add_argument("--dev", type=int, default=200, help="utterances")
    parser.add_argument("--test", type=int, default=300, help="utterances of each test set")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rooms", type=int, default=400, help="simulated room responses")
    parser.add_argument("--texts", type=Path, metavar="MANIFEST", help="sentences that widen the vocabulary")
    parser.add_argument("--noise", type=Path, metavar="DIR", help="recorded noise")
    parser.add_argument("--rir", type=Path, metavar="DIR", help="recorded room responses")
    parser.add_argument("--language", choices=LANGUAGES, default=ENGLISH.code)
    parser.add_argument("--invented", type=float, default=0, metavar="SHARE")
    parser.add_argument("--listed", action="store_true", help="with --invented: people's and places' names")
    parser.add_argument("--wake", action="store_true", help="a wake word before each sentence")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    arguments = vars(parser.parse_args())
    workers = arguments.pop("workers")
    try:
        if not 0 <= arguments["invented"] <= 1:
            raise ValueError(f"--invented {arguments['invented']} is no share; use 0 to 1")
        if arguments["listed"] and not arguments["invented"]:
            raise ValueError("--listed: say for which share of the sentences: --invented SHARE")
        for name in ("texts", "noise", "rir"):
            if arguments[name] and not arguments[name].exists():
                raise ValueError(f"--{name}: there is no {arguments[name]}")
        sets = make(Corpus(**arguments), workers)
    except (ValueError, OSError) as error:
        print(f"make: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    for name, rows in sets.items():
        said = summary(rows)
        print(f"{name}: {said['utterances']} utterances, {said['hours']:.2f} h, {said['speakers']} speakers")


if __name__ == "__main__":
    main()
