"""What a text means: an intent, and slots with their values, by a small net on a device.

    intent    = argmax of the intents' outputs at the last word of the second reading
    tags      = the best valid sequence of outside, begin.SLOT and inside.SLOT at the words of that reading
    valid     : inside.SLOT comes only after begin.SLOT or inside.SLOT

The net's outputs are named by its topology: intent.NAME ..., outside, begin.SLOT, inside.SLOT, ...
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from ossicle.compiler.program import Program
from ossicle.runtime.driver import PREPARE, RESET, Cycles
from ossicle.runtime.words import LABELS, Word, labels_of, split_words
from ossicle.sim.device import Device

STEP, OUTPUT = "step", "output"
INTENT, OUTSIDE, BEGIN, INSIDE = "intent", "outside", "begin", "inside"
UNIT = 1 / 256  # outputs are Q7.8
SLOT = 0  # of the outputs


@dataclass(frozen=True)
class Span:
    """A slot's value, lower case, and the characters of the text that it is: text[begin:end]."""

    slot: str
    value: str
    begin: int
    end: int


@dataclass(frozen=True)
class Intent:
    """What a text means. `posterior`: of the intent, among all; `spans`: in the order of the text."""

    name: str
    posterior: float
    spans: tuple[Span, ...]

    @property
    def slots(self) -> dict[str, str]:
        """Slot -> value; the first of a slot that occurs twice."""
        found: dict[str, str] = {}
        for span in self.spans:
            found.setdefault(span.slot, span.value)
        return found


class Meanings:
    """What the outputs of a net stand for.

    Args:
        labels: one an output, as in the head of this file.
    Raises:
        ValueError: labels that do not name at least one intent, `outside`, and both tags of each slot.
    """

    def __init__(self, labels: Sequence[str] | None) -> None:
        self.labels = labels = list(labels or ())
        self.intents = [label.partition(".")[2] for label in labels if label.startswith(f"{INTENT}.")]
        self.tags = labels[len(self.intents) :]
        slots = [tag.partition(".")[2] for tag in self.tags[1::2]]
        if not self.intents or labels != output_labels(self.intents, slots):
            raise ValueError(
                "outputs of a net of meanings are intent.NAME ..., outside, begin.SLOT, inside.SLOT, ..."
            )
        follows = np.ones((len(self.tags), len(self.tags)), bool)  # [tag, tag after it]
        follows[:, 2::2] = False
        inside = np.arange(2, len(self.tags), 2)
        follows[inside - 1, inside] = follows[inside, inside] = True
        self._forbidden = np.where(follows, 0.0, -np.inf)

    def read(self, text: str, words: Sequence[Word], outputs: NDArray) -> Intent:
        """The meaning of a text.

        Args:
            words: of the text, one or more.
            outputs: [steps, rows], the last steps of them the second reading; any unit of 1.
        """
        name, posterior = self.intent(outputs[-1])
        found = spans_of(self.tag(outputs[-len(words) :]))
        spans = [_span(slot, text, words[first:past]) for slot, first, past in found]
        return Intent(name, posterior, tuple(spans))

    def intent(self, outputs: NDArray) -> tuple[str, float]:
        """The most likely intent of outputs [rows], and its posterior."""
        logits = outputs[: len(self.intents)]
        odds = np.exp(logits - logits.max())
        best = int(np.argmax(odds))
        return self.intents[best], float(odds[best] / odds.sum())

    def tag(self, outputs: NDArray) -> list[str]:
        """The best valid tags of the words, outputs [words, rows] (Viterbi)."""
        scores = outputs[:, len(self.intents) :]
        best, back = scores[0] + self._forbidden[0], []
        for row in scores[1:]:
            ways = best[:, None] + self._forbidden
            back.append(ways.argmax(axis=0))
            best = ways.max(axis=0) + row
        path = [int(best.argmax())]
        for came_from in reversed(back):
            path.append(int(came_from[path[-1]]))
        return [self.tags[tag] for tag in reversed(path)]


def output_labels(intents: Iterable[str], slots: Iterable[str]) -> list[str]:
    """Labels of the outputs, in their order."""
    tags = [f"{kind}.{slot}" for slot in slots for kind in (BEGIN, INSIDE)]
    return [*(f"{INTENT}.{name}" for name in intents), OUTSIDE, *tags]


def spans_of(tags: Sequence[str]) -> list[tuple[str, int, int]]:
    """Valid tags -> (slot, first word, past the last) of each span."""
    starts = [i for i, tag in enumerate(tags) if tag.startswith(f"{BEGIN}.")]
    made = []
    for first in starts:
        slot, past = tags[first].partition(".")[2], first + 1
        while past < len(tags) and tags[past] == f"{INSIDE}.{slot}":
            past += 1
        made.append((slot, first, past))
    return made


def _span(slot: str, text: str, words: Sequence[Word]) -> Span:
    begin, end = words[0].begin, words[-1].end
    return Span(slot, " ".join(text[begin:end].lower().split()), begin, end)


class Nlu:
    """Reads texts with a net on a device.

        nlu = Nlu(device, program)
        nlu.parse("turn on the kitchen lights").slots       # state: on, room: kitchen, device: lights

    Raises:
        ValueError: the program is not that of a net of meanings on the labels of words.py.
        ProgramError: it is for another configuration.
    """

    def __init__(self, device: Device, program: Program) -> None:
        topology = program.meta["topology"]
        tokens = topology.get("tokens") or {}
        if tokens.get("labels") != LABELS:
            raise ValueError(f"{program.meta['name']}: not a net on the {LABELS} labels of a word")
        self.meanings = Meanings(topology.get("labels"))
        self.device, self.cycles = device, Cycles()
        """Cycles and jobs of the last text."""
        self._buckets, self._entries = tokens["buckets"], program.entries
        device.load(program)
        self._run(PREPARE)

    def parse(self, text: str) -> Intent:
        """The meaning of a text.

        Raises:
            ValueError: there are no words in it.
            DeviceFault: a job stopped with a fault.
        """
        words = split_words(text)
        if not words:
            raise ValueError(f"there are no words in {text!r}")
        self.cycles = Cycles()
        self._run(RESET)
        steps = labels_of([word.text for word in words], self._buckets)
        outputs = np.array([self._step(labels) for labels in steps.tolist()])
        return self.meanings.read(text, words, outputs * UNIT)

    def _step(self, labels: list[int]) -> NDArray[np.int16]:
        self._run(STEP, dict(enumerate((*labels, SLOT), 1)))
        return self.device.read(OUTPUT, SLOT)

    def _run(self, entry: str, arguments: dict[int, int] | None = None) -> None:
        if entry in self._entries:
            self.cycles.add(entry, self.device.run(entry, arguments).cycles)
