"""A training recipe: a TOML file, checked, and the packed features it asks for."""

from __future__ import annotations

import io
import json
import math
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ossicle.models.data.augment import Augmenter
from ossicle.models.data.pack import pack, statistics
from ossicle.models.data.split import Row, read_manifest
from ossicle.runtime.frontend import FrontendParameters
from sentencepiece import SentencePieceProcessor, SentencePieceTrainer


@dataclass(frozen=True)
class Source:
    """A manifest, or its rows from some `sources`; `copies` augmented versions, `repeats` times an epoch."""

    name: str
    manifest: str
    sources: tuple[str, ...] = ()
    copies: int = 0
    repeats: float = 1.0
    shift: float = 0.0
    longest: float = math.inf  # seconds
    begin: float = 0.0  # part of the run from which on it is used

    def rows(self) -> list[Row]:
        """Raises ValueError if nothing is left."""
        rows = [
            r for r in read_manifest(Path(self.manifest)) if not self.sources or r["source"] in self.sources
        ]
        rows = [r for r in rows if r.get("duration", 0) <= self.longest]
        if not rows:
            raise ValueError(f"{self.manifest}: no rows from {', '.join(self.sources) or 'it'}")
        return rows


@dataclass(frozen=True)
class Schedule:
    """Steps and rates. Fractions are of `steps`."""

    steps: int = 20000
    batch: int = 16
    rate: float = 1.5e-3
    warmup: int = 300
    decay_from: float = 0.5
    ctc: float = 0.3
    fast_emit: float = 3e-3
    clip: float = 5.0
    prune_begin: float = 0.5
    prune_end: float = 0.78
    quantize_from: float = 0.6
    bits: int = 8
    reduced: bool = False  # products of bfloat16
    short_frames: int = 3000  # longest clip, in frames of 10 ms, ...
    short_until: float = 0.0  # ... until this part of the run
    longest_frames: int = 3000  # from then on
    warp_from: float = 0.0  # clips are warped from this part of the run on
    warped: float = 1.0  # this share of them
    evaluate_every: int = 1500
    save_every: int = 500
    seed: int = 1


@dataclass(frozen=True)
class Recipe:
    """All that a training run needs. Relative paths are relative to the working directory."""

    name: str
    run: Path
    packs: Path
    train: list[Source]
    dev: list[Source]
    vocabulary: int = 224
    workers: int = 2
    noise: Path | None = None
    rir: Path | None = None
    schedule: Schedule = field(default_factory=Schedule)
    sparsity: dict[str, float] = field(default_factory=dict)
    provenance: dict = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> Recipe:
        """Raises ValueError, one line, on a file that is missing, not TOML, or has unknown names."""
        try:
            table = tomllib.loads(Path(path).read_text())
            table["train"] = [_source(entry) for entry in table["train"]]
            table["dev"] = [_source(entry) for entry in table["dev"]]
            table["schedule"] = Schedule(**table.get("schedule", {}))
            for key in ("run", "packs", "noise", "rir"):
                if key in table:
                    table[key] = Path(table[key])
            return cls(**table)
        except OSError as error:
            raise ValueError(f"{path}: {error.strerror}") from error
        except (tomllib.TOMLDecodeError, KeyError, TypeError) as error:
            raise ValueError(f"{path}: not a recipe ({error})") from error

    def prepare(self) -> FrontendParameters:
        """Make the packs that are not there yet; the frontend's normalisation is of the training sources."""
        frontend = self.packs / "frontend.json"
        if not frontend.exists():
            self.packs.mkdir(parents=True, exist_ok=True)
            rows = [row for source in self.train for row in source.rows()]
            frontend.write_text(json.dumps(statistics(rows, self._augmenter(self.train[0]), 1).to_dict()))
        parameters = FrontendParameters.from_dict(json.loads(frontend.read_text()))
        for i, source in enumerate([*self.train, *self.dev]):
            out = self.packs / source.name
            if not out.with_suffix(".jsonl").exists():
                augment = self._augmenter(source) if source.copies else None
                pack(source.rows(), out, source.copies, augment, parameters, self.workers, 1000 * i)
        return parameters

    def _augmenter(self, source: Source) -> Augmenter:
        rows = self.train[0].rows()
        babble = [Path(row["path"]) for row in rows[:: max(1, len(rows) // 100)]]
        return Augmenter.from_folders(self.noise, self.rir, babble, source.shift)

    def tokenizer(self) -> bytes:
        """The sentencepiece model of the run, trained on the training texts the first time."""
        path = self.run / "tokenizer.model"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            texts = [row["text"] for source in self.train for row in source.rows()]
            out = io.BytesIO()
            SentencePieceTrainer.train(
                sentence_iterator=iter(texts), model_writer=out, model_type="bpe", bos_id=-1, eos_id=-1,
                vocab_size=self.vocabulary - 1, character_coverage=1.0, minloglevel=2,
                normalization_rule_name="identity",
            )  # fmt: skip
            path.write_bytes(out.getvalue())
        return path.read_bytes()


def _source(entry: dict[str, Any]) -> Source:
    values: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in entry.items()
    }
    return Source(**values)


def encoder(tokenizer: bytes):
    """text -> labels: sentencepiece ids + 1; blank is 0."""
    processor = SentencePieceProcessor(model_proto=tokenizer)
    return lambda text: [piece + 1 for piece in processor.encode(text)]
