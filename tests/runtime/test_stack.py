"""The whole stack: chunks do not show, what is begun early is taken back, and every job has its time."""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from ossicle.runtime.endpointer import EndpointRule
from ossicle.runtime.programs import load_program, sample_files
from ossicle.runtime.recognizer import StreamError
from ossicle.runtime.scheduling.journal import STACK_TASKS
from ossicle.runtime.scheduling.scheduler import schedule
from ossicle.runtime.speakers import Person, Speakers
from ossicle.runtime.stack import Stack
from ossicle.runtime.stack_networks import StackOptions
from ossicle.runtime.stack_programs import link_programs, load_programs
from ossicle.sim.device import open_device

RATE = 16000
CHUNKS = st.lists(st.integers(1, 5000), min_size=1, max_size=30)
HASTY = EndpointRule(shortest_s=0.09, slope_s=0.0, longest_s=0.09, lead_s=0.06, still_s=0.0)
PATIENT = EndpointRule(shortest_s=9, slope_s=0.0, longest_s=9, lead_s=8.8, still_s=0.0)
NOBODY = Speakers("", 0.4, {})


def in_room(*parts):
    """Samples one after another, with the noise of a quiet room."""
    samples = np.concatenate(parts).astype(float)
    samples += np.random.default_rng(0).normal(0, 20, len(samples))
    return np.clip(np.rint(samples), -32768, 32767).astype(np.int16)


def said(number):
    return soundfile.read(sample_files()[number], dtype="int16")[0]


@pytest.fixture(scope="module")
def programs():
    """Of all networks, for processors of their own."""
    program, config = load_program(None, "base")
    return load_programs(program, config)


@contextmanager
def opened(programs, engine="fast", speakers=None, **options):
    config = next(iter(programs.programs.values())).config
    with programs.opened(lambda: open_device(engine, config)) as devices:
        yield Stack(programs.programs, devices, StackOptions(**options), speakers)


def heard(stack, samples, sizes=(1600,)):
    """All events of an utterance in chunks of the sizes, over and over."""
    stack.begin()
    made, at, k = [], 0, 0
    while at < len(samples) and not stack.done:
        size = sizes[k % len(sizes)]
        made += stack.process(samples[at : at + size], RATE)
        at, k = at + size, k + 1
    return made + stack.finish()


def kinds(events):
    return [event.kind for event in events if event.kind != "partial"]


@pytest.fixture(scope="module")
def functional(programs):
    with opened(programs, "functional", NOBODY, rule=HASTY, nbest=2) as stack:
        yield stack


SHORT = in_room(said(1)[:9600], np.zeros(8000))


@pytest.fixture(scope="module")
def whole(functional):
    return heard(functional, SHORT, [len(SHORT)])


@given(CHUNKS)
@settings(max_examples=5)
def test_chunks_do_not_show(functional, whole, sizes):
    """Every event bit for bit: texts, lattices, probabilities, scores."""
    ends = {"partial", "speculative_end", "intent", "speaker", "whisper", "language", "final"}
    assert ends <= {event.kind for event in whole}
    functional.networks.language.forget()
    assert heard(functional, SHORT, sizes) == whole


def test_where_no_cycles_are_counted_there_are_none(functional, whole):
    assert {(event.cycles, event.at_cycle, event.jobs) for event in whole} == {(None, None, 0)}
    assert functional.jobs == []


def test_the_meaning_begins_at_the_speculative_end_and_stands(programs):
    with opened(programs) as stack:
        events = heard(stack, in_room(said(2), np.zeros(2 * RATE)))
        early = [event for event in events if event.kind == "intent"]
        final = events[-1]
        assert kinds(events)[:2] == ["speculative_end", "intent"] and len(early) == 1
        assert final.text == "it is too cold in the guest room" and not final.revised
        assert final.intent == early[0].intent and final.intent.slots["room"] == "guest room"
        assert early[0].audio_s < final.audio_s and not final.voice.whispered
        assert final.speaker is None and final.result.lattice
        with pytest.raises(StreamError, match="after the final event"):
            stack.process(SHORT, RATE)


def test_speech_that_goes_on_takes_the_meaning_back(programs):
    with opened(programs, rule=PATIENT) as stack:
        events = heard(stack, in_room(said(1), np.zeros(6400), said(2)))
    assert kinds(events)[:3] == ["speculative_end", "intent", "reset"]
    assert kinds(events)[-4:] == ["intent", "whisper", "language", "final"]
    final = events[-1]
    assert "wine cooler" in final.text and "guest room" in final.text and not final.revised
    assert final.silence_s is None and final.intent == [e for e in events if e.kind == "intent"][-1].intent


def test_another_final_text_is_a_revision_and_understood_anew(programs):
    """The rule is so hasty that the model writes the last word out only at the end."""
    with opened(programs, rule=HASTY) as stack:
        events = heard(stack, in_room(said(1), np.zeros(RATE)))
    early, final = next(e for e in events if e.kind == "speculative_end"), events[-1]
    order = kinds(events)
    assert order[order.index("revision") + 1] == "intent" and order[-1] == "final"
    assert final.revised and early.text != final.text == "switch off the wine cooler in the attic"
    assert final.intent.slots["room"] == "attic"


