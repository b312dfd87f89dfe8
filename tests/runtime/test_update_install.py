"""Installation under kills at every step: the old model or the new one, and a rerun that ends it."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest
from ossicle.runtime.update import disk
from ossicle.runtime.update.install import Installation, Rejected, digest
from ossicle.runtime.update.package import UpdateError

EARLIER, OLD, NEW = b"earlier" * 50, b"old" * 100, b"new" * 120
STEPS = ("write", "rename", "link", "remove", "sync")


class Killed(BaseException):
    """The power went."""


class Killer:
    """Counts the steps on the disk; stops before step `at`, in the middle of it, or after it."""

    def __init__(self, monkeypatch, at: int, when: str) -> None:
        self.at, self.when, self.count = at, when, 0
        for name in STEPS:
            monkeypatch.setattr(disk, name, self._wrapped(name, getattr(disk, name)))

    def _wrapped(self, name, step):
        def wrapped(*arguments):
            self.count += 1
            mine = self.count == self.at
            if mine and self.when == "before":
                raise Killed
            if mine and self.when == "middle" and name == "write":
                path, content = arguments
                path.write_bytes(content[: len(content) // 2])
                raise Killed
            step(*arguments)
            if mine and self.when == "after":
                raise Killed

        return wrapped


def good(model):
    assert model.read_bytes() == NEW


def bad(model):
    raise ValueError("it hears nothing")


def run(model, check):
    place = Installation(model)
    with place.locked():
        place.resume(check)
        if model.read_bytes() == OLD:
            place.apply(NEW, check)
    return place


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "m.safetensors"
    path.write_bytes(OLD)
    return path


def started(folder):
    """A model that was updated once before."""
    folder.mkdir()
    model = folder / "m.safetensors"
    model.write_bytes(OLD)
    place = Installation(model)
    with place.locked():
        place.previous.write_bytes(EARLIER)
        place.receipt.write_text(json.dumps({"old": digest(place.previous), "new": digest(model)}))
    return model, place


def steps_of(folder, check):
    """How many steps an installation takes."""
    model, _ = started(folder)
    with pytest.MonkeyPatch.context() as patch:
        killer = Killer(patch, 0, "never")
        try:
            run(model, check)
        except Rejected:
            assert check is bad
    return killer.count


@pytest.mark.parametrize("when", ["before", "middle", "after"])
@pytest.mark.parametrize("check", [good, bad])
def test_killed_anywhere(tmp_path, check, when):
    steps = steps_of(tmp_path / "whole", check)
    assert steps > 8
    for at in range(1, steps + 1):
        model, place = started(tmp_path / str(at))
        with pytest.MonkeyPatch.context() as patch, suppress(Killed, Rejected):
            Killer(patch, at, when)
            run(model, check)
        assert model.read_bytes() in (OLD, NEW)
        if check is good:
            run(model, check)
            assert (model.read_bytes(), place.previous.read_bytes()) == (NEW, OLD)
            assert json.loads(place.receipt.read_text())["new"] == digest(model)
        else:
            with pytest.raises(Rejected, match="it hears nothing"):
                run(model, check)
            assert (model.read_bytes(), place.previous.read_bytes()) == (OLD, EARLIER)
        assert {p.name for p in place.folder.iterdir()} <= {"lock", "previous", "receipt", "journal.part"}
        with place.locked():
            place.roll_back()
        assert model.read_bytes() == (OLD if check is good else EARLIER)


def test_a_next_model_that_is_whole_is_not_written_again(model, monkeypatch):
    place = Installation(model)
    place.folder.mkdir()
    place.next.write_bytes(NEW)
    written = []
    write = disk.write
    monkeypatch.setattr(disk, "write", lambda path, body: (written.append(path.name), write(path, body)))
    run(model, good)
    assert written == ["journal.part"]


def test_the_new_model_may_be_read_as_the_old_one_was(model):
    model.chmod(0o640)
    run(model, good)
    assert model.stat().st_mode & 0o777 == 0o640


def test_two_at_once(model):
    with Installation(model).locked(), pytest.raises(UpdateError, match="under way"):
        run(model, good)
    run(model, good)


def killed(model):
    raise Killed


def test_a_model_that_is_neither_during_a_trial(model):
    with pytest.raises(Killed):
        run(model, killed)
    model.write_bytes(b"something else")
    with pytest.raises(UpdateError, match="neither the model before nor after"):
        run(model, good)
    place = Installation(model)
    with place.locked():
        place.roll_back()
    assert model.read_bytes() == OLD


def test_nothing_to_go_back_to(model):
    place = Installation(model)
    with place.locked(), pytest.raises(UpdateError, match="nothing to go back to"):
        place.roll_back()


def test_a_damaged_previous_model(model):
    place = run(model, good)
    place.previous.write_bytes(b"x")
    with place.locked(), pytest.raises(UpdateError, match="is damaged"):
        place.roll_back()
    assert model.read_bytes() == NEW


def test_a_damaged_journal(model):
    place = Installation(model)
    place.folder.mkdir()
    place.journal.write_text("{")
    with pytest.raises(UpdateError, match="journal is damaged"):
        run(model, good)
    assert model.read_bytes() == OLD
