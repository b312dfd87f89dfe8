"""How right and how soon the stack is, over recordings whose texts, meanings and ends of speech are known.

    stand         speculative ends whose text is the final one and that no reset took back / all of them
    intent right  the final event's intent is the row's; meaning right: its slots and their values too
    latency       end of speech to the moment at which an event is known, on the processor's clock
    work          the part of it after the audio that the event needs was heard: jobs, and waiting for others

Jobs are scheduled on one processor as `scheduling.scheduler` says. Latencies are of utterances that were not
cut off. Shares are in percent with the Wilson interval of 95 %.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np
from ossicle.runtime.endpoint_clips import Clip, read_clip
from ossicle.runtime.endpoint_curve import quantiles
from ossicle.runtime.lattice_measures import Counts, count
from ossicle.runtime.lattice_measures import summary as lattice_summary
from ossicle.runtime.scheduling.journal import STACK_TASKS
from ossicle.runtime.scheduling.networks import ENDPOINT, LM, NLU, RECOGNIZER
from ossicle.runtime.scheduling.scheduler import schedule
from ossicle.runtime.stack import Stack
from ossicle.runtime.stack_events import FINAL, INTENT, RESET, SPECULATIVE, StackEvent

CHUNK = 1600
Z = 1.96  # of a normal distribution, 95 %
HEARING = (RECOGNIZER, ENDPOINT, LM)
NEEDS: dict[str, Sequence[str]] = {SPECULATIVE: HEARING, INTENT: (NLU,), FINAL: ()}
"""Networks whose jobs before an event it needs; none: all jobs."""


@dataclass(frozen=True)
class Times:
    """Of an event, in seconds: from the end of speech until it is known, and what of it is work."""

    latency: float
    work: float


@dataclass(frozen=True)
class Outcome:
    """Of one recording. None is what its row does not say, or what did not happen."""

    cut_off: bool
    speculatives: int
    stands: bool
    intent: bool | None
    meaning: bool | None
    whispered: bool | None
    """What the row says; `heard_whispered`: what the stack does."""
    heard_whispered: bool | None
    times: dict[str, Times]
    """Of the events of NEEDS that count in the end."""
    counts: Counts | None
    """See `lattice_measures`; of a row with a text."""


def measure(stack: Stack, row: dict) -> Outcome:
    """Listen to a row's recording in its room.

    Raises:
        AudioError, Failure: see `read_clip`.
        DeviceFault: a job stopped with a fault.
    """
    clip = read_clip(row)
    chunks = (clip.samples[i : i + CHUNK] for i in range(0, len(clip.samples), CHUNK))
    events = list(stack.listen(chunks))
    final = events[-1]
    standing = _standing(events)
    counts = None
    if row.get("text") and final.result and final.result.lattice:
        counts = count(final.result.lattice, row["text"], 2 * round(final.audio_s * stack.sample_rate))
    right = None if "intent" not in row else final.intent is not None and final.intent.name == row["intent"]
    slots = final.intent.slots if final.intent else {}
    return Outcome(
        final.audio_s < clip.end_s, sum(e.kind == SPECULATIVE for e in events),
        SPECULATIVE in standing and not final.revised, right,
        None if right is None else right and slots == row.get("slots", {}),
        row.get("whisper"), final.voice.whispered if final.voice else None,
        _times(stack, clip, {**standing, FINAL: final}), counts,
    )  # fmt: skip


def _standing(events: Sequence[StackEvent]) -> dict[str, StackEvent]:
    """The speculative end and the intent that nothing takes back."""
    found: dict[str, StackEvent] = {}
    for event in events:
        if event.kind == RESET:
            found.clear()
        elif event.kind in (SPECULATIVE, INTENT):
            found[event.kind] = event
    return found


def _times(stack: Stack, clip: Clip, events: dict[str, StackEvent]) -> dict[str, Times]:
    clock_hz = round(stack.recognizer.driver.device.config.clock_mhz * 1e6)
    done = schedule(stack.jobs, STACK_TASKS, clock_hz, stack.sample_rate)
    made = {}
    for kind, event in events.items():
        needed = NEEDS[kind]
        ends = [
            one.end for one in done if one.index < event.jobs and (not needed or one.job.network in needed)
        ]
        known = max(event.audio_s, max(ends, default=0) / clock_hz)
        made[kind] = Times(known - clip.end_s, known - event.audio_s)
    return made


def summary(outcomes: Sequence[Outcome]) -> dict:
    """The measures of the head of this file, those of MEASURES one after another."""
    made: dict = {"utterances": len(outcomes)}
    for measures in MEASURES:
        made |= measures(outcomes)
    return made


def ends(outcomes: Sequence[Outcome]) -> dict:
    """Of the end-pointers."""
    return {
        "cut_off": share(one.cut_off for one in outcomes),
        "speculatives": sum(one.speculatives for one in outcomes),
        "stand": share_of(sum(one.stands for one in outcomes), sum(one.speculatives for one in outcomes)),
    }


def meanings(outcomes: Sequence[Outcome]) -> dict:
    """Of the meaning, over rows that name one."""
    return {
        "intent_right": share(one.intent for one in outcomes if one.intent is not None),
        "meaning_right": share(one.meaning for one in outcomes if one.meaning is not None),
    }


def voices(outcomes: Sequence[Outcome]) -> dict:
    """Of the whisper detector, over rows that say: right; whispers missed; voices taken for whispers."""
    known = [one for one in outcomes if None not in (one.whispered, one.heard_whispered)]
    return {
        "whisper_right": share(one.whispered == one.heard_whispered for one in known),
        "whisper_missed": share(not one.heard_whispered for one in known if one.whispered),
        "whisper_false": share(one.heard_whispered for one in known if not one.whispered),
    }


def latencies(outcomes: Sequence[Outcome]) -> dict:
    """Of each kind of event, ms, median and 90th percentile: `latency_ms`, and what of it is `work_ms`."""
    whole = [one.times for one in outcomes if not one.cut_off]
    kinds = {kind: [times[kind] for times in whole if kind in times] for kind in NEEDS}
    before = [t[FINAL].latency - t[INTENT].latency for t in whole if INTENT in t]
    return {
        "latency_ms": {kind: quantiles([one.latency for one in times]) for kind, times in kinds.items()},
        "work_ms": {kind: _fine([one.work for one in times]) for kind, times in kinds.items()},
        "intent_before_final_ms": quantiles(before),
    }


def lattices(outcomes: Sequence[Outcome]) -> dict:
    """Of the final lattices, see `lattice_measures.summary`."""
    return {"lattice": lattice_summary([one.counts for one in outcomes if one.counts])}


MEASURES: tuple[Callable[[Sequence[Outcome]], dict], ...] = (ends, meanings, voices, latencies, lattices)
"""Each gives keys of its own; more are added here."""


def share(right: Iterable[bool | None]) -> dict[str, float | None]:
    """Percent of those that are true, and its interval."""
    found = [bool(one) for one in right]
    return share_of(sum(found), len(found))


def share_of(part: int, whole: int) -> dict[str, float | None]:
    """Percent `value`, with `low` and `high` (Wilson 1927), `of` so many; None of none."""
    if not whole:
        return {"value": None, "low": None, "high": None, "of": 0}
    rate, square = part / whole, Z * Z / whole
    middle, reach = rate + square / 2, Z * sqrt(rate * (1 - rate) / whole + square / (4 * whole))
    low, high = (middle - reach) / (1 + square), (middle + reach) / (1 + square)
    made = {"value": rate, "low": max(low, 0), "high": min(high, 1)}
    return {name: round(100 * value, 2) for name, value in made.items()} | {"of": whole}


def _fine(seconds: Sequence[float]) -> dict[str, float | None]:
    """Median and 90th percentile in ms, to 10 us."""
    if not len(seconds):
        return {"p50": None, "p90": None}
    p50, p90 = np.percentile(seconds, [50, 90]) * 1000
    return {"p50": round(float(p50), 2), "p90": round(float(p90), 2)}