@pytest.fixture(scope="module")
def apart(programs):
    samples = in_room(said(1), np.zeros(2 * RATE))
    with opened(programs) as stack:
        return heard(stack, samples), stack.jobs, samples


def test_every_job_is_in_the_record_and_has_its_time(apart, programs):
    events, jobs, _ = apart
    final = events[-1]
    assert final.jobs == len(jobs) and final.cycles == sum(job.cycles for job in jobs)
    for key in ("audio_s", "cycles", "at_cycle", "jobs"):
        values = [getattr(event, key) for event in events]
        assert values == sorted(values)
    clock = 1e6 * programs.programs["recognizer"].config.clock_mhz
    for event in events:
        assert event.at_cycle >= int(event.audio_s * clock)
    assert {job.network for job in jobs} == set(programs.programs) - {"speaker"}
    assert Counter(job.entry for job in jobs if job.network == "nlu") == {"reset": 1, "step": 16}
    assert all(job.release <= final.audio_s * RATE for job in jobs)
    assert "prepare" not in {job.entry for job in jobs}


def test_a_scheduler_takes_the_record(apart, programs):
    events, jobs, _ = apart
    clock_hz = programs.programs["recognizer"].config.clock_mhz * 1_000_000
    done = schedule(jobs, STACK_TASKS, clock_hz)
    assert sorted(one.index for one in done) == list(range(len(jobs)))
    assert not any(one.missed for one in done)
    intent = next(event for event in events if event.kind == "intent")
    assert jobs[intent.jobs - 1].network == "nlu"


def test_a_shared_processor_gives_the_same_events_later(apart, programs):
    events, _, samples = apart
    linked = link_programs(None, programs.programs["recognizer"].config)
    with opened(linked, shared=True) as stack:
        found = heard(stack, samples)

    def plain(made):
        return [replace(event, cycles=None, at_cycle=None, jobs=0) for event in made]

    assert plain(found) == plain(events)
    assert "language" in kinds(found) and found[-1].language.code == "en"
    assert found[-1].at_cycle > events[-1].at_cycle


@pytest.mark.parametrize("without", [["nlu"], ["whisper", "lm"], ["endpoint"]])
def test_a_network_that_is_left_out_tells_nothing(without):
    program, config = load_program(None, "base")
    programs = load_programs(program, config, [*without, "language"])
    assert not set(without) & set(programs.programs)
    with opened(programs) as stack:
        events = heard(stack, in_room(said(2), np.zeros(2 * RATE)))
    expected = ["speculative_end", "intent", "whisper", "final"]
    for name, kind in (("nlu", "intent"), ("whisper", "whisper"), ("endpoint", "speculative_end")):
        if name in without:
            expected.remove(kind)
    assert kinds(events) == expected and events[-1].text == "it is too cold in the guest room"
    if "nlu" in without:
        assert events[-1].intent is None
    if "endpoint" in without:
        assert events[-1].silence_s is None and events[-1].audio_s > 4


def test_the_speaker_of_the_best_score_is_named(programs):
    samples = in_room(said(2), np.zeros(2 * RATE))
    with opened(programs, speakers=NOBODY) as stack:
        events = heard(stack, samples)
        assert events[-1].speaker.name is None and events[-1].speaker.score is None
        vector = stack.networks.speaker.vector(stack.session.spoken)
    people = {"anna": Person(vector, 1, 2.0), "bert": Person(-vector, 1, 2.0)}
    with opened(programs, speakers=Speakers("", 0.4, people)) as stack:
        event = next(e for e in heard(stack, samples) if e.kind == "speaker")
        assert event.speaker.name == "anna" and event.speaker.score == pytest.approx(1)
        other = heard(stack, in_room(said(0), np.zeros(2 * RATE)))[-1]
        assert other.speaker.score < 0.99


def test_nothing_said_is_a_final_event_alone(programs):
    with opened(programs, speakers=NOBODY) as stack:
        (final,) = [e for e in heard(stack, SHORT[:0]) if e.kind != "speaker"]
    assert (final.kind, final.text, final.intent, final.voice, final.audio_s) == ("final", "", None, None, 0)


def test_other_audio_is_refused(functional):
    functional.begin()
    with pytest.raises(StreamError, match="8000 Hz; the model takes 16000"):
        functional.process(SHORT, 8000)


@pytest.mark.slow
@pytest.mark.rtl
@pytest.mark.timeout(1800)
def test_the_verilog_gives_the_same_events_cycles_and_bits(programs):
    """All networks on one processor, a shipped recording from its begin to its final end-point."""
    config = programs.programs["recognizer"].config
    linked, samples = link_programs(None, config), in_room(said(1), np.zeros(RATE // 2))
    found = {}
    for engine in ("fast", "rtl"):
        with opened(linked, engine, NOBODY, shared=True) as stack:
            found[engine] = heard(stack, samples), stack.jobs
    assert found["fast"][0][-1].silence_s is not None and "intent" in kinds(found["fast"][0])
    assert found["rtl"] == found["fast"]
