"""The programs of a stack's networks: each compiled for a processor of its own, or all linked for one."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from ossicle.compiler.api import compile_checkpoint
from ossicle.compiler.link import members
from ossicle.compiler.program import Program
from ossicle.hw.config import NpuConfig
from ossicle.runtime.console import Failure
from ossicle.runtime.endpointing import EndpointPrograms
from ossicle.runtime.programs import default_model
from ossicle.runtime.scheduling.networks import (
    ENDPOINT,
    LANGUAGE,
    LM,
    NETWORKS,
    NLU,
    RECOGNIZER,
    SPEAKER,
    WHISPER,
    link_stack,
)
from ossicle.runtime.stack_networks import OpenDevice
from ossicle.sim.device import Device
from ossicle.sim.shared import SharedDevice

OPTIONAL = (ENDPOINT, LM, NLU, WHISPER, SPEAKER, LANGUAGE)
"""Networks that may be left out."""


@dataclass(frozen=True)
class StackPrograms:
    """Programs by network; `link` is all of them in one, where they share a processor.

    `missing`: why a network that was wanted is left out, in a few words each.
    """

    programs: dict[str, Program]
    link: Program | None = None
    missing: tuple[str, ...] = ()

    @contextmanager
    def opened(self, open_device: Callable[[], Device]) -> Iterator[OpenDevice]:
        """Devices for a `Stack`, which are closed at the end: `open_device` is called for each, or once."""
        with ExitStack() as stack:

            def opened(name: str, program: Program) -> Device:
                return stack.enter_context(closing(open_device()))

            yield SharedDevice(opened("", self.link), self.link).open if self.link else opened


def load_programs(recognizer: Program, config: NpuConfig, without: Collection[str] = ()) -> StackPrograms:
    """A recognizer's program, and the shipped networks beside it, each for a processor of its own.

    Raises:
        Failure: a network that there is not to leave out, or one that is not shipped.
        CompileError: a network is too large for the processor.
    """
    made, missing = {RECOGNIZER: recognizer}, []
    wanted = _wanted(without)
    if ENDPOINT in wanted:
        ends = EndpointPrograms.load(recognizer, config)
        made[ENDPOINT] = ends.net
        if LM in wanted and ends.language_model:
            made[LM] = ends.language_model
        elif LM in wanted:
            missing.append(f"end-points without a language model: {ends.missing}")
    for name in (NLU, WHISPER, SPEAKER, LANGUAGE):
        if name in wanted:
            made[name] = compile_checkpoint(default_model(NETWORKS[name].checkpoint), config)
    return StackPrograms(made, None, tuple(missing))


def link_programs(recognizer: Path | None, config: NpuConfig, without: Collection[str] = ()) -> StackPrograms:
    """All networks on one processor: the shipped ones, or another recognizer's checkpoint with them.

    Raises:
        Failure, CheckpointError, CompileError: see `link_stack`.
    """
    linked = link_stack(config, (RECOGNIZER, *_wanted(without)), recognizer)
    return StackPrograms(members(linked), linked)


def _wanted(without: Collection[str]) -> list[str]:
    unknown = [name for name in without if name not in OPTIONAL]
    if unknown:
        raise Failure(f"there is no network {unknown[0]!r} to leave out; use {', '.join(OPTIONAL)}")
    left = {*without, *([LM] if ENDPOINT in without else [])}
    return [name for name in OPTIONAL if name not in left]
