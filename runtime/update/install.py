"""Put a model in its place: the old or the new one is there whole at every moment, and a rerun ends it.

Beside MODEL lies the folder MODEL.updates:

    next         the new model, perhaps in part; known to be whole by its SHA-256
    kept         the old model, a second name of its bytes, while the new one is on trial
    journal      the trial: SHA-256 of both; written whole (`journal.part`, renamed)
    previous     the model before this one, for `roll_back`
    receipt      the journal of the update that made this model

    1 write next   2 link kept   3 write journal   4 next -> MODEL   5 check
    good: 6 kept -> previous   7 journal -> receipt      bad: 6 kept -> MODEL   7 remove journal

Before 3 nothing counts. From 3 on the journal says what MODEL may be: the old one (go on at 4, or start anew
where `next` is gone), or the new one (go on at 5).
"""

from __future__ import annotations

import fcntl
import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ossicle.runtime.update import disk
from ossicle.runtime.update.package import UpdateError

Check = Callable[[Path], None]
"""Raises ValueError if the model at a path is not to be kept."""


class Rejected(UpdateError):
    """The new model failed its check; the old one is back."""

    status = 1
    """Of the command: its finding, not bad input."""


class Installation:
    """A model file and what is kept beside it."""

    def __init__(self, model: Path) -> None:
        self.model = model
        self.folder = model.with_name(model.name + ".updates")
        names = ("next", "kept", "journal", "previous", "receipt")
        self.next, self.kept, self.journal, self.previous, self.receipt = (self.folder / n for n in names)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Raises UpdateError while another process holds it."""
        self.folder.mkdir(exist_ok=True)
        with (self.folder / "lock").open("wb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise UpdateError(f"{self.model}: another update is under way; wait for it") from None
            yield

    def resume(self, check: Check) -> bool:
        """End a trial that was broken off: whether its model is now in place. Call it `locked`.

        Raises:
            Rejected: its check failed.
            UpdateError: MODEL is neither of the two.
        """
        trial = _read_journal(self.journal)
        if trial is None:
            return False
        found = digest(self.model)
        if found == trial["old"]:
            if digest(self.next) == trial["new"]:
                return self._try(trial, check)
            disk.remove(self.journal)
            return False
        if found != trial["new"]:
            raise UpdateError(
                f"{self.model} is neither the model before nor after the update that was broken off; "
                "ossicle update rollback restores the one before"
            )
        return self._judge(trial, check)

    def apply(self, new: bytes, check: Check) -> None:
        """Put `new` in place of the model, and keep it if it passes. Call it `locked`, after `resume`.

        Args:
            new: the whole new model.
        Raises:
            Rejected: it did not pass; the old model is back.
        """
        trial = {"old": digest(self.model), "new": hashlib.sha256(new).hexdigest()}
        if digest(self.next) != trial["new"]:
            disk.write(self.next, new)
        self.next.chmod(self.model.stat().st_mode & 0o777)
        disk.remove(self.kept)
        disk.link(self.model, self.kept)
        part = self.journal.with_suffix(".part")
        disk.write(part, json.dumps(trial).encode())
        disk.rename(part, self.journal)
        self._try(trial, check)

    def _try(self, trial: dict[str, str], check: Check) -> bool:
        disk.rename(self.next, self.model)
        return self._judge(trial, check)

    def _judge(self, trial: dict[str, str], check: Check) -> bool:
        """The new model is in place: check it, and keep it or go back."""
        try:
            check(self.model)
        except (ValueError, OSError, RuntimeError) as error:
            self._go_back(trial)
            raise Rejected(f"the new model failed its check and the old one is back: {error}") from None
        if digest(self.kept) == trial["old"]:
            disk.rename(self.kept, self.previous)
        disk.rename(self.journal, self.receipt)
        return True

    def _go_back(self, trial: dict[str, str]) -> None:
        """Raises UpdateError if the old model is kept nowhere."""
        for place in (self.kept, self.previous):
            if digest(place) == trial["old"]:
                disk.rename(place, self.model)
                disk.remove(self.journal)
                return
        raise UpdateError(f"{self.model}: the old model is gone from {self.folder}; install one by hand")

    def roll_back(self) -> str:
        """The model before the last update, or before a trial, in place again; its SHA-256. Call it `locked`.

        Raises:
            UpdateError: there is none, or it is damaged.
        """
        trial = _read_journal(self.journal)
        if trial is not None:
            self._go_back(trial)
            return trial["old"]
        made = _read_journal(self.receipt)
        if made is None or not self.previous.is_file():
            raise UpdateError(f"{self.model}: no model before it is kept; nothing to go back to")
        if digest(self.previous) != made["old"]:
            raise UpdateError(f"{self.previous} is damaged (another SHA-256 than {self.receipt} names)")
        disk.rename(self.previous, self.model)
        disk.remove(self.receipt)
        return made["old"]


def digest(path: Path) -> str | None:
    """SHA-256 of a file in hexadecimal; None where there is none."""
    if not path.is_file():
        return None
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_journal(path: Path) -> dict[str, str] | None:
    if not path.is_file():
        return None
    try:
        found = json.loads(path.read_text())
        return {"old": str(found["old"]), "new": str(found["new"])}
    except (ValueError, KeyError, TypeError) as error:
        raise UpdateError(
            f"{path} is damaged ({error}); compare the model's SHA-256, then remove it"
        ) from None
