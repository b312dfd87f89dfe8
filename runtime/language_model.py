"""A language model over word pieces, run: on a device, or by the integer reference; the logits are the same.

    logits of a node = outputs after the begin and the labels on the way to it

The model is a net on one label a step (compiler/stack.py), numbered as the recognizer's; label 0, blank, is
the begin and the end. What several sentences begin with is computed once: they are a tree of labels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from ossicle.compiler.graph import Graph
from ossicle.compiler.importer import import_checkpoint
from ossicle.compiler.program import Program
from ossicle.compiler.reference import Reference
from ossicle.runtime.driver import PREPARE, RESET, Cycles
from ossicle.runtime.float_reference import FloatReference
from ossicle.sim.device import Device

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

    def after(self, labels: Sequence[int]) -> NDArray[np.int16]:
        """Q7.8 logits [labels] of what comes after a sequence; asked of one that grows, it goes on."""
        ...

    def forget(self) -> None:
        """Take the next sequence from its begin, whatever was asked before."""
        ...


class HostModel:
    """A model as the integer reference computes it, or in floating point: the nodes of a level at once.

    Args:
        floats: logits are then in steps of Q7.8, but not rounded.
    Raises:
        ValueError: the graph is not that of a language model.
    """

    def __init__(self, graph: Graph, floats: bool = False) -> None:
        self.labels, self.cycles = model_labels(graph.name, graph.meta.get("topology", {})), Cycles()
        self.name = graph.name
        self._reference = FloatReference(graph) if floats else Reference(graph)
        self._type = np.float32 if floats else np.int16

    def logits(self, tree: PrefixTree, progress: Progress | None = None) -> NDArray:
        """See `Model`."""
        made, reference = np.zeros((len(tree), len(self.labels)), self._type), self._reference
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

    def after(self, labels: Sequence[int]) -> NDArray:
        """See `Model`; computed anew each time."""
        return self.logits(PrefixTree([labels]))[-1]

    def forget(self) -> None:
        """See `Model`."""


class DeviceModel:
    """A model on a device: depth first, its states kept in DRAM where the tree branches.

    Where branches lie deeper than there are slots, the steps from the last state that was kept are run again.

    Raises:
        ValueError: the program is not that of a language model.
        ProgramError: it is for another configuration.
    """

    def __init__(self, device: Device, program: Program) -> None:
        self.labels = model_labels(program.meta["name"], program.meta["topology"])
        self.device, self.cycles, self._entries = device, Cycles(), program.entries
        self._slots = program.symbols[KEPT].slots if KEPT in program.symbols else 0
        self._trail: dict[int, tuple[int, ...]] = {}
        """Slot -> the labels after which its states stood; of sequences that `after` was asked about."""
        device.load(program)
        self._run(PREPARE)

    def logits(self, tree: PrefixTree, progress: Progress | None = None) -> NDArray[np.int16]:
        """See `Model`.

        Raises:
            DeviceFault: a job stopped with a fault.
        """
        made, self.cycles = np.zeros((len(tree), len(self.labels)), np.int16), Cycles()
        self.forget()
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

    def after(self, labels: Sequence[int]) -> NDArray[np.int16]:
        """See `Model`: the states after each label are kept, those of the last few.

        Raises:
            DeviceFault: a job stopped with a fault.
        """
        way, self.cycles = (BOUNDARY, *labels), Cycles()
        known = {path: slot for slot, path in self._trail.items() if path == way[: len(path)] != way}
        begun = max(known, key=len, default=())
        if begun:
            self._run(RECALL, {1: known[begun]})
        else:
            self._run(RESET)
        for length in range(len(begun) + 1, len(way) + 1):
            made = self._step(way[length - 1])
            self._remember(way[:length])
        return made

    def forget(self) -> None:
        """See `Model`."""
        self._trail.clear()

    def _remember(self, path: tuple[int, ...]) -> None:
        if self._slots:
            slot = len(path) % self._slots
            self._run(KEEP, {1: slot})
            self._trail[slot] = path

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


def model_labels(name: str, topology: dict) -> list[str]:
    """Text of each label of a language model. Raises ValueError on a net that is none."""
    tokens, labels = topology.get("tokens") or {}, topology.get("labels")
    if tokens.get("labels") != 1 or not labels or tokens["buckets"] != len(labels):
        raise ValueError(f"{name}: not a language model; one takes a label a step, and names each")
    return list(labels)


def open_host_model(path: Path, floats: bool = False) -> HostModel:
    """The language model of a checkpoint. Raises ValueError, one line, on a file that is none."""
    return HostModel(import_checkpoint(path), floats)
