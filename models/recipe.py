"""A training recipe: a TOML file, checked, and the packed features it asks for."""

from __future__ import annotations

import io
import json
import math
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ossicle.models.branch import BranchOptions
from ossicle.models.data.augment import Augmenter
from ossicle.models.data.batches import FRAMES_A_STEP, SpecAugment
from ossicle.models.data.pack import pack, statistics
from ossicle.models.data.split import Row, read_manifest
from ossicle.models.encoder import check_branch
from ossicle.models.export import SMALL_TOPOLOGY, matrix_shapes
from ossicle.models.initial import Start, branched, longer_context, read_start, wider_encoder
from ossicle.models.runner import check_device
from ossicle.models.sparsify import KINDS, METHODS, Pruning
from ossicle.models.wider import new_pieces, pieces_of, widened
from ossicle.runtime.console import write_whole
from ossicle.runtime.frontend import FrontendParameters
from sentencepiece import SentencePieceProcessor, SentencePieceTrainer
from torch import Tensor

VOCABULARY = 224
CHOICES = {
    "quantization": ("fake", "regularized", "post"),
    "prune_kind": KINDS,
    "prune_method": METHODS,
}
BITS = range(2, 9)
FRAMES_A_VECTOR = 3  # 10 ms frames in a feature vector


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
    context: bool = False  # clips begin with a wake word, `wake_seconds` of it by the manifest
    unannotated: bool = False  # its text is thrown away, see objectives/distill.py

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
    restarts: tuple[float, ...] = ()  # the rate rises and falls anew at these parts of the run ...
    restart_rate: float = 0.5  # ... to this share of the top before
    ctc: float = 0.3
    fast_emit: float = 3e-3
    clip: float = 5.0
    prune_begin: float = 0.5
    prune_end: float = 0.78
    prune_kind: str = "unstructured"  # or "balanced", see sparsify.py
    prune_rows: int = 1  # rows of a group, "balanced"
    prune_method: str = "magnitude"  # or "shrink"
    shrinkage: float = 1.0  # of "shrink", at the end
    quantize_from: float = 0.6
    bits: int = 8  # of matrices that [bits] doesn't name
    quantization: str = "fake"  # or "regularized", or "post": rounded at the end alone
    pull: float = 1e-3  # most that the regularizer adds to a weight's gradient, at the end of the run
    snap_every: int = 0  # steps from one rounding of the regularized weights to the next; 0: never
    reduced: bool = False  # products of bfloat16
    short_frames: int = 3000  # longest clip, in frames of 10 ms, ...
    short_until: float = 0.0  # ... until this part of the run
    longest_frames: int = 3000  # from then on
    warp_from: float = 0.0  # clips are warped from this part of the run on
    warped: float = 1.0  # this share of them
    cold: float = 0.5  # share of clips with context that go without it
    masked: float = 0.0  # share of clips with bands and spans masked (SpecAugment)
    band_masks: int = 2  # most masks of mel bands, ...
    band_width: int = 8  # ... and most bands in each
    span_masks: int = 2  # masks of time, ...
    span_width: int = 25  # ... and most 10 ms frames in each, ...
    span_part: float = 0.2  # ... but no more than this part of the clip
    evaluate_every: int = 1500
    save_every: int = 500
    seed: int = 1

    def __post_init__(self) -> None:
        previous = 0.0
        for part in self.restarts:
            if not previous < part < 1:
                raise ValueError(f"restarts {list(self.restarts)} must rise, between 0 and 1")
            previous = part
        for name, known in CHOICES.items():
            if getattr(self, name) not in known:
                raise ValueError(f"there is no {name} {getattr(self, name)!r}; use {', '.join(known)}")
        if self.prune_rows < 1:
            raise ValueError(f"prune_rows = {self.prune_rows} is not possible; use 1 or more")
        for name in ("masked", "cold"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} = {getattr(self, name)} is no share; use 0 to 1")

    def spec_augment(self) -> SpecAugment:
        """Masking of a batch's clips."""
        return SpecAugment(
            self.masked, self.band_masks, self.band_width, self.span_masks, self.span_width, self.span_part
        )


