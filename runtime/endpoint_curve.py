"""How early and how wrong the end-pointers are, over recordings whose end of speech is known.

    latency    = time of a decision in audio - end of speech
    cut off    : the final end-point comes before the end of speech
    stands     : a speculative end-point without a reset, with the text of the final result
    lead       = final - the speculative end-point before it

Latencies are of the utterances that were not cut off. The curve stretches the rule's patience by a factor;
beside it is a timer, which waits as long whatever was said. Both are computed from the signs of a second run,
over each whole recording, which the decisions do not change.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from ossicle.runtime.console import plotting
from ossicle.runtime.endpoint_clips import Clip
from ossicle.runtime.endpointer import Decision, EndPointer, EndpointRule, Signs
from ossicle.runtime.session import Event, Session

STRETCHES = np.geomspace(0.25, 2.5, 24)
TIMERS_S = np.arange(0.06, 1.5, 0.06)
CHUNK = 1600  # samples
Times = NDArray[np.float64]


class Recorder(EndPointer):
    """Keeps the signs of an utterance, and decides nothing."""

    def reset(self) -> None:
        """Begin an utterance."""
        super().reset()
        self.seen: list[Signs] = []

    def update(self, signs: Signs) -> tuple[Decision, ...]:
        """No decision."""
        self.seen.append(signs)
        return ()


@dataclass(frozen=True)
class Trace:
    """What was known of a clip, every `step_s`; the first moment is `first_s` after its begin."""

    signs: Sequence[Signs]
    step_s: float
    first_s: float
    end_s: float

    def final_s(self, rule: EndpointRule) -> float:
        """When the rule ends the utterance, in seconds of audio; the last moment if it does not."""
        pointer = EndPointer(rule)
        moments = (k for k, signs in enumerate(self.signs) if Decision.FINAL in pointer.update(signs))
        return self.first_s + self.step_s * next(moments, len(self.signs) - 1)


@dataclass(frozen=True)
class Heard:
    """Of one clip: the events of the session, and what a curve is made of."""

    clip: Clip
    events: Sequence[Event]
    trace: Trace | None = None

    def kind(self, kind: str) -> list[Event]:
        """Its events of a kind."""
        return [event for event in self.events if event.kind == kind]

    @property
    def final(self) -> Event:
        """The last one."""
        return self.events[-1]

    @property
    def cut_off(self) -> bool:
        """Whether the speaker was not done."""
        return self.final.audio_s < self.clip.end_s

    @property
    def standing(self) -> Event | None:
        """The speculative event that no reset took back."""
        made = [event for event in self.events if event.kind in (Decision.SPECULATIVE, Decision.RESET)]
        return made[-1] if made and made[-1].kind == Decision.SPECULATIVE else None

    @property
    def stands(self) -> bool:
        """Whether that one's text is the final one."""
        return self.standing is not None and not self.final.revised


def listen(session: Session, clip: Clip) -> Heard:
    """Run a clip through the session to its final event."""
    return Heard(clip, _run(session, clip.samples))


