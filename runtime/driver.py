"""The driver: a recognizer's jobs on a device, the slots they share, and the cycles they took."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from ossicle.compiler.chunk import CHUNK, ENCODE
from ossicle.compiler.program import Program
from ossicle.runtime.transducer import Context
from ossicle.sim.device import Device, RunResult

PREPARE, RESET, PREDICT, JOINT = "prepare", "reset", "predict", "joint"
FEATURES, ENCODED, PREDICTED, LOGITS = "features", "encoded", "predicted", "logits"
Observer = Callable[[str, RunResult], None]
"""Told after each job: its entry and how it ended; the device still holds its counters and events."""


@dataclass
class Cycles:
    """Cycles and jobs by entry; cycles are None on a device that counts none."""

    jobs: dict[str, int] = field(default_factory=dict)
    cycles: dict[str, int] = field(default_factory=dict)
    counted: bool = True

    def add(self, entry: str, cycles: int | None) -> None:
        self.jobs[entry] = self.jobs.get(entry, 0) + 1
        self.counted &= cycles is not None
        self.cycles[entry] = self.cycles.get(entry, 0) + (cycles or 0)

    @property
    def total(self) -> int | None:
        return sum(self.cycles.values()) if self.counted else None


class Driver:
    """The jobs of one program on one device.

        driver = Driver(device, program)
        driver.reset()
        slot = driver.encode(frames)                       # int8 [frames_per_step, features]
        logits = driver.joint(slot, (older, newer))        # int16 [V], Q7.8; `driver.context` labels
        slots = driver.encode_chunk(frames)                # int8 [chunk, frames_per_step, features]

    The encoder's state is on the processor: one utterance at a time.

    Raises:
        DeviceFault: a job stopped with a fault.
        ProgramError: the program is for another configuration.
        ValueError: it is not a recognizer's.
    """

    def __init__(self, device: Device, program: Program, observer: Observer | None = None) -> None:
        if "vocabulary" not in program.meta["topology"]:
            raise ValueError(f"{program.meta['name']}: not the program of a recognizer")
        self.device, self.program = device, program
        self.cycles = Cycles()
        self.frame_cycles: list[int] = []
        """Cycles of each frame of the utterance: its encode, predict and joint jobs."""
        self._observer = observer
        self._slots = {name: symbol.slots for name, symbol in program.symbols.items()}
        shape = program.meta["inputs"][FEATURES]
        self.frames_per_step: int = shape["parts"]
        """Feature vectors that one encode job takes."""
        self._width: int = shape["stride"] if shape["parts"] > 1 else shape["count"]
        self.chunk: int = program.meta.get("chunk", 1)
        """Steps that an `encode_chunk` job takes; 1: there is no such job."""
        self.vocabulary = int(program.meta["topology"]["vocabulary"])
        self.context: int = program.meta["topology"]["prediction"]["context"]
        """Labels that the prediction network looks at."""
        self._predicted: OrderedDict[Context, int] = OrderedDict()
        self._next: dict[str, int] = {}
        self._frame_of: dict[int, int] = {}
        """Frame that a slot holds."""
        self._frame = -1
        """The frame that the search is at."""
        self._at: Sequence[int] = ()
        """Frames that jobs are counted for."""
        device.load(program)
        if PREPARE in program.entries:
            self._run(PREPARE)

    def reset(self) -> None:
        """Begin an utterance: the encoder's state to zero; what was counted starts anew."""
        self._count_anew()
        self._run(RESET)

    def _count_anew(self) -> None:
        """Forget the frames so far, and what they took."""
        self.cycles, self.frame_cycles = Cycles(), []
        self._at, self._frame, self._next, self._frame_of = (), -1, {}, {}

    def encode(self, frames: NDArray[np.int8]) -> int:
        """Feature vectors of one step -> the slot that holds what the encoder made of them."""
        return self._encode(ENCODE, frames[None])[0]

    def encode_chunk(self, frames: NDArray[np.int8]) -> list[int]:
        """Feature vectors of `chunk` steps, [chunk, frames_per_step, features] -> a slot a step.

        Fewer are the last of an utterance: the job takes zeros for what is missing, which costs no more than
        one step apart, and leaves a state that is of no use.

        Raises:
            ValueError: more steps, or none.
        """
        if not 0 < len(frames) <= self.chunk:
            raise ValueError(f"{len(frames)} steps, where a chunk of this program has 1 to {self.chunk}")
        return self._encode(CHUNK if len(frames) > 1 else ENCODE, frames)

    def _encode(self, entry: str, frames: NDArray[np.int8]) -> list[int]:
        """One job on [steps, frames_per_step, features]; its cycles are shared among the steps."""
        steps = len(frames)
        whole = self.chunk if entry == CHUNK else 1
        source, destination = self._place(FEATURES, whole), self._place(ENCODED, whole)
        for step in range(whole):
            given = frames[step] if step < steps else frames[0] * 0
            padded = np.zeros((self.frames_per_step, self._width), np.int8)
            padded[:, : given.shape[1]] = given
            self.device.write(FEATURES, padded, source + step)
        first = len(self.frame_cycles)
        self.frame_cycles += [0] * steps
        self._at = range(first, first + steps)
        self._run(entry, {1: source, 2: destination})
        slots = list(range(destination, destination + steps))
        self._frame_of.update(zip(slots, self._at, strict=True))
        return slots

    def _place(self, name: str, count: int) -> int:
        """The next slots of a symbol, side by side: the first of them."""
        start = self._next.get(name, 0)
        if start + count > self._slots[name]:
            start = 0
        self._next[name] = start + count
        return start

    def joint(self, encoded_slot: int, context: Context) -> NDArray[np.int16]:
        """Logits [V], Q7.8, of an encoded frame after the last labels, oldest first."""
        slot = 0
        self._turn_to(encoded_slot)
        self._run(JOINT, {1: encoded_slot, 2: self._predict(context), 3: slot})
        return self.device.read(LOGITS, slot, self.vocabulary)

    def encoded(self, slot: int) -> NDArray[np.int16]:
        """What the encoder made of a step, to be asked about again after its slot has another."""
        return self.device.read(ENCODED, slot)

    def joint_again(
        self, encoded: NDArray[np.int16], contexts: Sequence[Context]
    ) -> list[NDArray[np.int16]]:
        """As `joint`, of what `encoded` gave; cycles are of no frame. Between jobs of the encoder."""
        slot = 0
        self.device.write(ENCODED, encoded, slot)
        self._frame_of.pop(slot, None)
        self._frame, self._at = -1, ()
        return [self.joint(slot, context) for context in contexts]

    def _turn_to(self, encoded_slot: int) -> None:
        """What follows is for the frame in this slot."""
        if encoded_slot in self._frame_of:
            self._frame = self._frame_of[encoded_slot]
            self._at = (self._frame,)

    def _predict(self, context: Context) -> int:
        """Slot of the prediction after a context; computed once, kept while it is among the last used."""
        if context in self._predicted:
            self._predicted.move_to_end(context)
            return self._predicted[context]
        slot = len(self._predicted)
        if slot == self._slots[PREDICTED]:
            _, slot = self._predicted.popitem(last=False)
        self._run(PREDICT, dict(enumerate((*context, slot), 1)))
        self._predicted[context] = slot
        return slot

    def _run(self, entry: str, arguments: dict[int, int] | None = None) -> None:
        result = self.device.run(entry, arguments)
        self.cycles.add(entry, result.cycles)
        for k, frame in enumerate(self._at):
            self.frame_cycles[frame] += ((result.cycles or 0) + k) // len(self._at)
        if self._observer is not None:
            self._observer(entry, result)