@dataclass(frozen=True)
class Recipe:
    """All that a training run needs. Relative paths are relative to the working directory.

    initial: a checkpoint, or the state.pt of a run, whose weights, topology, tokenizer and frontend are
        taken; the packs must have been made with that frontend. A larger `vocabulary` adds word pieces of the
        texts whose rows name a `language`, see wider.py.
    topology: what differs from `export.SMALL_TOPOLOGY`; the layers of `initial` may become wider.
    sparsity: fraction of zeros of a matrix at the end; zeros that `initial` has in it stay.
    bits: of a matrix's integers.
    objective: what is trained for, see objectives/objective.py.
    branch: of the encoder, see branch.py; what `initial` has of layers both sides begin with.
    regrow: zeros of `initial` may become weights again, until pruning begins anew (dense-sparse-dense, Han et
        al. 2017, arXiv:1607.04381).
    learn: matrices that learn, beside which all else stays as `initial` has it; without it everything learns.
    processes: that train together, each on `batch` clips; on a CPU alone.
    device: "auto" is CUDA where there is one.
    """

    name: str
    run: Path
    packs: Path
    train: list[Source]
    dev: list[Source]
    vocabulary: int | None = None
    initial: Path | None = None
    regrow: bool = False
    learn: list[str] = field(default_factory=list)
    processes: int = 1
    topology: dict = field(default_factory=dict)
    device: str = "auto"
    workers: int = 2
    noise: Path | None = None
    rir: Path | None = None
    schedule: Schedule = field(default_factory=Schedule)
    sparsity: dict[str, float] = field(default_factory=dict)
    bits: dict[str, int] = field(default_factory=dict)
    objective: dict = field(default_factory=dict)
    branch: BranchOptions | None = None
    provenance: dict = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> Recipe:
        """Raises ValueError, one line, on a file that is missing, not TOML, or has unknown names."""
        try:
            return cls.from_table(tomllib.loads(Path(path).read_text()), path)
        except (OSError, tomllib.TOMLDecodeError) as error:
            raise ValueError(f"{path}: {getattr(error, 'strerror', f'not a recipe ({error})')}") from error

    @classmethod
    def from_table(cls, table: dict[str, Any], path: Path) -> Recipe:
        """The recipe that a TOML file's table says. Raises ValueError, which names the path."""
        try:
            table = dict(table)
            table["train"] = [_source(entry) for entry in table["train"]]
            table["dev"] = [_source(entry) for entry in table["dev"]]
            table["schedule"] = Schedule(**_tuples(table.get("schedule", {})))
            if "branch" in table:
                table["branch"] = BranchOptions.read(_tuples(table["branch"]))
            for key in ("run", "packs", "noise", "rir", "initial"):
                if key in table:
                    table[key] = Path(table[key])
            return cls(**table)
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path}: not a recipe ({error})") from error

    def __post_init__(self) -> None:
        check_device(self.device)
        if self.processes < 1 or (self.processes > 1 and self.device != "cpu"):
            raise ValueError(
                f'processes = {self.processes} with device = "{self.device}"; use 1, or 2 and more with "cpu"'
            )
        unknown = sorted(set(self.topology) - set(SMALL_TOPOLOGY))
        if unknown:
            raise ValueError(f"a topology has no {', '.join(unknown)}")
        if self.learn and self.initial is None:
            raise ValueError("`learn` keeps the rest of an `initial` model as it is; name one")
        encoder = {**SMALL_TOPOLOGY, **self.topology}["encoder"]
        if math.prod(layer["reduce"] for layer in encoder) * FRAMES_A_VECTOR != FRAMES_A_STEP:
            raise ValueError(
                "the encoder's layers must join 2 steps, once: the features come in frames of 60 ms"
            )

    def matrix_bits(self, topology: dict) -> dict[str, int]:
        """Bits of every matrix of a topology.

        Raises:
            ValueError: [bits], [sparsity] or `learn` names a matrix that it has not, or a number is none.
        """
        names = list(matrix_shapes(topology))
        for table, values in (("[bits]", self.bits), ("[sparsity]", self.sparsity), ("learn", self.learn)):
            unknown = sorted(set(values) - set(names))
            if unknown:
                raise ValueError(f"{table}: there is no matrix {unknown[0]}; there are {', '.join(names)}")
        bits = {name: self.bits.get(name, self.schedule.bits) for name in names}
        for name, count in bits.items():
            if count not in BITS:
                raise ValueError(f"{name}: {count} bits are not possible; use {BITS[0]} to {BITS[-1]}")
        for name, zeros in self.sparsity.items():
            if not 0 <= zeros < 1:
                raise ValueError(f"{name}: a sparsity of {zeros} is not possible; use 0 to below 1")
        return bits

    def pruning(self, masks: dict[str, Tensor]) -> Pruning:
        """The plan of pruning of a run whose matrices have zeros where `masks` say so."""
        plan = self.schedule
        begin, end = (int(part * plan.steps) for part in (plan.prune_begin, plan.prune_end))
        initial = {
            name: min(1 - mask.mean().item(), self.sparsity[name])
            for name, mask in masks.items() if name in self.sparsity
        }  # fmt: skip
        return Pruning(
            final=self.sparsity, begin=begin, end=end, initial=initial, kind=plan.prune_kind,
            rows=plan.prune_rows, method=plan.prune_method, shrinkage=plan.shrinkage,
        )  # fmt: skip

    def start(self) -> Start | None:
        """What `initial` holds.

        Raises:
            ValueError: it is unreadable, or has another topology or vocabulary than the recipe.
        """
        if self.initial is None:
            return None
        start = read_start(self.initial)
        if self.vocabulary and self.vocabulary > start.topology["vocabulary"]:
            start = self._widened(start)
        if "prediction" in self.topology:
            start = longer_context(start, self.topology["prediction"]["context"])
        if "encoder" in self.topology:
            try:
                start = wider_encoder(start, self.topology["encoder"], self.schedule.seed)
            except ValueError as error:
                raise ValueError(f"{self.initial}: {error}") from None
        for name, wanted in {**self.topology, "vocabulary": self.vocabulary}.items():
            found = start.topology[name]
            if wanted is not None and wanted != found:
                raise ValueError(f"{self.initial}: its {name} is {found}, the recipe's {wanted}")
        return branched(start, self.branch.topology()) if self.branch else start

    def _widened(self, start: Start) -> Start:
        """With word pieces of another language, chosen once for a run."""
        path = self.run / "tokenizer.model"
        if path.exists():
            pieces = pieces_of(path.read_bytes())[start.topology["vocabulary"] - 1 :]
            return widened(start, pieces)
        rows = [row for source in self.train if not source.unannotated for row in source.rows()]
        texts = [row["text"] for row in rows if "language" in row] or [row["text"] for row in rows]
        assert self.vocabulary is not None
        wider = widened(
            start, new_pieces(start.tokenizer, texts, self.vocabulary - start.topology["vocabulary"])
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, wider.tokenizer)
        return wider

    def teacher(self) -> Start | None:
        """The objective's teacher, whose tokenizer and frontend a student takes that starts from nothing."""
        return read_start(Path(self.objective["teacher"])) if "teacher" in self.objective else None

    def full_topology(self, teacher: Start | None = None) -> dict:
        """The topology of a run that starts from nothing; the vocabulary is a teacher's."""
        vocabulary = teacher.topology["vocabulary"] if teacher else self.vocabulary or VOCABULARY
        if self.vocabulary not in (None, vocabulary):
            raise ValueError(f"the teacher's vocabulary is {vocabulary}, the recipe's {self.vocabulary}")
        topology = {**SMALL_TOPOLOGY, **self.topology, "vocabulary": vocabulary}
        if self.branch:
            topology["branch"] = self.branch.topology()
            check_branch(topology)
        return topology

    def prepare(self, start: Start | None = None) -> FrontendParameters:
        """Make the packs that are not there yet.

        The frontend's normalisation is that of `start`, else of the training sources.

        Raises:
            ValueError: the packs that are there were made with another frontend than that of `start`.
        """
        frontend = self.packs / "frontend.json"
        if not frontend.exists():
            self.packs.mkdir(parents=True, exist_ok=True)
            frontend.write_text(json.dumps(self._frontend(start).to_dict()))
        parameters = FrontendParameters.from_dict(json.loads(frontend.read_text()))
        if start and parameters != start.frontend:
            of = self.initial or self.objective["teacher"]
            raise ValueError(f"{frontend}: another frontend than that of {of}; name another folder for packs")
        for i, source in enumerate([*self.train, *self.dev]):
            out = self.packs / source.name
            if not out.with_suffix(".jsonl").exists():
                augment = self._augmenter(source) if source.copies else None
                pack(source.rows(), out, source.copies, augment, parameters, self.workers, 1000 * i)
        return parameters

    def _frontend(self, start: Start | None) -> FrontendParameters:
        if start:
            return start.frontend
        rows = [row for source in self.train for row in source.rows()]
        return statistics(rows, self._augmenter(self.train[0]), 1)

    def _augmenter(self, source: Source) -> Augmenter:
        rows = self.train[0].rows()
        babble = [Path(row["path"]) for row in rows[:: max(1, len(rows) // 100)]]
        return Augmenter.from_folders(self.noise, self.rir, babble, source.shift)

    def tokenizer(self, start: Start | None = None) -> bytes:
        """The sentencepiece model of the run: that of `start`, else trained on the training texts, once."""
        if start:
            return start.tokenizer
        path = self.run / "tokenizer.model"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            if all(source.unannotated for source in self.train):
                raise ValueError("every source is unannotated: there is no text to make a tokenizer of")
            texts = [row["text"] for source in self.train if not source.unannotated for row in source.rows()]
            out = io.BytesIO()
            SentencePieceTrainer.train(
                sentence_iterator=iter(texts), model_writer=out, model_type="bpe", bos_id=-1, eos_id=-1,
                vocab_size=(self.vocabulary or VOCABULARY) - 1, character_coverage=1.0, minloglevel=2,
                normalization_rule_name="identity",
            )  # fmt: skip
            path.write_bytes(out.getvalue())
        return path.read_bytes()


def _source(entry: dict[str, Any]) -> Source:
    return Source(**_tuples(entry))


def _tuples(entry: dict[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in entry.items()}


def encoder(tokenizer: bytes):
    """text -> labels: sentencepiece ids + 1; blank is 0."""
    processor = SentencePieceProcessor(model_proto=tokenizer)
    return lambda text: [piece + 1 for piece in processor.encode(text)]
