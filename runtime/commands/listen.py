"""ossicle listen: the whole speech stack on recordings or the microphone, an event at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray
from ossicle.hw.config import NpuConfig
from ossicle.runtime.audio import Audio, read_audio
from ossicle.runtime.commands.context import (
    AliasesOption,
    BiasingOption,
    BoostOption,
    BoostWeightOption,
    ContextBias,
    ContextOption,
    sounds_of,
)
from ossicle.runtime.commands.hearing import Teller
from ossicle.runtime.commands.running import device_options, starting
from ossicle.runtime.commands.stream import CHUNK_MS, MICROPHONE, LiveOption, sample_rate_of
from ossicle.runtime.console import (
    EngineOption,
    Failure,
    JsonOption,
    ModelOption,
    NpuOption,
    check_engine,
    note,
    progress_bar,
)
from ossicle.runtime.lattice import LatticeOptions
from ossicle.runtime.microphone import check_microphone, microphone
from ossicle.runtime.programs import DEFAULT_NPU, default_model, load_program
from ossicle.runtime.scheduling.networks import NETWORKS, RECOGNIZER, SPEAKER
from ossicle.runtime.speakers import Speakers, net_hash
from ossicle.runtime.stack import Stack
from ossicle.runtime.stack_networks import StackOptions
from ossicle.runtime.stack_programs import OPTIONAL, StackPrograms, link_programs, load_programs
from ossicle.runtime.transducer import SearchOptions
from ossicle.sim.device import Device, open_device


def listen(
    recordings: Annotated[
        list[Path] | None, typer.Argument(metavar="FILE...", help="Recordings of an utterance each.")
    ] = None,
    engine: EngineOption = "fast",
    npu: NpuOption = None,
    model: ModelOption = None,
    speakers: Annotated[Path | None, typer.Option(help="Who may speak: a file of ossicle enrol.")] = None,
    threshold: Annotated[
        float | None, typer.Option(help="Cosine from which a voice is a person's; default: the file's.")
    ] = None,
    without: Annotated[
        list[str] | None,
        typer.Option(help=f"Leave a network out: {', '.join(OPTIONAL)}. May be repeated.", metavar="NETWORK"),
    ] = None,
    shared: Annotated[
        bool, typer.Option("--shared", help="All networks on one processor, in place of one each.")
    ] = False,
    music: Annotated[int, typer.Option(help="Percent of the memory's cycles taken by other traffic.")] = 0,
    beam: Annotated[int, typer.Option(help="States the search keeps.")] = 4,
    nbest: Annotated[int, typer.Option(help="Sentences of each result, in --json.")] = 1,
    lattice_beam: Annotated[
        float, typer.Option(help="How much worse than the best the lattice keeps (log).")
    ] = 8.0,
    context: ContextOption = None,
    biasing: BiasingOption = None,
    boost: BoostOption = None,
    boost_weight: BoostWeightOption = None,
    aliases: AliasesOption = True,
    chunk_ms: Annotated[
        int, typer.Option(help="Milliseconds of audio given at a time.", metavar="N")
    ] = CHUNK_MS,
    live: LiveOption = False,
    as_json: JsonOption = False,
) -> None:
    """Listen as a device does: words, when the speaker has finished, what it means, who spoke and how.

    With --json an event a line.
    """
    check_engine(engine)
    if live == bool(recordings):
        raise Failure("name recordings to listen to, or use --live for the microphone, not both")
    if nbest < 1 or not lattice_beam > 0 or not 1 <= chunk_ms <= 60000:
        raise Failure("use --nbest of 1 or more, --lattice-beam above 0, and --chunk-ms of 1 to 60000")
    bias = ContextBias.read(biasing, context, None, 1, boost, boost_weight)
    known = _known(speakers, threshold, without or [])
    audio = [read_audio(path) for path in recordings or []]
    programs, config = _programs(model, npu, bias, shared, without or [])
    sounds = sounds_of(model, programs.programs[RECOGNIZER], bool(aliases and boost))
    graph = LatticeOptions(beam=lattice_beam, sounds=sounds)
    options = StackOptions(SearchOptions(beam=beam), graph, nbest, shared=shared)
    setup = Setup(engine, config, device_options(engine, music), options, known, bias)
    rate = sample_rate_of(programs.programs[RECOGNIZER])
    if live:
        check_microphone(rate)
    chunk = max(1, chunk_ms * rate // 1000)
    with setup.stack(programs, as_json) as stack:
        teller = Teller(engine, config, as_json)
        for path, sound in zip(recordings or [], audio, strict=True):
            _notes(path, sound, as_json)
            chunks = (sound.samples[i : i + chunk] for i in range(0, len(sound.samples), chunk))
            teller.tell(path, stack.listen(chunks), stack)
        if live:
            if not as_json:
                note("listening; Ctrl-C ends")
            for events in utterances(stack, microphone(rate, chunk)):
                teller.tell(MICROPHONE, events, stack)


@dataclass(frozen=True)
class Setup:
    """What listens: everything but the programs and the audio."""

    engine: str
    config: NpuConfig
    device: dict
    options: StackOptions
    speakers: Speakers | None = None
    bias: ContextBias | None = None

    @contextmanager
    def stack(self, programs: StackPrograms, quiet: bool) -> Iterator[Stack]:
        """A stack, ready; its devices are closed at the end."""

        def opened() -> Device:
            return open_device(self.engine, self.config, **self.device)

        with programs.opened(opened) as devices:
            with progress_bar(quiet) as bar:
                bar.task(starting(self.engine, self.config))
                stack = Stack(programs.programs, devices, self.options, self.speakers)
                if self.bias:
                    self.bias.start(stack.recognizer, bar, quiet)
            for text in () if quiet else programs.missing:
                note(text)
            yield stack


def utterances(stack: Stack, chunks: Iterable[NDArray[np.int16]]) -> Iterator[Iterator]:
    """The events of one utterance after another; each is to be followed to its end."""
    chunks = iter(chunks)
    for first in chunks:
        yield stack.listen(chain([first], chunks))


def _known(path: Path | None, threshold: float | None, without: list[str]) -> Speakers | None:
    if path is None:
        if threshold is not None:
            raise Failure("--threshold is for speakers; name their file with --speakers")
        return None
    if SPEAKER in without:
        raise Failure("--speakers needs the network that --without speaker leaves out")
    found = Speakers.read(path, net_hash(default_model(NETWORKS[SPEAKER].checkpoint)))
    return found if threshold is None else found.with_threshold(threshold)


def _programs(
    model: Path | None, npu: str | None, bias: ContextBias | None, shared: bool, without: list[str]
) -> tuple[StackPrograms, NpuConfig]:
    if shared:
        if bias and bias.adapter:
            raise Failure("--context needs a processor of the recognizer's own; leave --shared out")
        config = NpuConfig.load(npu or DEFAULT_NPU)
        programs = link_programs(model, config, without)
    else:
        program, config = load_program(model, npu, bias.adapter if bias else None)
        programs = load_programs(program, config, without)
    if bias:
        bias.check(programs.programs[RECOGNIZER])
    return programs, config


def _notes(path: Path, audio: Audio, quiet: bool) -> None:
    for text in () if quiet else audio.notes:
        note(f"{path}: {text}")
