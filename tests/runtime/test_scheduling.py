"""The speech stack's networks on one processor: what each says, the jobs noted, the command."""

from __future__ import annotations

import json
from contextlib import closing

import numpy as np
import pytest
import soundfile
from ossicle.compiler.api import compile_checkpoint
from ossicle.compiler.link import members
from ossicle.hw.config import PRESETS
from ossicle.runtime import cli
from ossicle.runtime.console import Failure
from ossicle.runtime.endpoint_clips import read_clip
from ossicle.runtime.endpointing import EndpointPrograms
from ossicle.runtime.nlu import Nlu
from ossicle.runtime.programs import MEANINGS_MODEL, default_model, sample_files
from ossicle.runtime.recognizer import Recognizer
from ossicle.runtime.scheduling.journal import END_OF_TEXT, RESCORING, Journal
from ossicle.runtime.scheduling.music import Trials
from ossicle.runtime.scheduling.networks import (
    LANGUAGE,
    LM,
    NETWORKS,
    NLU,
    RECOGNIZER,
    SPEAKER,
    WHISPER,
    link_stack,
)
from ossicle.runtime.scheduling.tasks import Task
from ossicle.runtime.scheduling.workload import Workload
from ossicle.runtime.session import Session
from ossicle.sim.device import DeviceError, RunResult, open_device
from ossicle.sim.shared import SharedDevice

BASE, SMALL = PRESETS["base"], PRESETS["small"]
RATE = 16000


@pytest.fixture(scope="module")
def program():
    return link_stack(BASE)


@pytest.fixture(scope="module")
def clip():
    return read_clip({"path": str(sample_files()[1])}).samples


@pytest.fixture(scope="module")
def work(program, clip):
    with closing(open_device("fast", BASE)) as device:
        made = Workload(device, program)
        made.run(clip)
    return made


def test_sessions_on_views_say_what_they_say_alone(program, clip):
    """Events of the recognizer and the end-pointers, lattices and all, and the meaning of a text."""
    alone = compile_checkpoint(default_model(), BASE)
    with closing(open_device("fast", BASE)) as device:
        shared = SharedDevice(device, program)
        views = [shared.view(name) for name in ("endpoint", LM)]
        loaded = EndpointPrograms(views[0].program, views[1].program)
        recognizer = Recognizer(shared.view(RECOGNIZER), shared.programs[RECOGNIZER])
        session = Session(recognizer, loaded.start(lambda: views.pop(0)))
        own = Session(
            Recognizer(open_device("fast", BASE), alone),
            EndpointPrograms.load(alone, BASE).start(lambda: open_device("fast", BASE)),
        )
        said, expected = ([*one.accept_waveform(RATE, clip), *one.finish()] for one in (session, own))
        assert [event.kind for event in said] == [event.kind for event in expected] and len(said) > 3
        for event, other in zip(said, expected, strict=True):
            assert (event.text, event.audio_s, event.silence_s) == (
                other.text,
                other.audio_s,
                other.silence_s,
            )
            assert event.result == other.result
        nlu = Nlu(shared.view(NLU), shared.programs[NLU])
        other = Nlu(open_device("fast", BASE), compile_checkpoint(default_model(MEANINGS_MODEL), BASE))
        text = said[-1].text
        assert nlu.parse(text) == other.parse(text)


def test_jobs_of_an_utterance_are_noted_with_what_they_follow(work, clip):
    jobs = work.journal.jobs
    names = {job.task for job in jobs}
    assert names == {RECOGNIZER, "endpoint", END_OF_TEXT, RESCORING, NLU, WHISPER, SPEAKER, LANGUAGE}
    assert all(job.cycles > 0 for job in jobs) and not any(job.entry == "prepare" for job in jobs)
    assert [job.release for job in jobs] == sorted(job.release for job in jobs)
    assert max(job.release for job in jobs) <= len(clip) and work.journal.now == len(clip)
    encoded = [job for job in jobs if job.entry == "encode"]
    assert {job.deadline - job.release for job in encoded} == {960}
    slow = [job for job in jobs if job.task in (WHISPER, SPEAKER, LANGUAGE)]
    assert {job.deadline - job.release for job in slow} == {1920}
    reads = {job.task: {jobs[index].network for index in job.after} for job in jobs}
    assert reads[END_OF_TEXT] == {RECOGNIZER, "endpoint"}
    assert reads[RESCORING] == {RECOGNIZER} and reads[NLU] == {RECOGNIZER, LM} and not reads[RECOGNIZER]
    assert all(index < number for number, job in enumerate(jobs) for index in job.after)
    assert work.texts[0].split()


def test_utterances_follow_one_another_in_audio_time(work, program, clip):
    with closing(open_device("fast", BASE)) as device:
        made = Workload(device, program)
        made.run(clip)
        made.run(clip)
    first, count = work.journal.jobs, len(work.journal.jobs)
    assert made.journal.jobs[:count] == first and made.texts == work.texts * 2
    again = made.journal.jobs[count:]

    def seen(jobs, begin):  # predictions are kept from one utterance to the next
        return [(j.network, j.release - begin, j.cycles) for j in jobs if j.entry != "predict"]

    assert seen(again, len(clip)) == seen(first, 0)


