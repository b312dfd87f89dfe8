"""ossicle transcribe --stream: words as they come, and end-points; a part of the command transcribe."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray
from ossicle.compiler.program import Program
from ossicle.hw.config import NpuConfig
from ossicle.runtime.audio import Audio
from ossicle.runtime.commands.context import ContextBias
from ossicle.runtime.commands.running import device_options, lattice_json, nbest_json, starting
from ossicle.runtime.console import Failure, note, progress_bar
from ossicle.runtime.endpointer import Decision
from ossicle.runtime.endpointing import EndpointPrograms
from ossicle.runtime.lattice import LatticeOptions
from ossicle.runtime.lattice_files import write_lattice
from ossicle.runtime.microphone import check_microphone, microphone
from ossicle.runtime.recognizer import Recognizer
from ossicle.runtime.session import PARTIAL, Event, Session
from ossicle.runtime.transducer import SearchOptions
from ossicle.sim.device import Device, open_device
from rich.console import Console
from rich.live import Live
from rich.text import Text

CHUNK_MS = 100
MICROPHONE = Path("microphone")

StreamOption = Annotated[
    bool, typer.Option("--stream", help="Show words as they come; --json: one JSON object a line.")
]
ChunkMsOption = Annotated[
    int | None,
    typer.Option(help=f"--stream: milliseconds of audio given at a time; default {CHUNK_MS}.", metavar="N"),
]
EndpointOption = Annotated[
    bool, typer.Option("--endpoint", help="--stream: stop when the speaker has finished, and say when.")
]
LiveOption = Annotated[bool, typer.Option("--live", help="Stream from the microphone until Ctrl-C.")]


@dataclass(frozen=True)
class Streaming:
    """How audio is streamed."""

    chunk_ms: int = CHUNK_MS
    endpoint: bool = False
    live: bool = False
    context_s: float = 0.0

    @classmethod
    def read(
        cls, stream: bool, chunk_ms: int | None, endpoint: bool, live: bool, refused: dict[str, object],
        context_s: float = 0.0,
    ) -> Streaming | None:  # fmt: skip
        """What the options ask for; None where nothing is streamed.

        Args:
            refused: options that do not go with streaming, and whether each was given.
        Raises:
            Failure: options that do not go together, or a chunk that is no length.
        """
        if not (stream or live):
            for name, given in (("--chunk-ms", chunk_ms is not None), ("--endpoint", endpoint)):
                if given:
                    raise Failure(f"{name} is for audio that is streamed; add --stream")
            return None
        for name, given in refused.items():
            if given:
                raise Failure(f"{name} does not go with --stream; transcribe the recording whole")
        if chunk_ms is not None and not 1 <= chunk_ms <= 60000:
            raise Failure(f"--chunk-ms {chunk_ms} is not possible; use 1 to 60000")
        return cls(CHUNK_MS if chunk_ms is None else chunk_ms, endpoint, live, context_s)


@dataclass(frozen=True)
class Setup:
    """What recognizes: everything but the audio."""

    engine: str
    program: Program
    config: NpuConfig
    music: int = 0
    search: SearchOptions = field(default_factory=SearchOptions)
    lattice: LatticeOptions = field(default_factory=LatticeOptions)
    nbest: int = 1
    bias: ContextBias | None = None

    def session(self, stack: ExitStack, endpoint: bool, quiet: bool) -> Session:
        """A session on devices that the stack closes."""
        options = device_options(self.engine, self.music)
        ends = EndpointPrograms.load(self.program, self.config) if endpoint else None

        def opened() -> Device:
            return stack.enter_context(closing(open_device(self.engine, self.config, **options)))

        with progress_bar(quiet) as bar:
            bar.task(starting(self.engine, self.config))
            recognizer = Recognizer(opened(), self.program, self.search, self.lattice, max(self.nbest, 1))
            if self.bias:
                self.bias.start(recognizer, bar, quiet)
            if ends and ends.missing and not quiet:
                note(f"end-points without a language model: {ends.missing}")
            return Session(recognizer, ends.start(opened) if ends else None)


def stream_all(
    options: Streaming, setup: Setup, recordings: list[tuple[Path, Audio, Path | None]], as_json: bool
) -> None:
    """Stream recordings, each with where its lattice goes, or the microphone.

    Raises:
        Failure: as `check_microphone`.
    """
    if options.live:
        check_microphone(sample_rate_of(setup.program))
    with ExitStack() as stack:
        session = setup.session(stack, options.endpoint, as_json)
        rate = session.recognizer.frontend.sample_rate
        chunk = max(1, options.chunk_ms * rate // 1000)
        if options.live:
            if not as_json:
                note("listening; Ctrl-C ends")
            _show(session, MICROPHONE, microphone(rate, chunk), setup, as_json, options.context_s)
        for path, audio, slf in recordings:
            if not as_json:
                for text in audio.notes:
                    note(f"{path}: {text}")
            chunks = (audio.samples[i : i + chunk] for i in range(0, len(audio.samples), chunk))
            final = _show(session, path, chunks, setup, as_json, options.context_s)
            if slf and final.result and final.result.lattice:
                write_lattice(slf, final.result.lattice)


def sample_rate_of(program: Program) -> int:
    """Samples a second that the recognizer takes."""
    return int(program.meta["frontend"]["sample_rate"])


def events_of(
    session: Session, chunks: Iterable[NDArray[np.int16]], context_s: float = 0.0
) -> Iterator[Event]:
    """The events of one utterance, to its final one; its first seconds are context."""
    session.begin(context_s)
    rate = session.recognizer.frontend.sample_rate
    for chunk in chunks:
        yield from session.accept_waveform(rate, chunk)
        if session.done:
            return
    yield from session.finish()


def event_json(event: Event, path: Path) -> dict:
    """A line of --json: the keys of every event, and more of speculative and final ones."""
    made: dict = {
        "event": event.kind, "file": str(path), "text": event.text, "audio_s": event.audio_s,
        "cycles": event.cycles, "at_cycle": event.at_cycle,
    }  # fmt: skip
    if event.kind != PARTIAL:
        made["silence_s"] = event.silence_s
    if event.kind == Decision.FINAL:
        made |= {"revised": event.revised, "end_point": event.silence_s is not None}
    if event.result:
        made["nbest"] = nbest_json(event.result.nbest)
        made["lattice"] = lattice_json(event.result.lattice) if event.result.lattice else None
    return made


def _show(
    session: Session, path: Path, chunks: Iterable[NDArray[np.int16]], setup: Setup, as_json: bool,
    context_s: float,
) -> Event:  # fmt: skip
    """Stream one recording; its final event, which comes last."""
    seen: list[Event] = []
    with _line(as_json) as shown:
        for event in events_of(session, chunks, context_s):
            seen.append(event)
            if as_json:
                sys.stdout.write(json.dumps(event_json(event, path), ensure_ascii=False) + "\n")
                sys.stdout.flush()
            else:
                shown(event)
    if not as_json:
        print(seen[-1].text)
        print("\n".join(_facts(seen, setup, session.endpointing is not None)))
    return seen[-1]


@contextmanager
def _line(as_json: bool) -> Iterator:
    """Shows events to people: one line that changes on a terminal, a line each elsewhere."""
    console = Console(highlight=False)
    if as_json or not console.is_terminal:
        yield lambda event: print(_told(event), flush=True)
        return
    with Live(Text(), console=console, transient=True, auto_refresh=False) as live:
        yield lambda event: live.update(Text(_told(event)), refresh=True)


def _told(event: Event) -> str:
    mark = "" if event.kind == PARTIAL else f"[{event.kind.replace('_', ' ')}] "
    return f"{event.audio_s:7.2f} s  {mark}{event.text}"


def _facts(seen: list[Event], setup: Setup, endpointed: bool) -> Iterator[str]:
    final = seen[-1]
    if endpointed and final.silence_s is None:
        yield "no end-point: the audio ended before one"
    if final.silence_s is not None:
        early = next(e for e in reversed(seen) if e.kind == Decision.SPECULATIVE)
        resets = sum(e.kind == Decision.RESET for e in seen)
        stood = "did not stand: the text was revised" if final.revised else "stood"
        yield f"end-points after the last speech heard: {_when(early, setup)} (speculative, {stood}),"
        yield f"  {_when(final, setup)} (final); {resets} speculative ones before were taken back"
    if final.cycles is not None:
        milliseconds = final.cycles / setup.config.clock_mhz / 1000
        yield (
            f"{final.cycles:,} cycles on {setup.config.name} ({setup.engine}) = {milliseconds:.1f} ms at "
            f"{setup.config.clock_mhz} MHz for {final.audio_s:.2f} s of audio"
        )
    else:
        yield f"{setup.engine} device counts no cycles; {final.audio_s:.2f} s of audio"


def _when(event: Event, setup: Setup) -> str:
    """Latency in audio, and after that in the processor's work."""
    if event.at_cycle is None:
        return f"{1000 * (event.silence_s or 0):.0f} ms"
    work = event.at_cycle / setup.config.clock_mhz / 1000 - 1000 * event.audio_s
    return f"{1000 * (event.silence_s or 0):.0f} ms + {work:.1f} ms of work"
