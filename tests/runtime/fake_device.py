"""A device without a processor: logits of the fake model, so that what runs above it can be tested alone."""

from __future__ import annotations

import base64

import numpy as np
from fake_model import FakeModel
from ossicle.compiler.program import Entry, Program, Symbol
from ossicle.hw.config import PRESETS
from ossicle.models.untrained import DEVIATION, MEAN, letters_tokenizer, vocabulary_size
from ossicle.runtime.frontend import FrontendParameters
from ossicle.sim.device import RunResult
from ossicle.sim.trace import EVENT

CYCLES = {"prepare": 1000, "reset": 10, "encode": 500, "encode.chunk": 1003, "predict": 20, "joint": 30}


def fake_program(slots: int = 256, chunk: int = 1) -> Program:
    """The tables that a driver reads, and no code; `chunk`: steps of a job `encode.chunk`."""
    tokenizer = letters_tokenizer()
    labels = vocabulary_size(tokenizer)
    symbols = {
        "features": Symbol("features", 0, "int8", 256, 64, 256),
        "encoded": Symbol("encoded", 0, "int16", 192, 64, 384),
        "predicted": Symbol("predicted", 0, "int16", 192, slots, 384),
        "logits": Symbol("logits", 0, "int16", labels, 64, 192),
    }
    meta = {
        "topology": {"vocabulary": labels, "prediction": {"context": 2}},
        "inputs": {"features": {"parts": 2, "count": 120, "stride": 128}},
        "frontend": FrontendParameters.from_statistics(MEAN, DEVIATION).to_dict(),
        "tokenizer": base64.b64encode(tokenizer).decode(),
        "vocabulary": {"blank": 0, "offset": 1},
        "labels_per_frame": 2,
    } | ({"chunk": chunk} if chunk > 1 else {})
    return Program(0, b"", {}, 0, symbols, {name: Entry(0, 2) for name in CYCLES}, {}, meta)


class FakeDevice:
    """Keeps what was written to which slot; the logits of a frame depend on its features and the context."""

    def __init__(self, sharp: int = 900) -> None:
        self.config, self._chunk = PRESETS["base"], 1
        self.runs: list[tuple[str, dict]] = []
        self._model = FakeModel(7, 91, sharp)
        self._slots: dict[tuple[str, int], object] = {}

    def load(self, program) -> None:
        self._slots.clear()
        self._chunk = program.meta.get("chunk", 1)

    def write(self, where, data, slot=0) -> None:
        self._slots[where, slot] = np.array(data, np.int64 if where == "encoded" else np.int8)

    def run(self, entry, arguments=None, *, check=True) -> RunResult:
        arguments = arguments or {}
        self.runs.append((entry, arguments))
        if entry in ("encode", "encode.chunk"):
            for step in range(self._chunk if entry == "encode.chunk" else 1):
                seen = self._slots["features", arguments[1] + step]
                self._slots["encoded", arguments[2] + step] = np.abs(seen.astype(np.int64)).sum()[None]
        elif entry == "predict":
            self._slots["predicted", arguments[3]] = (arguments[1], arguments[2])
        elif entry == "joint":
            frame, context = self._slots["encoded", arguments[1]], self._slots["predicted", arguments[2]]
            self._slots["logits", arguments[3]] = self._model.logits(int(frame[0]), context)
        return RunResult(cycles=CYCLES[entry])

    def read(self, where, slot=0, count=None):
        return self._slots[where, slot][:count]

    def counters(self) -> dict[str, int]:
        return {}

    def events(self):
        return np.zeros(0, EVENT)
