"""The device's side of a rescoring service: a lattice goes out, its likeliest sentences come back in time, or
the device's own result stands, with the reason.

    cloud = CloudRescorer("http://127.0.0.1:8765", deadline_ms=500)
    answer = cloud.rescore(result.lattice)
    text = answer.sentences[0].text if answer.sentences else result.text

Timeouts of an HTTP client are of each read or write, so that a server which sends a byte now and then is
never late: the request runs in a thread that is left behind at the deadline. Needs the extra `cloud`.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from importlib import import_module
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any

from ossicle.runtime.lattice import Lattice
from ossicle.runtime.lattice_budget import within
from ossicle.runtime.lattice_wire import MEDIA_TYPE, WireError, encode
from ossicle.runtime.rescoring import Rescored
from ossicle.runtime.rescoring_answer import AnswerError, read_answer

RESCORE, HEALTH = "/v1/rescore", "/v1/health"
DEADLINE_HEADER = "Ossicle-Deadline-Ms"
DEADLINE_MS = 500
LONGEST_DEADLINE_MS = 60000
ANSWER_LIMIT = 1 << 20
LAST_PORT = 0xFFFF
LEFT_BEHIND = 8
"""Requests past their deadline that may hang; while there are more, none is sent."""


@dataclass(frozen=True)
class CloudAnswer:
    """`sentences`, best first; none where the device's own result stands, and then the `reason`.

    `milliseconds` from the call to here; `sent_bytes` of the lattice; `model` that chose, and how long it
    worked, `model_milliseconds`.
    """

    sentences: tuple[Rescored, ...] = ()
    reason: str | None = None
    sent_bytes: int = 0
    milliseconds: float = 0.0
    model: str | None = None
    model_milliseconds: float | None = None


class Refused(Exception):
    """No answer; the message is the reason."""


class CloudRescorer:
    """A rescoring service at a URL.

    Args:
        deadline_ms: that `rescore` takes at most.
        client: an httpx.Client in place of one of its own.
    Raises:
        ValueError: no URL of a service, or a deadline out of range.
        ModuleNotFoundError: httpx is not installed; the message says what installs it.
    """

    def __init__(self, url: str, deadline_ms: float = DEADLINE_MS, client: Any = None) -> None:
        if not 0 < deadline_ms <= LONGEST_DEADLINE_MS:
            raise ValueError(
                f"a deadline of {deadline_ms:g} ms is not possible; use more than 0, to {LONGEST_DEADLINE_MS}"
            )
        self._httpx = _httpx()
        self.url, self.deadline_ms = _checked(self._httpx, url), deadline_ms
        self._client = client or self._httpx.Client()
        self._threads: list[Thread] = []

    def rescore(
        self, lattice: Lattice, sentences: int = 1, most_bytes: int | None = None
    ) -> CloudAnswer:
        """The service's choice among the lattice's sentences, or none, within the deadline.

        Args:
            most_bytes: that are sent; a longer lattice is pruned first.
        """
        started = time.monotonic()
        made = self._rescored(lattice, sentences, most_bytes, started)
        return CloudAnswer(**made, milliseconds=round(1000 * (time.monotonic() - started), 1))

    def close(self) -> None:
        """Close its connections."""
        self._client.close()

    def _rescored(
        self, lattice: Lattice, sentences: int, most_bytes: int | None, started: float
    ) -> dict[str, Any]:
        try:
            lattice = replace(lattice, utterance="")  # a file's name may be a person's
            lattice = lattice if most_bytes is None else within(lattice, most_bytes)
            message = encode(lattice)
        except WireError as error:
            return {"reason": str(error)}
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        if len(self._threads) >= LEFT_BEHIND:
            return {"reason": f"{len(self._threads)} earlier requests to {self.url} hang"}
        answers: SimpleQueue[bytes | Refused] = SimpleQueue()
        until = started + self.deadline_ms / 1000
        thread = Thread(target=self._ask, args=(message, sentences, until, answers), daemon=True)
        self._threads.append(thread)
        thread.start()
        sent = {"sent_bytes": len(message)}
        try:
            data = answers.get(timeout=max(0.0, until - time.monotonic()))
            if isinstance(data, Refused):
                return sent | {"reason": str(data)}
            answer = read_answer(data, message, lattice)
        except Empty:
            return sent | {"reason": f"no answer from {self.url} within {self.deadline_ms:g} ms"}
        except AnswerError as error:
            return sent | {"reason": f"the answer of {self.url} is not one: {error}"}
        worked = answer.milliseconds
        return sent | {"sentences": answer.sentences, "model": answer.model, "model_milliseconds": worked}

    def _ask(self, message: bytes, sentences: int, until: float, answers: SimpleQueue) -> None:
        """In a thread: put the bytes of the answer, or why there are none."""
        try:
            answers.put(self._post(message, sentences, until))
        except Refused as error:
            answers.put(error)
        except (self._httpx.HTTPError, self._httpx.StreamError, OSError, RuntimeError, ValueError) as error:
            what = " ".join(str(error).split()) or type(error).__name__
            answers.put(Refused(f"{self.url} cannot be reached: {what}"))

    def _post(self, message: bytes, sentences: int, until: float) -> bytes:
        left = max(0.001, until - time.monotonic())
        headers = {
            "Content-Type": MEDIA_TYPE, DEADLINE_HEADER: str(max(1, round(1000 * left))),
            "User-Agent": "ossicle",
            "Accept-Encoding": "identity",  # what is inflated could be far longer than what came
        }  # fmt: skip
        data = bytearray()
        with self._client.stream(
            "POST", self.url + RESCORE, params={"sentences": sentences}, content=message, headers=headers,
            timeout=left,
        ) as response:  # fmt: skip
            for part in response.iter_raw():
                data += part
                if len(data) > ANSWER_LIMIT or time.monotonic() > until:
                    raise Refused(f"the answer of {self.url} is too long or too slow")
            if response.status_code != self._httpx.codes.OK:
                raise Refused(f"{self.url} answered {response.status_code}: {_detail(response, data)}")
        return bytes(data)


def _detail(response: Any, data: bytearray) -> str:
    """What a service says of a refusal, one short line."""
    text = bytes(data).decode(errors="replace")
    if response.headers.get("content-type", "").startswith("application/json"):
        text = text.removeprefix('{"detail":"').removesuffix('"}')
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= 200 else line[:199] + "…"


def _checked(httpx: Any, url: str) -> str:
    try:
        made = httpx.URL(url)
    except (httpx.InvalidURL, TypeError) as error:
        raise ValueError(f"{url!r} is no URL of a rescorer ({error}); use http://HOST:PORT") from None
    wrong_port = made.port is not None and not 0 < made.port <= LAST_PORT
    if made.scheme not in ("http", "https") or not made.host or wrong_port or made.query or made.fragment:
        raise ValueError(f"{url!r} is no URL of a rescorer; use http://HOST:PORT")
    return url.rstrip("/")


def _httpx() -> Any:
    try:
        return import_module("httpx")
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            'a rescorer needs httpx, which is not installed: pip install "ossicle[cloud]"'
        ) from None
