"""How ossicle listen tells events: JSON lines, or lines for people and the text with its facts below."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ossicle.hw.config import NpuConfig
from ossicle.runtime.commands.running import lattice_json, nbest_json
from ossicle.runtime.scheduling.networks import LANGUAGE, SPEAKER, WHISPER
from ossicle.runtime.session import PARTIAL
from ossicle.runtime.stack import Stack
from ossicle.runtime.stack_events import (
    FINAL,
    INTENT,
    RESET,
    SPECULATIVE,
    StackEvent,
    verdicts_json,
)
from rich.console import Console
from rich.live import Live
from rich.text import Text

UNKNOWN = {"intent": None, "slots": {}, "whispered": None, "speaker": None}
"""Of a final event, where nothing says it."""


def event_json(event: StackEvent, path: Path) -> dict:
    """A line of --json."""
    made: dict = {
        "event": event.kind, "file": str(path), "text": event.text, "audio_s": event.audio_s,
        "cycles": event.cycles, "at_cycle": event.at_cycle,
    }  # fmt: skip
    if event.kind in (SPECULATIVE, RESET, FINAL):
        made["silence_s"] = event.silence_s
    if event.kind == FINAL:
        made |= {"revised": event.revised, "end_point": event.silence_s is not None, **UNKNOWN}
    made |= verdicts_json(event)
    if event.result:
        made["nbest"] = nbest_json(event.result.nbest)
        made["lattice"] = lattice_json(event.result.lattice) if event.result.lattice else None
    return made


@dataclass(frozen=True)
class Teller:
    """Tells one utterance after another."""

    engine: str
    config: NpuConfig
    as_json: bool

    def tell(self, path: Path, events: Iterable[StackEvent], stack: Stack) -> None:
        """Tell each event as it comes; then, to people, the text and what it took."""
        seen: list[StackEvent] = []
        with _line(self.as_json) as shown:
            for event in events:
                seen.append(event)
                if self.as_json:
                    sys.stdout.write(json.dumps(event_json(event, path), ensure_ascii=False) + "\n")
                    sys.stdout.flush()
                else:
                    shown(event)
        if not self.as_json:
            print(seen[-1].text)
            spoken = stack.session.spoken
            print("\n".join(self._facts(seen, spoken[1] / stack.sample_rate if spoken else None)))

    def _facts(self, seen: list[StackEvent], spoken_s: float | None) -> Iterator[str]:
        final = seen[-1]
        intent = next((e for e in reversed(seen) if e.kind == INTENT), None)
        if final.silence_s is None:
            yield "no end-point: the audio ended before one"
        if intent and spoken_s is not None:
            yield f"intent known {self._when(intent, intent.audio_s - spoken_s)} after the last speech heard"
        if final.cycles is None:
            yield f"{self.engine} device counts no cycles; {final.audio_s:.2f} s of audio"
            return
        milliseconds = final.cycles / self.config.clock_mhz / 1000
        yield (
            f"{final.cycles:,} cycles of all networks on {self.config.name} ({self.engine}) = "
            f"{milliseconds:.1f} ms at {self.config.clock_mhz} MHz for {final.audio_s:.2f} s of audio"
        )

    def _when(self, event: StackEvent, waited_s: float) -> str:
        if event.at_cycle is None:
            return f"{1000 * waited_s:.0f} ms"
        work = event.at_cycle / self.config.clock_mhz / 1000 - 1000 * event.audio_s
        return f"{1000 * waited_s:.0f} ms + {work:.1f} ms of work"


@contextmanager
def _line(quiet: bool) -> Iterator[Callable[[StackEvent], None]]:
    """Shows events to people: on a terminal the words so far are one line that changes."""
    console = Console(highlight=False)
    if quiet or not console.is_terminal:
        yield lambda event: print(told(event), flush=True)
        return

    def show(event: StackEvent) -> None:
        if event.kind == PARTIAL:
            live.update(Text(told(event)), refresh=True)
        else:
            console.print(Text(told(event)))

    with Live(Text(), console=console, transient=True, auto_refresh=False) as live:
        yield show


def told(event: StackEvent) -> str:
    """A line of one event."""
    mark = "" if event.kind == PARTIAL else f"[{event.kind.replace('_', ' ')}] "
    return f"{event.audio_s:7.2f} s  {mark}{_said(event)}"


def _said(event: StackEvent) -> str:
    if event.kind == INTENT and event.intent:
        slots = "".join(f", {slot}: {value}" for slot, value in event.intent.slots.items())
        return f"{event.intent.name} ({event.intent.posterior:.2f}){slots}"
    if event.kind == WHISPER and event.voice:
        return f"{'whispered' if event.voice.whispered else 'voiced'} ({event.voice.probability:.2f})"
    if event.kind == SPEAKER and event.speaker:
        score = "" if event.speaker.score is None else f" (best cosine {event.speaker.score:.2f})"
        return (event.speaker.name or "nobody enrolled") + score
    if event.kind == LANGUAGE and event.language:
        return f"{event.language.code} ({event.language.probability:.2f})"
    return event.text
