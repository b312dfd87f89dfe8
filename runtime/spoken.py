"""Which language the recordings of a command are in: as the net beside the recognizer hears, or as is said.

The net runs on a device of its own, which stands for the recognizer's processor between utterances; loading
is not counted. The recordings of a command are utterances of one session, in their order.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from ossicle.compiler.api import compile_checkpoint
from ossicle.compiler.program import Program
from ossicle.hw.config import NpuConfig
from ossicle.runtime.console import Failure
from ossicle.runtime.language import Language, LanguageIdentifier, languages_of
from ossicle.runtime.programs import LANGUAGES_NET, default_model
from ossicle.sim.device import Device

AUTO = "auto"


@dataclass
class Spoken:
    """The shipped net of languages, or a language that is given. `start` gives the net a device."""

    program: Program | None
    given: Language | None = None
    _identifier: LanguageIdentifier | None = None

    @classmethod
    def load(cls, choice: str, config: NpuConfig) -> Spoken | None:
        """For "auto" or a language's code; None for "auto" where no net is shipped.

        Raises:
            Failure: a language that the net does not know, or no net that would.
            CompileError: the net is too large for the processor.
        """
        try:
            path = default_model(LANGUAGES_NET)
        except Failure:
            if choice == AUTO:
                return None
            raise
        program = compile_checkpoint(path, config)
        known = languages_of(program.meta["name"], program.meta["topology"])
        if choice == AUTO:
            return cls(program)
        if choice not in known:
            raise Failure(f"--language {choice}: there is no such language; use {AUTO}, {', '.join(known)}")
        return cls(None, Language(choice, 1.0, {code: float(code == choice) for code in known}))

    def start(self, device: Device) -> None:
        """Load the program."""
        assert self.program is not None, "a given language needs no device"
        self._identifier = LanguageIdentifier(device, self.program)

    def describe(self, samples: NDArray[np.int16]) -> dict:
        """What a command says of an utterance: its `language`."""
        cycles = None
        if self.given:
            found = self.given
        else:
            assert self._identifier is not None, "start comes first"
            found, cycles = self._identifier.identify(samples), self._identifier.cycles.total
        rounded = {code: round(p, 4) for code, p in found.probabilities.items()}
        said = {"code": found.code, "probability": round(found.probability, 4), "probabilities": rounded}
        return {"language": {**said, "given": self.given is not None, "cycles": cycles}}
