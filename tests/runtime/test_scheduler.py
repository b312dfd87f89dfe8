"""Jobs on one processor: the rule, checked on every schedule of random jobs, and on some written down."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ossicle.runtime.scheduling.scheduler import first_come, schedule
from ossicle.runtime.scheduling.tasks import Job, Task

RATE = 1000
HZ = 1000  # a cycle a sample
FRAME, VOICE, TEXT = Task("frame", 0, 50), Task("voice", 1, 50), Task("text", 1)
TASKS = (FRAME, VOICE, TEXT)


def job(task, release, cycles, within=None, network=None, after=()):
    deadline = None if within is None else release + within
    return Job(task.name, network or task.name, "step", release, deadline, cycles, after)


def order(jobs, hz=HZ):
    return [(made.index, made.start, made.end) for made in schedule(jobs, TASKS, hz, RATE)]


def test_the_smaller_priority_number_goes_first_and_nothing_is_cut_short():
    jobs = [job(TEXT, 0, 10), job(VOICE, 1, 5, 50), job(FRAME, 2, 5, 90)]
    assert order(jobs) == [(0, 0, 10), (2, 10, 15), (1, 15, 20)]


def test_of_equal_priorities_the_earlier_deadline_and_none_comes_last():
    jobs = [job(FRAME, 0, 1), job(TEXT, 1, 5), job(VOICE, 1, 5, 90), job(VOICE, 1, 5, 20, "other")]
    assert [index for index, *_ in order(jobs)] == [0, 3, 2, 1]


def test_jobs_of_a_network_keep_their_order_whatever_they_are_for():
    jobs = [job(VOICE, 0, 5, 9), job(TEXT, 0, 5, network="lm"), job(FRAME, 0, 5, 20, network="lm")]
    assert [index for index, *_ in order(jobs)] == [0, 1, 2]  # the last, most urgent, waits for its network's


def test_a_job_waits_for_those_it_comes_after():
    jobs = [job(TEXT, 0, 30), job(FRAME, 0, 1, after=(0,)), job(VOICE, 40, 1)]
    assert order(jobs) == [(0, 0, 30), (1, 30, 31), (2, 40, 41)]


def test_first_come_first_served_keeps_the_order_of_the_list():
    jobs = [job(TEXT, 0, 9), job(VOICE, 1, 5, 50), job(FRAME, 2, 5, 12), job(TEXT, 3, 9, network="a")]
    made = first_come(jobs, TASKS, HZ, RATE)
    assert [(one.index, one.start, one.missed) for one in made] == [
        (0, 0, False), (1, 9, False), (2, 14, True), (3, 19, False),
    ]  # fmt: skip
    assert [one.job for one in made] == jobs
    assert not any(one.missed for one in schedule(jobs, TASKS, HZ, RATE)[:2])


def test_a_missed_deadline_is_one_and_the_last_cycle_is_none():
    made = schedule([job(FRAME, 0, 10, 10), job(VOICE, 0, 1, 10)], TASKS, HZ, RATE)
    assert [one.missed for one in made] == [False, True]
    assert [one.response for one in made] == [10, 11]


def test_audio_time_becomes_cycles_of_the_clock():
    (made,) = schedule([job(FRAME, 1, 4, 2)], TASKS, 1500, RATE)
    assert (made.release, made.start, made.end, made.deadline) == (2, 2, 6, 4)  # 1.5 up, 4.5 down


def test_what_cannot_be_is_said():
    with pytest.raises(ValueError, match=r"task 'voices'; there are frame, voice, text"):
        schedule([job(Task("voices"), 0, 1)], TASKS, HZ)
    with pytest.raises(ValueError, match="job 0 comes after job 0"):
        schedule([job(FRAME, 0, 1, after=(0,))], TASKS, HZ)
    with pytest.raises(ValueError, match="clock of 0 Hz"):
        schedule([], TASKS, 0)
    with pytest.raises(ValueError, match="neither can be below 0"):
        job(FRAME, -1, 1)
    with pytest.raises(ValueError, match="priority -1"):
        Task("a", -1)
    with pytest.raises(ValueError, match="0 samples are no time"):
        Task("a", within=0)


@st.composite
def random_jobs(draw):
    made = []
    for index in range(draw(st.integers(0, 25))):
        task = draw(st.sampled_from(TASKS))
        after = draw(st.sets(st.integers(0, index - 1), max_size=2)) if index else ()
        network = draw(st.sampled_from(("a", "b", "c")))
        within = draw(st.one_of(st.none(), st.integers(0, 60)))
        made.append(
            job(task, draw(st.integers(0, 60)), draw(st.integers(0, 9)), within, network, tuple(after))
        )
    return made


def before(jobs, index):
    """Jobs that must have ended before one."""
    same = [i for i in range(index) if jobs[i].network == jobs[index].network]
    return {*jobs[index].after, *same}


@given(random_jobs())
def test_every_start_is_the_most_urgent_that_is_ready(jobs):
    made = schedule(jobs, TASKS, HZ, RATE)
    assert sorted(one.index for one in made) == list(range(len(jobs)))
    ends, free = {}, 0
    priority = {task.name: task.priority for task in TASKS}

    def key(index):
        own = jobs[index]
        return priority[own.task], own.deadline is None, own.deadline or 0, index

    left = set(range(len(jobs)))
    for one in made:
        assert one.end == one.start + one.job.cycles and one.start >= max(free, one.release)
        assert before(jobs, one.index) <= ends.keys()
        could = {i for i in left if before(jobs, i) <= ends.keys()}
        assert one.start == max(free, min(jobs[i].release for i in could))  # never idle with something to do
        ready = {i for i in could if jobs[i].release <= one.start}
        assert key(one.index) == min(map(key, ready))
        left.remove(one.index)
        ends[one.index] = free = one.end