def test_a_journal_refuses_what_it_cannot_count():
    journal = Journal([Task("ear")], {})
    with pytest.raises(DeviceError, match="a schedule needs cycles"):
        journal.watch("ear", "step", RunResult(None))
    with pytest.raises(DeviceError, match="jobs of lm are for no task; there are ear"):
        journal.watch("lm", "step", RunResult(7))
    with journal.purpose("lm", "ear"):
        journal.watch("lm", "step", RunResult(7))
    assert [(job.task, job.network, job.cycles) for job in journal.jobs] == [("ear", "lm", 7)]
    with pytest.raises(DeviceError, match="jobs of lm"):
        journal.watch("lm", "step", RunResult(7))


def test_a_processor_without_room_gets_the_small_recognizer(capsys):
    found = members(link_stack(SMALL, (RECOGNIZER, NLU)))
    assert "small one is used" in capsys.readouterr().err
    assert list(found) == [RECOGNIZER, NLU] and found[RECOGNIZER].meta["name"] != "commands"


@pytest.mark.slow
def test_a_processor_without_room_keeps_states_in_dram(clip):
    program = link_stack(SMALL)
    away = {name: own.meta["away"] for name, own in members(program).items()}
    assert list(away) == list(NETWORKS) and any(away.values())
    with closing(open_device("fast", SMALL)) as device:
        made = Workload(device, program)
        made.run(clip[:RATE])
    assert {job.network for job in made.journal.jobs} >= {RECOGNIZER, WHISPER, SPEAKER, LANGUAGE}


def test_a_recognizer_of_other_pieces_does_without_the_language_model(untrained_checkpoint, clip, capsys):
    linked = link_stack(BASE, recognizer=untrained_checkpoint)
    assert "without a language model" in capsys.readouterr().err and LM not in members(linked)
    with closing(open_device("fast", BASE)) as device:
        made = Workload(device, linked)
        made.run(clip[:RATE])
    assert {job.network for job in made.journal.jobs} > {RECOGNIZER, WHISPER, SPEAKER, LANGUAGE}
    with pytest.raises(Failure, match="no network 'phone' is shipped"):
        link_stack(BASE, ["phone"])


@pytest.mark.slow
@pytest.mark.rtl
@pytest.mark.parametrize("music", [0, 40])
def test_the_same_jobs_and_cycles_on_the_verilog(clip, music):
    program, short = link_stack(SMALL), [clip[: RATE * 4 // 10]]
    fast, rtl = (Trials(engine, SMALL, program, short, 100_000_000).at(music) for engine in ("fast", "rtl"))
    assert rtl.jobs == fast.jobs and len(fast.jobs) > 50
    assert rtl.executions == fast.executions and rtl.texts == fast.texts


def bench(*arguments):
    return cli.run(["bench", "schedule", *map(str, arguments)])


def test_the_command_tells_who_misses_what(tmp_path, capsys):
    picture, wav = tmp_path / "jobs.png", sample_files()[1]
    assert bench(wav, "--music", "50,0", "--clock", 3, "--plot", picture, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert [row["music %"] for row in found["music"]] == [0, 50] and found["clock_mhz"] == 3
    quiet, loud = found["music"]
    assert 0 < quiet["misses"] <= loud["misses"] and found["highest_music"] is None
    assert quiet["frame P50 ms"] < loud["frame P50 ms"] and quiet["clock that does, MHz"] is None
    assert sum(row["misses"] for row in quiet["tasks"]) == quiet["misses"]
    assert sum(row["occupancy %"] for row in quiet["tasks"]) == pytest.approx(quiet["occupancy %"], abs=0.01)
    assert [row["network"] for row in found["networks"]] == list(NETWORKS)
    assert picture.read_bytes()[:4] == b"\x89PNG"


BAD = {
    "--music 100 is not possible": ["--music", "0,100"],
    "--music loud is not possible": ["--music", "loud"],
    "--clock 0 is not possible": ["--clock", 0],
    "no such file": ["nowhere.wav"],
    "no speech in it": ["{silence}"],
    "compiled for a processor of its own": ["--model", "model.npu"],
    "there is no engine 'functional'": ["--engine", "functional"],
    "the folder": ["--plot", "nowhere/at/all.png"],
}


@pytest.mark.parametrize("message", BAD)
def test_bad_input_is_one_line(message, tmp_path, capsys):
    silence = tmp_path / "silence.wav"
    soundfile.write(silence, np.zeros(RATE, np.int16), RATE, subtype="PCM_16")
    assert bench(*(str(word).format(silence=silence) for word in BAD[message])) == 2
    out, err = capsys.readouterr()
    assert not out and message in err.splitlines()[-1]


def test_options_of_the_schedule_are_its_own(capsys):
    assert cli.run(["bench", "gemv", "--clock", "50"]) == 2
    assert "bench gemv takes no --clock; bench schedule does" in capsys.readouterr().err
