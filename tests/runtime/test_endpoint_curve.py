"""Measures of end-pointers from events and signs that are written down here."""

from __future__ import annotations

import numpy as np
import pytest
from ossicle.runtime.console import Failure
from ossicle.runtime.endpoint_clips import HOP, SAMPLE_RATE, TAIL_S, Clip, in_room, loud_frames, read_clip
from ossicle.runtime.endpoint_curve import Heard, Recorder, Trace, curves, quantiles, summary
from ossicle.runtime.endpointer import Decision, EndpointRule, Signs
from ossicle.runtime.session import PARTIAL, Event

RULE = EndpointRule(shortest_s=0.3, slope_s=0.0, longest_s=1.5)


def signs(silence_s):
    return Signs(
        speech=0.0 if silence_s else 0.9,
        silence_s=silence_s,
        still_s=silence_s,
        pieces=2,
        version=1,
        whole=-0.1,
    )


def trace(pause_s, end_s=2.0):
    """Speech to 1 s, a pause, speech to `end_s`, then silence; moments of 30 ms from 60 ms on."""
    times = 0.06 + 0.03 * np.arange(150)
    since = [
        t - (1.0 if 1 <= t < 1 + pause_s else end_s) if 1 <= t < 1 + pause_s or t > end_s else 0
        for t in times
    ]
    return Trace([signs(float(s)) for s in since], 0.03, 0.06, end_s)


def event(kind, audio_s, text="a", **more):
    at = int(audio_s * 1e8) + 200_000
    return Event(str(kind), text, audio_s, 1000, at, **more)


def heard(*events, end_s=2.0, paused=False):
    clip = Clip("a", np.zeros(0, np.int16), end_s, paused)
    return Heard(clip, list(events), trace(0.0))


GOOD = heard(
    event(PARTIAL, 1.0),
    event(Decision.SPECULATIVE, 2.2, silence_s=0.1),
    event(Decision.FINAL, 2.4, silence_s=0.3),
)
RESET = heard(
    event(Decision.SPECULATIVE, 1.2), event(Decision.RESET, 1.5), event(Decision.SPECULATIVE, 2.3),
    event(Decision.FINAL, 2.6, silence_s=0.5, revised=True), paused=True,
)  # fmt: skip
EARLY = heard(event(Decision.SPECULATIVE, 1.2), event(Decision.FINAL, 1.5, silence_s=0.3), paused=True)
NEVER = heard(event(Decision.FINAL, 4.0))


def test_what_is_cut_off_and_what_stands():
    found = summary([GOOD, RESET, EARLY, NEVER], 100)
    assert found["cut_off_percent"] == 25 and found["cut_off_paused_percent"] == 50
    assert (found["speculatives"], found["resets"], found["without_end_point"]) == (4, 1, 1)
    assert found["stand_percent"] == 50  # GOOD's and EARLY's, of four
    assert found["final_ms"]["p50"] == 600 and found["speculative_ms"]["p50"] == 250
    assert found["lead_ms"]["p50"] == 250 and found["work_ms"]["p50"] == 2


def test_a_longer_patience_cuts_off_less_and_takes_longer():
    points = curves([trace(p) for p in (0.0, 0.2, 0.4, 0.6)], RULE)
    for rows in points.values():
        cut = [row["cut_off_percent"] for row in rows]
        assert cut == sorted(cut, reverse=True) and cut[0] == 75 and cut[-1] == 0
        assert rows[-1]["p50_ms"] > rows[0]["p50_ms"]


def test_a_trace_ends_where_its_pointer_does():
    assert trace(0.0).final_s(RULE) == pytest.approx(2.31, abs=0.031)
    assert trace(0.5).final_s(RULE) == pytest.approx(1.32, abs=0.031)
    recorder = Recorder(RULE)
    assert recorder.update(signs(9.0)) == () and len(recorder.seen) == 1
    recorder.reset()
    assert recorder.seen == [] and quantiles([]) == {"p50": None, "p90": None}


def test_a_room_is_below_the_speech_and_goes_on_after_it():
    rng, tone = np.random.default_rng(0), np.zeros(SAMPLE_RATE, np.int16)
    tone[3200:9600] = rng.normal(0, 4000, 6400)
    loud = loud_frames(tone)
    assert (np.flatnonzero(loud) == np.arange(20, 60)).all()
    room = in_room(tone, loud, "a")
    assert len(room) == SAMPLE_RATE * (1 + TAIL_S)
    for part in (room[:3200], room[-8000:]):
        assert 20 * np.log10(4000 / part.astype(float).std()) == pytest.approx(30, abs=2)
    assert (in_room(tone, loud, "x/a") == room).all() and (in_room(tone, loud, "b") != room).any()


def test_a_clip_has_its_end_and_one_of_silence_has_none(tmp_path):
    import soundfile

    samples = np.zeros(SAMPLE_RATE, np.int16)
    soundfile.write(tmp_path / "silent.wav", samples, SAMPLE_RATE)
    with pytest.raises(Failure, match="no speech in it"):
        read_clip({"path": str(tmp_path / "silent.wav")})
    samples[: 50 * HOP] = 5000
    soundfile.write(tmp_path / "a.wav", samples, SAMPLE_RATE)
    assert read_clip({"path": str(tmp_path / "a.wav"), "pauses": []}).end_s == 0.5
    clip = read_clip({"path": str(tmp_path / "a.wav"), "pauses": [[0.1, 0.2]], "speech_end": 0.4})
    assert clip.end_s == 0.4 and clip.paused
