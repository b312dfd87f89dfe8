"""Numbers of a schedule that is written down here, and the search for the clock and the music that do."""

from __future__ import annotations

import numpy as np
import pytest
from ossicle.compiler.api import compile_gemv
from ossicle.hw.config import PRESETS
from ossicle.runtime.scheduling.account import by_task, least_clock, responses
from ossicle.runtime.scheduling.music import Trial, Trials
from ossicle.runtime.scheduling.picture import draw, hardest, shares
from ossicle.runtime.scheduling.scheduler import schedule
from ossicle.runtime.scheduling.tasks import Job, Task

HZ = 16_000  # a cycle a sample
FRAME, TEXT = Task("recognizer", 0, 960), Task("nlu", 1, 3200)
TASKS = [TEXT, FRAME]


def job(task, entry, release, cycles):
    return Job(task.name, task.name, entry, release, task.deadline(release), cycles)


JOBS = [
    job(FRAME, "reset", 0, 10),
    job(FRAME, "encode", 960, 500),
    job(FRAME, "joint", 960, 300),
    job(TEXT, "step", 1000, 900),
    job(FRAME, "encode", 1920, 600),
    job(FRAME, "joint", 1920, 400),
]
SAMPLES = 4000


def trial(clock_hz=HZ):
    return Trial(0, JOBS, TASKS, schedule(JOBS, TASKS, clock_hz), clock_hz, SAMPLES, [])


def test_a_response_is_all_jobs_of_one_moment():
    found = responses(trial().executions)
    # Frames: 960 to 1760. Text: 1760 to 2660. Frame of 1920: 2660 to 3660, in 1740 where it has 960.
    assert [(one.task, one.time, one.missed) for one in found] == [
        ("recognizer", 800, False), ("nlu", 1660, False), ("recognizer", 1740, True),
    ]  # fmt: skip


def test_rows_by_task_come_by_priority():
    frame, text = by_task(trial().executions, TASKS, HZ, SAMPLES)
    assert (frame["task"], text["task"]) == ("recognizer", "nlu")
    assert (frame["responses"], frame["jobs"], frame["misses"]) == (2, 5, 1)
    assert frame["occupancy %"] == pytest.approx(100 * 1810 / SAMPLES)
    assert (frame["P50 ms"], frame["P99 ms"], frame["longest ms"]) == (108.75, 108.75, 108.75)
    assert (text["misses"], text["longest ms"], text["deadline ms"]) == (0, 103.75, 200)


def test_the_least_clock_keeps_every_deadline_and_a_slower_one_does_not():
    assert least_clock(JOBS, TASKS, HZ) is None
    fast = [Job(j.task, j.network, j.entry, j.release, j.deadline, 100 * j.cycles) for j in JOBS]
    found = least_clock(fast, TASKS, 10_000_000)
    assert found and found % 10_000 == 0
    for hertz, missed in ((found, False), (found - 10_000, True)):
        assert any(one.missed for one in schedule(fast, TASKS, hertz)) == missed


def test_a_row_by_music():
    row = trial().row()
    assert (row["misses"], row["of"], row["clock that does, MHz"]) == (1, 3, None)
    assert row["occupancy %"] == pytest.approx(100 * 2710 / SAMPLES)
    assert row["frame longest ms"] == 108.75


@pytest.mark.parametrize("most", [None, 0, 1, 42, 98, 99])
def test_the_most_music_is_found(most):
    tried = []

    class Known(Trials):
        def _keeps(self, music):
            tried.append(music)
            return most is not None and music <= most

    told = []
    program = compile_gemv(np.ones((4, 4), np.int8), PRESETS["small"])
    assert Known("fast", PRESETS["small"], program, [], HZ).highest(told.append) == most
    assert told == tried and len(tried) == len(set(tried)) <= 8


def test_shares_of_the_time_add_up():
    made = trial()
    for name, cycles in (("recognizer", 1810), ("nlu", 900)):
        own = shares(made, name)
        assert own.sum() * 0.1 * HZ / 100 == pytest.approx(cycles)
        assert (own >= 0).all() and own.max() <= 100
    np.testing.assert_allclose(shares(made, "nlu")[:2], [0, 900 / 16])


def test_the_picture_is_of_the_hardest_job(tmp_path):
    assert (hardest(trial()).index, hardest(trial()).missed) == (5, True)
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    draw(trial(), tmp_path / "jobs.png")
    assert (tmp_path / "jobs.png").read_bytes()[:4] == b"\x89PNG"