def trace(session: Session, clip: Clip) -> Trace:
    """Run the whole clip through the session, for the signs."""
    ends = session.endpointing
    assert ends is not None, "a session with end-pointers is wanted"
    pointer, ends.pointer = ends.pointer, Recorder(ends.pointer.rule)
    try:
        _run(session, clip.samples)
        seen = ends.pointer.seen
    finally:
        ends.pointer = pointer
    frontend = ends.net.frontend
    step = frontend.step_samples
    first = -(-frontend.span_samples // step) * step
    rate = frontend.sample_rate
    return Trace(seen, step / rate, first / rate, clip.end_s)


def summary(heard: Sequence[Heard], clock_mhz: float) -> dict[str, Any]:
    """Measures of the head of this file: percent and milliseconds."""
    whole = [one for one in heard if not one.cut_off]
    speculative = sum(len(one.kind(Decision.SPECULATIVE)) for one in heard)
    standing = [(one.clip, one.standing) for one in whole if one.standing]
    return {
        "clips": len(heard),
        "paused": sum(one.clip.paused for one in heard),
        "cut_off_percent": _percent(len(heard) - len(whole), len(heard)),
        "cut_off_paused_percent": _percent(
            sum(one.cut_off and one.clip.paused for one in heard), sum(one.clip.paused for one in heard)
        ),
        "final_ms": quantiles([one.final.audio_s - one.clip.end_s for one in whole]),
        "speculative_ms": quantiles([event.audio_s - clip.end_s for clip, event in standing]),
        "lead_ms": quantiles([one.final.audio_s - one.standing.audio_s for one in whole if one.standing]),
        "work_ms": _work(heard, clock_mhz),
        "speculatives": speculative,
        "stand_percent": _percent(sum(one.stands for one in heard), speculative),
        "resets": sum(len(one.kind(Decision.RESET)) for one in heard),
        "without_end_point": sum(one.final.silence_s is None for one in heard),
    }


def curves(traces: Sequence[Trace], rule: EndpointRule) -> dict[str, list[dict[str, float]]]:
    """Points of the rule, stretched, and of a timer: patience, cut-offs in percent, latencies in ms."""
    made = {"rule": [], "timer": []}
    for factor in STRETCHES.tolist():
        longer = replace(
            rule, shortest_s=rule.shortest_s * factor, slope_s=rule.slope_s * factor,
            longest_s=rule.longest_s * factor,
        )  # fmt: skip
        made["rule"].append({"stretch": round(factor, 4), **_point(traces, longer)})
    for seconds in TIMERS_S.tolist():
        timer = replace(rule, shortest_s=seconds, slope_s=0.0, longest_s=seconds)
        made["timer"].append({"seconds": round(seconds, 3), **_point(traces, timer)})
    return made


def draw(points: dict[str, list[dict[str, float]]], measured: dict[str, Any], path: Path) -> None:
    """Cut-offs against latency, as a PNG.

    Raises:
        Failure: matplotlib is not installed.
    """
    pyplot = plotting()
    figure, axes = pyplot.subplots(1, 2, figsize=(10, 4), sharey=True)
    for axis, key, name in zip(axes, ("p50", "p90"), ("median", "90 %"), strict=True):
        for kind, label in (("rule", "by ear and by text"), ("timer", "timer, by ear alone")):
            rows = points[kind]
            axis.plot([r[f"{key}_ms"] for r in rows], [r["cut_off_percent"] for r in rows], ".-", label=label)
        axis.plot(measured["final_ms"][key], measured["cut_off_percent"], "o", color="black", label="chosen")
        axis.set(xlabel=f"latency of the final end-point, {name}, ms", xlim=(0, 2000), yscale="symlog")
        axis.axhline(1, color="gray", lw=0.8, ls=":")
        axis.grid(alpha=0.3)
    axes[0].set(ylabel="cut off early, % of utterances", ylim=(0, 100))
    axes[0].legend()
    figure.tight_layout()
    figure.savefig(path, dpi=100)
    pyplot.close(figure)


def measure(
    session: Session,
    clips: Sequence[Callable[[], Clip]],
    traced: bool,
    progress: Callable[[int, int], None] | None = None,
) -> list[Heard]:
    """Listen to clips, each read when its turn comes; `traced`: twice, for curves."""
    heard = []
    for read in clips:
        clip = read()
        made = listen(session, clip)
        heard.append(replace(made, trace=trace(session, clip)) if traced else made)
        if progress:
            progress(len(heard), len(clips))
    return heard


def quantiles(seconds: Sequence[float]) -> dict[str, float | None]:
    """Median and 90th percentile, in whole milliseconds."""
    if not len(seconds):
        return {"p50": None, "p90": None}
    p50, p90 = np.percentile(seconds, [50, 90]) * 1000
    return {"p50": round(float(p50)), "p90": round(float(p90))}


def _run(session: Session, samples: NDArray[np.int16]) -> list[Event]:
    session.begin()
    rate, made = session.recognizer.frontend.sample_rate, []
    for start in range(0, len(samples), CHUNK):
        made += session.accept_waveform(rate, samples[start : start + CHUNK])
        if session.done:
            return made
    return made + session.finish()


def _point(traces: Sequence[Trace], rule: EndpointRule) -> dict[str, float]:
    late = np.array([trace.final_s(rule) - trace.end_s for trace in traces])
    kept = late[late >= 0]
    p50, p90 = np.percentile(kept, [50, 90]) * 1000 if len(kept) else (np.nan, np.nan)
    return {
        "cut_off_percent": _percent(len(late) - len(kept), len(late)),
        "p50_ms": round(float(p50)), "p90_ms": round(float(p90)),
    }  # fmt: skip


def _work(heard: Sequence[Heard], clock_mhz: float) -> dict[str, float | None] | None:
    """From the audio of a final end-point to its result, in the processor's time."""
    finals = [one.final for one in heard]
    known = [(e.at_cycle / clock_mhz / 1e6) - e.audio_s for e in finals if e.at_cycle is not None]
    return quantiles(known) if known else None


def _percent(part: int, whole: int) -> float:
    return round(100 * part / whole, 2) if whole else 0.0
