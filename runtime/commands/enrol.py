"""ossicle enrol: people made known by their voice, to be named by ossicle listen."""

from __future__ import annotations

from contextlib import ExitStack, closing
from pathlib import Path
from typing import Annotated, Any

import typer
from ossicle.compiler.api import compile_checkpoint
from ossicle.hw.config import NpuConfig
from ossicle.runtime.audio import read_audio
from ossicle.runtime.commands.running import starting
from ossicle.runtime.console import (
    EngineOption,
    Failure,
    JsonOption,
    NpuOption,
    check_engine,
    check_output,
    note,
    print_json,
    print_table,
    progress_bar,
)
from ossicle.runtime.endpoint_net import EndpointNet
from ossicle.runtime.endpointing import ENDPOINT_NET
from ossicle.runtime.enrolment import Enrolment, Voiceprint, card_threshold, person
from ossicle.runtime.programs import DEFAULT_NPU, default_model
from ossicle.runtime.scheduling.networks import NETWORKS, SPEAKER
from ossicle.runtime.speaker import SpeakerEncoder, enrolled
from ossicle.runtime.speakers import Speakers, net_hash
from ossicle.sim.device import Device, open_device

CLIPS = 3
LONGEST_NAME = 64
SPEAKER_NET = NETWORKS[SPEAKER].checkpoint


def enrol(
    speakers: Annotated[Path, typer.Option(help="The file of speakers; made if there is none.")],
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Who speaks.")] = None,
    recordings: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[FILE...]", help=f"Recordings of that person; {CLIPS} or more are best."),
    ] = None,
    list_them: Annotated[bool, typer.Option("--list", help="Say who is enrolled.")] = False,
    remove: Annotated[str | None, typer.Option(help="Forget this person.", metavar="NAME")] = None,
    threshold: Annotated[
        float | None, typer.Option(help="Cosine from which a voice is a person's; default: the net's own.")
    ] = None,
    engine: EngineOption = "fast",
    npu: NpuOption = None,
    as_json: JsonOption = False,
) -> None:
    """Enrol a person: a vector of the voice, by a net on the simulated processor, kept in a small file."""
    check_engine(engine)
    if sum([name is not None, list_them, remove is not None]) != 1:
        raise Failure("give a name and recordings, or --list, or --remove NAME")
    if threshold is not None and not -1 < threshold < 1:
        raise Failure(f"--threshold {threshold} is not possible; a cosine lies between -1 and 1")
    said: dict[str, Any] = {}
    if list_them:
        found = Speakers.read(speakers)
    elif remove is not None:
        found, said = Speakers.read(speakers).without(remove), {"removed": remove}
        found.write(speakers)
    else:
        check_output(speakers)
        found, said = _enrol(_checked(name), recordings or [], speakers, threshold, engine, npu, as_json)
    people = found.people.items()
    rows = [{"name": name, "clips": one.clips, "seconds": round(one.seconds, 2)} for name, one in people]
    if as_json:
        print_json({"speakers": speakers, "threshold": found.threshold, **said, "people": rows})
        return
    for line in ("enrolled", "removed"):
        if line in said:
            print(f"{line}: {said[line]}")
    print_table("clips", said.get("clips", []))
    print_table(f"{speakers}: {len(rows)} enrolled, cosine from {found.threshold:g}", rows)


def _checked(name: str | None) -> str:
    name = " ".join((name or "").split())
    if not name or len(name) > LONGEST_NAME or not name.isprintable():
        raise Failure(f"a name of 1 to {LONGEST_NAME} printable characters is needed, not {name!r}")
    return name


def _enrol(
    name: str, recordings: list[Path], path: Path, threshold: float | None, engine: str, npu: str | None,
    as_json: bool,
) -> tuple[Speakers, dict]:  # fmt: skip
    """Hear the clips and write the file; who is known then, and what is said of the clips."""
    if not recordings:
        raise Failure(f"name recordings of {name}: ossicle enrol {name} FILE.wav... --speakers {path}")
    clips = [read_audio(one) for one in recordings]
    checkpoint, config = default_model(SPEAKER_NET), NpuConfig.load(npu or DEFAULT_NPU)
    program, net = compile_checkpoint(checkpoint, config), net_hash(checkpoint)
    known = Speakers.read(path, net) if path.exists() else Speakers(net, card_threshold(program), {})
    if threshold is not None:
        known = known.with_threshold(threshold)
    with progress_bar(as_json) as bar, ExitStack() as stack:
        bar.task(starting(engine, config))

        def opened() -> Device:
            return stack.enter_context(closing(open_device(engine, config)))

        ear = EndpointNet(opened(), compile_checkpoint(default_model(ENDPOINT_NET), config))
        enrolment = Enrolment(ear, SpeakerEncoder(opened(), program))
        prints = []
        for recording, clip in zip(recordings, clips, strict=True):
            bar.task(f"{recording}: {clip.seconds:.2f} s of audio")
            prints.append(enrolment.hear(str(recording), clip.samples))
            bar.step(len(prints), len(clips))
    made = known.with_person(name, person(prints))
    made.write(path)
    rows = _rows(recordings, prints)
    if not as_json:
        _advise(rows, made.threshold)
    return made, {"enrolled": name, "replaced": name in known.people, "clips": rows}


def _rows(recordings: list[Path], prints: list[Voiceprint]) -> list[dict]:
    """Of each clip: its speech, and its cosine with the others."""
    rows = []
    for index, (recording, one) in enumerate(zip(recordings, prints, strict=True)):
        others = [other.vector for other in prints[:index] + prints[index + 1 :]]
        score = round(float(enrolled(others) @ one.vector), 4) if others else None
        rows.append({"file": str(recording), "seconds": round(one.seconds, 2), "score": score})
    return rows


def _advise(rows: list[dict], threshold: float) -> None:
    for row in rows:
        if row["score"] is not None and row["score"] < threshold:
            note(f"{row['file']} sounds like somebody else than the other clips (cosine {row['score']:.2f})")
    if len(rows) < CLIPS:
        note(f"enrolled by {len(rows)} of the {CLIPS} clips or more that make the fewest errors")
