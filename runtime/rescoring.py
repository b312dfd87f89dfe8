"""A language model of whole sentences on a lattice: its best sentences, scored anew.

    score(sentence) = log P_transducer + weight * log P_model + bonus * words
    log P_model     = sum of log softmax(outputs after the pieces before)[piece], and of the end's

(n-best rescoring: Ostendorf et al. 1991, HLT.) Sentences are a tree of pieces, and what several begin with is
computed once, on a device or by the integer reference, which give equal logits. The model is a net on one
label a step (compiler/stack.py), numbered as the recognizer's; label 0, blank, is the begin and the end.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path as FilePath
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from ossicle.compiler.graph import Graph
from ossicle.compiler.importer import import_checkpoint
from ossicle.compiler.program import Program
from ossicle.compiler.reference import Reference
from ossicle.runtime.driver import PREPARE, RESET, Cycles
from ossicle.runtime.lattice import Lattice, Path
from ossicle.runtime.transducer import log_softmax
from ossicle.sim.device import Device
from sentencepiece import SentencePieceProcessor

BOUNDARY = 0  # label of the begin and the end
STEP, KEEP, RECALL, OUTPUT, LABEL = "step", "keep", "recall", "output", "label.0"
KEPT = "kept.hidden"
SLOT = 0  # of the outputs
NONE = -1
Progress = Callable[[int, int], None]


class PrefixTree:
    """Sequences of labels, each prefix once, depth first, in the order of the labels.

    `parents[i]` and `labels[i]` are those of node i; node 0 is the begin, of label BOUNDARY.
    """

    def __init__(self, sequences: Iterable[Sequence[int]]) -> None:
        self.parents, self.labels = [NONE], [BOUNDARY]
        self._numbers: dict[tuple[int, ...], int] = {(): 0}
        for sequence in sorted({tuple(sequence) for sequence in sequences}):
            for length, label in enumerate(sequence, 1):
                if sequence[:length] not in self._numbers:
                    self.parents.append(self._numbers[sequence[: length - 1]])
                    self.labels.append(label)
                    self._numbers[sequence[:length]] = len(self.labels) - 1

    def __len__(self) -> int:
        return len(self.labels)

    def nodes(self, sequence: Sequence[int]) -> list[int]:
        """Nodes of a sequence of the tree, the begin first."""
        return [self._numbers[tuple(sequence[:length])] for length in range(len(sequence) + 1)]

    def levels(self) -> Iterator[list[int]]:
        """Nodes by their distance from the begin."""
        level = [0]
        while level:
            yield level
            above = set(level)
            level = [node for node, parent in enumerate(self.parents) if parent in above]

    @cached_property
    def branching(self) -> list[bool]:
        """Whether a node has more than one child."""
        children = [0] * len(self)
        for parent in self.parents[1:]:
            children[parent] += 1
        return [count > 1 for count in children]


class Model(Protocol):
    """A language model that is ready to run."""

    labels: list[str]
    """Text of each label."""
    cycles: Cycles
    """Jobs and cycles of the last tree; none where no device runs."""

    def logits(self, tree: PrefixTree, progress: Progress | None = None) -> NDArray[np.int16]:
        """Q7.8 logits [nodes, labels] of what comes after each node."""
        ...


class HostModel:
    """A model as the integer reference computes it: the nodes of a level at once.

    Raises:
        ValueError: the graph is not that of a language model.
    """

    def __init__(self, graph: Graph) -> None:
        self.labels, self.cycles = _labels(graph.name, graph.meta.get("topology", {})), Cycles()
        self._reference = Reference(graph)

    def logits(self, tree: PrefixTree, progress: Progress | None = None) -> NDArray[np.int16]:
        """See `Model`."""
        made, reference = np.zeros((len(tree), len(self.labels)), np.int16), self._reference
        done, place = 0, {NONE: 0}
        reference.reset((1,))
        for level in tree.levels():
            rows = [place[tree.parents[node]] for node in level]
            for states in (reference.hidden, reference.cell):
                states.update({name: value[rows] for name, value in states.items()})
            made[level] = reference.run(STEP, {LABEL: np.array([tree.labels[node] for node in level])})
            place, done = {node: row for row, node in enumerate(level)}, done + len(level)
            if progress:
                progress(done, len(tree))
        return made


class DeviceModel:
    """A model on a device: depth first, its states kept in DRAM where the tree branches.

    Where branches lie deeper than there are slots, the steps from the last state that was kept are run again.

    Raises:
        ValueError: the program is not that of a language model.
        ProgramError: it is for another configuration.
    """

    def __init__(self, device: Device, program: Program) -> None:
        self.labels = _labels(program.meta["name"], program.meta["topology"])
        self.device, self.cycles, self._entries = device, Cycles(), program.entries
        self._slots = program.symbols[KEPT].slots if KEPT in program.symbols else 0
        device.load(program)
        self._run(PREPARE)

    def logits(self, tree: PrefixTree, progress: Progress | None = None) -> NDArray[np.int16]:
        """See `Model`.

        Raises:
            DeviceFault: a job stopped with a fault.
        """
        made, self.cycles = np.zeros((len(tree), len(self.labels)), np.int16), Cycles()
        kept: dict[int, int] = {}  # node -> slot; of those before the node at hand
        for node in range(len(tree)):
            parent = tree.parents[node]
            kept = self._ancestors(tree, parent, kept)
            if parent != node - 1 or parent == NONE:
                self._return_to(tree, parent, kept)
            made[node] = self._step(tree.labels[node])
            if tree.branching[node] and len(kept) < self._slots:
                self._run(KEEP, {1: len(kept)})
                kept[node] = len(kept)
            if progress:
                progress(node + 1, len(tree))
        return made

    @staticmethod
    def _ancestors(tree: PrefixTree, node: int, kept: dict[int, int]) -> dict[int, int]:
        """Of the nodes whose states are kept, those on the way to a node."""
        way = set()
        while node != NONE:
            way.add(node)
            node = tree.parents[node]
        return {one: slot for one, slot in kept.items() if one in way}

    def _return_to(self, tree: PrefixTree, node: int, kept: dict[int, int]) -> None:
        """Bring the states to what they were after a node; NONE: before the begin."""
        again = []
        while node != NONE and node not in kept:
            again.append(tree.labels[node])
            node = tree.parents[node]
        if node == NONE:
            self._run(RESET)
        else:
            self._run(RECALL, {1: kept[node]})
        for label in reversed(again):
            self._step(label)

    def _step(self, label: int) -> NDArray[np.int16]:
        self._run(STEP, {1: label, 2: SLOT})
        return self.device.read(OUTPUT, SLOT)

    def _run(self, entry: str, arguments: dict[int, int] | None = None) -> None:
        if entry in self._entries:
            self.cycles.add(entry, self.device.run(entry, arguments).cycles)


def _labels(name: str, topology: dict) -> list[str]:
    """Text of each label of a language model."""
    tokens, labels = topology.get("tokens") or {}, topology.get("labels")
    if tokens.get("labels") != 1 or not labels or tokens["buckets"] != len(labels):
        raise ValueError(f"{name}: not a language model; one takes a label a step, and names each")
    return list(labels)


@dataclass(frozen=True, kw_only=True)
class RescoringOptions:
    """`nbest` sentences of the lattice are scored; `weight` and `bonus`: see the head of this file.

    Raises:
        ValueError: a value out of range.
    """

    nbest: int = 50
    weight: float = 0.5
    bonus: float = 0.0

    def __post_init__(self) -> None:
        if not 1 <= self.nbest <= 1000:
            raise ValueError(f"{self.nbest} sentences to rescore is not possible; use 1 to 1000")
        if not 0 <= self.weight <= 10:
            raise ValueError(f"a language model's weight of {self.weight} is not possible; use 0 to 10")
        if not -20 <= self.bonus <= 20:
            raise ValueError(f"a bonus of {self.bonus} a word is not possible; use -20 to 20")


@dataclass(frozen=True)
class Rescored:
    """A sentence: `path` has the transducer's score, `model` the language model's, `score` is the whole."""

    path: Path
    model: float
    score: float

    @property
    def text(self) -> str:
        return self.path.text


class Rescorer:
    """A language model beside a recognizer.

        rescorer = Rescorer(HostModel(import_checkpoint("lm.safetensors")), tokenizer)
        rescorer.rescore(lattice)[0].text

    Args:
        tokenizer: the recognizer's sentencepiece model.
    Raises:
        ValueError: the model has other pieces than the tokenizer.
    """

    def __init__(self, model: Model, tokenizer: bytes, options: RescoringOptions | None = None) -> None:
        self.model, self.options = model, options or RescoringOptions()
        self._tokenizer = SentencePieceProcessor(model_proto=tokenizer)
        pieces = [self._tokenizer.id_to_piece(i) for i in range(self._tokenizer.get_piece_size())]
        if model.labels[1:] != pieces:
            raise ValueError(
                "the language model has other word pieces than the recognizer; train it with that tokenizer"
            )

    def rescore(self, lattice: Lattice, progress: Progress | None = None) -> list[Rescored]:
        """The likeliest sentences, best first; of equal ones the lattice's better first.

        Raises:
            DeviceFault: a job stopped with a fault.
        """
        options, paths = self.options, lattice.nbest(self.options.nbest)
        model = self.log_probs([path.text for path in paths], progress)
        made = [
            Rescored(path, own, path.score + options.weight * own + options.bonus * len(path.words))
            for path, own in zip(paths, model, strict=True)
        ]
        return sorted(made, key=lambda one: -one.score)  # stable

    def log_probs(self, texts: Sequence[str], progress: Progress | None = None) -> list[float]:
        """The language model's log-probability of each text, its end included."""
        sequences = [[piece + 1 for piece in pieces] for pieces in self._tokenizer.encode(list(texts))]
        tree = PrefixTree(sequences)
        after = [log_softmax(row) for row in self.model.logits(tree, progress)]
        return [
            sum(
                float(after[node][label])
                for node, label in zip(tree.nodes(sequence), [*sequence, BOUNDARY], strict=True)
            )
            for sequence in sequences
        ]


def tokenizer_of(program: Program) -> bytes:
    """The sentencepiece model of a recognizer's program."""
    return base64.b64decode(program.meta["tokenizer"])


def open_host_model(path: FilePath) -> HostModel:
    """The language model of a checkpoint. Raises ValueError, one line, on a file that is none."""
    return HostModel(import_checkpoint(path))
